"""Train one network of the plan on one fold, and keep the model folder up to date after it."""

import hashlib
import json
import math
import resource
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from autoseg.core.errors import AutosegError
from autoseg.core.files import write_text
from autoseg.core.plans import read_plan
from autoseg.core.records import encode, read_record, write_record
from autoseg.core.runtime import digest_bytes, digest_file, say
from autoseg.core.stopping import stop_on_signals
from autoseg.core.version import VERSION
from autoseg.core.workspace import Workspace
from autoseg.datasets.dataset import Fold, Folds
from autoseg.imaging.metrics import confusion_counts, dice
from autoseg.imaging.store import CaseStore
from autoseg.learning.feeding import Feeder, FeedOptions, MemorySource
from autoseg.learning.machine import choose_device, measure_machine, training_dtype
from autoseg.learning.model_files import (
    ModelRecord,
    NetworkFile,
    TrainedNetwork,
    plan_outputs,
    save_model,
    save_network,
)
from autoseg.learning.sliding_window import WindowPredictor
from autoseg.learning.training import Epoch, Hooks, TrainingTask, ValidationDice, train_network
from autoseg.learning.windows import window_starts
from planners.fingerprint import Fingerprint
from planners.plan import Configuration, Plan
from planners.recipe import Machine

VALIDATION_SHARE = 0.05
"""Whole-case validation takes at most this share of the training's seconds."""
VALIDATION_CASES = 8
VALIDATIONS_PLANNED = 10
"""Under a budget each in-training validation keeps to this part of the share, so that large cases cost no overrun."""
VALIDATION_LEAST_S = 1.0
VALIDATION_BYTES = 1 << 29
"""Cases with more logits than this are left to the validation after training, which streams them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """What to train and how long: `steps`, or `seconds` of working time; neither: the plan's steps."""

    configuration: str
    fold: int
    seconds: float | None = None
    steps: int | None = None
    device: str = "auto"
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecord:
    """How one training went. `schedule` says in words what the learning rate followed."""

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


def machine_of(workspace: Workspace, device: torch.device) -> Machine:
    """Return what this machine can do: measured once per workspace and device, then read."""
    if workspace.machine.exists():
        machine = read_record(workspace.machine, Machine)
        if machine.device == str(device):
            return machine
    machine = measure_machine(device)
    write_record(workspace.machine, machine)
    return machine


def train(workspace: Workspace, options: TrainOptions) -> TrainingRecord:
    """Train one network, resuming where an earlier call left off; a finished training is returned as it is.

    Raises:
        AutosegError: a step before this one is missing, or the fold does not exist.
        StoppedError: a signal asked to stop; the state is saved.

    """
    plan = read_plan(workspace.plan)
    fold = _fold(workspace, options.fold)
    device = choose_device(options.device)
    machine = machine_of(workspace, device)
    task = _task(workspace, plan, fold, options, machine)
    record_path = task.folder / "training.json"
    if record_path.exists():
        record = read_record(record_path, TrainingRecord)
        if record.identity == task.identity:
            write_model(workspace)
            return record
    source = MemorySource(CaseStore(workspace.preprocessed(options.configuration)))
    feed = FeedOptions(
        configuration=task.configuration,
        names=fold.train,
        channels=task.channels,
        classes=task.outputs if plan.target == "labels" else task.outputs + 1,
        device=device,
        seed=task.seed,
        stream=options.fold,
    )
    validator = _Validator(task, source, fold.validation)
    with stop_on_signals() as stop, Feeder(source, feed) as feeder:
        log = _Log(task.folder / "progress.jsonl", f"{options.configuration} fold {options.fold}")
        hooks = Hooks(validate=validator, log=log, stop=stop, peak_memory_bytes=peak_memory_bytes)
        result = train_network(task, feeder, hooks)
        stop.check()
    trained = TrainedNetwork(
        configuration=options.configuration,
        fold=options.fold,
        module=result.network,
        steps=result.steps,
        seconds=round(result.seconds, 3),
        validation_dice=None,
    )
    record = _record(task, options, trained, save_network(workspace.model, trained), result.skipped)
    write_record(record_path, record)
    write_model(workspace)
    return record


def write_model(workspace: Workspace, configuration: str | None = None) -> ModelRecord | None:
    """Write `model/model.json` from the trainings that are finished; None while there is none.

    `configuration` chooses which predicts; by default the first of the plan that has a network.
    """
    plan = read_plan(workspace.plan)
    records = [
        read_record(path, TrainingRecord)
        for chosen in plan.configurations
        for path in sorted((workspace.root / "training" / chosen.name).glob("fold_*/training.json"))
    ]
    networks = tuple(
        record.network
        for record in records
        if (workspace.model / record.network.file).is_file() and _fits(record, plan.configuration(record.configuration))
    )
    if not networks:
        return None
    name = configuration or networks[0].configuration
    model = ModelRecord(
        dataset=plan.dataset,
        version=VERSION,
        configuration=name,
        networks=networks,
        mirror_axes=plan.configuration(name).augmentation.mirror_axes,
    )
    save_model(workspace.model, model, plan, read_record(workspace.fingerprint, Fingerprint))
    return model


def _fits(record: TrainingRecord, configuration: Configuration) -> bool:
    return record.configuration_sha256 in {"", digest_bytes(encode(configuration))}


def peak_memory_bytes() -> int:
    """Return the largest resident memory this process ever had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _fold(workspace: Workspace, index: int) -> Fold:
    folds = read_record(workspace.folds, Folds).folds
    if not 0 <= index < len(folds):
        raise AutosegError.at(workspace.folds, f"no fold {index}, there are {len(folds)}", "give --fold one of them")
    return folds[index]


def _task(workspace: Workspace, plan: Plan, fold: Fold, options: TrainOptions, machine: Machine) -> TrainingTask:
    configuration = plan.configuration(options.configuration)
    steps = options.steps
    if steps is None and options.seconds is None:
        steps = configuration.schedule.steps
    if (steps is None) == (options.seconds is None):
        raise AutosegError.at("train", "neither steps nor seconds, or both", "give --steps or --budget, one of them")
    dtype = training_dtype(machine)
    parts = (
        encode(configuration),
        encode(fold),
        digest_file(workspace.fingerprint).encode(),
        f"{options.seed} {steps} {dtype} {machine.device} {plan.target}".encode(),
    )
    return TrainingTask(
        configuration=configuration,
        channels=len(plan.channels),
        outputs=plan_outputs(plan),
        target=plan.target,
        device=torch.device(machine.device),
        dtype=dtype,
        seed=options.seed,
        steps=steps,
        seconds=options.seconds,
        folder=workspace.training(options.configuration, options.fold),
        identity=hashlib.sha256(b"\n".join(parts)).hexdigest(),
    )


def _record(
    task: TrainingTask, options: TrainOptions, trained: TrainedNetwork, network: NetworkFile, skipped: int
) -> TrainingRecord:
    schedule = task.configuration.schedule
    followed = f"{task.steps} steps" if task.steps is not None else f"{task.seconds:.0f} s of working time"
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
        skipped_steps=skipped,
        schedule=f"{schedule.optimizer}, {schedule.decay} decay from {schedule.learning_rate:g} over {followed}",
        network=network,
        configuration_sha256=digest_bytes(encode(task.configuration)),
    )


class _Log:
    """Writes each epoch as a line for machines and a line for people."""

    def __init__(self, path: Path, title: str) -> None:
        self._path = path
        self._title = title

    def __call__(self, epoch: Epoch) -> None:
        earlier = self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []
        kept = [line for line in earlier if int(json.loads(line)["step"]) < epoch.step]
        write_text(self._path, "\n".join([*kept, json.dumps(asdict(epoch), allow_nan=False)]) + "\n")
        loss = "-" if epoch.train_loss is None else f"{epoch.train_loss:.4f}"
        score = "-" if epoch.validation_dice is None else f"{epoch.validation_dice:.4f}"
        say(
            f"{self._title}: step {epoch.step}, {100 * epoch.progress:.0f} %, loss {loss}, validation Dice {score}, "
            f"data {epoch.data_seconds:.1f} s, compute {epoch.compute_seconds:.1f} s"
        )


class _Validator:
    """Dice on a few whole validation cases, on the network's grid, within a share of the training's time."""

    def __init__(self, task: TrainingTask, source: MemorySource, names: tuple[str, ...]) -> None:
        self._task = task
        self._source = source
        self._names = names[:: max(1, len(names) // VALIDATION_CASES)][:VALIDATION_CASES]
        self._chosen: tuple[str, ...] | None = None
        self._started = time.monotonic()
        self._spent = 0.0
        self._last = 0.0

    def __call__(self, network: nn.Module) -> ValidationDice | None:
        if self._chosen is None:
            self._chosen = self._affordable(network.eval())
        started = time.monotonic()
        allowed = VALIDATION_SHARE * (started - self._started)
        if not self._chosen or self._spent + self._last > max(allowed, VALIDATION_LEAST_S):
            return None
        task = self._task
        predictor = WindowPredictor(
            (network.eval(),), task.configuration, task.outputs, task.device, task.dtype, target=task.target
        )
        labels = task.outputs - 1 if task.target == "labels" else task.outputs
        totals = np.zeros((labels, 2))
        for name in self._chosen:
            totals += self._case_dice(predictor, name, labels)
        means = tuple(float(total / count) if count else None for total, count in totals)
        defined = [value for value in means if value is not None]
        self._last = time.monotonic() - started
        self._spent += self._last
        return ValidationDice(mean=float(np.mean(defined)) if defined else None, per_label=means)

    def _affordable(self, network: nn.Module) -> tuple[str, ...]:
        """Return the cases whose logits fit in memory and that together keep one validation within its time."""
        task = self._task
        patch = task.configuration.patch
        window = torch.zeros((1, task.channels, *patch), device=task.device)
        window_s = math.inf
        with torch.no_grad(), torch.autocast(task.device.type, task.dtype, enabled=task.dtype != torch.float32):
            for _ in range(3):  # the first call prepares the device
                started = time.monotonic()
                network(window).sum().item()
                window_s = min(window_s, time.monotonic() - started)
        allowed = float("inf")
        if task.seconds is not None:
            allowed = max(VALIDATION_LEAST_S, VALIDATION_SHARE * task.seconds / VALIDATIONS_PLANNED)
        chosen = []
        for name in self._names:
            shape = self._source.shape(name)
            flat = 3 - len(patch)
            edges = zip(shape[flat:], patch, strict=True)
            windows = math.prod(len(window_starts(max(length, edge), edge)) for length, edge in edges)
            allowed -= window_s * windows * math.prod(shape[:flat])
            if allowed < 0:
                break
            if task.outputs * math.prod(shape) * 4 <= VALIDATION_BYTES:
                chosen.append(name)
        return tuple(chosen)

    def _case_dice(self, predictor: WindowPredictor, name: str, labels: int) -> NDArray[np.float64]:
        """Return (labels, 2): Dice and 1 where it is defined, zeros where it is not."""
        shape = self._source.shape(name)
        logits = predictor.logits(self._source.read_image(name, (0, 0, 0), shape))
        reference = self._source.read_label(name, (0, 0, 0), shape)
        result = np.zeros((labels, 2))
        if self._task.target == "labels":
            counts = confusion_counts(logits.argmax(0), np.maximum(reference[0], 0), labels + 1)
            values = [dice(*(int(counts[kind][label]) for kind in range(3))) for label in range(1, labels + 1)]
        else:
            values = []
            for label in range(labels):
                binary = confusion_counts((logits[label] > 0).astype(np.int64), (reference[label] > 0).astype(int), 2)
                values.append(dice(*(int(binary[kind][1]) for kind in range(3))))
        for label, value in enumerate(values):
            if value is not None:
                result[label] = value, 1
        return result
