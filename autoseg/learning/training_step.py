"""One training step: forward, loss, backward, clipped update, average of the weights."""

import torch
from torch import Tensor, nn

from autoseg.learning.feeding import Batch
from autoseg.learning.loss import LossOptions, segmentation_loss
from autoseg.learning.training_state import TrainingState
from autoseg.learning.training_task import TrainingTask
from planners.plan import Schedule


def train_step(task: TrainingTask, state: TrainingState, batch: Batch, rate: float) -> None:
    """Take one step at the learning rate `rate`; one whose loss is not finite changes no weight."""
    schedule = task.configuration.schedule
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    loss = _backward(task, state, batch)
    task.workers.add_gradients(state.network)
    state.scaler.unscale_(state.optimizer)
    norm = nn.utils.clip_grad_norm_(state.network.parameters(), schedule.gradient_clip)
    if bool(torch.isfinite(loss)) and (bool(torch.isfinite(norm)) or task.dtype == torch.float16):
        state.scaler.step(state.optimizer)
        _average(state, schedule)
        state.losses.append(loss)
        state.skipped_in_a_row = state.roll_backs = 0
    else:
        state.skipped += 1
        state.skipped_in_a_row += 1
        state.skipped_cases |= dict.fromkeys(_suspects(batch))
    state.scaler.update()
    state.optimizer.zero_grad(set_to_none=True)
    state.step += 1
    state.data_s += batch.wait_s


def _backward(task: TrainingTask, state: TrainingState, batch: Batch) -> Tensor:
    """Leave this worker's gradients in the network and return the loss of the whole batch.

    In several parts, Dice over the batch becomes the mean of Dice over each part.
    """
    options = LossOptions(
        name=task.configuration.schedule.loss,
        target=task.target,
        batch_dice=task.configuration.batch_dice,
        level_weights=task.configuration.deep_supervision_weights,
        total=task.workers.total,
    )
    parts = min(task.parts, task.workers.smallest_share(task.configuration.batch))
    samples = torch.tensor(float(len(batch.images)), device=batch.images.device)
    loss = torch.zeros((), device=batch.images.device)
    pieces = zip(batch.images.tensor_split(parts), batch.labels.tensor_split(parts), strict=True)
    for images, labels in pieces:
        with torch.autocast(task.device.type, task.dtype, enabled=task.dtype != torch.float32):
            logits = state.network(images)
        piece = segmentation_loss(logits, labels, options)
        if parts > 1:
            piece = piece * task.workers.total(samples.new_tensor(float(len(images)))) / task.workers.total(samples)
        state.scaler.scale(piece).backward()
        loss = loss + piece.detach()
    return loss


def _suspects(batch: Batch) -> tuple[str, ...]:
    """Return the cases whose voxels are not finite, all of the batch where the images are not to blame."""
    finite = torch.isfinite(batch.images).flatten(1).all(1).tolist()
    return tuple(name for name, sound in zip(batch.names, finite, strict=True) if not sound) or batch.names


@torch.no_grad()
def _average(state: TrainingState, schedule: Schedule) -> None:
    decay = 0.0 if schedule.ema_decay is None else min(schedule.ema_decay, (1 + state.step) / (10 + state.step))
    averaged: list[Tensor] = list(state.averaged.parameters())
    current: list[Tensor] = list(state.network.parameters())
    torch._foreach_lerp_(averaged, current, 1 - decay)
