"""Logits on the network's grid to class indexes on the native grid, tile by tile.

A tile is a box of the native grid small enough for the processor's cache. Its logits are interpolated class by class,
and only the best one so far is kept. Interpolation is convex, so a class whose largest logit around a tile is below
another class's smallest cannot win there and is skipped: with many classes that is nearly all of them, at no loss.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

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

Run = Callable[[Callable[[Any], None], Iterable[Any]], Iterable[None]]
Operators = tuple[AxisOperator, AxisOperator, AxisOperator]
Tile = Float32[Tensor, "plane k y x"]
TileLabels = Integer[Tensor, "native_z native_y native_x"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Part:
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Band:
    """Rows `lower` to `upper` of the (cropped, transposed) native grid, over all planes and columns."""

    lower: int
    upper: int
    network_rows: tuple[int, int]
    z: AxisOperator
    y_parts: tuple[_Part, ...]
    x_parts: tuple[_Part, ...]
    target: Target
    device: torch.device

    def labels(
        self, planes: Float32[Tensor, "plane k rows x"], first: int, last: int, run: Run = map
    ) -> Integer[Tensor, "native_z native_rows native_x"]:
        """Return the class indexes (last - first, rows, x) of native planes `first` to `last`, uint8 or int32.

        Args:
            planes: logits (plane, k, rows, x) of the network planes that they are made from.
            first: first native plane.
            last: native plane after the last one.
            run: like `map`; that of a thread pool computes tiles in parallel.

        """
        kind = torch.uint8 if planes.shape[1] < _UINT8_CLASSES else torch.int32
        shape = (last - first, self.upper - self.lower, self.x_parts[-1].upper)
        result = torch.zeros(shape, dtype=kind, device=planes.device)
        (z,) = _parts(self.z, (first, last), last - first, self.device)
        reduce = _largest if self.target == "labels" else _last_above_half

        def one(tile: tuple[_Part, _Part]) -> None:
            y, x = tile
            rows = slice(y.source.start - self.network_rows[0], y.source.stop - self.network_rows[0])
            with torch.inference_mode():
                found = reduce(planes[:, :, rows, x.source], (z, y, x), kind)
                result[:, y.lower - self.lower : y.upper - self.lower, x.lower : x.upper] = found

        for _ in run(one, product(self.y_parts, self.x_parts)):
            pass
        return result


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reduction:
    """The way from the network's grid to the native grid, cropped and transposed as the network sees it."""

    operators: Operators
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
    def reach(self) -> Reach:
        """Network planes behind each native plane."""
        z = self.operators[0]
        if z.identity:
            every = np.arange(z.n_out)
            return Reach(lower=every, upper=every + 1)
        return Reach(lower=z.first, upper=z.first + z.width)

    def network_planes(self, first: int, last: int) -> tuple[int, int]:
        """Return the network planes behind native planes `first` to `last`."""
        return _source(self.operators[0], first, last)

    def bands(self, count: int) -> Iterator[Band]:
        """Split the native rows into about `count` bands that can be predicted one after the other."""
        z, y, x = self.operators
        edge = TILE_EDGE if self.device.type == "cpu" else _DEVICE_TILE_EDGE
        height = -(-y.n_out // count)
        x_parts = _parts(x, (0, x.n_out), edge, self.device)
        for lower in range(0, y.n_out, height):
            upper = min(lower + height, y.n_out)
            yield Band(
                lower=lower,
                upper=upper,
                network_rows=_source(y, lower, upper),
                z=z,
                y_parts=_parts(y, (lower, upper), edge, self.device),
                x_parts=x_parts,
                target=self.target,
                device=self.device,
            )


def make_reduction(mapping: GridMapping, outputs: int, target: Target, device: torch.device) -> Reduction:
    """Return the reduction of logits on the network's grid of `mapping`: linear, nearest along a thick axis."""
    operators = mapping.operators_to_native()
    return Reduction(operators=operators, outputs=outputs, target=target, device=device)


def _source(operator: AxisOperator, lower: int, upper: int) -> tuple[int, int]:
    return (lower, upper) if operator.identity else operator.columns_for(lower, upper)


def _parts(operator: AxisOperator, rows: tuple[int, int], edge: int, device: torch.device) -> tuple[_Part, ...]:
    """Cut the outputs `rows` of an axis into parts of at most `edge`; the operator is linear or nearest."""
    parts = []
    for lower in range(rows[0], rows[1], edge):
        upper = min(lower + edge, rows[1])
        start, stop = _source(operator, lower, upper)
        part = _Part(lower=lower, upper=upper, source=slice(start, stop))
        if not operator.identity:
            left = torch.from_numpy(operator.first[lower:upper] - start).to(device)
            part = replace(part, left=left)
            if operator.width == 2:
                weight = torch.from_numpy(operator.weights[lower:upper, 1].copy()).to(device)
                part = replace(part, right=left + 1, weight=weight)
        parts.append(part)
    return tuple(parts)


def _interpolate(
    logits: Float32[Tensor, "z y x"], parts: tuple[_Part, _Part, _Part]
) -> Float32[Tensor, "native_z native_y native_x"]:
    """Return one class's logits (z, y, x) of a tile on the native grid; the fastest axis first, while it is small."""
    for axis in (2, 1, 0):
        part = parts[axis]
        if part.left is None:
            continue
        left = logits.index_select(axis, part.left)
        if part.right is None or part.weight is None:
            logits = left
        else:
            weight = part.weight.view([-1 if a == axis else 1 for a in range(3)])
            logits = torch.lerp(left, logits.index_select(axis, part.right), weight)
    return logits


def _extremes(tile: Tile) -> tuple[Float32[np.ndarray, " k"], Float32[np.ndarray, " k"]]:
    """Return the smallest and the largest logit of each class; NumPy, because it stays on one core (see TILE_EDGE)."""
    if tile.device.type != "cpu":
        smallest, largest = torch.aminmax(tile.transpose(0, 1).flatten(1), dim=1)
        return smallest.cpu().numpy(), largest.cpu().numpy()
    values = np.swapaxes(tile.numpy(), 0, 1).reshape(tile.shape[1], -1)
    return values.min(axis=1), values.max(axis=1)


def _candidates(tile: Tile) -> list[int]:
    """Return the classes that can be the largest somewhere: interpolation stays between smallest and largest."""
    smallest, largest = _extremes(tile)
    return [int(index) for index in np.flatnonzero(largest >= smallest.max())]


def _largest(tile: Tile, parts: tuple[_Part, _Part, _Part], kind: torch.dtype) -> TileLabels:
    """Return the class with the largest logit (the first of equals) in a tile (plane, k, y, x)."""
    classes = _candidates(tile)
    best: Tensor | None = None
    label: Tensor | None = None
    for index in classes:
        logits = _interpolate(tile[:, index], parts)
        if best is None or label is None:
            best = logits
            label = torch.full_like(logits, index, dtype=kind)
        else:
            label.masked_fill_(logits > best, index)
            best = torch.maximum(best, logits)
    assert label is not None  # noqa: S101 (the class with the largest smallest logit is a candidate)
    return label


def _last_above_half(tile: Tile, parts: tuple[_Part, _Part, _Part], kind: torch.dtype) -> TileLabels:
    """Return 1 + the last region whose probability is above 0.5, that is, whose logit is above 0; else 0."""
    shape = tuple(part.upper - part.lower for part in parts)
    label = torch.zeros(shape, dtype=kind, device=tile.device)
    for index in map(int, np.flatnonzero(_extremes(tile)[1] > 0)):
        label.masked_fill_(_interpolate(tile[:, index], parts) > 0, index + 1)
    return label
