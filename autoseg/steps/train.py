"""Train one network of the plan on one fold, and keep the model folder up to date after it."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch

from autoseg.core.errors import AutosegError
from autoseg.core.files import locked
from autoseg.core.plans import read_plan
from autoseg.core.records import decode, encode, read_record, write_record
from autoseg.core.runtime import digest_bytes, say
from autoseg.core.seals import content_digest_of
from autoseg.core.starts import start_folder
from autoseg.core.stopping import stop_on_request
from autoseg.core.version import VERSION
from autoseg.core.workspace import Workspace
from autoseg.datasets.dataset import Fold, Folds
from autoseg.datasets.manifest import training_cases_of
from autoseg.imaging.store import CaseStore
from autoseg.learning.cascade import CascadeSource, cascade_input
from autoseg.learning.collapse import Restart
from autoseg.learning.epoch_log import EpochLog, schedule_text
from autoseg.learning.evidence import health_task
from autoseg.learning.feeding import Feeder, FeedOptions, MemorySource, as_they_are
from autoseg.learning.fine_tuning import beginning_of
from autoseg.learning.health import look_first
from autoseg.learning.machine import choose_device, training_dtype
from autoseg.learning.measured import machine_of, remember_halved
from autoseg.learning.model_files import (
    MODEL_NAME,
    ModelRecord,
    NetworkFile,
    TrainedNetwork,
    load_model_record,
    plan_inputs,
    plan_outputs,
    save_model,
    save_network,
)
from autoseg.learning.repeatable import repeatable_if
from autoseg.learning.tensorboard_log import TensorBoardLog
from autoseg.learning.training import train_network
from autoseg.learning.training_task import Hooks, TrainingResult, TrainingTask
from autoseg.learning.validation import Validator
from autoseg.learning.workers import ALONE, Workers
from autoseg.predicting.peaks import peak_memory_bytes
from autoseg.reporting.live import LivePage
from planners.fingerprint import Fingerprint
from planners.plan import Configuration, Plan
from planners.recipe import Machine

_STREAMS = 1000
"""Folds draw from streams of their own, and so do workers; there are never so many folds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """What to train and how long: `steps`, or `seconds` of working time; neither: as the plan's schedule says."""

    configuration: str
    fold: int
    seconds: float | None = None
    steps: int | None = None
    device: str = "auto"
    seed: int = 0
    deterministic: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecord:
    """How one training went. `schedule` says in words what the learning rate followed, and why it ended when it did.

    `finished` is False for what a stop left: weights that were never annealed or validated; the same command goes on.
    `asked_to_finish`: somebody wanted the end before the schedule did, and it annealed shortly.
    """

    schema: ClassVar[str] = "autoseg.training/1"

    configuration: str
    fold: int
    identity: str
    device: str
    precision: str
    parameters: int
    steps: int
    seconds: float
    seconds_allowed: float | None
    skipped_steps: int
    schedule: str
    network: NetworkFile
    configuration_sha256: str = ""
    """Of the configuration that the network was built from; a plan made anew since then does not describe it."""
    fold_sha256: str = ""
    """Of the cases that it trained on and was judged by; a split made anew since then is another one."""
    finished: bool = True
    asked_to_finish: bool = False
    restarts: tuple[Restart, ...] = ()


def train(workspace: Workspace, options: TrainOptions, workers: Workers = ALONE) -> TrainingRecord:
    """Train one network, resuming where an earlier call left off; a finished training is returned as it is.

    SIGUSR1, or a file `STOP` in the workspace, makes it anneal shortly and finish.

    Raises:
        AutosegError: a step before this one is missing, the fold does not exist, or another process trains it.
        StoppedError: a signal asked to leave; the state is saved, and the network so far is a model if there is none.

    """
    place = f"{options.configuration} fold {options.fold}"
    busy = AutosegError.at(place, "another process is training it", "wait for that, or stop it")
    with (
        locked(workspace.lock(f"training-{options.configuration}-{options.fold}"), refusal=busy),
        repeatable_if(options.deterministic),
    ):
        return _train(workspace, options, workers)


def train_along(asked: str, workers: Workers) -> None:
    """Train a worker's share of what worker 0 trains, as it asked; nothing is written."""
    along = decode(asked.encode(), _Along, "what worker 0 asks for")
    workspace, options = Workspace(Path(along.root), Path(along.shared)), along.options
    plan, fold = read_plan(workspace.plan), _fold(workspace, options.fold)
    task = replace(_task(workspace, plan, fold, options, read_record(workspace.machine, Machine)), workers=workers)
    source, feed = _fed(workspace, plan, task, options)
    with repeatable_if(options.deterministic), stop_on_request() as stop, Feeder(source, feed) as feeder:
        if not Validator(task, source, fold.validation, stop).can_judge:
            task = replace(task, convergence=None)
        hooks = Hooks(validate=lambda *_: None, log=lambda _: None, stop=stop, peak_memory_bytes=peak_memory_bytes)
        train_network(task, feeder, hooks)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Along:
    """What worker 0 asks the others to train with it."""

    root: str
    shared: str
    options: TrainOptions


def _fed(
    workspace: Workspace, plan: Plan, task: TrainingTask, options: TrainOptions
) -> tuple[MemorySource, FeedOptions]:
    """Return the cases, and how this worker draws its share of every batch from them."""
    store = CaseStore(workspace.preprocessed(options.configuration))
    stream = options.fold + _STREAMS * task.workers.rank
    before = cascade_input(plan, task.configuration, seed=task.seed, stream=stream)
    feed = FeedOptions(
        configuration=replace(task.configuration, batch=task.workers.share(task.configuration.batch)),
        names=_fold(workspace, options.fold).train,
        channels=len(plan.channels),
        finish=as_they_are if before is None else before.finish,
        classes=task.outputs if plan.target == "labels" else task.outputs + 1,
        device=task.device,
        seed=task.seed,
        stream=stream,
    )
    return MemorySource(store) if before is None else CascadeSource(store, before.values), feed


def _train(workspace: Workspace, options: TrainOptions, workers: Workers) -> TrainingRecord:
    plan = read_plan(workspace.plan)
    fold = _fold(workspace, options.fold)
    machine = machine_of(workspace, choose_device(options.device))
    task = replace(_task(workspace, plan, fold, options, machine), workers=workers)
    record_path = task.folder / "training.json"
    if record_path.exists():
        record = read_record(record_path, TrainingRecord)
        if record.finished and record.identity == task.identity:
            write_model(workspace)
            return record
    source, feed = _fed(workspace, plan, task, options)
    if task.beginning is not None:
        say(f"{options.configuration} fold {options.fold} {task.beginning.started}")
    workers.tell(
        encode(
            _Along(root=str(workspace.root), shared=str(workspace.shared or workspace.root), options=options)
        ).decode()
    )
    live, board = LivePage(workspace), TensorBoardLog(task.folder)
    with stop_on_request(workspace.stop_file) as stop, Feeder(source, feed) as feeder:
        validator = Validator(task, source, fold.validation, stop)
        if task.convergence is not None and not validator.can_judge:
            say(f"no validation case says when to end: trains the {task.steps} steps of the recipe")
            task = replace(task, convergence=None)
        hooks = Hooks(
            validate=validator,
            log=EpochLog(task.folder / "progress.jsonl", f"{options.configuration} fold {options.fold}", (live, board)),
            stop=stop,
            peak_memory_bytes=peak_memory_bytes,
            keep=lambda result: _keep(workspace, task, options, result),
            begin=lambda: look_first(
                task, source, health_task(feed, read_record(workspace.fingerprint, Fingerprint)), stop
            ),
            halved=lambda: remember_halved(workspace, machine, options.configuration),
        )
        try:
            result = train_network(task, feeder, hooks)
        finally:
            live.end()
        if not result.finished:
            say(f"stopped after {result.steps} steps: {_left_behind(workspace)}")
        stop.check()
    return _write(workspace, task, options, result)


def _write(workspace: Workspace, task: TrainingTask, options: TrainOptions, result: TrainingResult) -> TrainingRecord:
    """Put a network, finished or not, into the model folder, and write its record."""
    trained = TrainedNetwork(
        configuration=options.configuration,
        fold=options.fold,
        module=result.network,
        steps=result.steps,
        seconds=round(result.seconds, 3),
        validation_dice=None,
        finished=result.finished,
    )
    with locked(workspace.lock("model")):  # other folds write theirs, and remove what no record names
        started = None if task.beginning is None else task.beginning.started
        said = schedule_text(task, result) if started is None else f"{started}; {schedule_text(task, result)}"
        file = replace(save_network(workspace.model, trained), schedule=said, started=started, seed=task.seed)
        record = _record(task, options, trained, file, result)
        write_record(task.folder / "training.json", record)
        _write_model(workspace, None)
    return record


def _keep(workspace: Workspace, task: TrainingTask, options: TrainOptions, result: TrainingResult) -> None:
    """Leave a usable model at every checkpoint, unless there is a finished one: that is better."""
    if not _has_finished_network(workspace.model):
        _write(workspace, task, options, result)


def _has_finished_network(model: Path) -> bool:
    return (model / MODEL_NAME).is_file() and any(network.finished for network in load_model_record(model).networks)


def _left_behind(workspace: Workspace) -> str:
    if _has_finished_network(workspace.model):
        return f"{workspace.model} keeps the finished model that it had"
    if not (workspace.model / MODEL_NAME).exists():
        return "too early to leave a model"
    return f"{workspace.model} predicts with what was learned so far, neither annealed nor validated"


def write_model(workspace: Workspace, configuration: str | None = None) -> ModelRecord | None:
    """Write `model/model.json` from the trainings that are finished, else from those that are not; None without any.

    `configuration` chooses which predicts; by default what was chosen before for the same networks, else the first of
    the plan that has a network.
    """
    with locked(workspace.lock("model")):
        return _write_model(workspace, configuration)


def _write_model(workspace: Workspace, configuration: str | None) -> ModelRecord | None:
    plan, folds = read_plan(workspace.plan), read_record(workspace.folds, Folds)
    records = [
        read_record(path, TrainingRecord)
        for chosen in plan.configurations
        for path in sorted((workspace.root / "training" / chosen.name).glob("fold_*/training.json"))
    ]
    existing = tuple(
        record.network
        for record in records
        if (workspace.model / record.network.file).is_file()
        and _fits(record, plan.configuration(record.configuration), folds)
    )
    networks = tuple(network for network in existing if network.finished) or existing
    if not networks:
        return None
    before = {plan.configuration(network.configuration).previous for network in networks}
    name = configuration or next(n.configuration for n in networks if n.configuration not in before)
    augmentation = plan.configuration(name).augmentation
    model = ModelRecord(
        dataset=plan.dataset,
        version=VERSION,
        configuration=name,
        networks=networks,
        mirror_axes=augmentation.mirror_axes,
        mirror_swap_axis=augmentation.mirror_swap_axis,
        mirror_swaps=augmentation.mirror_swaps,
    )
    if configuration is None:
        model = _as_chosen_before(workspace, model)
    fingerprint = read_record(workspace.fingerprint, Fingerprint)
    save_model(workspace.model, model, plan, fingerprint, training_cases_of(workspace.findings))
    named = {network.file for network in networks}
    for path in workspace.model.glob("*-step_*.safetensors"):  # what stopped trainings left, and finished ones replaced
        if path.name not in named:
            path.unlink(missing_ok=True)
    return model


def _as_chosen_before(workspace: Workspace, model: ModelRecord) -> ModelRecord:
    """Return the record with what was chosen for these very networks, if anything was."""
    try:
        before = load_model_record(workspace.model)
    except AutosegError:  # none yet, or damaged
        return model
    kept = [(n.configuration, n.fold, n.sha256) for n in before.networks]
    if kept != [(n.configuration, n.fold, n.sha256) for n in model.networks]:
        return model
    return replace(before, version=model.version, networks=model.networks)


def _fits(record: TrainingRecord, configuration: Configuration, folds: Folds) -> bool:
    """Whether a network is of this plan and of this split: what another split trained on, this one may hold out."""
    fold = folds.folds[record.fold] if record.fold < len(folds.folds) else None
    return record.configuration_sha256 in {"", digest_bytes(encode(configuration))} and (
        record.fold_sha256 in {"", digest_bytes(encode(fold))}
    )


def _fold(workspace: Workspace, index: int) -> Fold:
    folds = read_record(workspace.folds, Folds).folds
    if not 0 <= index < len(folds):
        raise AutosegError.at(workspace.folds, f"no fold {index}, there are {len(folds)}", "give --fold one of them")
    return folds[index]


def _task(workspace: Workspace, plan: Plan, fold: Fold, options: TrainOptions, machine: Machine) -> TrainingTask:
    configuration = plan.configuration(options.configuration)
    steps, convergence = options.steps, None
    if steps is None and options.seconds is None:
        steps, convergence = configuration.schedule.steps, configuration.schedule.convergence
    if (steps is None) == (options.seconds is None):
        raise AutosegError.at(
            "train", "neither steps nor seconds, or both", "give --steps or --budget, or plan with --budget none"
        )
    dtype = torch.float32 if options.deterministic else training_dtype(machine)  # another day measures another one
    before = sorted((workspace.root / "training" / (configuration.previous or "-")).glob("fold_*/training.json"))
    beginning = beginning_of(start_folder(workspace.root), plan, configuration.name, options.fold, options.seed)
    parts = (
        encode(configuration),
        encode(fold),
        content_digest_of(workspace.fingerprint).encode(),
        f"{options.seed} {'up to ' if convergence else ''}{steps} {dtype} {machine.device} {plan.target}".encode(),
        *(read_record(path, TrainingRecord).network.sha256.encode() for path in before),
        *([b"deterministic"] if options.deterministic else []),
        *([] if beginning is None else [beginning.started.sha256.encode()]),
    )
    return TrainingTask(
        configuration=configuration,
        channels=plan_inputs(plan, configuration.name),
        outputs=plan_outputs(plan),
        target=plan.target,
        device=torch.device(machine.device),
        dtype=dtype,
        seed=options.seed,
        steps=steps,
        seconds=options.seconds,
        folder=workspace.training(options.configuration, options.fold),
        identity=hashlib.sha256(b"\n".join(parts)).hexdigest(),
        convergence=convergence,
        parts=2 if options.configuration in machine.halved else 1,
        beginning=beginning,
        fold_sha256=digest_bytes(encode(fold)),
    )


def _record(
    task: TrainingTask, options: TrainOptions, trained: TrainedNetwork, network: NetworkFile, result: TrainingResult
) -> TrainingRecord:
    return TrainingRecord(
        configuration=options.configuration,
        fold=options.fold,
        identity=task.identity,
        device=str(task.device),
        precision=str(task.dtype).removeprefix("torch."),
        parameters=sum(parameter.numel() for parameter in trained.module.parameters()),
        steps=trained.steps,
        seconds=trained.seconds,
        seconds_allowed=options.seconds,
        skipped_steps=result.skipped,
        schedule=network.schedule,
        network=network,
        configuration_sha256=digest_bytes(encode(task.configuration)),
        fold_sha256=task.fold_sha256,
        finished=result.finished,
        asked_to_finish=result.annealing is not None and result.annealing.asked,
        restarts=result.restarts,
    )
