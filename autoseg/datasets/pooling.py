"""Intensities of the foreground pooled over cases in bounded memory.

Every case counts the same, whatever its size: that is what drawing equally many voxels from each case with replacement
amounts to (nnU-Net draws 1e8 in all); here the distribution itself is kept, as order statistics.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_POOL = 1 << 24
"""Values kept over all cases: 64 MiB."""
_MOST_PER_CASE, _FEWEST_PER_CASE = 1 << 16, 1 << 10
_MOST_SORTED = 1 << 22
"""Larger foregrounds are thinned out to so many evenly spaced voxels before sorting."""

_ROUNDING = 1e-9  # of a running sum of weights


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """The foreground of one channel of one case: ascending order statistics and exact moments."""

    values: NDArray[np.float32]
    mean: float
    variance: float
    minimum: float
    maximum: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooled:
    """Foreground intensities over all cases: population statistics."""

    mean: float
    std: float
    minimum: float
    maximum: float
    median: float
    percentile_00_5: float
    percentile_99_5: float


def values_per_case(n_cases: int) -> int:
    """Return how many order statistics each case may keep."""
    return max(_FEWEST_PER_CASE, min(_MOST_PER_CASE, _POOL // max(1, n_cases)))


def take_sample(foreground: NDArray[Any], keep: int) -> Sample | None:
    """Return the sample of a foreground (n,), None if it is empty."""
    if not foreground.size:
        return None
    thinned = foreground[:: -(-foreground.size // _MOST_SORTED)]
    ordered = np.sort(thinned.astype(np.float32, copy=False))
    if ordered.size > keep:
        ordered = ordered[((np.arange(keep) + 0.5) / keep * ordered.size).astype(np.intp)]
    return Sample(
        values=ordered,
        mean=float(foreground.mean(dtype=np.float64)),
        variance=float(foreground.var(dtype=np.float64)),
        minimum=float(foreground.min()),
        maximum=float(foreground.max()),
    )


def pool(samples: Sequence[Sample]) -> Pooled | None:
    """Return the statistics of the mixture of all samples, each with the same weight; None without any."""
    if not samples:
        return None
    means = np.array([sample.mean for sample in samples])
    mean = float(means.mean())
    variance = float(np.mean([sample.variance for sample in samples]) + np.mean((means - mean) ** 2))
    values = np.concatenate([sample.values for sample in samples])
    weights = np.concatenate([np.full(len(s.values), 1.0 / len(s.values)) for s in samples]) / len(samples)
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    low, middle, high = (
        float(values[order[min(int(np.searchsorted(reached, q - _ROUNDING)), len(order) - 1)]])
        for q in (0.005, 0.5, 0.995)
    )
    return Pooled(
        mean=mean,
        std=float(np.sqrt(max(0.0, variance))),
        minimum=min(sample.minimum for sample in samples),
        maximum=max(sample.maximum for sample in samples),
        median=middle,
        percentile_00_5=low,
        percentile_99_5=high,
    )
