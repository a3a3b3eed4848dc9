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
def _average(state: TrainingState, schedule: Schedule) -> None:
    decay = 0.0 if schedule.ema_decay is None else min(schedule.ema_decay, (1 + state.step) / (10 + state.step))
    averaged: list[Tensor] = list(state.averaged.parameters())
    current: list[Tensor] = list(state.network.parameters())
    torch._foreach_lerp_(averaged, current, 1 - decay)
