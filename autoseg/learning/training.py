"""The training loop: one network, to the end of its steps or of its seconds, resumable at any step.

Progress runs from 0 to 1, by steps or by the clock, and the learning rate is a function of it, so the schedule always
anneals to the end that was asked for. Without a budget the rate stays until the validation curve promises no more, and
anneals then; one that is asked to finish anneals shortly. Short schedules with AdamW, warm-up and decay beat nnU-Net's
SGD by far within minutes (docs/log.md). Weights are averaged exponentially; the average is what is validated and kept.
"""

import copy
import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from autoseg.core.stopping import Wish
from autoseg.learning.annealing import Annealing, annealed_rate, constant_rate, learning_rate, short_steps
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
from autoseg.learning.optimizers import OPTIMIZERS
from planners.convergence import Point, latest_annealing, outlook
from planners.plan import Configuration, Convergence, Schedule, Target

CHECKPOINT_INTERVAL_S = 60.0  # at most this much work is lost by a kill
MAXIMUM_CONSECUTIVE_SKIPS = 20  # non-finite steps in a row before the training goes back to its last checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingTask:
    """What to train. One of `steps` and `seconds` is given; `identity` names everything the result depends on.

    With a `convergence` the validation curve ends the training, after `steps` at the latest.
    """

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
    convergence: Convergence | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationDice:
    """Dice on whole validation cases: mean over labels and per label, None where undefined."""

    mean: float | None
    per_label: tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One line of the training's log; `outlook` says what the validation curve promises, where it decides."""

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
    outlook: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """The edge of the loop: the clock, the wish to stop, whole-case validation, the log, resident memory.

    `validate` takes the averaged network and the step; `keep` is called after each checkpoint of an unfinished training
    with the network as it would be if the training ended there.
    """

    validate: Callable[[nn.Module, int], ValidationDice | None]
    log: Callable[[Epoch], None]
    stop: Callable[[], Wish | None]
    peak_memory_bytes: Callable[[], int]
    keep: Callable[["TrainingResult"], None] = lambda _: None
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """A trained network (averaged weights, evaluation mode) and how it got there; `finished` is False when stopped.

    `annealing` is how it ended when its steps or seconds were not what ended it.
    """

    network: nn.Module
    steps: int
    seconds: float
    skipped: int
    finished: bool
    annealing: Annealing | None = None


@dataclass(slots=True, kw_only=True)
class _State:
    """Everything that changes while training."""

    network: UNet
    averaged: UNet
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    step: int = 0
    epoch_step: int = 0
    points: tuple[Point, ...] = ()
    annealing: Annealing | None = None
    seconds_before: float = 0.0
    skipped: int = 0
    skipped_in_a_row: int = 0
    started: float = 0.0
    saved_at: float = 0.0
    longest_step_s: float = 0.0
    losses: list[Tensor] = field(default_factory=list)
    data_s: float = 0.0
    epoch_started: float = 0.0


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
    state.started = state.epoch_started = state.saved_at = hooks.clock()
    while (wish := hooks.stop()) != "leave":
        done = _done(task, state, hooks)
        if state.step > state.epoch_step and (done or state.step % task.configuration.schedule.steps_per_epoch == 0):
            _end_epoch(task, state, hooks)
            continue
        if done:
            break
        if state.annealing is None or wish == "finish":
            _settle_end(task, state, hooks, wish)
        began = hooks.clock()
        _train_step(task, state, feeder.batch(state.step), _rate(task, state, hooks))
        state.longest_step_s = max(0.9 * state.longest_step_s, hooks.clock() - began)
        if state.skipped_in_a_row >= MAXIMUM_CONSECUTIVE_SKIPS:
            _roll_back(task, state)
        if hooks.clock() - state.saved_at > CHECKPOINT_INTERVAL_S:
            _save(task, state, hooks, finished=False)
    _save(task, state, hooks, finished=wish != "leave")
    return _result(state, _elapsed(state, hooks), finished=wish != "leave")


def _prepare(task: TrainingTask) -> _State:
    torch.manual_seed(int.from_bytes(hashlib.sha256(f"{task.seed}-{task.configuration.name}".encode()).digest()[:7]))
    network = build_network(task.configuration, task.channels, task.outputs).to(task.device)
    averaged = copy.deepcopy(network).eval().requires_grad_(False)
    schedule = task.configuration.schedule
    scaler = torch.amp.GradScaler(task.device.type, enabled=task.dtype == torch.float16)
    optimizer = OPTIMIZERS[schedule.optimizer](network, schedule)
    return _State(network=network.train(), averaged=averaged, optimizer=optimizer, scaler=scaler)


def _elapsed(state: _State, hooks: Hooks) -> float:
    return state.seconds_before + hooks.clock() - state.started


def _progress(task: TrainingTask, state: _State, hooks: Hooks) -> float:
    if state.annealing is not None:
        return state.step / state.annealing.end
    if task.steps is not None:
        return state.step / max(1, task.steps)
    return min(1.0, _elapsed(state, hooks) / max(1e-9, task.seconds or 0.0))


def _done(task: TrainingTask, state: _State, hooks: Hooks) -> bool:
    if state.annealing is not None and state.step >= state.annealing.end:
        return True
    if task.steps is not None:
        return state.step >= task.steps
    return state.step > 0 and _elapsed(state, hooks) + state.longest_step_s > (task.seconds or 0.0)


def _rate(task: TrainingTask, state: _State, hooks: Hooks) -> float:
    schedule = task.configuration.schedule
    if state.annealing is not None:
        return annealed_rate(schedule, state.annealing, state.step)
    if task.convergence is not None:
        return constant_rate(schedule, state.step)
    return learning_rate(schedule, _progress(task, state, hooks))


def _settle_end(task: TrainingTask, state: _State, hooks: Hooks, wish: Wish | None) -> None:
    """Begin to anneal when it was asked for, or when a training that waits for its curve has no more time to wait."""
    if wish == "finish":
        steps = short_steps(state.step, state.longest_step_s)
        if steps >= _steps_left(task, state, hooks):
            return  # it anneals to its end in less time already
        because = f"asked to finish after {state.step} steps"
    elif task.convergence is not None and state.step >= latest_annealing(task.configuration.schedule, task.convergence):
        steps = math.ceil(_steps_left(task, state, hooks))
        because = f"the longest training has {task.steps} steps"
        if state.points:
            because = f"{because}: {outlook(state.points, task.convergence).because}"
    else:
        return
    rate = _rate(task, state, hooks)
    state.annealing = Annealing(start=state.step, steps=steps, rate=rate, because=because, asked=wish == "finish")
    _save(task, state, hooks, finished=False)


def _steps_left(task: TrainingTask, state: _State, hooks: Hooks) -> float:
    if state.annealing is not None:
        return state.annealing.end - state.step
    if task.steps is not None:
        return task.steps - state.step
    left_s = (task.seconds or 0.0) - _elapsed(state, hooks)
    return left_s / state.longest_step_s if state.longest_step_s else math.inf


def _train_step(task: TrainingTask, state: _State, batch: Batch, rate: float) -> None:
    schedule = task.configuration.schedule
    for group in state.optimizer.param_groups:
        group["lr"] = rate
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
    dice = hooks.validate(state.averaged, state.step)
    if hooks.stop() == "leave":
        return  # validation may have been cut short; the next call ends this epoch
    state.epoch_step = state.step
    said = None if task.convergence is None else _look_ahead(task, task.convergence, state, dice)
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
            outlook=said,
        )
    )
    state.losses.clear()
    state.data_s = 0.0
    state.epoch_started = hooks.clock()


def _look_ahead(task: TrainingTask, rule: Convergence, state: _State, dice: ValidationDice | None) -> str | None:
    """Note a validation in the curve, begin to anneal when the curve says it is enough, and return what it says."""
    if dice is None or dice.mean is None or state.annealing is not None:
        return None
    weakest = min(value for value in dice.per_label if value is not None)
    state.points = (*state.points, Point(step=state.step, dice=dice.mean, weakest=weakest))
    said = outlook(state.points, rule)
    if said.enough:
        rate = constant_rate(task.configuration.schedule, state.step)
        steps = math.ceil(rule.anneal_share * state.step)
        state.annealing = Annealing(start=state.step, steps=steps, rate=rate, because=said.because)
    return said.because


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
        epoch_step=state.epoch_step,
        points=state.points,
        annealing=state.annealing,
    )
    save_checkpoint(task.folder, tensors, progress)
    if not finished and state.step:
        hooks.keep(_result(state, progress.seconds, finished=False))
    state.saved_at = hooks.clock()


def _restore(state: _State, checkpoint: Checkpoint) -> None:
    state.network.load_state_dict(_part(checkpoint, "network."))
    state.averaged.load_state_dict(_part(checkpoint, "averaged."))
    restore_optimizer(state.optimizer, _part(checkpoint, "optimizer."))
    state.step = checkpoint.progress.step
    state.epoch_step = checkpoint.progress.epoch_step
    state.points = checkpoint.progress.points
    state.annealing = checkpoint.progress.annealing
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
        network=state.averaged,
        steps=state.step,
        seconds=seconds,
        skipped=state.skipped,
        finished=finished,
        annealing=state.annealing,
    )
