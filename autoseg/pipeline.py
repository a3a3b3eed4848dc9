"""Every step in order: from a folder of labelled images to a trained model. Start reading at `plan_and_train`."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch

from autoseg.core.ledger import Ledger
from autoseg.core.provenance import inputs_digest, is_done, mark_done
from autoseg.core.records import read_record, write_record
from autoseg.core.runtime import logged_step, say
from autoseg.core.scores import Scores
from autoseg.core.workspace import Workspace, default_root, open_workspace
from autoseg.datasets.dataset import Folds
from autoseg.datasets.options import Options as Reading
from autoseg.groundwork import (
    chosen_configurations,
    fingerprinted,
    folded,
    forget,
    forget_training,
    looked,
    planned,
    preprocessed,
)
from autoseg.learning.machine import choose_device
from autoseg.learning.model_files import plan_outputs
from autoseg.options import (
    ChosenBudget,
    FoldChoice,
    PlanAndTrainOptions,
    TrainCommand,
    choose_budget,
    describe_seconds,
    parse_configurations,
    parse_folds,
    share_budget,
)
from autoseg.steps.evaluate import score_validation
from autoseg.steps.plan import PlanOptions
from autoseg.steps.predict import predict_validation
from autoseg.steps.report import report
from autoseg.steps.train import TrainingRecord, TrainOptions, machine_of, train, write_model
from planners.fingerprint import Fingerprint
from planners.plan import Plan
from planners.prediction import prediction_seconds

REPORT_S = 15.0
"""Choosing, drawing the report and leaving Python; measured on two slow cores, most of it matplotlib."""
SAFETY = 1.3
"""Validation may take this much longer than expected before the job misses its time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkResult:
    """One trained network; Dice is the mean over validation cases and labels, None where undefined."""

    configuration: str
    fold: int
    steps: int
    training_seconds: float
    validation_cases: int
    validation_dice: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What a run left: where things are, and what the networks reached; `configuration` is the one that predicts."""

    schema: ClassVar[str] = "autoseg.run/1"

    workspace: str
    model: str
    report: str
    configuration: str
    networks: tuple[NetworkResult, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """The settled wishes of one call."""

    workspace: Workspace
    ledger: Ledger
    device: torch.device
    budget: ChosenBudget
    seed: int


def plan_and_train(
    dataset: Path, options: PlanAndTrainOptions, reading: Reading, *, running_seconds: float = 0.0
) -> RunResult:
    """Make everything that is not made yet, and return where it is.

    `running_seconds` is how long the job already runs when this is called: the budget covers it too.

    Raises:
        AutosegError: the dataset or an option is at fault.
        StoppedError: a signal asked to stop; the next call goes on from there.

    """
    job = _settle(dataset, options, running_seconds)
    workspace = job.workspace
    looked(workspace, reading)
    fingerprinted(workspace)
    folds = folded(workspace, parse_folds(options.folds), options.seed)
    wanted = parse_configurations(options.configurations)
    per_network = share_budget(job.budget.budget, len(folds) * max(1, len(wanted)))
    machine_of(workspace, job.device)
    plan = planned(workspace, PlanOptions(recipe=options.recipe, budget=per_network))
    names = chosen_configurations(plan, wanted)
    for name in names:
        preprocessed(workspace, name)
    results = _networks(job, [(name, fold) for name in names for fold in folds])
    best = max(names, key=lambda name: _mean_dice(results, name))
    write_model(workspace, best)
    with logged_step(workspace.run_log, "report"):
        page = report(workspace)
    job.ledger.save()
    return RunResult(
        workspace=str(workspace.root),
        model=str(workspace.model),
        report=str(page),
        configuration=best,
        networks=results,
    )


def _networks(job: _Job, wanted: list[tuple[str, int]]) -> tuple[NetworkResult, ...]:
    """Train and validate each (configuration, fold), dividing what is left of the budget evenly."""
    results: list[NetworkResult] = []
    for position, (name, fold) in enumerate(wanted):
        reserve_s = REPORT_S + sum(_validation_seconds(job, *later) for later in wanted[position:])
        seconds = job.ledger.training_seconds(
            trained_seconds=sum(result.training_seconds for result in results),
            networks_left=len(wanted) - position,
            after_seconds=reserve_s,
        )
        record = _trained(job, name, fold, seconds)
        scores = _validated(job, record)
        dice = scores.summary()
        results.append(
            NetworkResult(
                configuration=name,
                fold=fold,
                steps=record.steps,
                training_seconds=record.seconds,
                validation_cases=len(scores.cases),
                validation_dice=dice.mean,
            )
        )
        shown = "undefined" if dice.mean is None else f"{dice.mean:.4f}"
        say(f"{name} fold {fold}: mean Dice {shown} over {len(scores.cases)} validation cases")
    return tuple(results)


def _trained(job: _Job, configuration: str, fold: int, seconds: float | None) -> TrainingRecord:
    options = TrainOptions(
        configuration=configuration,
        fold=fold,
        seconds=seconds,
        steps=job.budget.budget.steps,
        device=job.device.type,
        seed=job.seed,
    )
    if job.ledger.budget_changed:
        forget_training(job.workspace, configuration, fold)
    if seconds is not None:
        say(f"training {configuration} fold {fold}: {describe_seconds(seconds)}")
    with job.ledger.training(), logged_step(job.workspace.run_log, "train", **asdict(options)):
        return train(job.workspace, options)


def _validated(job: _Job, record: TrainingRecord) -> Scores:
    """Predict and score the cases that the network did not see, and note its Dice in its record."""
    workspace, configuration, fold = job.workspace, record.configuration, record.fold
    step = f"validation {configuration} {fold}"
    inputs = inputs_digest(record.network.sha256, workspace.folds)
    scores = workspace.validation(configuration, fold) / "scores.json"
    if scores.exists() and is_done(workspace.provenance, step, inputs):
        return read_record(scores, Scores)
    with job.ledger.validation(), logged_step(workspace.run_log, "validate", configuration=configuration, fold=fold):
        predict_validation(workspace, configuration, fold, job.device.type)
        made = score_validation(workspace, configuration, fold)
    network = replace(record.network, validation_dice=made.summary().mean)
    write_record(workspace.training(configuration, fold) / "training.json", replace(record, network=network))
    mark_done(workspace.provenance, step, inputs)
    return made


def _validation_seconds(job: _Job, configuration: str, fold: int) -> float:
    """Return what validating a network will take: as the last one did, else estimated from the plan."""
    if job.ledger.validation_seconds is not None:
        return SAFETY * job.ledger.validation_seconds
    workspace = job.workspace
    plan = read_record(workspace.plan, Plan)
    machine = machine_of(workspace, job.device)
    held_out = set(read_record(workspace.folds, Folds).folds[fold].validation)
    cases = [case for case in read_record(workspace.fingerprint, Fingerprint).cases if case.name in held_out]
    chosen = plan.configuration(configuration)
    seconds = (prediction_seconds(case, chosen, len(plan.channels), plan_outputs(plan), machine) for case in cases)
    return SAFETY * sum(each or 0.0 for each in seconds)


def _mean_dice(results: tuple[NetworkResult, ...], configuration: str) -> float:
    values = [r.validation_dice for r in results if r.configuration == configuration and r.validation_dice is not None]
    return sum(values) / len(values) if values else 0.0


def _settle(dataset: Path, options: PlanAndTrainOptions, running_seconds: float) -> _Job:
    device = choose_device(options.device)
    budget = choose_budget(options.budget, options.steps, has_gpu=device.type != "cpu")
    why = {"cpu": "no CUDA found", "cuda": "found", "mps": "found"}[device.type]
    say(f"device {device.type} ({why if options.device == 'auto' else '--device'})")
    say(f"budget {budget.because}")
    workspace = open_workspace(options.workspace or default_root(dataset), dataset, options.seed)
    say(f"workspace {workspace.root}")
    if options.force:
        forget(workspace)
    ledger = Ledger(workspace.budget, budget.budget.seconds, running_seconds)
    return _Job(workspace=workspace, ledger=ledger, device=device, budget=budget, seed=options.seed)


def train_one(workspace: Workspace, options: TrainCommand) -> TrainingRecord:
    """Train one network, as `autoseg train` does; the budget is for the training alone.

    Raises:
        AutosegError: a step before this one is missing, or an option is at fault.
        StoppedError: a signal asked to stop; the next call goes on from there.

    """
    wanted = () if options.configuration is None else (options.configuration,)
    name = chosen_configurations(read_record(workspace.plan, Plan), wanted)[0]
    device = choose_device(options.device)
    chosen = choose_budget(options.budget, options.steps, has_gpu=device.type != "cpu")
    say(f"device {device.type}, budget {chosen.because}")
    folded(workspace, FoldChoice(count=None, numbers=(options.fold,)), options.seed)
    task = TrainOptions(
        configuration=name,
        fold=options.fold,
        seconds=chosen.budget.seconds,
        steps=chosen.budget.steps,
        device=device.type,
        seed=options.seed,
    )
    with logged_step(workspace.run_log, "train", **asdict(task)):
        return train(workspace, task)


def describe(result: RunResult) -> str:
    """Return a run's result as lines for people."""
    lines = []
    for network in result.networks:
        dice = "undefined" if network.validation_dice is None else f"{network.validation_dice:.4f}"
        lines.append(
            f"{network.configuration} fold {network.fold}: mean Dice {dice} over {network.validation_cases} validation"
            f" cases, {network.steps} steps in {network.training_seconds:.0f} s"
        )
    return "\n".join([*lines, f"model   {result.model} ({result.configuration})", f"report  {result.report}"])
