"""Logits on the networks' grids to class indexes on the native grid, tile by tile, in NumPy.

The same computation as autoseg.learning.reduction does with torch: classes that cannot win in a tile are skipped, a
single configuration decides by its logits, and of several the probabilities are averaged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise, product

import numpy as np
from jaxtyping import Float32, Int64, UInt8, UInt16

from autoseg.imaging.resampling import AxisOperator
from autoseg.learning.turns import Reach
from planners.plan import Target

TILE_PLANES = 8
TILE_EDGE = 64
"""8 x 64 x 64 float32 values are 128 KiB, within a core's cache."""
UINT8_CLASSES = 256
_NEGLIGIBLE = 40.0
"""A class whose logit is this much smaller has a probability below 1e-17, nothing beside float32's rounding."""

Operators = tuple[AxisOperator, AxisOperator, AxisOperator]
Planes = Float32[np.ndarray, "_planes k _rows _columns"]
Tile = Float32[np.ndarray, "z y x"]
TileLabels = UInt8[np.ndarray, "z y x"] | UInt16[np.ndarray, "z y x"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """Outputs of an axis from the inputs `source`; `left` and `right` count from the beginning of `source`.

    An output is its `left` input, moved by `weight` towards the `right` one; without them it takes the nearest sample.
    """

    source: slice
    left: Int64[np.ndarray, " outputs"]
    right: Int64[np.ndarray, " outputs"] | None
    weight: Float32[np.ndarray, " outputs"] | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """A tile as one configuration sees it: the logits around it, and how each axis is made from them."""

    logits: Planes
    parts: tuple[Part, Part, Part]

    def interpolate(self, index: int) -> Tile:
        """Return one class's logits (z, y, x) on the native grid; the fastest axis first, while it is small."""
        logits = self.logits[:, index]
        for axis in (2, 1, 0):
            part = self.parts[axis]
            left = np.take(logits, part.left, axis=axis)
            if part.right is not None and part.weight is not None:
                step = np.take(logits, part.right, axis=axis)
                step -= left
                step *= part.weight.reshape([-1 if a == axis else 1 for a in range(3)])
                left += step
            logits = left
        return logits


def block_cuts(length: int, edge: int) -> tuple[tuple[int, int], ...]:
    """Cut an axis into parts (lower, upper) of at most `edge`.

    >>> block_cuts(10, 4)
    ((0, 4), (4, 8), (8, 10))
    """
    return tuple(pairwise([*range(0, length, edge), length]))


def block_reach(operator: AxisOperator) -> Reach:
    """Return the network planes behind each block of `TILE_PLANES` native planes."""
    lower, upper = zip(*(operator.columns_for(*cut) for cut in block_cuts(operator.n_out, TILE_PLANES)), strict=True)
    return Reach(lower=np.array(lower), upper=np.array(upper))


def block_labels(
    planes: Sequence[Planes], operators: Sequence[Operators], rows: tuple[int, int], target: Target
) -> TileLabels:
    """Return the class indexes of native planes `rows[0]` to `rows[1]`, over the whole crop.

    Args:
        planes: for each configuration the logits (plane, k, y, x) of the network planes that they are made from.
        operators: for each configuration its way to the crop.
        rows: first native plane, native plane after the last one.
        target: "labels": the class with the largest logit, the first of equals. "regions": 1 + the last region whose
            probability is above 0.5; else 0.

    """
    _, y, x = operators[0]
    classes = planes[0].shape[1] + (target == "regions")
    dtype = np.uint8 if classes <= UINT8_CLASSES else np.uint16
    result = np.empty((rows[1] - rows[0], y.n_out, x.n_out), dtype=dtype)
    for tile_y, tile_x in product(block_cuts(y.n_out, TILE_EDGE), block_cuts(x.n_out, TILE_EDGE)):
        views = []
        for logits, ways in zip(planes, operators, strict=True):
            parts = (_part(ways[0], rows), _part(ways[1], tile_y), _part(ways[2], tile_x))
            views.append(View(logits=logits[:, :, parts[1].source, parts[2].source], parts=parts))
        result[:, slice(*tile_y), slice(*tile_x)] = tile_labels(views, target)
    return result


def block_probabilities(
    planes: Sequence[Planes],
    operators: Sequence[Operators],
    rows: tuple[int, int],
    target: Target,
    temperatures: Sequence[float] = (),
) -> Float32[np.ndarray, "k z y x"]:
    """Return the probabilities of every class of native planes `rows[0]` to `rows[1]`, over the whole crop.

    Arguments as of `block_labels`; `temperatures` calibrate: one for all labels, one for each region, none for none.
    """
    _, y, x = operators[0]
    result = np.zeros((planes[0].shape[1], rows[1] - rows[0], y.n_out, x.n_out), dtype=np.float32)
    for tile_y, tile_x in product(block_cuts(y.n_out, TILE_EDGE), block_cuts(x.n_out, TILE_EDGE)):
        views = []
        for logits, ways in zip(planes, operators, strict=True):
            parts = (_part(ways[0], rows), _part(ways[1], tile_y), _part(ways[2], tile_x))
            views.append(View(logits=logits[:, :, parts[1].source, parts[2].source], parts=parts))
        for index, values in tempered(_averaged(views, target), target, temperatures).items():
            result[index, :, slice(*tile_y), slice(*tile_x)] = values
    return result


def tempered(probabilities: Mapping[int, Tile], target: Target, temperatures: Sequence[float]) -> Mapping[int, Tile]:
    """Return calibrated probabilities: p^(1/T) over their sum, for a region over p^(1/T) + (1 - p)^(1/T)."""
    if not temperatures:
        return probabilities
    if target == "regions":
        found = {}
        for index, p in probabilities.items():
            power = np.float32(1 / temperatures[index])
            found[index] = p**power / (p**power + (1 - p) ** power)
        return found
    raised = {index: values ** np.float32(1 / temperatures[0]) for index, values in probabilities.items()}
    total = reduce(np.add, raised.values())
    return {index: values / total for index, values in raised.items()}


def tile_labels(views: Sequence[View], target: Target) -> TileLabels:
    """Return the class indexes of one tile."""
    if len(views) == 1:
        (view,) = views
        if target == "labels":
            return _largest({index: view.interpolate(index) for index in _candidates(view)})
        return _last_above({index: view.interpolate(index) for index in _positive(view)}, 0.0, view)
    totals = _averaged(views, target)
    return _largest(totals) if target == "labels" else _last_above(totals, 0.5, views[0])


def _averaged(views: Sequence[View], target: Target) -> dict[int, Tile]:
    """Return the probabilities of the classes that have any, averaged over configurations, in the order of indexes."""
    totals: dict[int, Tile] = {}
    for view in views:
        for index, values in (_softmax(view) if target == "labels" else _sigmoid(view)).items():
            totals[index] = totals[index] + values if index in totals else values
    return {index: values / np.float32(len(views)) for index, values in sorted(totals.items())}


def _part(operator: AxisOperator, rows: tuple[int, int]) -> Part:
    """Return how the outputs `rows` of an axis are made; the operator is linear or nearest."""
    lower, upper = rows
    start, stop = operator.columns_for(lower, upper)
    left = operator.first[lower:upper] - start
    linear = operator.width == 2
    return Part(
        source=slice(start, stop),
        left=left,
        right=left + 1 if linear else None,
        weight=operator.weights[lower:upper, 1] if linear else None,
    )


def _candidates(view: View, margin: float = 0.0) -> list[int]:
    """Return the classes that come within `margin` of the largest logit: interpolation stays between the extremes."""
    values = view.logits
    smallest, largest = values.min(axis=(0, 2, 3)), values.max(axis=(0, 2, 3))
    return [int(index) for index in np.flatnonzero(largest >= smallest.max() - margin)]


def _positive(view: View) -> list[int]:
    return [int(index) for index in np.flatnonzero(view.logits.max(axis=(0, 2, 3)) > 0)]


def _largest(values: Mapping[int, Tile]) -> TileLabels:
    (first, best), *others = values.items()
    label = np.full(best.shape, first, dtype=np.uint16)
    for index, each in others:
        label[each > best] = index
        best = np.maximum(best, each)
    return label


def _last_above(values: Mapping[int, Tile], bound: float, view: View) -> TileLabels:
    z, y, x = (len(part.left) for part in view.parts)
    label = np.zeros((z, y, x), dtype=np.uint16)
    for index, each in values.items():
        label[each > bound] = index + 1
    return label


def _softmax(view: View) -> dict[int, Tile]:
    logits = {index: view.interpolate(index) for index in _candidates(view, _NEGLIGIBLE)}
    peak = reduce(np.maximum, logits.values())
    powers = {index: np.exp(values - peak) for index, values in logits.items()}
    total = reduce(np.add, powers.values())
    return {index: values / total for index, values in powers.items()}


def _sigmoid(view: View) -> dict[int, Tile]:
    with np.errstate(over="ignore"):  # exp of a large number is infinite, and the probability 0
        return {i: 1 / (1 + np.exp(-view.interpolate(i))) for i in range(view.logits.shape[1])}
