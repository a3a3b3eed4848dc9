"""The learning rate over a training, and how a training that is to end anneals: no schedule ends at a high rate."""

import math
from dataclasses import dataclass

from planners.plan import Schedule

SHORT_SHARE = 0.1
"""Of the steps so far: a training that is asked to finish anneals over so many. In MiniCPM's schedule that suffices."""
SHORT_SECONDS = 60.0
"""At most: whoever asks, a person or a queue about to kill the job, waits no longer."""
SHORT_STEPS_MIN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Annealing:
    """The end of a training: from step `start` on the rate falls from `rate` to zero over `steps` steps.

    `asked`: somebody asked for it.
    """

    start: int
    steps: int
    rate: float
    because: str
    asked: bool = False

    @property
    def end(self) -> int:
        """Number of steps when it is over."""
        return self.start + self.steps


def learning_rate(schedule: Schedule, progress: float) -> float:
    """Return the rate at `progress` in [0, 1]: linear warm-up, then polynomial or cosine decay to zero."""
    if progress < schedule.warmup:
        return schedule.learning_rate * max(progress, 1e-3) / schedule.warmup
    rest = min(1.0, (progress - schedule.warmup) / max(1e-9, 1 - schedule.warmup))
    return schedule.learning_rate * _decayed(schedule, rest)


def constant_rate(schedule: Schedule, step: int) -> float:
    """Return the rate while nothing is annealed yet: linear warm-up, then constant."""
    warmup = schedule.convergence.warmup_steps if schedule.convergence is not None else 0
    return schedule.learning_rate * min(1.0, (step + 1) / max(1, warmup))


def annealed_rate(schedule: Schedule, annealing: Annealing, step: int) -> float:
    """Return the rate while a training anneals, with the schedule's own decay."""
    return annealing.rate * _decayed(schedule, min(1.0, max(0, step - annealing.start) / annealing.steps))


def short_steps(step: int, step_seconds: float) -> int:
    """Return over how many steps a training that is asked to finish at `step` anneals."""
    wanted = max(SHORT_STEPS_MIN, math.ceil(SHORT_SHARE * step))
    return max(1, min(wanted, int(SHORT_SECONDS / max(1e-9, step_seconds))))


def _decayed(schedule: Schedule, rest: float) -> float:
    if schedule.decay == "cosine":
        return 0.5 * (1 + math.cos(math.pi * rest))
    return float((1 - rest) ** schedule.decay_power)
