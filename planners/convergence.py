"""Whether training on would still gain anything, told by the curve of validation Dice over the steps so far.

A training without a budget runs at a constant rate until the curve says that what is left to gain is below its noise,
and anneals then: nnU-Net's fixed 1000 epochs are ten to fifty times too long on easy tasks, while tumours still gain
with the last of them and with the annealing (AutoNNUnet's published runs). Source of the schedule: "warmup, stable,
decay" (Hu et al. 2024, MiniCPM; Haegele et al. 2024, Scaling Laws and Compute-Optimal Training Beyond Fixed Training
Durations), where cooling down over a tenth to a fifth of the steps equals a decay planned from the start.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from planners.plan import Convergence, Schedule
from planners.schedule import FORWARD_AND_BACKWARD

# Exponents c of the curves a - b * steps^-c that are tried, from nearly logarithmic growth to a fast end.
EXPONENTS = (0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
# The start of a training is no power law: only points of the last three doublings of the steps count.
_FITTED = 8
# A saturating curve with an exponent of at most 1 gained at most twice in the last doubling of what the next will gain.
_LAST_OVER_NEXT = 2.0
# Huber's constant: 95 % as efficient as least squares on normal noise, and an outlier pulls no harder than this.
_HUBER = 1.345
# Standard deviation of normal noise over the median of its absolute values.
_FROM_MEDIAN = 1.4826
_ITERATIONS = 8
_LEAST_SCALE = 1e-9
# Share of the training's work that validation may take: as under a budget.
_VALIDATION_SHARE = 0.05
# Validations spread over the longest training: fewer cases are judged where all of them could not be that often.
_VALIDATIONS_WANTED = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Dice of the averaged weights on whole validation cases after `step` steps; `weakest` is the worst label's."""

    step: int
    dice: float
    weakest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a curve promises: `enough` to stop, and why in a sentence; the numbers are None where nothing was fitted.

    `gain` is what training on to `Convergence.horizon` times the steps would add at most, by one standard error;
    `asymptote` is where the best curve tends to.
    """

    enough: bool
    because: str
    asymptote: float | None = None
    gain: float | None = None
    noise: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """How many of the validation cases are judged, and after how many steps each."""

    cases: int
    every_steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A robust straight line through points: level at x = 0, slope, the slope's standard error, and residuals."""

    level: float
    slope: float
    slope_error: float
    residuals: tuple[float, ...]

    @property
    def scale(self) -> float:
        """Robust standard deviation of the residuals."""
        return max(_LEAST_SCALE, _FROM_MEDIAN * statistics.median(abs(r) for r in self.residuals))


def outlook(points: Sequence[Point], rule: Convergence) -> Outlook:
    """Return what the curve through `points`, in the order of their steps, promises.

    It is enough when the last few validations agree on it, so that one lucky validation does not end a training.
    """
    latest = _outlook(points, rule)
    if not latest.enough:
        return latest
    earlier = [_outlook(points[: len(points) - back], rule) for back in range(1, rule.agreeing)]
    if all(before.enough for before in earlier):
        return latest
    return Outlook(
        enough=False,
        because=f"{latest.because}, but not yet by {rule.agreeing} validations in a row",
        asymptote=latest.asymptote,
        gain=latest.gain,
        noise=latest.noise,
    )


def _outlook(points: Sequence[Point], rule: Convergence) -> Outlook:
    fitted = [point for point in points if point.step * _FITTED >= points[-1].step]
    if len(fitted) < rule.points_min:
        return Outlook(enough=False, because=f"{len(fitted)} of the {rule.points_min} validations that a curve needs")
    last = fitted[-1]
    asymptote, gain, scale = _promise(fitted, rule.horizon)
    noise = min(max(scale, rule.noise_min), rule.noise_max)
    recent = _line(
        [math.log2(point.step) for point in fitted if 2 * point.step >= last.step],
        [point.dice for point in fitted if 2 * point.step >= last.step],
    )
    doubled = recent.slope + recent.slope_error
    said = (
        f"after {last.step} steps the curve of validation Dice tends to {asymptote:.4f}, and {rule.horizon:g} times the"
        f" steps would add at most {gain:.4f}"
    )
    enough = False
    if last.step < rule.steps_min:
        because = f"fewer than the {rule.steps_min} steps of which a curve can be trusted"
    elif last.weakest < rule.unlearned:
        because = f"a structure is at Dice {last.weakest:.3f} after {last.step} steps: it has not begun to be learned"
    elif gain > noise:
        because = f"{said}, more than its noise of {noise:.4f}"
    elif doubled > _LAST_OVER_NEXT * noise:
        because = f"the last doubling of the steps up to {last.step} gained {doubled:.4f}, so the curve is still rising"
    else:
        enough, because = True, f"{said}, less than its noise of {noise:.4f}"
    return Outlook(enough=enough, because=because, asymptote=asymptote, gain=gain, noise=noise)


def _promise(points: Sequence[Point], horizon: float) -> tuple[float, float, float]:
    """Return where the best curve tends to, the largest gain that is still credible, and the noise around the curve.

    Every exponent that explains the points about as well as the best one (within one unit of chi squared) is credible.
    """
    last = points[-1].step
    lines = []
    for exponent in EXPONENTS:
        line = _line([-((point.step / last) ** -exponent) for point in points], [point.dice for point in points])
        lines.append((exponent, line if line.slope > 0 else _level(points, line.slope_error)))
    scale = min(line.scale for _, line in lines)
    losses = [2 * sum(_huber(residual / scale) for residual in line.residuals) for _, line in lines]
    credible = [pair for pair, loss in zip(lines, losses, strict=True) if loss <= min(losses) + 1]
    gain = max((line.slope + line.slope_error) * (1 - horizon**-exponent) for exponent, line in credible)
    _, best = lines[losses.index(min(losses))]
    return best.level, gain, best.scale


def _level(points: Sequence[Point], slope_error: float) -> _Line:
    """Return the flat line through points that do not rise, with the error of the slope that they had."""
    middle = statistics.median(point.dice for point in points)
    return _Line(
        level=middle, slope=0.0, slope_error=slope_error, residuals=tuple(point.dice - middle for point in points)
    )


def _huber(deviation: float) -> float:
    size = abs(deviation)
    return size * size / 2 if size <= _HUBER else _HUBER * (size - _HUBER / 2)


def _line(x: Sequence[float], y: Sequence[float]) -> _Line:
    """Return the line through (x, y) by least squares, reweighted until outliers pull no more than Huber allows."""
    weights = [1.0] * len(x)
    for _ in range(_ITERATIONS):
        line = _weighted_line(x, y, weights)
        weights = [min(1.0, _HUBER * line.scale / max(abs(r), _LEAST_SCALE)) for r in line.residuals]
    return line


def _weighted_line(x: Sequence[float], y: Sequence[float], weights: Sequence[float]) -> _Line:
    total = sum(weights)
    x_mean = sum(w * v for w, v in zip(weights, x, strict=True)) / total
    y_mean = sum(w * v for w, v in zip(weights, y, strict=True)) / total
    spread = sum(w * (v - x_mean) ** 2 for w, v in zip(weights, x, strict=True))
    together = sum(w * (v - x_mean) * (u - y_mean) for w, v, u in zip(weights, x, y, strict=True))
    slope = together / spread if spread else 0.0
    level = y_mean - slope * x_mean
    line = _Line(
        level=level,
        slope=slope,
        slope_error=0.0,
        residuals=tuple(u - level - slope * v for v, u in zip(x, y, strict=True)),
    )
    error = line.scale / math.sqrt(spread) if spread else 0.0
    return _Line(level=level, slope=slope, slope_error=error, residuals=line.residuals)


def rhythm(windows: Sequence[int], batch: int, schedule: Schedule) -> Rhythm:
    """Return how many cases to judge and how often, from the windows that predicting each of them takes.

    By counting forward passes, not seconds, so that a training decides the same on every machine and after a stop.
    All cases if that allows enough validations within the longest training, else the most that do, at least one.
    """
    epoch = schedule.steps_per_epoch
    rarest = max(epoch, (schedule.steps or 0) // _VALIDATIONS_WANTED)
    found = Rhythm(cases=0, every_steps=epoch)
    for cases in range(len(windows), 0, -1):
        passes = sum(windows[:cases]) / (_VALIDATION_SHARE * FORWARD_AND_BACKWARD * batch)
        found = Rhythm(cases=cases, every_steps=epoch * max(1, math.ceil(passes / epoch)))
        if found.every_steps <= rarest:
            break
    return found


def latest_annealing(schedule: Schedule, rule: Convergence) -> int:
    """Return the step at which annealing begins at the latest, so that it ends with the schedule's steps."""
    return max(1, math.floor((schedule.steps or 0) / (1 + rule.anneal_share)))
