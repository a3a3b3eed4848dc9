"""The training loop: one network, to the end of its steps or of its seconds, resumable at any step.

Progress runs from 0 to 1, by steps or by the clock, and the learning rate is a function of it, so the schedule always
anneals to the end that was asked for. Without a budget the rate stays until the validation curve promises no more, and
anneals then; one that is asked to finish anneals shortly. Short schedules with AdamW, warm-up and decay beat nnU-Net's
SGD by far within minutes (docs/log.md). Weights are averaged exponentially; the average is what is validated and kept.
"""

import math
from dataclasses import replace

import torch

from autoseg.core.stopping import Wish
from autoseg.learning.annealing import Annealing, annealed_rate, constant_rate, learning_rate, short_steps
from autoseg.learning.checkpoint import load_checkpoint
from autoseg.learning.collapse import Restart, lost_label, next_weight
from autoseg.learning.feeding import Feeder
from autoseg.learning.lockstep import same_start, shared_hooks
from autoseg.learning.memory_limits import free_memory, say_halved, step_fits
from autoseg.learning.training_state import (
    MAXIMUM_CONSECUTIVE_SKIPS,
    TrainingState,
    back_to_best,
    elapsed,
    note_best,
    prepare,
    restore,
    result,
    roll_back,
    save,
)
from autoseg.learning.training_task import Epoch, Hooks, TrainingResult, TrainingTask, ValidationDice
from planners.convergence import Point, latest_annealing, outlook
from planners.plan import Convergence

__all__ = ["Epoch", "Hooks", "TrainingResult", "TrainingTask", "ValidationDice", "train_network"]

CHECKPOINT_INTERVAL_S = 60.0  # at most this much work is lost by a kill


def train_network(task: TrainingTask, feeder: Feeder, hooks: Hooks) -> TrainingResult:
    """Train `task` from where its folder left off, or from the seed.

    Raises:
        AutosegError: the loss stayed non-finite after going back to the last checkpoint, or workers see different
            checkpoints.
        ResourceError: half a batch does not fit the memory either.

    """
    state = prepare(task)
    hooks = shared_hooks(hooks, task.workers, task.outputs)
    checkpoint = load_checkpoint(task.folder, task.identity)
    if checkpoint is not None:
        restore(state, checkpoint)
    same_start(task, state.step)
    if checkpoint is not None and checkpoint.progress.finished:
        return result(state, state.seconds_before, finished=True)
    if state.restarts:
        feeder.emphasise(state.restarts)
    state.started = state.epoch_started = state.saved_at = hooks.clock()
    if checkpoint is None:
        hooks.begin()
        state.epoch_started = hooks.clock()
    while (wish := hooks.stop()) != "leave":
        done = _done(task, state, hooks)
        if state.step > state.epoch_step and (done or state.step % task.configuration.schedule.steps_per_epoch == 0):
            _end_epoch(task, state, hooks, feeder)
            continue
        if done:
            break
        if state.annealing is None or wish == "finish":
            _settle_end(task, state, hooks, wish)
        began = hooks.clock()
        task = _step(task, state, hooks, feeder)
        state.longest_step_s = max(0.9 * state.longest_step_s, hooks.clock() - began)
        if state.skipped_in_a_row >= MAXIMUM_CONSECUTIVE_SKIPS:
            roll_back(task, state, hooks)
        if hooks.clock() - state.saved_at > CHECKPOINT_INTERVAL_S:
            save(task, state, hooks, finished=False)
    save(task, state, hooks, finished=wish != "leave")
    return result(state, elapsed(state, hooks), finished=wish != "leave")


def _step(task: TrainingTask, state: TrainingState, hooks: Hooks, feeder: Feeder) -> TrainingTask:
    """Take one step and return the task: with batches halved from now on, if memory did not hold this one."""
    batch, rate, skipped = feeder.batch(state.step), _rate(task, state, hooks), state.skipped
    while not step_fits(task, state, batch, rate):
        free_memory(task, state)
        say_halved(task, hooks)
        task = replace(task, parts=2)
    if state.skipped > skipped:
        names = ", ".join(state.skipped_cases)
        hooks.say(f"step {state.step}: the loss is not finite, no weight was changed; cases {names}")
    return task


def _progress(task: TrainingTask, state: TrainingState, hooks: Hooks) -> float:
    if state.annealing is not None:
        return state.step / state.annealing.end
    if task.steps is not None:
        return state.step / max(1, task.steps)
    return min(1.0, elapsed(state, hooks) / max(1e-9, task.seconds or 0.0))


def _done(task: TrainingTask, state: TrainingState, hooks: Hooks) -> bool:
    if state.annealing is not None and state.step >= state.annealing.end:
        return True
    if task.steps is not None:
        return state.step >= task.steps
    return state.step > 0 and elapsed(state, hooks) + state.longest_step_s > (task.seconds or 0.0)


def _rate(task: TrainingTask, state: TrainingState, hooks: Hooks) -> float:
    schedule = task.configuration.schedule
    if state.annealing is not None:
        return annealed_rate(schedule, state.annealing, state.step)
    if task.convergence is not None:
        return constant_rate(schedule, state.step)
    return learning_rate(schedule, _progress(task, state, hooks))


def _settle_end(task: TrainingTask, state: TrainingState, hooks: Hooks, wish: Wish | None) -> None:
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
    save(task, state, hooks, finished=False)


def _steps_left(task: TrainingTask, state: TrainingState, hooks: Hooks) -> float:
    if state.annealing is not None:
        return state.annealing.end - state.step
    if task.steps is not None:
        return task.steps - state.step
    left_s = (task.seconds or 0.0) - elapsed(state, hooks)
    return left_s / state.longest_step_s if state.longest_step_s else math.inf


def _end_epoch(task: TrainingTask, state: TrainingState, hooks: Hooks, feeder: Feeder) -> None:
    spent = hooks.clock() - state.epoch_started
    count = max(1, len(state.losses))
    loss = float(torch.stack(state.losses).mean()) if state.losses else None
    dice = hooks.validate(state.averaged, state.step)
    if hooks.stop() == "leave":
        return  # validation may have been cut short; the next call ends this epoch
    state.epoch_step = state.step
    said = None if task.convergence is None else _look_ahead(task, task.convergence, state, dice)
    restart = None if dice is None else _mend_collapse(task, state, hooks, dice)
    if restart is not None:
        feeder.emphasise(state.restarts)
    hooks.log(
        Epoch(
            step=state.step,
            progress=_progress(task, state, hooks),
            seconds=elapsed(state, hooks),
            train_loss=loss,
            learning_rate=float(state.optimizer.param_groups[0]["lr"]),
            validation_dice=None if dice is None else dice.mean,
            validation_dice_per_label=() if dice is None else dice.per_label,
            data_seconds=state.data_s,
            compute_seconds=max(0.0, spent - state.data_s),
            samples_per_s=count * max(task.configuration.batch, task.workers.count) / max(1e-9, spent),
            peak_memory_bytes=hooks.peak_memory_bytes(),
            outlook=said,
            skipped_cases=tuple(state.skipped_cases),
            restart=restart,
        )
    )
    state.losses.clear()
    state.skipped_cases.clear()
    state.data_s = 0.0
    state.epoch_started = hooks.clock()


def _mend_collapse(task: TrainingTask, state: TrainingState, hooks: Hooks, dice: ValidationDice) -> Restart | None:
    """Go back to the best weights, with more of a label that is lost; a training of fixed steps is left as it is.

    There validation comes when the clock has time for it, and the same steps have to give the same weights.
    """
    if dice.mean is not None:
        note_best(state, dice.mean)
    progress = _progress(task, state, hooks)
    label = lost_label(dice.per_label, dice.present, progress, state.restarts)
    if label is None or state.annealing is not None:
        return None
    if task.seconds is None and task.convergence is None:
        hooks.say(f"warning: label {label + 1} of {len(dice.per_label)} has a validation Dice of 0")
        return None
    restart = Restart(
        step=state.step,
        progress=progress,
        label=label,
        weight=next_weight(state.restarts, label),
        back_to=back_to_best(state),
    )
    state.restarts = (*state.restarts, restart)
    back = "" if restart.back_to is None else f"back to the weights of step {restart.back_to}, the best; "
    hooks.say(
        f"label {label + 1} of {len(dice.per_label)} is lost (validation Dice 0 at step {state.step}): {back}it is"
        f" sampled {restart.weight} times as often from here on"
    )
    save(task, state, hooks, finished=False)
    return restart


def _look_ahead(task: TrainingTask, rule: Convergence, state: TrainingState, dice: ValidationDice | None) -> str | None:
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
