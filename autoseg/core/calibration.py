"""Calibration: one temperature that makes probabilities mean what they say, fitted on cases no network had seen.

Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017: temperature scaling by the negative
log-likelihood, reliability diagrams and expected calibration error over the most probable class. Probabilities p become
p^(1/T) over their sum, which for the softmax of one network is the softmax of its logits / T. A temperature changes no
label.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from planners.plan import Target

CALIBRATION_NAME = "calibration.json"
"""In a workspace, a model folder and an export."""
BINS = 15
"""Of confidence, as Guo et al."""
MINIMUM_CASES = 5
"""Voxels of one case err together: under this many cases a temperature would be theirs, not the network's."""
PARTS = 5
"""Calibration after is judged on cases that the temperature was not fitted on."""
MOST_NUMBERS = 1 << 22
"""Probabilities that a fit looks at: of more, voxels are left out evenly, for the fit takes time from training."""
_LIMITS = (0.1, 10.0)
_TOLERANCE = 1e-4
_GOLDEN = (math.sqrt(5) - 1) / 2
_SMALLEST = 1e-12

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sampled:
    """Voxels of one case: probabilities (n, k), what is right (n,) class indexes, and how many voxels each stands for.

    `near`: a structure is predicted there, or the network is not sure. For a region k is 2: outside and inside.
    """

    probabilities: Floats
    truth: NDArray[np.int64]
    weights: Floats
    near: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Voxels with a confidence in [lower, upper): their share of all, mean confidence, and how many are right."""

    lower: float
    upper: float
    share: float
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """How far confidence is from accuracy: expected calibration error, negative log-likelihood (nats per voxel)."""

    calibration_error: float
    log_loss: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Temperature:
    """One temperature, and the reliability of voxels near structures before and after it.

    `of` is a region's name, "" where all labels share the temperature. `after` is measured on cases left out of the
    fit. None: not fitted, `because` says why, and 1 is used.
    """

    of: str
    temperature: float | None
    because: str
    before: Reliability | None = None
    after: Reliability | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The temperatures of a model: one for labels that exclude each other, else one per region.

    Fitted on `n_voxels` sampled voxels of `n_cases` cases, each predicted by the network that had not seen it, and
    each counting the same. `networks` are the SHA-256 of the weights it holds for.
    """

    schema: ClassVar[str] = "autoseg.calibration/1"

    target: Target
    configurations: tuple[str, ...]
    networks: tuple[str, ...]
    n_cases: int
    n_voxels: int
    temperatures: tuple[Temperature, ...]

    @property
    def values(self) -> tuple[float, ...]:
        """The temperature of each output; of all outputs together where there is one."""
        return tuple(1.0 if each.temperature is None else each.temperature for each in self.temperatures)


def fit(of: str, cases: Sequence[Sampled]) -> Temperature:
    """Return the temperature of the cases, and the reliability before and after it."""
    used = [case for case in cases if len(case.truth)]
    if len(used) < MINIMUM_CASES:
        because = f"{len(used)} unseen cases are too few (at least {MINIMUM_CASES})"
        return Temperature(of=of, temperature=None, because=because)
    best = fit_temperature(used)
    after = []
    for part in range(PARTS):
        own = fit_temperature([case for position, case in enumerate(used) if position % PARTS != part])
        after += [_tempered_case(case, own) for position, case in enumerate(used) if position % PARTS == part]
    return Temperature(
        of=of,
        temperature=best,
        because=f"least negative log-likelihood over {len(used)} unseen cases",
        before=reliability(used),
        after=reliability(after),
    )


def fit_temperature(cases: Sequence[Sampled]) -> float:
    """Return the temperature with the least negative log-likelihood, each case counting the same.

    The likelihood has one extremum in 1/T (it is convex there), which a golden section of log T finds.
    """
    step = math.ceil(sum(case.probabilities.size for case in cases) / MOST_NUMBERS)
    logs = np.concatenate([np.log(np.maximum(case.probabilities[::step], _SMALLEST)) for case in cases])
    truth = np.concatenate([case.truth[::step] for case in cases])
    weights = np.concatenate([case.weights[::step] / case.weights[::step].sum() for case in cases])
    own = logs[np.arange(len(truth)), truth]

    def loss(log_temperature: float) -> float:
        scale = math.exp(-log_temperature)
        scaled = logs * scale
        peak = scaled.max(axis=1)
        total = peak + np.log(np.exp(scaled - peak[:, None]).sum(axis=1))
        return float(weights @ (total - own * scale))

    low, high = (math.log(limit) for limit in _LIMITS)
    inner, outer = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_inner, at_outer = loss(inner), loss(outer)
    while high - low > _TOLERANCE:
        if at_inner <= at_outer:
            high, outer, at_outer = outer, inner, at_inner
            inner = high - _GOLDEN * (high - low)
            at_inner = loss(inner)
        else:
            low, inner, at_inner = inner, outer, at_outer
            outer = low + _GOLDEN * (high - low)
            at_outer = loss(outer)
    return math.exp((low + high) / 2)


def tempered(probabilities: Floats, temperature: float) -> Floats:
    """Return probabilities (n, k) at a temperature.

    >>> tempered(np.array([[0.8, 0.2]]), 2.0).round(4).tolist()
    [[0.6667, 0.3333]]

    """
    powers = np.maximum(probabilities, _SMALLEST) ** (1 / temperature)
    result: Floats = powers / powers.sum(axis=1, keepdims=True)
    return result


def reliability(cases: Sequence[Sampled], bins: int = BINS) -> Reliability:
    """Return the reliability over the voxels near structures, each case counting the same.

    The expected calibration error is the mean over voxels of |accuracy - confidence| of their bin.
    """
    confidence, right, weights, losses = [], [], [], []
    for case in cases:
        near = case.near
        if near.any():
            chosen = case.probabilities[near]
            own = chosen[np.arange(len(chosen)), case.truth[near]]
            confidence.append(chosen.max(axis=1))
            right.append(chosen.argmax(axis=1) == case.truth[near])
            weights.append(case.weights[near] / case.weights[near].sum() / len(cases))
            losses.append(-np.log(np.maximum(own, _SMALLEST)))
    if not confidence:
        return Reliability(calibration_error=0.0, log_loss=0.0, bins=())
    all_weights = np.concatenate(weights) / sum(float(w.sum()) for w in weights)
    found = _bins(np.concatenate(confidence), np.concatenate(right), all_weights, bins)
    return Reliability(
        calibration_error=sum(each.share * abs(each.accuracy - each.confidence) for each in found),
        log_loss=float(all_weights @ np.concatenate(losses)),
        bins=found,
    )


def _tempered_case(case: Sampled, temperature: float) -> Sampled:
    probabilities = tempered(case.probabilities, temperature)
    return Sampled(probabilities=probabilities, truth=case.truth, weights=case.weights, near=case.near)


def _bins(confidence: Floats, right: NDArray[np.bool_], weights: Floats, count: int) -> tuple[Bin, ...]:
    """Return the bins that hold a voxel; a confidence of 1 belongs to the last."""
    index = np.minimum((confidence * count).astype(np.int64), count - 1)
    shares = np.bincount(index, weights, count)
    confidences = np.bincount(index, weights * confidence, count)
    accuracies = np.bincount(index, weights * right, count)
    return tuple(
        Bin(
            lower=position / count,
            upper=(position + 1) / count,
            share=float(shares[position]),
            confidence=float(confidences[position] / shares[position]),
            accuracy=float(accuracies[position] / shares[position]),
        )
        for position in range(count)
        if shares[position] > 0
    )
