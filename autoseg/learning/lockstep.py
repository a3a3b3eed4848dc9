"""Workers that train one network decide alike: what the leader measures and hears holds for all of them."""

from dataclasses import replace

from torch import nn

from autoseg.core.errors import AutosegError
from autoseg.core.stopping import Wish
from autoseg.learning.training_task import Hooks, TrainingTask, ValidationDice
from autoseg.learning.workers import Workers

_WISHES: tuple[Wish | None, ...] = (None, "finish", "leave")


def shared_hooks(hooks: Hooks, workers: Workers, outputs: int) -> Hooks:
    """Return hooks whose answers are the same in every worker: the leader's, but a wish to stop is anybody's.

    Every worker has to call them in the same order, which it does, as all that it decides follows from them.
    """
    if workers.count == 1:
        return hooks

    def clock() -> float:
        (now,) = workers.of_leader([hooks.clock()] if workers.leads else [], 1)
        assert now is not None  # noqa: S101 (a clock has a time)
        return now

    def stop() -> Wish | None:
        return _WISHES[int(workers.largest(float(_WISHES.index(hooks.stop()))))]

    def validate(network: nn.Module, step: int) -> ValidationDice | None:
        dice = hooks.validate(network, step) if workers.leads else None
        return _shared_dice(dice, workers, outputs)

    if workers.leads:
        return replace(hooks, clock=clock, stop=stop, validate=validate)
    return Hooks(
        validate=validate,
        log=lambda _: None,
        stop=stop,
        peak_memory_bytes=hooks.peak_memory_bytes,
        clock=clock,
        say=lambda _: None,
    )


def _shared_dice(dice: ValidationDice | None, workers: Workers, outputs: int) -> ValidationDice | None:
    labels, present = (0, 0) if dice is None else (len(dice.per_label), len(dice.present))
    known = [] if dice is None else [1.0, dice.mean, float(labels), float(present), *dice.per_label, *dice.present]
    length = 4 + 2 * outputs
    numbers = workers.of_leader((*known, *[None] * (length - len(known))), length)
    if numbers[0] is None:
        return None
    labels, present = int(numbers[2] or 0), int(numbers[3] or 0)
    held = numbers[4 + labels : 4 + labels + present]
    return ValidationDice(mean=numbers[1], per_label=numbers[4 : 4 + labels], present=tuple(bool(one) for one in held))


def same_start(task: TrainingTask, step: int) -> None:
    """Check that every worker found the same checkpoint.

    Raises:
        AutosegError: they did not.

    """
    workers = task.workers
    if workers.largest(float(step)) != -workers.largest(-float(step)):
        raise AutosegError.at(
            task.folder, f"worker {workers.rank} finds step {step} here, others another", "use one shared workspace"
        )
