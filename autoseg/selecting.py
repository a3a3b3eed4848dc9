"""What predicts in the end: configurations, ensembles and postprocessing compared out of fold, within the time left."""

import time
from collections.abc import Sequence

from autoseg.core.files import locked
from autoseg.core.plans import read_plan
from autoseg.core.records import write_record
from autoseg.core.runtime import logged_step, say
from autoseg.core.selection import JOINED, Choice
from autoseg.groundwork import files_of_validation
from autoseg.imaging.selection import Selection
from autoseg.learning.model_files import choose_prediction, load_model_record
from autoseg.learning.presets import PRESETS
from autoseg.options import describe_seconds
from autoseg.predicting.presets import known_presets
from autoseg.steps.evaluate import score_validation
from autoseg.steps.judge import judge, words
from autoseg.steps.predict import predict_validation
from autoseg.steps.presets import measure_presets
from autoseg.steps.select import choose_configurations, choose_postprocessing, ensembles_of
from autoseg.steps.train import write_model
from autoseg.trainings import REPORT_S, SAFETY, Job, NetworkResult

_LOADING_S = 3.0
"""For loading networks once more before presets are measured."""
POSTPROCESSING_SHARE = 0.02
"""Of a job's time that comparing postprocessings may take."""


def select(job: Job, results: Sequence[NetworkResult], wanted: Sequence[str]) -> Selection:
    """Choose by the out-of-fold scores of `results`, write it into `selection.json` and into the model.

    Configurations `wanted` that are not trained in all folds, and ensembles for whose predictions there is no time, are
    left out, and it is said. A stage before a cascade is a candidate like any other.
    """
    workspace = job.workspace
    planned: list[str] = [configuration.name for configuration in read_plan(workspace.plan).configurations]
    trained, folds, unfinished = complete_configurations(results, wanted)
    names = sorted(trained, key=planned.index)  # of equals, the one that the planner puts first is the simpler
    left_s = _left_seconds(job, results)
    candidates, left_out = list(names), list(unfinished)
    if unfinished:
        say(f"not compared, as not trained in fold {', '.join(map(str, folds))}: {', '.join(unfinished)}")
    for members in _ensembles(job, names):
        name, needed_s = (
            JOINED.join(members),
            len(members) * len(folds) * SAFETY * (job.ledger.validation_seconds or 0.0),
        )
        if left_s is not None and needed_s > left_s:
            left_out.append(name)
            say(f"ensemble {name} not tried: it takes {describe_seconds(needed_s)}, {left_s:.0f} s are left")
            continue
        began = time.monotonic()
        for fold in folds:
            device, files = job.device.type, files_of_validation(workspace, name, fold)
            with logged_step(workspace.run_log, "validate", files, configuration=name, fold=fold, device=device):
                predict_validation(workspace, name, fold, device)
                score_validation(workspace, name, fold)
        candidates.append(name)
        left_s = None if left_s is None else left_s - (time.monotonic() - began)
    choice = choose_configurations(workspace, candidates, folds)
    if len(candidates) > 1:
        say(f"chosen: {choice.chosen}, {choice.because}")
    return _finish(job, choice, folds, (left_s, left_out))


def _finish(job: Job, choice: Choice, folds: Sequence[int], rest: tuple[float | None, list[str]]) -> Selection:
    """Choose the postprocessing of what was chosen, and write all of it."""
    workspace, (left_s, left_out) = job.workspace, rest
    budget_s = job.budget.budget.seconds
    allowed_s = None if left_s is None or budget_s is None else min(left_s, POSTPROCESSING_SHARE * budget_s)
    until = None if allowed_s is None else time.monotonic() + allowed_s
    found = choose_postprocessing(workspace, choice.chosen, folds, until)
    if found is None:
        left_out = [*left_out, "postprocessing"]
        say("postprocessing not examined: no time is left for it")
    for each in found or ():
        if each.change is not None:
            say(f"postprocessing of {each.label}: {each.change}, {each.choice.because}")
        if each.fill is not None and each.filling is not None:
            say(f"postprocessing of {each.label}: {each.fill}, {each.filling.because}")
        if each.filling is None:
            left_out = [*left_out, f"filling holes of {each.label}"]
    selection = Selection(
        folds=tuple(folds),
        configurations=tuple(choice.chosen.split(JOINED)),
        choice=choice,
        postprocessing=found or (),
        left_out=tuple(left_out),
    )
    write_record(workspace.selection, selection)
    write_model(workspace, selection.configurations[0])
    with locked(workspace.lock("model")):
        choose_prediction(workspace.model, selection.configurations, selection.changes)
        judged = judge(workspace, choice.chosen, folds)
    for line in words(judged):
        say(line)
    return selection


def measure_presets_in_time(job: Job, results: Sequence[NetworkResult]) -> None:
    """Measure what the presets take and give on a few validation cases, as the time left allows; once a model."""
    record = load_model_record(job.workspace.model)
    known = known_presets(job.workspace.model, record.predicting, [network.sha256 for network in record.networks])
    cases = max((result.validation_cases for result in results), default=0)
    if known is not None or not cases or not all(network.finished for network in record.networks):
        return
    left_s = _left_seconds(job, results)
    if left_s is not None:  # every preset takes a case about as long as validation does, and loading some more
        left_s -= _LOADING_S + SAFETY * len(PRESETS) * (job.ledger.validation_seconds or 0.0) / cases
        if left_s < 0:
            say("presets not measured: no time is left for it; autoseg show WORKSPACE --measure does")
            return
    with logged_step(job.workspace.run_log, "presets", device=job.device.type):
        measure_presets(job.workspace, job.device.type, left_s=left_s)


def complete_configurations(
    results: Sequence[NetworkResult], wanted: Sequence[str]
) -> tuple[tuple[str, ...], tuple[int, ...], tuple[str, ...]]:
    """Return the configurations trained on the same folds as the first, those folds, and the others among `wanted`."""
    folds: dict[str, list[int]] = {}
    for result in results:
        folds.setdefault(result.configuration, []).append(result.fold)
    first = next(iter(folds.values()))
    complete = tuple(name for name, trained in folds.items() if trained == first)
    return complete, tuple(first), tuple(name for name in dict.fromkeys((*folds, *wanted)) if name not in complete)


def _ensembles(job: Job, names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    plan = read_plan(job.workspace.plan)
    return ensembles_of(names, [plan.configuration(name).previous for name in names])


def _left_seconds(job: Job, results: Sequence[NetworkResult]) -> float | None:
    budget_s = job.budget.budget.seconds
    if budget_s is None:
        return None
    trained_s = sum(result.training_seconds for result in results)
    return max(0.0, budget_s - job.ledger.overhead_seconds - trained_s - REPORT_S)
