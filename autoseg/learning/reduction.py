"""Logits on the network's grid to class indexes or probabilities on the native grid, tile by tile.

A tile is a box of the native grid small enough for the processor's cache. Its logits are interpolated class by class,
and only the best one so far is kept. Interpolation is convex, so a class whose largest logit around a tile is below
another class's smallest cannot win there and is skipped: with many classes that is nearly all of them, at no loss.

Probabilities are the softmax (or sigmoid) of the interpolated logits: where several configurations predict, those of
the same native voxel are averaged, whatever the grid of each network is.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int64, Integer, UInt8, UInt16
from torch import Tensor

from autoseg.imaging.preparation import GridMapping
from autoseg.imaging.resampling import AxisOperator
from autoseg.learning.slab import Reach
from autoseg.learning.windows import Shape
from planners.plan import Target

# 8 x 64 x 64 float32 values are 128 KiB, within a core's cache, and just few enough for torch to compute them on one
# core: the tiles are what runs in parallel. BLAS would split even these and wait for itself on a busy machine.
TILE_EDGE = 64
_DEVICE_TILE_EDGE = 512  # a GPU wants few large tiles
TILE_PLANES = 8
_UINT8_CLASSES = 256
_NEGLIGIBLE = 25.0
"""A logit this far below another one has a probability below 2e-11, which float32 cannot add to the others."""

Operators = tuple[AxisOperator, AxisOperator, AxisOperator]
Tile = Float32[Tensor, "plane k y x"]
TileLabels = Integer[Tensor, "native_z native_y native_x"]
Probabilities = dict[int, Float32[Tensor, "native_z native_y native_x"]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """Outputs `lower` to `upper` of an axis from the inputs `source`.

    An output is its `left` input, moved by `weight` towards the `right` one; both count from the beginning of `source`.
    `left` is None where the axis is unchanged, `right` where nothing is interpolated.
    """

    lower: int
    upper: int
    source: slice
    left: Int64[Tensor, " outputs"] | None = None
    right: Int64[Tensor, " outputs"] | None = None
    weight: Float32[Tensor, " outputs"] | None = None


class View(NamedTuple):
    """The logits (plane, k, y, x) around a tile, and how each axis (z, y, x) leads to the tile's voxels."""

    logits: Tile
    parts: tuple[Part, Part, Part]

    @property
    def shape(self) -> Shape:
        """Shape (z, y, x) of the tile."""
        z, y, x = (part.upper - part.lower for part in self.parts)
        return (z, y, x)

    def interpolate(self, index: int) -> Float32[Tensor, "native_z native_y native_x"]:
        """Return the logits of class `index` in the tile; the fastest axis first, while it is small."""
        logits = self.logits[:, index]
        for axis in (2, 1, 0):
            part = self.parts[axis]
            if part.left is None:
                continue
            left = logits.index_select(axis, part.left)
            if part.right is None or part.weight is None:
                logits = left
            else:
                weight = part.weight.view([-1 if a == axis else 1 for a in range(3)])
                logits = torch.lerp(left, logits.index_select(axis, part.right), weight)
        return logits


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Band:
    """Rows `lower` to `upper` of the (cropped, transposed) native grid, over all planes and columns."""

    lower: int
    upper: int
    network_rows: tuple[int, int]
    y_parts: tuple[Part, ...]
    x_parts: tuple[Part, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (rows, columns)."""
        return (self.upper - self.lower, self.x_parts[-1].upper)

    @property
    def tiles(self) -> tuple[tuple[Part, Part], ...]:
        """Parts (y, x) of every tile of a block of planes."""
        return tuple(product(self.y_parts, self.x_parts))

    def view(self, planes: Float32[Tensor, "plane k rows x"], z: Part, tile: tuple[Part, Part]) -> View:
        """Return one tile of the band's logits (plane, k, rows, x), of which `z` makes native planes."""
        y, x = tile
        rows = slice(y.source.start - self.network_rows[0], y.source.stop - self.network_rows[0])
        return View(planes[:, :, rows, x.source], (z, y, x))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduction:
    """The way from the network's grid to the native grid, cropped and transposed as the network sees it.

    `offset` (z, y, x) is where the crop begins. Tiles, bands and blocks of planes begin at multiples of their edges on
    the uncropped grid, so that they fill the chunks of a stored array.
    """

    operators: Operators
    offset: Shape
    outputs: int
    target: Target
    device: torch.device

    @property
    def shape(self) -> Shape:
        """Shape (z, y, x) of the result."""
        z, y, x = (operator.n_out for operator in self.operators)
        return (z, y, x)

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        """Type that holds every class index."""
        classes = self.outputs + (self.target == "regions")
        return np.uint8 if classes <= _UINT8_CLASSES else np.uint16

    def blank(self, shape: Shape) -> UInt8[np.ndarray, "z y x"] | UInt16[np.ndarray, "z y x"]:
        """Return zeros of the type that holds every class index."""
        return np.zeros(shape, np.uint8) if self.dtype is np.uint8 else np.zeros(shape, np.uint16)

    @property
    def blocks(self) -> tuple[tuple[int, int], ...]:
        """Native planes (first, after the last) that are made in one go."""
        return cuts(self.shape[0], TILE_PLANES, self.offset[0])

    @property
    def reach(self) -> Reach:
        """Network planes behind each block of native planes."""
        lower, upper = zip(*(self.network_planes(*block) for block in self.blocks), strict=True)
        return Reach(lower=np.array(lower), upper=np.array(upper))

    def network_planes(self, first: int, last: int) -> tuple[int, int]:
        """Return the network planes behind native planes `first` to `last`."""
        return _source(self.operators[0], first, last)

    def z_part(self, first: int, last: int) -> Part:
        """Return how native planes `first` to `last` are made."""
        return _part(self.operators[0], (first, last), self.device)

    def bands(self, count: int) -> Iterator[Band]:
        """Split the native rows into at most `count` bands that can be predicted one after the other."""
        _, y, x = self.operators
        edge = TILE_EDGE if self.device.type == "cpu" else _DEVICE_TILE_EDGE
        x_parts = tuple(_part(x, cut, self.device) for cut in cuts(x.n_out, edge, self.offset[2]))
        for lower, upper in cuts(y.n_out, self.band_rows(count), self.offset[1]):
            inside = cuts(upper - lower, edge, self.offset[1] + lower)
            yield Band(
                lower=lower,
                upper=upper,
                network_rows=_source(y, lower, upper),
                y_parts=tuple(_part(y, (lower + a, lower + b), self.device) for a, b in inside),
                x_parts=x_parts,
            )

    def band_rows(self, count: int) -> int:
        """Return the distance of bands on the uncropped grid, in rows."""
        return -(-(self.offset[1] + self.shape[1]) // count)


def cuts(length: int, edge: int, offset: int) -> tuple[tuple[int, int], ...]:
    """Cut an axis into parts (lower, upper) at multiples of `edge`, counted from `offset` before its beginning.

    >>> cuts(10, 4, 0), cuts(10, 4, 5)
    (((0, 4), (4, 8), (8, 10)), ((0, 3), (3, 7), (7, 10)))
    """
    return tuple(pairwise([0, *range(edge - offset % edge, length, edge), length]))


def make_reduction(mapping: GridMapping, outputs: int, target: Target, device: torch.device) -> Reduction:
    """Return the reduction of logits on the network's grid of `mapping`: linear, nearest along a thick axis."""
    operators = mapping.operators_to_native()
    return Reduction(operators=operators, offset=mapping.crop_lower, outputs=outputs, target=target, device=device)


def label_kind(outputs: int) -> torch.dtype:
    """Return the type that torch computes class indexes in: uint8, or int32 where they do not fit."""
    return torch.uint8 if outputs < _UINT8_CLASSES else torch.int32


def tile_labels(view: View, target: Target) -> TileLabels:
    """Return the class indexes (z, y, x) of a tile, uint8 or int32.

    "labels": the class with the largest logit, the first of equals. "regions": 1 + the last region whose probability is
    above 0.5, that is, whose logit is above 0; else 0.
    """
    return _largest(view) if target == "labels" else _last_above_half(view)


def tile_probabilities(views: Sequence[View], target: Target) -> Probabilities:
    """Return the probabilities (z, y, x) of a tile by class, averaged over `views`; classes left out have none."""
    return averaged([view_probabilities(view, target) for view in views])


def view_probabilities(view: View, target: Target, negligible: float = _NEGLIGIBLE) -> Probabilities:
    """Return the probabilities (z, y, x) of a tile by class; a class with logits `negligible` below is left out."""
    return _softmax(view, negligible) if target == "labels" else _sigmoid(view, negligible)


def averaged(members: Sequence[Probabilities]) -> Probabilities:
    """Return the mean of each class over the members; a class that one leaves out has no probability there."""
    totals: Probabilities = {}
    for found in members:
        for index, values in found.items():
            totals[index] = totals[index] + values if index in totals else values
    if len(members) > 1:
        totals = {index: values / len(members) for index, values in totals.items()}
    return dict(sorted(totals.items()))


def tempered(probabilities: Probabilities, target: Target, temperatures: Sequence[float]) -> Probabilities:
    """Return probabilities p^(1/T) over their sum: over all classes, or over a region's inside and outside.

    `temperatures` is one for all labels or one for each region. Of one network this is the softmax of logits / T. What
    float32 rounds to certainty stays certain.
    """
    if target == "regions":
        powers = {i: (p ** (1 / temperatures[i]), (1 - p) ** (1 / temperatures[i])) for i, p in probabilities.items()}
        return {index: inside / (inside + outside) for index, (inside, outside) in powers.items()}
    raised = {index: values ** (1 / temperatures[0]) for index, values in probabilities.items()}
    total = reduce(torch.add, raised.values())
    return {index: values / total for index, values in raised.items()}


def most_probable(probabilities: Probabilities, target: Target, kind: torch.dtype) -> TileLabels:
    """Return the class indexes (z, y, x) of a tile from its probabilities by class, as `tile_labels` does of logits."""
    (first, best), *others = probabilities.items()
    if target == "regions":
        label = torch.zeros(best.shape, dtype=kind, device=best.device)
        for index, values in probabilities.items():
            label.masked_fill_(values > 0.5, index + 1)
        return label
    label = torch.full(best.shape, first, dtype=kind, device=best.device)
    for index, values in others:
        label.masked_fill_(values > best, index)
        best = torch.maximum(best, values)
    return label


def _source(operator: AxisOperator, lower: int, upper: int) -> tuple[int, int]:
    return (lower, upper) if operator.identity else operator.columns_for(lower, upper)


def _part(operator: AxisOperator, rows: tuple[int, int], device: torch.device) -> Part:
    """Return how the outputs `rows` of an axis are made; the operator is linear or nearest."""
    lower, upper = rows
    start, stop = _source(operator, lower, upper)
    part = Part(lower=lower, upper=upper, source=slice(start, stop))
    if operator.identity:
        return part
    left = torch.from_numpy(operator.first[lower:upper] - start).to(device)
    part = replace(part, left=left)
    if operator.width == 1:
        return part
    weight = torch.from_numpy(operator.weights[lower:upper, 1].copy()).to(device)
    return replace(part, right=left + 1, weight=weight)


def _extremes(tile: Tile) -> tuple[Float32[np.ndarray, " k"], Float32[np.ndarray, " k"]]:
    """Return the smallest and the largest logit of each class; NumPy, because it stays on one core (see TILE_EDGE)."""
    if tile.device.type != "cpu":
        smallest, largest = torch.aminmax(tile.transpose(0, 1).flatten(1), dim=1)
        return smallest.cpu().numpy(), largest.cpu().numpy()
    values = np.swapaxes(tile.numpy(), 0, 1).reshape(tile.shape[1], -1)
    return values.min(axis=1), values.max(axis=1)


def _candidates(tile: Tile, margin: float = 0.0) -> list[int]:
    """Return the classes that come within `margin` of the largest logit: interpolation stays between the extremes."""
    smallest, largest = _extremes(tile)
    return [int(index) for index in np.flatnonzero(largest >= smallest.max() - margin)]


def _largest(view: View) -> TileLabels:
    kind = label_kind(view.logits.shape[1])
    best: Tensor | None = None
    label: Tensor | None = None
    for index in _candidates(view.logits):
        logits = view.interpolate(index)
        if best is None or label is None:
            best = logits
            label = torch.full_like(logits, index, dtype=kind)
        else:
            label.masked_fill_(logits > best, index)
            best = torch.maximum(best, logits)
    assert label is not None  # noqa: S101 (the class with the largest smallest logit is a candidate)
    return label


def _last_above_half(view: View) -> TileLabels:
    label = torch.zeros(view.shape, dtype=label_kind(view.logits.shape[1]), device=view.logits.device)
    for index in map(int, np.flatnonzero(_extremes(view.logits)[1] > 0)):
        label.masked_fill_(view.interpolate(index) > 0, index + 1)
    return label


def _softmax(view: View, negligible: float) -> Probabilities:
    """Return the softmax of the interpolated logits, class by class: no operation is larger than a tile."""
    logits = {index: view.interpolate(index) for index in _candidates(view.logits, negligible)}
    peak = reduce(torch.maximum, logits.values())
    powers = {index: (values - peak).exp_() for index, values in logits.items()}
    total = reduce(torch.add, powers.values())
    return {index: values / total for index, values in powers.items()}


def _sigmoid(view: View, negligible: float) -> Probabilities:
    possible = map(int, np.flatnonzero(_extremes(view.logits)[1] >= -negligible))
    return {index: torch.sigmoid(view.interpolate(index)) for index in possible}
