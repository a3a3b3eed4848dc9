"""Where the windows of a sliding-window prediction lie, and how much each of them counts at every voxel.

Positions and Gaussian importance after Isensee et al., nnU-Net (Nature Methods 2021). Because the weight is separable
and the windows form a full grid, the weights are normalised per axis beforehand: summing weighted logits is then
already their average, and no volume of weights is ever held.
"""

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Float32, Float64

Shape = tuple[int, int, int]

SIGMA_FRACTION = 1 / 8  # of the patch edge, nnU-Net's value: the border of a window counts e^-8 of its centre
STEP_FRACTION = 0.5  # of the patch edge between neighbouring windows, nnU-Net's default


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One window along one axis.

    `start` may be negative, where the image is padded; `lower` to `upper` is the part inside the image. `weights`
    (upper - lower) are normalised over all spans of the axis; None when this span is the only one (all ones).
    """

    start: int
    lower: int
    upper: int
    weights: Float32[np.ndarray, " inside"] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiling:
    """All windows over an image (z, y, x): the product of the spans of its axes."""

    shape: Shape
    patch: Shape
    spans: tuple[tuple[Span, ...], tuple[Span, ...], tuple[Span, ...]]

    def windows(self, lower_y: int, upper_y: int) -> tuple[tuple[Span, Span, Span], ...]:
        """Return the windows that touch rows `lower_y` to `upper_y`, slowest axis first."""
        z, y, x = self.spans
        touching = tuple(span for span in y if span.lower < upper_y and span.upper > lower_y)
        return tuple(product(z, touching, x))


def window_starts(length: int, patch: int, step: float = STEP_FRACTION) -> tuple[int, ...]:
    """Return where windows of edge `patch` begin along an axis: evenly spread, at most `step` patches apart.

    A shorter axis has one window that begins before it, the larger half of the padding being after.

    >>> window_starts(10, 4)
    (0, 2, 4, 6)
    >>> window_starts(3, 6)
    (-1,)
    """
    if length <= patch:
        return (-((patch - length) // 2),)
    count = math.ceil((length - patch) / max(patch * step, 1)) + 1
    return tuple(round(index * (length - patch) / (count - 1)) for index in range(count))


def gaussian(patch: int) -> Float64[np.ndarray, " {patch}"]:
    """Return the importance of each voxel of a window along one axis, 1 at its centre `patch // 2`."""
    distance = (np.arange(patch) - patch // 2) / (patch * SIGMA_FRACTION)
    return np.exp(-0.5 * distance**2)


def make_spans(length: int, patch: int, step: float = STEP_FRACTION) -> tuple[Span, ...]:
    """Return the windows along an axis of `length` voxels with their normalised weights."""
    starts = window_starts(length, patch, step)
    parts = tuple((start, max(start, 0), min(start + patch, length)) for start in starts)
    if len(parts) == 1:
        start, lower, upper = parts[0]
        return (Span(start=start, lower=lower, upper=upper, weights=None),)
    importance = gaussian(patch)
    total = np.zeros(length)
    for start, lower, upper in parts:
        total[lower:upper] += importance[lower - start : upper - start]
    return tuple(
        Span(
            start=start,
            lower=lower,
            upper=upper,
            weights=(importance[lower - start : upper - start] / total[lower:upper]).astype(np.float32),
        )
        for start, lower, upper in parts
    )


def make_tiling(shape: Shape, patch: tuple[int, ...], step: float = STEP_FRACTION) -> Tiling:
    """Return the windows over an image; a patch of two axes (y, x) takes every slice."""
    z, y, x = (1, *patch) if len(patch) == 2 else patch
    spans = (make_spans(shape[0], z, step), make_spans(shape[1], y, step), make_spans(shape[2], x, step))
    return Tiling(shape=shape, patch=(z, y, x), spans=spans)
