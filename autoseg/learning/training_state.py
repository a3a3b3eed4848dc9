"""Everything that changes while a network trains, and how it is kept on disk and taken up again."""

import copy
import hashlib
from dataclasses import dataclass, field

import torch
from torch import Tensor

from autoseg.learning.annealing import Annealing
from autoseg.learning.checkpoint import (
    Checkpoint,
    Progress,
    load_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from autoseg.learning.network import UNet, build_network
from autoseg.learning.norm import to_fast_layout
from autoseg.learning.optimizers import OPTIMIZERS
from autoseg.learning.training_task import Hooks, TrainingResult, TrainingTask
from planners.convergence import Point

MAXIMUM_CONSECUTIVE_SKIPS = 20  # non-finite steps in a row before the training goes back to its last checkpoint


@dataclass(slots=True, kw_only=True)
class TrainingState:
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


def prepare(task: TrainingTask) -> TrainingState:
    """Return the state before the first step, drawn from the task's seed."""
    torch.manual_seed(int.from_bytes(hashlib.sha256(f"{task.seed}-{task.configuration.name}".encode()).digest()[:7]))
    network = build_network(task.configuration, task.channels, task.outputs).to(task.device)
    to_fast_layout(network, task.device)
    averaged = copy.deepcopy(network).eval().requires_grad_(False)
    schedule = task.configuration.schedule
    scaler = torch.amp.GradScaler(task.device.type, enabled=task.dtype == torch.float16)
    optimizer = OPTIMIZERS[schedule.optimizer](network, schedule)
    return TrainingState(network=network.train(), averaged=averaged, optimizer=optimizer, scaler=scaler)


def elapsed(state: TrainingState, hooks: Hooks) -> float:
    """Return the working seconds of the training, those of earlier calls included."""
    return state.seconds_before + hooks.clock() - state.started


def save(task: TrainingTask, state: TrainingState, hooks: Hooks, *, finished: bool) -> None:
    """Write a checkpoint; of an unfinished training `hooks.keep` gets the network too."""
    tensors = {f"network.{name}": value for name, value in state.network.state_dict().items()}
    tensors |= {f"averaged.{name}": value for name, value in state.averaged.state_dict().items()}
    tensors |= {f"optimizer.{name}": value for name, value in optimizer_tensors(state.optimizer).items()}
    progress = Progress(
        identity=task.identity,
        step=state.step,
        seconds=elapsed(state, hooks),
        skipped=state.skipped,
        finished=finished,
        epoch_step=state.epoch_step,
        points=state.points,
        annealing=state.annealing,
    )
    save_checkpoint(task.folder, tensors, progress)
    if not finished and state.step:
        hooks.keep(result(state, progress.seconds, finished=False))
    state.saved_at = hooks.clock()


def restore(state: TrainingState, checkpoint: Checkpoint) -> None:
    """Go on from a checkpoint."""
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


def roll_back(task: TrainingTask, state: TrainingState) -> None:
    """Take the weights and the optimiser back to the last checkpoint; the step stays.

    Raises:
        FloatingPointError: there is none, or it did not help.

    """
    checkpoint = load_checkpoint(task.folder, task.identity)
    if checkpoint is None or state.skipped > 2 * MAXIMUM_CONSECUTIVE_SKIPS:
        msg = f"the loss was not finite in {state.skipped_in_a_row} steps in a row (step {state.step})"
        raise FloatingPointError(msg)
    state.network.load_state_dict(_part(checkpoint, "network."))
    state.averaged.load_state_dict(_part(checkpoint, "averaged."))
    restore_optimizer(state.optimizer, _part(checkpoint, "optimizer."))
    state.skipped_in_a_row = 0


def result(state: TrainingState, seconds: float, *, finished: bool) -> TrainingResult:
    """Return what the training has come to."""
    return TrainingResult(
        network=state.averaged,
        steps=state.step,
        seconds=seconds,
        skipped=state.skipped,
        finished=finished,
        annealing=state.annealing,
    )
