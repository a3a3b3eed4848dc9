"""Whether 2D images are consecutive slices of one volume: then neighbours are much more alike than others."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autoseg.datasets.thumbnail import correlations

_FEWEST_SLICES = 8
_MOST_SLICES = 4000  # the matrix of likenesses grows with the square
_NEIGHBOUR_GAIN = 0.3
"""Correlation of neighbours above that of others. Sections of a tissue 50 nm apart: 0.67 against 0.14; unrelated
photographs of one kind: below 0.05 apart."""
_SECOND_GAIN = 0.15
_FAR = 4
_MOST_PASSES = 20
_LEAST_GAIN = 1e-9
_FEWEST_BY_LIKENESS = 16
_LIKENESS_GAIN = 0.4
"""An order made from likeness makes neighbours alike by itself; few images of unlike bodies reach 0.35."""


def find_stack(names: Sequence[str], thumbnails: Sequence[str]) -> tuple[str, ...]:
    """Return the names in slice order if the images form one stack, else nothing.

    The order of the names is tried first, then the order that likeness alone gives (the second eigenvector of the
    graph Laplacian of the correlations).
    """
    if not _FEWEST_SLICES <= len(names) <= _MOST_SLICES or not all(thumbnails):
        return ()
    alike = correlations(tuple(thumbnails))
    if _is_stack(alike, _NEIGHBOUR_GAIN):
        return tuple(names)
    order = _by_likeness(alike)
    if len(names) >= _FEWEST_BY_LIKENESS and _is_stack(alike[np.ix_(order, order)], _LIKENESS_GAIN):
        return tuple(names[i] for i in order)
    return ()


def _is_stack(alike: NDArray[np.float64], gain: float) -> bool:
    n = len(alike)
    others = float(alike[np.triu_indices(n, min(_FAR, n - 1))].mean())
    first, second = (float(np.diagonal(alike, lag).mean()) for lag in (1, 2))
    return first - others > gain and second - others > _SECOND_GAIN and first > second


def _by_likeness(alike: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the order of the second eigenvector of the graph Laplacian, then untangled."""
    weights = np.clip(alike, 0, None)
    np.fill_diagonal(weights, 0)
    laplacian = np.diag(weights.sum(axis=1)) - weights
    order = np.argsort(np.linalg.eigh(laplacian)[1][:, 1], kind="stable")
    order = _untangled(order, alike)
    weakest = int(alike[order, np.roll(order, -1)].argmin())  # of the closed ring: there the path begins and ends
    return _untangled(np.roll(order, -weakest - 1), alike)


def _untangled(order: NDArray[np.intp], alike: NDArray[np.float64]) -> NDArray[np.intp]:
    """Reverse stretches of the order as long as that makes neighbours more alike (2-opt on an open path)."""
    n = len(order)
    padded = np.pad(alike, (0, 1))  # index n: nothing lies beyond the ends, likeness 0
    for _ in range(_MOST_PASSES):
        gained = False
        for low in range(n - 1):
            before = order[low - 1] if low else n
            after = np.append(order[low + 2 :], n)  # what follows each possible end low + 1 ... n - 1
            ends = order[low + 1 :]
            gain = padded[before, ends] + padded[order[low], after] - padded[before, order[low]] - padded[ends, after]
            best = int(gain.argmax())
            if gain[best] > _LEAST_GAIN:
                high = low + 1 + best
                order[low : high + 1] = order[low : high + 1][::-1].copy()
                gained = True
        if not gained:
            break
    return order
