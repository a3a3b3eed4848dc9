"""How good a prediction is likely to be, told without a reference: a Dice per structure with a 90 % interval.

Fitted on cases that no network had seen in training. A robust regression on a few numbers that are known of every
prediction; each of them may only lower the estimate as it grows, so that what is odder than anything known is never
taken for better. The interval is cross-conformal: CV+ of Barber et al., Predictive inference with the jackknife+, Ann.
Statist. 2021, on the logit of Dice, and holds for cases like those of the training data. A case is flagged by how few
of those look as bad. With too few cases it is not known, and nothing is said.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from autoseg.core.observation import CaseObservation, StructureObservation

QUALITY_NAME = "quality.json"
"""In a workspace and in a model folder."""
MINIMUM_CASES = 20
"""The 90 % interval lies between the 5 % tails, and fewer cases than 19 have none."""
_MEND = "with --folds 5 every training case is one"
PARTS = 10
COVERAGE = 0.9
FALSE_ALARMS = 0.1
"""Share of the known cases that look at least as bad as a flagged one."""
_RIDGE = 1.0
_HUBER = 1.345
"""In robust standard deviations: 95 % efficient for normal errors (Huber, Robust Statistics, 1981)."""
_ROUNDS = 10
_NEAR_ZERO = 0.005
"""Dice nearer to 0 or 1 than this is as good as there."""
_MAD_TO_DEVIATION = 1.4826
_FARTHEST = 10.0
"""Standard deviations from the median beyond which farther means nothing."""
_FRACTION_SPREAD = 0.05

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Typical:
    """Median and robust standard deviation of each number over the known cases."""

    centre: tuple[float, ...]
    spread: tuple[float, ...]

    def distance(self, numbers: Sequence[float]) -> float:
        """Return how far numbers lie from the typical ones: root mean square, in standard deviations."""
        apart = (np.asarray(numbers) - self.centre) / self.spread
        return float(np.sqrt((np.minimum(np.abs(apart), _FARTHEST) ** 2).mean()))


@dataclass(frozen=True, slots=True, kw_only=True)
class PartFit:
    """Regression on all known cases but one part of them: what is typical, and the weights (none negative).

    Weights belong to the `NAMES` divided by `scale`; their sum and `intercept` are the logit of 1 - Dice.
    """

    image: Typical
    structure: Typical
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreseen:
    """The Dice of a known case, and what was foreseen of it, with its 90 % interval, without knowing it."""

    true: float
    dice: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StructureQuality:
    """The regression for one structure; `known` are (part left out, logit of 1 - Dice less its estimate) by case.

    `parts` is empty where Dice cannot be foreseen; `because` says why. `foreseen` has each of the known cases; older
    records lack it.
    """

    label: str
    n_cases: int
    because: str
    parts: tuple[PartFit, ...] = ()
    known: tuple[tuple[int, float], ...] = ()
    foreseen: tuple[Foreseen, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """What foresees Dice for a model: fitted on `n_cases` predicted by networks that had not seen them.

    `oddness` (rising) is that of each known case, by regressions that had not seen it; a case with more than
    `flag_above` is flagged. It is the largest of what is expected of Dice, how unsure the network is, and how far
    structure and image are from the known ones, in robust standard deviations above what is `usual`. `networks` are
    the SHA-256 of the weights that it holds for.
    """

    schema: ClassVar[str] = "autoseg.quality/1"

    configurations: tuple[str, ...]
    networks: tuple[str, ...]
    n_cases: int
    structures: tuple[StructureQuality, ...]
    oddness: tuple[float, ...] = ()
    flag_above: float | None = None
    usual: Typical | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StructureEstimate:
    """The Dice that is foreseen for a structure, with its 90 % interval; None where it is not known."""

    label: str
    dice: float | None
    lower: float | None
    upper: float | None
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseQuality:
    """What is foreseen for a case. Of the known cases the share `as_odd` looks as bad or worse; None: not known."""

    structures: tuple[StructureEstimate, ...]
    as_odd: float | None
    flagged: bool | None

    @property
    def worst(self) -> float | None:
        """The least Dice that is foreseen for a structure."""
        return min((each.dice for each in self.structures if each.dice is not None), default=None)


NAMES = (
    "logit of 1 - expected Dice",
    "entropy per voxel",
    "disagreement",
    "share outside the largest part",
    "parts",
    "distance of the structure",
    "distance of the image",
)
_ALARMING = (0, 5, 6)
"""Of NAMES, those that alarm by themselves: a network that is unsure, a structure or an image unlike all known ones.

Known cases differ too little for a regression to learn what these mean far outside of them.
"""


def fit_quality(
    cases: Sequence[CaseObservation],
    dice: Sequence[Sequence[float | None]],
    configurations: tuple[str, ...],
    networks: tuple[str, ...],
) -> Quality:
    """Return what foresees the Dice of each structure; `dice` has for each case one per structure (None: undefined)."""
    labels = [each.label for each in cases[0].structures] if cases else []
    structures = tuple(
        _fit_structure(cases, position, label, [row[position] for row in dice]) for position, label in enumerate(labels)
    )
    fitted = Quality(configurations=configurations, networks=networks, n_cases=len(cases), structures=structures)
    if not any(each.parts for each in structures):
        return fitted
    signs = [_signs(fitted, case, part_of(index)) for index, case in enumerate(cases)]
    usual = typical(signs)
    oddness = sorted(_oddness(usual, each) for each in signs)
    above = oddness[min(len(oddness) - 1, math.ceil((1 - FALSE_ALARMS) * (len(oddness) + 1)) - 1)]
    return replace(fitted, oddness=tuple(oddness), flag_above=above, usual=usual)


def estimate(quality: Quality, case: CaseObservation) -> CaseQuality:
    """Return what is foreseen for a new case."""
    structures = tuple(
        _estimate(fitted, observed, case.image)
        for fitted, observed in zip(quality.structures, case.structures, strict=True)
    )
    if quality.flag_above is None or quality.usual is None:
        return CaseQuality(structures=structures, as_odd=None, flagged=None)
    odd = _oddness(quality.usual, _signs(quality, case, None))
    as_odd = (1 + sum(known >= odd for known in quality.oddness)) / (1 + len(quality.oddness))
    return CaseQuality(structures=structures, as_odd=as_odd, flagged=odd > quality.flag_above)


def estimate_known(quality: Quality, case: CaseObservation, index: int) -> tuple[float | None, ...]:
    """Return the Dice of each structure that is foreseen for the known case `index` by what was fitted without it."""
    found: list[float | None] = []
    for fitted, observed in zip(quality.structures, case.structures, strict=True):
        if fitted.parts:
            bad = badness(fitted.parts[part_of(index)], observed, case.image)
            found.append(_dice(bad + _middle(fitted)))
        else:
            found.append(None)
    return tuple(found)


def part_of(index: int) -> int:
    """Return which part a known case belongs to."""
    return index % PARTS


def badness(part: PartFit, observed: StructureObservation, image: Sequence[float]) -> float:
    """Return the logit of 1 - Dice that one regression expects."""
    numbers = numbers_of(observed, image, part.structure, part.image)
    return part.intercept + float((numbers / part.scale) @ np.asarray(part.weights))


def numbers_of(observed: StructureObservation, image: Sequence[float], structure: Typical, whole: Typical) -> Floats:
    """Return what the regression looks at, in the order of NAMES; each is worse when larger."""
    voxels = max(observed.voxels, 1)
    return np.array(
        [
            logit(1 - observed.expected_dice),
            math.log1p(observed.entropy / voxels),
            observed.disagreement / max(observed.mass, 1.0),
            1 - observed.largest_voxels / voxels if observed.voxels else 1.0,
            math.log(max(observed.components, 1)),
            structure.distance(shape_of(observed)),
            whole.distance(image),
        ]
    )


def shape_of(observed: StructureObservation) -> tuple[float, ...]:
    """Return logarithms of volume and of surface beside it, and the place in the image: what has a typical value."""
    surface = observed.surface_voxels / max(observed.voxels, 1) ** (2 / 3)
    centre = observed.centre or (0.5, 0.5, 0.5)
    return (math.log(observed.volume_mm3 + 1), math.log(surface + 0.1), *centre)


def typical(rows: Sequence[Sequence[float]]) -> Typical:
    """Return the median and the robust standard deviation of each column."""
    numbers = np.asarray(rows, dtype=np.float64)
    centre = np.median(numbers, axis=0)
    spread = _MAD_TO_DEVIATION * np.median(np.abs(numbers - centre), axis=0)
    least = np.maximum(1e-3 * np.abs(centre), 1e-3)
    return Typical(centre=tuple(centre.tolist()), spread=tuple(np.maximum(spread, least).tolist()))


def logit(share: float) -> float:
    """Return the logit of a share, kept away from 0 and 1."""
    kept = min(max(share, _NEAR_ZERO), 1 - _NEAR_ZERO)
    return math.log(kept / (1 - kept))


def robust_fit(numbers: Floats, target: Floats) -> tuple[Floats, float]:
    """Return weights (none negative) and intercept: ridge regression, large errors counting less (Huber's)."""
    from scipy.optimize import nnls  # half a second to load, and predicting needs no fit

    count, width = numbers.shape
    kept = np.ones(count)
    weights, intercept = np.zeros(width), float(np.median(target))
    for _ in range(_ROUNDS):
        total = float(kept.sum())
        means, mean = kept @ numbers / total, float(kept @ target) / total
        root = np.sqrt(kept)[:, None]
        rows = np.concatenate([root * (numbers - means), math.sqrt(_RIDGE) * np.eye(width)])
        weights = nnls(rows, np.concatenate([root[:, 0] * (target - mean), np.zeros(width)]))[0]
        intercept = mean - float(means @ weights)
        errors = np.abs(target - numbers @ weights - intercept)
        spread = max(_MAD_TO_DEVIATION * float(np.median(errors)), 1e-6)
        kept = np.minimum(1, _HUBER * spread / np.maximum(errors, 1e-12))
    return weights, intercept


def _fit_structure(
    cases: Sequence[CaseObservation], position: int, label: str, dice: Sequence[float | None]
) -> StructureQuality:
    defined = [index for index, value in enumerate(dice) if value is not None]
    if len(defined) < MINIMUM_CASES:
        because = f"{len(defined)} unseen cases are too few to tell (at least {MINIMUM_CASES}; {_MEND})"
        return StructureQuality(label=label, n_cases=len(defined), because=because)
    target = {index: logit(1 - value) for index in defined if (value := dice[index]) is not None}
    parts = tuple(
        _fit_part(cases, position, {index: target[index] for index in defined if part_of(index) != part})
        for part in range(PARTS)
    )
    known = tuple(
        (part_of(i), target[i] - badness(parts[part_of(i)], cases[i].structures[position], cases[i].image))
        for i in defined
    )
    return StructureQuality(
        label=label,
        n_cases=len(defined),
        because=f"fitted on {len(defined)} unseen cases",
        parts=parts,
        known=known,
        foreseen=_foreseen(target, known),
    )


def _foreseen(target: dict[int, float], known: Sequence[tuple[int, float]]) -> tuple[Foreseen, ...]:
    """Return what is foreseen of each known case by the regression and the errors of the others."""
    errors = np.array([error for _, error in known])
    made = []
    for position, bad in enumerate(target.values()):
        dice, lower, upper = _interval((bad - errors[position] + np.delete(errors, position)).tolist())
        made.append(Foreseen(true=_dice(bad), dice=dice, lower=lower, upper=upper))
    return tuple(made)


def _fit_part(cases: Sequence[CaseObservation], position: int, target: dict[int, float]) -> PartFit:
    own = [cases[index] for index in target]
    image = typical([case.image for case in own])
    structure = typical([shape_of(case.structures[position]) for case in own])
    numbers = np.stack([numbers_of(case.structures[position], case.image, structure, image) for case in own])
    scale = np.maximum(numbers.std(axis=0), _FRACTION_SPREAD)
    weights, intercept = robust_fit(numbers / scale, np.array(list(target.values())))
    return PartFit(
        image=image,
        structure=structure,
        scale=tuple(scale.tolist()),
        weights=tuple(weights.tolist()),
        intercept=intercept,
    )


def _estimate(fitted: StructureQuality, observed: StructureObservation, image: Sequence[float]) -> StructureEstimate:
    if not fitted.parts:
        return StructureEstimate(label=fitted.label, dice=None, lower=None, upper=None, because=fitted.because)
    by_part = [badness(part, observed, image) for part in fitted.parts]
    dice, lower, upper = _interval([by_part[part] + error for part, error in fitted.known])
    return StructureEstimate(label=fitted.label, dice=dice, lower=lower, upper=upper, because=fitted.because)


def _interval(bad: Sequence[float]) -> tuple[float, float, float]:
    """Return the middle of what is likely, as Dice, and the ends of its 90 %."""
    likely = sorted(bad)
    tail = (1 - COVERAGE) / 2 * (len(likely) + 1)
    best = likely[max(math.floor(tail) - 1, 0)]
    worst = likely[min(math.ceil(len(likely) + 1 - tail) - 1, len(likely) - 1)]
    return _dice(float(np.median(likely))), _dice(worst), _dice(best)


def _middle(fitted: StructureQuality) -> float:
    return float(np.median([error for _, error in fitted.known]))


def _dice(bad: float) -> float:
    """Return the Dice whose 1 - Dice has this logit; what was kept away from 0 and 1 goes back there."""
    dice = 1 / (1 + math.exp(bad))
    if dice <= _NEAR_ZERO * 1.01:
        return 0.0
    return 1.0 if dice >= 1 - _NEAR_ZERO * 1.01 else dice


def _signs(quality: Quality, case: CaseObservation, part: int | None) -> tuple[float, ...]:
    """Return SIGNS, each the worst over structures; of the regression without `part`, or the mean of all."""
    found: list[Floats] = []
    for fitted, observed in zip(quality.structures, case.structures, strict=True):
        rows: list[list[float]] = []
        for each in fitted.parts if part is None else fitted.parts[part : part + 1]:
            numbers = numbers_of(observed, case.image, each.structure, each.image)
            bad = each.intercept + float((numbers / each.scale) @ np.asarray(each.weights))
            rows.append([bad, *(float(numbers[index]) for index in _ALARMING)])
        if rows:
            found.append(np.mean(rows, axis=0))
    return tuple(float(value) for value in np.max(found, axis=0))


def _oddness(usual: Typical, signs: Sequence[float]) -> float:
    """Return by how many robust standard deviations the worst of the signs is above what is usual."""
    return float(((np.asarray(signs) - usual.centre) / usual.spread).max())
