"""Training and validating the networks of a job, within its time."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import torch

from autoseg.core.files import sweep_temporaries
from autoseg.core.ledger import Ledger
from autoseg.core.plans import read_plan
from autoseg.core.provenance import inputs_digest, is_done, mark_done
from autoseg.core.records import read_record, write_record
from autoseg.core.runtime import logged_step, say
from autoseg.core.scores import Scores
from autoseg.core.workspace import Workspace, seed_of
from autoseg.datasets.dataset import Folds
from autoseg.groundwork import (
    chosen_configurations,
    files_of_training,
    files_of_validation,
    fold_as_split,
    forget_stop,
    forget_training,
    planned,
    preprocessed,
)
from autoseg.learning.machine import choose_device
from autoseg.learning.measured import machine_of
from autoseg.learning.model_files import plan_inputs, plan_outputs
from autoseg.learning.repeatable import repeatable_if
from autoseg.learning.validation import VALIDATION_SHARE
from autoseg.learning.workers import ALONE, Workers
from autoseg.options import (
    ChosenBudget,
    TrainCommand,
    choose_budget,
    describe_seconds,
    parse_configurations,
    share_budget,
)
from autoseg.side_by_side import rounds, slots, train_side_by_side
from autoseg.steps.begin import begin
from autoseg.steps.evaluate import score_validation
from autoseg.steps.plan import PlanOptions
from autoseg.steps.predict import predict_validation
from autoseg.steps.select import ensembles_of
from autoseg.steps.train import TrainingRecord, TrainOptions, train, write_model
from autoseg.together import together
from planners.fingerprint import Fingerprint
from planners.plan import Plan
from planners.prediction import prediction_seconds
from planners.recipe import Budget

CASCADE, _BEFORE_CASCADE = "3d_cascade_fullres", "3d_lowres"
REPORT_S = 15.0
"""Choosing, drawing the report and leaving Python; measured on two slow cores, most of it matplotlib."""
ENSEMBLES_SHARE = 0.15
"""Of a job's time that is kept for comparing ensembles: what they gain, training longer mostly gains, too."""
EARLIEST = 0.85
"""Share of its budget that a job uses at least, or says why not."""
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
class Job:
    """The settled wishes of one call, and the clock it works against."""

    workspace: Workspace
    ledger: Ledger
    device: torch.device
    budget: ChosenBudget
    seed: int
    workers: Workers = ALONE
    deterministic: bool = False


def networks_to_train(plan: Plan, names: Sequence[str], folds: Sequence[int], splits: int) -> list[tuple[str, int]]:
    """Return every (configuration, fold) to train, each after those whose label maps it needs.

    A cascade learns from label maps of networks that have not seen the case: the stage before is trained in all
    `splits` folds, whichever are wanted (docs/decisions/cascade.md).
    """
    needed = {previous for name in names if (previous := plan.configuration(name).previous) is not None}
    ordered = sorted({*names, *needed}, key=lambda name: (name not in needed, [*names, *needed].index(name)))
    return [(name, fold) for name in ordered for fold in (range(splits) if name in needed else folds)]


def network_count(workspace: Workspace, wanted: Sequence[str], folds: Sequence[int]) -> int:
    """Return how many networks a job trains, before there is a plan: one configuration unless more are wanted."""
    if CASCADE not in wanted:
        return len(folds) * max(1, len(wanted))
    return split_count(workspace) + len(folds) * len(set(wanted) - {_BEFORE_CASCADE})


def split_count(workspace: Workspace) -> int:
    """Return how many folds the cases were split into."""
    return len(read_record(workspace.folds, Folds).folds)


def say_what_comes_before(wanted: Sequence[tuple[str, int]], names: Sequence[str], folds: Sequence[int]) -> None:
    """Say which networks are trained that nobody asked for, and why."""
    asked = {(name, fold) for name in names for fold in folds}
    for previous in dict.fromkeys(name for name, _ in wanted):
        extra = [fold for name, fold in wanted if name == previous and (name, fold) not in asked]
        if extra:
            numbers = ", ".join(map(str, extra))
            say(f"also trains {previous} fold {numbers}: the cascade learns from predictions of cases not trained on")


def train_networks(job: Job, wanted: list[tuple[str, int]]) -> tuple[NetworkResult, ...]:
    """Train and validate each (configuration, fold), dividing what is left of the budget evenly.

    A cascade's cases are prepared when the stage before it has predicted them.
    """
    results: list[NetworkResult] = []
    _train_ahead(job, wanted)
    for position, (name, fold) in enumerate(wanted):
        validations_s = [_validation_seconds(job, *later) for later in wanted[position:]]
        last_epoch_s = min(validations_s[0], VALIDATION_SHARE * (job.budget.budget.seconds or 0.0))
        reserve_s = REPORT_S + sum(validations_s) + last_epoch_s + _ensembles_seconds(job, wanted, validations_s[0])
        seconds = job.ledger.training_seconds(
            trained_seconds=sum(result.training_seconds for result in results),
            networks_left=len(wanted) - position,
            after_seconds=reserve_s,
        )
        record, asked_to_finish = _trained(job, name, fold, seconds)
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
        if asked_to_finish:
            if wanted[position + 1 :]:
                say(f"asked to finish: {len(wanted) - position - 1} more are not trained; the same command trains them")
            break
        if position == len(wanted) - 1:
            _say_if_early(job, results, validations_s[0])
    return tuple(results)


def at_once(job: Job) -> int:
    """Return how many networks are trained at the same time: one on each GPU, unless all GPUs share each network."""
    return 1 if job.workers.count > 1 else slots(job.device)


def _train_ahead(job: Job, wanted: list[tuple[str, int]]) -> None:
    """With several GPUs, train side by side what waits for no other network; validation then finds it trained.

    The time is divided among the rounds that this takes, and what is left after them.
    """
    plan, side_by_side = read_plan(job.workspace.plan), at_once(job)
    ahead = [(name, fold) for name, fold in wanted if plan.configuration(name).previous is None]
    if min(side_by_side, len(ahead)) < 2:
        return
    validations_s = sum(_validation_seconds(job, *each) for each in wanted)
    seconds = job.ledger.training_seconds(
        trained_seconds=0.0,
        networks_left=rounds(len(ahead), side_by_side) + len(wanted) - len(ahead),
        after_seconds=REPORT_S + validations_s + _ensembles_seconds(job, wanted, validations_s / len(wanted)),
    )
    if job.ledger.budget_changed:
        for name, fold in wanted:
            forget_training(job.workspace, name, fold)
        job.ledger.budget_changed = False  # what is trained from here on is of this budget
    trainings = [_training_options(job, name, fold, seconds) for name, fold in ahead]
    with job.ledger.training(), logged_step(job.workspace.run_log, "train", side_by_side=str(ahead)):
        train_side_by_side(job.workspace, trainings, side_by_side)


def _training_options(job: Job, configuration: str, fold: int, seconds: float | None) -> TrainOptions:
    return TrainOptions(
        configuration=configuration,
        fold=fold,
        seconds=seconds,
        steps=job.budget.budget.steps,
        device=job.device.type,
        seed=job.seed,
        deterministic=job.deterministic,
    )


def _ensembles_seconds(job: Job, wanted: list[tuple[str, int]], validation_s: float) -> float:
    """Return what validating ensembles of the configurations will take, at most ENSEMBLES_SHARE of the job's time."""
    names = tuple(dict.fromkeys(name for name, _ in wanted))
    plan = read_plan(job.workspace.plan)
    sets = ensembles_of(names, [plan.configuration(name).previous for name in names])
    folds = len({fold for _, fold in wanted})
    return min(
        sum(len(members) for members in sets) * folds * validation_s,
        ENSEMBLES_SHARE * (job.budget.budget.seconds or 0.0),
    )


def _say_if_early(job: Job, results: list[NetworkResult], expected_s: float) -> None:
    """Say why a job ends well before its time, after its last network.

    A training keeps the time that validation is expected to take. What is left of it cannot be trained on: the rate is
    down to zero by then.
    """
    budget_s, taken_s = job.budget.budget.seconds, job.ledger.validation_seconds
    spent_s = job.ledger.overhead_seconds + sum(result.training_seconds for result in results) + REPORT_S
    if budget_s is None or spent_s >= EARLIEST * budget_s:
        return
    why = "everything was trained by an earlier call"
    if taken_s is not None:
        why = f"validation took {describe_seconds(taken_s)} of the {describe_seconds(expected_s)} kept for it"
    say(
        f"ends after {describe_seconds(spent_s)} of {describe_seconds(budget_s)}: {why}; more time would gain nothing,"
        " as the schedule has annealed to its end"
    )


def _trained(job: Job, configuration: str, fold: int, seconds: float | None) -> tuple[TrainingRecord, bool]:
    """Train a network, and return its record and whether somebody asked in this call to finish."""
    _prepare_cascade(job.workspace, configuration)
    options = _training_options(job, configuration, fold, seconds)
    if job.ledger.budget_changed:
        forget_training(job.workspace, configuration, fold)
    if seconds is not None:
        say(f"training {configuration} fold {fold}: {describe_seconds(seconds)}")
    path = job.workspace.training(configuration, fold) / "training.json"
    before = read_record(path, TrainingRecord) if path.exists() else None
    files = files_of_training(job.workspace, configuration, fold)
    with job.ledger.training(), logged_step(job.workspace.run_log, "train", files, **asdict(options)):
        record = train(job.workspace, options, job.workers)
    return record, record.asked_to_finish and record != before


def _prepare_cascade(workspace: Workspace, configuration: str) -> None:
    """Prepare the cases of a cascade; say so where what they show was predicted by a network that had seen them."""
    if read_plan(workspace.plan).configuration(configuration).previous is None:
        return
    preprocessed(workspace, configuration)
    for fold in read_record(workspace.folds, Folds).folds:
        seen = sorted(set(fold.train) & set(fold.validation))
        if seen:
            say(f"warning: {', '.join(seen)}: the stage before has trained on it, so the cascade trusts it too much")


def validation_step(workspace: Workspace, record: TrainingRecord) -> tuple[str, str]:
    """Return the name of a network's validation in the provenance, and the digest of what it depends on."""
    return f"validation {record.configuration} {record.fold}", inputs_digest(record.network.sha256, workspace.folds)


def _validated(job: Job, record: TrainingRecord) -> Scores:
    """Predict and score the cases that the network did not see, and note its Dice in its record."""
    workspace, configuration, fold = job.workspace, record.configuration, record.fold
    step, inputs = validation_step(workspace, record)
    scores = workspace.validation(configuration, fold) / "scores.json"
    if scores.exists() and is_done(workspace.provenance, step, inputs):
        return read_record(scores, Scores)
    device = job.device.type
    files = files_of_validation(workspace, configuration, fold)
    told = {"configuration": configuration, "fold": fold, "device": device}
    with job.ledger.validation(), logged_step(workspace.run_log, "validate", files, **told):
        predict_validation(workspace, configuration, fold, device)
        made = score_validation(workspace, configuration, fold)
    network = replace(record.network, validation_dice=made.summary().mean)
    write_record(workspace.training(configuration, fold) / "training.json", replace(record, network=network))
    mark_done(workspace.provenance, step, inputs)
    return made


def _validation_seconds(job: Job, configuration: str, fold: int) -> float:
    """Return what validating a network will take: as the last one did, else estimated from the plan."""
    if job.ledger.validation_seconds is not None:
        return SAFETY * job.ledger.validation_seconds
    workspace = job.workspace
    plan = read_plan(workspace.plan)
    machine = machine_of(workspace, job.device)
    held_out = set(read_record(workspace.folds, Folds).folds[fold].validation)
    cases = [case for case in read_record(workspace.fingerprint, Fingerprint).cases if case.name in held_out]
    chosen = plan.configuration(configuration)
    chain = [chosen] if chosen.previous is None else [chosen, plan.configuration(chosen.previous)]
    seconds = (
        prediction_seconds(case, each, plan_inputs(plan, each.name), plan_outputs(plan), machine)
        for case in cases
        for each in chain
    )
    return SAFETY * sum(each or 0.0 for each in seconds)


def train_one(workspace: Workspace, options: TrainCommand) -> TrainingRecord:
    """Do what `_train_one` says, in one process or together with those that torchrun started.

    Raises:
        AutosegError: as there; ResourceError where a worker is gone.
        StoppedError: as there.

    """
    with together() as workers, repeatable_if(options.deterministic):
        return _train_one(workspace, options, workers)


def _train_one(workspace: Workspace, options: TrainCommand, workers: Workers) -> TrainingRecord:
    """Train and validate one network, as `autoseg train` does; the budget is for the training alone.

    Several configurations, and the stage before a cascade, are trained one after the other and share the budget; the
    record of the last is returned.

    Raises:
        AutosegError: a step before this one is missing, or an option is at fault.
        StoppedError: a signal asked to stop; the next call goes on from there.

    """
    wishes = parse_configurations(options.configuration or "auto")
    device = choose_device(options.device)
    chosen = choose_budget(options.budget, options.steps, has_gpu=device.type != "cpu")
    say(f"device {device.type}, budget {chosen.because}")
    say_if_the_clock_decides(chosen, deterministic=options.deterministic)
    seed = seed_of(workspace, options.seed)
    folds = fold_as_split(workspace, options.fold, seed)
    plan = read_plan(workspace.plan)
    if options.start_from is not None:
        begin(workspace, options.start_from, wishes, folds)
        plan = planned(workspace, PlanOptions(recipe=plan.recipe, budget=chosen.budget, begun=True))
    names = chosen_configurations(plan, wishes)
    wanted = networks_to_train(plan, names, folds, split_count(workspace))
    say_what_comes_before(wanted, names, folds)
    ledger = Ledger(workspace.budget, None, 0.0)  # never saved: a step called by hand is outside any job's time
    job = Job(
        workspace=workspace,
        ledger=ledger,
        device=device,
        budget=chosen,
        seed=seed,
        workers=workers,
        deterministic=options.deterministic,
    )
    forget_stop(workspace)
    sweep_temporaries(workspace.root)
    for name, fold in wanted:
        if (name, fold) != wanted[-1] or options.start_from is not None:
            preprocessed(workspace, name)
        record = _trained_by_hand(job, name, fold, share_budget(chosen.budget, len(wanted)))
        if record.asked_to_finish:
            break
    return record


def say_if_the_clock_decides(chosen: ChosenBudget, *, deterministic: bool) -> None:
    """Say so when a run is to repeat to the last bit but takes as many steps as the machine makes in its time."""
    if deterministic and chosen.budget.seconds is not None:
        say("warning: --deterministic with a time: another run takes more steps or fewer; give --steps to repeat it")


def _trained_by_hand(job: Job, configuration: str, fold: int, budget: Budget) -> TrainingRecord:
    """Train and validate one network, within a budget of its own, and return its record."""
    workspace = job.workspace
    _prepare_cascade(workspace, configuration)
    task = _training_options(
        replace(job, budget=replace(job.budget, budget=budget)), configuration, fold, budget.seconds
    )
    files = files_of_training(workspace, configuration, fold)
    with logged_step(workspace.run_log, "train", files, **asdict(task)):
        record = train(workspace, task, job.workers)
    _validated(job, record)
    write_model(workspace)
    return read_record(workspace.training(configuration, fold) / "training.json", TrainingRecord)
