"""Everything that changes while a network trains, and how it is kept on disk and taken up again."""

import copy
import hashlib
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from autoseg.core.errors import AutosegError
from autoseg.learning.annealing import Annealing
from autoseg.learning.checkpoint import (
    Checkpoint,
    Progress,
    load_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from autoseg.learning.collapse import Restart
from autoseg.learning.network import UNet, build_network
from autoseg.learning.norm import to_fast_layout
from autoseg.learning.optimizers import OPTIMIZERS
from autoseg.learning.training_task import Hooks, TrainingResult, TrainingTask
from planners.convergence import Point

MAXIMUM_CONSECUTIVE_SKIPS = 20  # non-finite steps in a row before the training goes back to its last checkpoint
MAXIMUM_ROLL_BACKS = 2  # without a single finite step in between: going back again would not help either


@dataclass(frozen=False, slots=True, kw_only=True)
class TrainingState:
    """Everything that changes while training; `best` are the averaged weights that validated best so far."""

    network: UNet
    averaged: UNet
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    step: int = 0
    epoch_step: int = 0
    points: tuple[Point, ...] = ()
    annealing: Annealing | None = None
    restarts: tuple[Restart, ...] = ()
    best: dict[str, Tensor] = field(default_factory=dict)
    best_step: int = 0
    best_dice: float | None = None
    seconds_before: float = 0.0
    skipped: int = 0
    skipped_in_a_row: int = 0
    skipped_cases: dict[str, None] = field(default_factory=dict)
    roll_backs: int = 0
    started: float = 0.0
    saved_at: float = 0.0
    longest_step_s: float = 0.0
    losses: list[Tensor] = field(default_factory=list)
    data_s: float = 0.0
    epoch_started: float = 0.0


def prepare(task: TrainingTask) -> TrainingState:
    """Return the state before the first step, drawn from the task's seed."""
    torch.manual_seed(int.from_bytes(hashlib.sha256(f"{task.seed}-{task.configuration.name}".encode()).digest()[:7]))
    network = build_network(task.configuration, task.channels, task.outputs).to(task.device)
    to_fast_layout(network, task.device)
    if task.beginning is not None:
        network.load_state_dict(task.beginning.weights)
    averaged = copy.deepcopy(network).eval().requires_grad_(False)
    schedule = task.configuration.schedule
    scaler = torch.amp.GradScaler(task.device.type, enabled=task.dtype == torch.float16)
    optimizer = OPTIMIZERS[schedule.optimizer](network, schedule)
    return TrainingState(network=network.train(), averaged=averaged, optimizer=optimizer, scaler=scaler)


def elapsed(state: TrainingState, hooks: Hooks) -> float:
    """Return the working seconds of the training, those of earlier calls included."""
    return state.seconds_before + hooks.clock() - state.started


def save(task: TrainingTask, state: TrainingState, hooks: Hooks, *, finished: bool) -> None:
    """Write a checkpoint; of an unfinished training `hooks.keep` gets the network too.

    Weights that are not finite are never written: the training goes back to the last checkpoint instead.

    Raises:
        AutosegError: as `roll_back`.

    """
    if not (_is_finite(state.network) and _is_finite(state.averaged)):
        roll_back(task, state, hooks)
    progress = Progress(
        identity=task.identity,
        step=state.step,
        seconds=elapsed(state, hooks),
        skipped=state.skipped,
        finished=finished,
        epoch_step=state.epoch_step,
        points=state.points,
        annealing=state.annealing,
        restarts=state.restarts,
        best_step=state.best_step,
        best_dice=state.best_dice,
    )
    if task.workers.leads:
        tensors = {f"network.{name}": value for name, value in state.network.state_dict().items()}
        tensors |= {f"averaged.{name}": value for name, value in state.averaged.state_dict().items()}
        tensors |= {f"optimizer.{name}": value for name, value in optimizer_tensors(state.optimizer).items()}
        tensors |= {f"best.{name}": value for name, value in state.best.items()}
        save_checkpoint(task.folder, tensors, progress)
    if not finished and state.step:
        hooks.keep(result(state, progress.seconds, finished=False))
    state.saved_at = hooks.clock()


def restore(state: TrainingState, checkpoint: Checkpoint) -> None:
    """Go on from a checkpoint."""
    _take_weights(state, checkpoint)
    progress = checkpoint.progress
    state.best = _part(checkpoint, "best.")
    state.best_step, state.best_dice = progress.best_step, progress.best_dice
    state.restarts = progress.restarts
    state.step = progress.step
    state.epoch_step = progress.epoch_step
    state.points = progress.points
    state.annealing = progress.annealing
    state.seconds_before = progress.seconds
    state.skipped = progress.skipped


def roll_back(task: TrainingTask, state: TrainingState, hooks: Hooks) -> None:
    """Take weights and optimiser back to the last checkpoint, or to the start without one; the step stays.

    Raises:
        AutosegError: that did not help before; the message names the cases of the batches.

    """
    names = ", ".join(state.skipped_cases)
    what = f"the loss was not finite in {state.skipped_in_a_row} steps in a row (step {state.step}, cases: {names})"
    state.roll_backs += 1
    if state.roll_backs > MAXIMUM_ROLL_BACKS:
        raise AutosegError.at(task.configuration.name, what, "look at these images: autoseg inspect shows each")
    checkpoint = load_checkpoint(task.folder, task.identity)
    if checkpoint is None:
        fresh = prepare(task)
        state.network.load_state_dict(fresh.network.state_dict())
        state.averaged.load_state_dict(fresh.averaged.state_dict())
        state.optimizer.state.clear()
    else:
        _take_weights(state, checkpoint)
    state.skipped_in_a_row = 0
    back = "the start" if checkpoint is None else f"step {checkpoint.progress.step}"
    hooks.say(f"{what}: back to the weights of {back}")


def note_best(state: TrainingState, dice: float) -> None:
    """Remember the averaged weights if none validated better."""
    if state.best_dice is None or dice >= state.best_dice:
        state.best = {name: value.detach().clone() for name, value in state.averaged.state_dict().items()}
        state.best_step, state.best_dice = state.step, dice


def back_to_best(state: TrainingState) -> int | None:
    """Take up the weights that validated best, with a fresh optimiser; return their step, None if it is this one."""
    if not state.best or state.best_step == state.step:
        return None
    state.network.load_state_dict(state.best)
    state.averaged.load_state_dict(state.best)
    state.optimizer.state.clear()
    return state.best_step


def result(state: TrainingState, seconds: float, *, finished: bool) -> TrainingResult:
    """Return what the training has come to."""
    return TrainingResult(
        network=state.averaged,
        steps=state.step,
        seconds=seconds,
        skipped=state.skipped,
        finished=finished,
        annealing=state.annealing,
        restarts=state.restarts,
    )


def _take_weights(state: TrainingState, checkpoint: Checkpoint) -> None:
    state.network.load_state_dict(_part(checkpoint, "network."))
    state.averaged.load_state_dict(_part(checkpoint, "averaged."))
    state.optimizer.state.clear()
    restore_optimizer(state.optimizer, _part(checkpoint, "optimizer."))


def _part(checkpoint: Checkpoint, prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in checkpoint.tensors.items() if name.startswith(prefix)}


def _is_finite(module: nn.Module) -> bool:
    return all(bool(torch.isfinite(parameter).all()) for parameter in module.parameters())
