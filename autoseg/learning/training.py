"""The training loop: one network, to the end of its steps or of its seconds, resumable at any step.

Progress runs from 0 to 1, by steps or by the clock, and the learning rate is a function of it, so the schedule always
anneals to the end that was asked for. Short schedules with AdamW, warm-up and decay beat nnU-Net's SGD by far within
minutes (docs/log.md). Weights are averaged exponentially; the average is what is validated and kept.
"""

import copy
import hashlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from autoseg.learning.checkpoint import (
    Checkpoint,
    Progress,
    load_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from autoseg.learning.feeding import Batch, Feeder
from autoseg.learning.loss import LossOptions, segmentation_loss
from autoseg.learning.network import UNet, build_network
from planners.plan import Configuration, Schedule, Target

CHECKPOINT_INTERVAL_S = 60.0  # at most this much work is lost by a kill
MAXIMUM_CONSECUTIVE_SKIPS = 20  # non-finite steps in a row before the training goes back to its last checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingTask:
    """What to train. One of `steps` and `seconds` is given; `identity` names everything the result depends on."""

    configuration: Configuration
    channels: int
    outputs: int
    target: Target
    device: torch.device
    dtype: torch.dtype
    seed: int
    steps: int | None
    seconds: float | None
    folder: Path
    identity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationDice:
    """Dice on whole validation cases: mean over labels and per label, None where undefined."""

    mean: float | None
    per_label: tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One line of the training's log."""

    step: int
    progress: float
    seconds: float
    train_loss: float | None
    learning_rate: float
    validation_dice: float | None
    validation_dice_per_label: tuple[float | None, ...]
    data_seconds: float
    compute_seconds: float
    samples_per_s: float
    peak_memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """The edge of the loop: the clock, the wish to stop, whole-case validation, the log, resident memory."""

    validate: Callable[[nn.Module], ValidationDice | None]
    log: Callable[[Epoch], None]
    stop: Callable[[], bool]
    peak_memory_bytes: Callable[[], int]
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """A trained network (averaged weights, evaluation mode) and how it got there; `finished` is False when stopped."""

    network: nn.Module
    steps: int
    seconds: float
    skipped: int
    finished: bool


@dataclass(slots=True, kw_only=True)
class _State:
    """Everything that changes while training."""

    network: UNet
    averaged: UNet
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    step: int = 0
    seconds_before: float = 0.0
    skipped: int = 0
    skipped_in_a_row: int = 0
    started: float = 0.0
    longest_step_s: float = 0.0
    losses: list[Tensor] = field(default_factory=list)
    data_s: float = 0.0
    epoch_started: float = 0.0


def learning_rate(schedule: Schedule, progress: float) -> float:
    """Return the rate at `progress` in [0, 1]: linear warm-up, then polynomial or cosine decay to zero."""
    if progress < schedule.warmup:
        return schedule.learning_rate * max(progress, 1e-3) / schedule.warmup
    rest = min(1.0, (progress - schedule.warmup) / max(1e-9, 1 - schedule.warmup))
    if schedule.decay == "cosine":
        return schedule.learning_rate * 0.5 * (1 + math.cos(math.pi * rest))
    return float(schedule.learning_rate * (1 - rest) ** schedule.decay_power)


def train_network(task: TrainingTask, feeder: Feeder, hooks: Hooks) -> TrainingResult:
    """Train `task` from where its folder left off, or from the seed.

    Raises:
        FloatingPointError: the loss stayed non-finite after going back to the last checkpoint.

    """
    state = _prepare(task)
    checkpoint = load_checkpoint(task.folder, task.identity)
    if checkpoint is not None:
        _restore(state, checkpoint)
        if checkpoint.progress.finished:
            return _result(state, state.seconds_before, finished=True)
    state.started = state.epoch_started = hooks.clock()
    saved_at = hooks.clock()
    finished = True
    while not _done(task, state, hooks):
        if hooks.stop():
            finished = False
            break
        began = hooks.clock()
        _train_step(task, state, feeder.batch(state.step), _progress(task, state, hooks))
        state.longest_step_s = max(0.9 * state.longest_step_s, hooks.clock() - began)
        if state.skipped_in_a_row >= MAXIMUM_CONSECUTIVE_SKIPS:
            _roll_back(task, state)
        if state.step % task.configuration.schedule.steps_per_epoch == 0:
            _end_epoch(task, state, hooks)
        if hooks.clock() - saved_at > CHECKPOINT_INTERVAL_S:
            _save(task, state, hooks, finished=False)
            saved_at = hooks.clock()
    if finished and state.losses:
        _end_epoch(task, state, hooks)
    _save(task, state, hooks, finished=finished)
    return _result(state, _elapsed(state, hooks), finished=finished)


def _prepare(task: TrainingTask) -> _State:
    torch.manual_seed(int.from_bytes(hashlib.sha256(f"{task.seed}-{task.configuration.name}".encode()).digest()[:7]))
    network = build_network(task.configuration, task.channels, task.outputs).to(task.device)
    averaged = copy.deepcopy(network).eval().requires_grad_(False)
    schedule = task.configuration.schedule
    scaler = torch.amp.GradScaler(task.device.type, enabled=task.dtype == torch.float16)
    optimizer = _OPTIMIZERS[schedule.optimizer](network, schedule)
    return _State(network=network.train(), averaged=averaged, optimizer=optimizer, scaler=scaler)


def _adamw(network: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    decayed = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": schedule.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=schedule.learning_rate, fused=True)


def _sgd(network: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        network.parameters(),
        lr=schedule.learning_rate,
        momentum=schedule.momentum or 0.0,
        nesterov=bool(schedule.momentum),
        weight_decay=schedule.weight_decay,
    )


_OPTIMIZERS: Mapping[str, Callable[[nn.Module, Schedule], torch.optim.Optimizer]] = {"adamw": _adamw, "sgd": _sgd}


def _elapsed(state: _State, hooks: Hooks) -> float:
    return state.seconds_before + hooks.clock() - state.started


def _progress(task: TrainingTask, state: _State, hooks: Hooks) -> float:
    if task.steps is not None:
        return state.step / max(1, task.steps)
    return min(1.0, _elapsed(state, hooks) / max(1e-9, task.seconds or 0.0))


def _done(task: TrainingTask, state: _State, hooks: Hooks) -> bool:
    if task.steps is not None:
        return state.step >= task.steps
    return state.step > 0 and _elapsed(state, hooks) + state.longest_step_s > (task.seconds or 0.0)


def _train_step(task: TrainingTask, state: _State, batch: Batch, progress: float) -> None:
    schedule = task.configuration.schedule
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(schedule, progress)
    options = LossOptions(
        name=schedule.loss,
        target=task.target,
        batch_dice=task.configuration.batch_dice,
        level_weights=task.configuration.deep_supervision_weights,
    )
    with torch.autocast(task.device.type, task.dtype, enabled=task.dtype != torch.float32):
        logits = state.network(batch.images)
    loss = segmentation_loss(logits, batch.labels, options)
    state.scaler.scale(loss).backward()
    state.scaler.unscale_(state.optimizer)
    norm = nn.utils.clip_grad_norm_(state.network.parameters(), schedule.gradient_clip)
    if bool(torch.isfinite(loss)) and (bool(torch.isfinite(norm)) or task.dtype == torch.float16):
        state.scaler.step(state.optimizer)
        _average(state, schedule)
        state.losses.append(loss.detach())
        state.skipped_in_a_row = 0
    else:
        state.skipped += 1
        state.skipped_in_a_row += 1
    state.scaler.update()
    state.optimizer.zero_grad(set_to_none=True)
    state.step += 1
    state.data_s += batch.wait_s


@torch.no_grad()
def _average(state: _State, schedule: Schedule) -> None:
    decay = 0.0 if schedule.ema_decay is None else min(schedule.ema_decay, (1 + state.step) / (10 + state.step))
    averaged: list[Tensor] = list(state.averaged.parameters())
    current: list[Tensor] = list(state.network.parameters())
    torch._foreach_lerp_(averaged, current, 1 - decay)


def _end_epoch(task: TrainingTask, state: _State, hooks: Hooks) -> None:
    spent = hooks.clock() - state.epoch_started
    count = max(1, len(state.losses))
    loss = float(torch.stack(state.losses).mean()) if state.losses else None
    dice = hooks.validate(state.averaged)
    hooks.log(
        Epoch(
            step=state.step,
            progress=_progress(task, state, hooks),
            seconds=_elapsed(state, hooks),
            train_loss=loss,
            learning_rate=float(state.optimizer.param_groups[0]["lr"]),
            validation_dice=None if dice is None else dice.mean,
            validation_dice_per_label=() if dice is None else dice.per_label,
            data_seconds=state.data_s,
            compute_seconds=max(0.0, spent - state.data_s),
            samples_per_s=count * task.configuration.batch / max(1e-9, spent),
            peak_memory_bytes=hooks.peak_memory_bytes(),
        )
    )
    state.losses.clear()
    state.data_s = 0.0
    state.epoch_started = hooks.clock()


def _save(task: TrainingTask, state: _State, hooks: Hooks, *, finished: bool) -> None:
    tensors = {f"network.{name}": value for name, value in state.network.state_dict().items()}
    tensors |= {f"averaged.{name}": value for name, value in state.averaged.state_dict().items()}
    tensors |= {f"optimizer.{name}": value for name, value in optimizer_tensors(state.optimizer).items()}
    progress = Progress(
        identity=task.identity,
        step=state.step,
        seconds=_elapsed(state, hooks),
        skipped=state.skipped,
        finished=finished,
    )
    save_checkpoint(task.folder, tensors, progress)


def _restore(state: _State, checkpoint: Checkpoint) -> None:
    state.network.load_state_dict(_part(checkpoint, "network."))
    state.averaged.load_state_dict(_part(checkpoint, "averaged."))
    restore_optimizer(state.optimizer, _part(checkpoint, "optimizer."))
    state.step = checkpoint.progress.step
    state.seconds_before = checkpoint.progress.seconds
    state.skipped = checkpoint.progress.skipped


def _part(checkpoint: Checkpoint, prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in checkpoint.tensors.items() if name.startswith(prefix)}


def _roll_back(task: TrainingTask, state: _State) -> None:
    checkpoint = load_checkpoint(task.folder, task.identity)
    if checkpoint is None or state.skipped > 2 * MAXIMUM_CONSECUTIVE_SKIPS:
        msg = f"the loss was not finite in {state.skipped_in_a_row} steps in a row (step {state.step})"
        raise FloatingPointError(msg)
    state.network.load_state_dict(_part(checkpoint, "network."))
    state.averaged.load_state_dict(_part(checkpoint, "averaged."))
    restore_optimizer(state.optimizer, _part(checkpoint, "optimizer."))
    state.skipped_in_a_row = 0


def _result(state: _State, seconds: float, *, finished: bool) -> TrainingResult:
    return TrainingResult(
        network=state.averaged, steps=state.step, seconds=seconds, skipped=state.skipped, finished=finished
    )
