"""Logits on the network's grid to class indexes on the native grid, tile by tile.

A tile is a box of the native grid small enough for the processor's cache. Its logits are interpolated class by class,
and only the best one so far is kept. Interpolation is convex, so a class whose largest logit around a tile is below
another class's smallest cannot win there and is skipped: with many classes that is nearly all of them, at no loss.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoseg.imaging.preparation import GridMapping
from autoseg.imaging.resampling import AxisOperator
from autoseg.learning.slab import Reach
from autoseg.learning.windows import Shape
from planners.plan import Target

_TILE_EDGE = {"cpu": 64}  # in-plane; 16 x 64 x 64 float32 values are 256 KiB, within a core's cache
_DEFAULT_TILE_EDGE = 512  # elsewhere few large tiles keep the device busy
TILE_PLANES = 16
_UINT8_CLASSES = 256

Operators = tuple[AxisOperator, AxisOperator, AxisOperator]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Part:
    """Outputs `lower` to `upper` of an axis from inputs `source`; `matrix` None where the axis is unchanged."""

    lower: int
    upper: int
    source: slice
    matrix: Tensor | None


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

    def labels(self, planes: Tensor, first: int, last: int) -> Tensor:
        """Return the class indexes (last - first, rows, x) of native planes `first` to `last`, uint8 or int32.

        `planes` (plane, k, rows, x) are the logits of the network planes that they are made from.
        """
        kind = torch.uint8 if planes.shape[1] < _UINT8_CLASSES else torch.int32
        shape = (last - first, self.upper - self.lower, self.x_parts[-1].upper)
        result = torch.zeros(shape, dtype=kind, device=planes.device)
        (z,) = _parts(self.z, (first, last), last - first, self.device)
        offset = z.source.start
        z = _Part(lower=first, upper=last, source=slice(0, z.source.stop - offset), matrix=z.matrix)
        reduce = _largest if self.target == "labels" else _last_above_half
        for y in self.y_parts:
            for x in self.x_parts:
                rows = slice(y.source.start - self.network_rows[0], y.source.stop - self.network_rows[0])
                tile = planes[z.source, :, rows, x.source]
                result[:, y.lower - self.lower : y.upper - self.lower, x.lower : x.upper] = reduce(
                    tile, (z, y, x), kind
                )
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

    def blank(self, shape: Shape) -> NDArray[np.uint8] | NDArray[np.uint16]:
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
        edge = _TILE_EDGE.get(self.device.type, _DEFAULT_TILE_EDGE)
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
    parts = []
    for lower in range(rows[0], rows[1], edge):
        upper = min(lower + edge, rows[1])
        source = slice(*_source(operator, lower, upper))
        matrix = None if operator.identity else torch.tensor(operator.block(lower, upper).matrix, device=device)
        parts.append(_Part(lower=lower, upper=upper, source=source, matrix=matrix))
    return tuple(parts)


def _interpolate(logits: Tensor, parts: tuple[_Part, _Part, _Part]) -> Tensor:
    """Return one class's logits (z, y, x) of a tile on the native grid."""
    z, y, x = (part.matrix for part in parts)
    if z is not None:
        depth, rows, columns = logits.shape
        logits = (z @ logits.reshape(depth, rows * columns)).view(len(z), rows, columns)
    if y is not None:
        logits = y @ logits
    return logits if x is None else logits @ x.T


def _candidates(tile: Tensor) -> list[int]:
    """Return the classes that can be the largest somewhere: interpolation stays between smallest and largest."""
    values = tile.transpose(0, 1).flatten(1)  # a copy: reducing it is four times as fast as reducing the strided view
    return torch.nonzero(values.amax(dim=1) >= values.amin(dim=1).max()).flatten().tolist()


def _largest(tile: Tensor, parts: tuple[_Part, _Part, _Part], kind: torch.dtype) -> Tensor:
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


def _last_above_half(tile: Tensor, parts: tuple[_Part, _Part, _Part], kind: torch.dtype) -> Tensor:
    """Return 1 + the last region whose probability is above 0.5, that is, whose logit is above 0; else 0."""
    shape = tuple(part.upper - part.lower for part in parts)
    label = torch.zeros(shape, dtype=kind, device=tile.device)
    above = tile.transpose(0, 1).flatten(1).amax(dim=1) > 0
    for index in torch.nonzero(above).flatten().tolist():
        label.masked_fill_(_interpolate(tile[:, index], parts) > 0, index + 1)
    return label
