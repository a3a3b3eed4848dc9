"""Resampling as linear maps: one small banded matrix per axis, built once, applied block by block with BLAS.

Sample positions are voxel centres of the same physical extent (half-pixel convention): output i lies at
(i + 0.5) * n_in / n_out - 0.5. Beyond the first and last voxel the signal goes on constant. The maps equal
`skimage.transform.resize(order, mode="edge", anti_aliasing=False)` to 3e-6 of the range.

The cubic spline follows Unser, Splines: a perfect fit for signal and image processing (IEEE SPM 1999): interpolation
is evaluation of B-splines after a recursive prefilter whose impulse response falls as POLE ** distance, so that it is
cut at PREFILTER_REACH voxels.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64, Integer

from autoseg.imaging.runs import bounding_boxes

Order = Literal[0, 1, 3]

NEAREST: Order = 0
LINEAR: Order = 1
CUBIC: Order = 3

POLE = 3**0.5 - 2
"""Pole of the cubic B-spline prefilter."""
PREFILTER_REACH = 12
"""Voxels after which the prefilter's response is cut: |POLE| ** 12 is 1.4e-7, float32's own precision."""
BLOCK_ROWS = 32
"""Rows per block: wide enough for BLAS, narrow enough that a block is mostly band."""
ANISOTROPY = 3.0
"""Largest over smallest spacing from which an axis is not interpolated; nnU-Net's threshold."""
BONUS = 2e-6
"""Added to the label of the nearest voxel, and half of it tells a tie: above rounding, below any real lead."""


class Block(NamedTuple):
    """Rows [row_start, row_stop) of an operator, as a dense float32 matrix over columns [column_start, column_stop)."""

    row_start: int
    row_stop: int
    column_start: int
    column_stop: int
    matrix: Float32[np.ndarray, "rows columns"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AxisOperator:
    """A linear map from `n_in` to `n_out` samples, banded: row i reads columns first[i] .. first[i] + width - 1.

    `first` (n_out,) is non-decreasing; `weights` (n_out, width) float32, rows sum to one.
    Outputs are rows, inputs columns.
    """

    n_in: int
    n_out: int
    order: Order
    first: Int64[np.ndarray, " n_out"]
    weights: Float32[np.ndarray, "n_out width"]
    blocks: tuple[Block, ...]

    @property
    def identity(self) -> bool:
        """Whether output equals input (equal lengths)."""
        return self.n_in == self.n_out

    @property
    def width(self) -> int:
        """Columns that one row reads."""
        return int(self.weights.shape[1])

    def columns_for(self, row_start: int, row_stop: int) -> tuple[int, int]:
        """Return the half-open range of input rows that the outputs [row_start, row_stop) read."""
        if row_stop <= row_start:
            return (0, 0)
        return int(self.first[row_start]), int(self.first[row_stop - 1]) + self.width

    def rows_ready(self, columns: int) -> int:
        """Return how many leading outputs depend only on the first `columns` inputs."""
        return int(np.searchsorted(self.first, columns - self.width, side="right"))

    def row_range_for(self, column_start: int, column_stop: int) -> tuple[int, int]:
        """Return the half-open range of outputs that read any of the inputs [column_start, column_stop)."""
        start = int(np.searchsorted(self.first, column_start - self.width, side="right"))
        stop = int(np.searchsorted(self.first, column_stop, side="left"))
        return start, max(start, stop)

    def block(self, row_start: int, row_stop: int) -> Block:
        """Return the rows [row_start, row_stop), at least one, as one dense block."""
        return _dense(self.first, self.weights, row_start, row_stop)

    def blocks_between(self, row_start: int, row_stop: int) -> Iterator[Block]:
        """Yield the blocks that make up the rows [row_start, row_stop)."""
        for block in self.blocks:
            start, stop = max(row_start, block.row_start), min(row_stop, block.row_stop)
            if stop - start == len(block.matrix):
                yield block
            elif start < stop:
                yield self.block(start, stop)


@lru_cache(maxsize=256)
def axis_operator(n_in: int, n_out: int, order: Order) -> AxisOperator:
    """Return the operator that resizes one axis from `n_in` to `n_out` samples.

    Raises:
        ValueError: an empty axis or an order other than 0 (nearest), 1 (linear), 3 (cubic spline).

    """
    if n_in < 1 or n_out < 1:
        msg = f"cannot resize an axis of {n_in} to {n_out} samples"
        raise ValueError(msg)
    columns, values = _taps(n_in, n_out, order)
    width = min(columns.shape[1], n_in)
    clamped = np.clip(columns, 0, n_in - 1)
    first = np.clip(columns[:, 0], 0, n_in - width)
    weights = np.zeros((n_out, width))
    np.add.at(weights, (np.arange(n_out)[:, None], clamped - first[:, None]), values)
    weights /= weights.sum(axis=1, keepdims=True)
    banded = weights.astype(np.float32)
    blocks = tuple(_dense(first, banded, r, min(r + BLOCK_ROWS, n_out)) for r in range(0, n_out, BLOCK_ROWS))
    first.setflags(write=False)
    for array in (banded, *(block.matrix for block in blocks)):
        array.setflags(write=False)
    return AxisOperator(n_in=n_in, n_out=n_out, order=order, first=first, weights=banded, blocks=blocks)


def axis_orders(old_spacing_mm: Sequence[float], new_spacing_mm: Sequence[float], order: Order) -> tuple[Order, ...]:
    """Return the interpolation order per axis: `order`, but nearest along the one axis with far thicker voxels.

    Where the largest spacing is more than three times the smallest (tested on the old, then on the new spacing) and
    one axis alone has it, nothing is interpolated along that axis: neighbouring slices show different anatomy.
    Spacings are in mm, one number per axis. Source: nnU-Net (Isensee et al., Nature Methods 2021).
    """
    for spacing_mm in (old_spacing_mm, new_spacing_mm):
        largest = max(spacing_mm)
        if largest > ANISOTROPY * min(spacing_mm):
            thick = [axis for axis, value in enumerate(spacing_mm) if value == largest]
            if len(thick) == 1:
                return tuple(NEAREST if axis == thick[0] else order for axis in range(len(spacing_mm)))
            break
    return (order,) * len(old_spacing_mm)


def new_shape(
    shape: Sequence[int], old_spacing_mm: Sequence[float], new_spacing_mm: Sequence[float]
) -> tuple[int, ...]:
    """Return the shape at the new spacing (mm): extent over spacing, rounded half to even, at least one voxel."""
    pairs = zip(shape, old_spacing_mm, new_spacing_mm, strict=True)
    return tuple(max(1, round(old / new * n)) for n, old, new in pairs)


def apply_along(array: Float32[np.ndarray, "..."], axis: int, operator: AxisOperator) -> Float32[np.ndarray, "..."]:
    """Return the array with `operator` applied along `axis`; float32 in and out."""
    return apply_rows(array, axis, operator, rows=(0, operator.n_out))


def apply_rows(
    array: Float32[np.ndarray, "..."], axis: int, operator: AxisOperator, *, rows: tuple[int, int], offset: int = 0
) -> Float32[np.ndarray, "..."]:
    """Return the outputs [rows[0], rows[1]) along `axis`, from the part of the input that begins at index `offset`.

    Inputs outside the part count as zero, so a part that vanishes outside a box gives the exact result.
    """
    axis %= array.ndim
    leading, length, trailing = array.shape[:axis], array.shape[axis], array.shape[axis + 1 :]
    source = array.reshape(int(np.prod(leading)), length, int(np.prod(trailing)))
    result = np.empty((source.shape[0], rows[1] - rows[0], source.shape[2]), dtype=np.float32)
    for row_start, row_stop, column_start, column_stop, dense in operator.blocks_between(*rows):
        start, stop = max(column_start - offset, 0), min(column_stop - offset, length)
        target = result[:, row_start - rows[0] : row_stop - rows[0]]
        if stop <= start:
            target[:] = 0
            continue
        matrix = dense[:, start + offset - column_start : stop + offset - column_start]
        if source.shape[2] == 1:
            np.matmul(source[:, start:stop, 0], matrix.T, out=target[:, :, 0])
        else:
            np.matmul(matrix, source[:, start:stop], out=target)
    return result.reshape(*leading, rows[1] - rows[0], *trailing)


def resize(
    array: Float32[np.ndarray, "c z y x"], shape: Sequence[int], order: Order | Sequence[Order]
) -> Float32[np.ndarray, "c {shape[0]} {shape[1]} {shape[2]}"]:
    """Return the image (c, z, y, x) resized to `shape` (z, y, x), float32.

    `order` is one for all axes or one per axis. Cubic overshoot is clipped to the range that the channel has; where an
    axis takes its nearest sample, to the range of each slice along it. The input itself is returned when the shapes are
    equal.
    """
    orders = _per_axis(order, len(shape))
    if array.shape[1:] == tuple(shape):
        return array
    result = np.empty((array.shape[0], *shape), dtype=np.float32)
    for channel, source in enumerate(array):
        result[channel] = _resize_channel(np.ascontiguousarray(source, dtype=np.float32), shape, orders)
    return result


def _resize_channel(
    source: Float32[np.ndarray, "z y x"], shape: Sequence[int], orders: Sequence[Order]
) -> Float32[np.ndarray, "{shape[0]} {shape[1]} {shape[2]}"]:
    operators = [axis_operator(n, m, o) for n, m, o in zip(source.shape, shape, orders, strict=True)]
    smooth = tuple(axis for axis, operator in enumerate(operators) if operator.order != NEAREST)
    changed = [axis for axis in smooth if not operators[axis].identity]
    result = source
    for axis in sorted(changed, key=lambda a: (shape[a] / source.shape[a], -a)):
        result = apply_along(result, axis, operators[axis])
    if any(operators[axis].order == CUBIC for axis in changed):
        lower, upper = source.min(axis=smooth, keepdims=True), source.max(axis=smooth, keepdims=True)
        np.clip(result, lower, upper, out=result)
    for axis, operator in enumerate(operators):
        if operator.order == NEAREST and not operator.identity:
            result = np.take(result, operator.first, axis=axis)
    return result


def resize_labels(
    label: Integer[np.ndarray, "z y x"], shape: Sequence[int], orders: Order | Sequence[Order] = LINEAR
) -> Integer[np.ndarray, "{shape[0]} {shape[1]} {shape[2]}"]:
    """Return the label map (z, y, x) resized to `shape`: the label with the largest interpolated indicator wins.

    Ties go to the label of the nearest voxel if it is among the tied, else to the smallest. Negative labels count as
    labels. Only labels that occur cost time, each in its own bounding box; any integer type goes in and comes out.
    `orders` is nearest or linear, for all or per axis. The input itself is returned when the shapes are equal.
    """
    orders = _per_axis(orders, len(shape))
    if label.shape == tuple(shape):
        return label
    operators = [axis_operator(n, m, o) for n, m, o in zip(label.shape, shape, orders, strict=True)]
    nearest = label
    for axis, operator in enumerate(operators):
        if not operator.identity:
            nearest = np.take(nearest, axis_operator(operator.n_in, operator.n_out, NEAREST).first, axis=axis)
    if all(operator.order == NEAREST or operator.identity for operator in operators):
        return nearest
    return _vote(label, nearest, operators)


def _vote(
    label: Integer[np.ndarray, "z y x"],
    nearest: Integer[np.ndarray, "new_z new_y new_x"],
    operators: Sequence[AxisOperator],
) -> Integer[np.ndarray, "new_z new_y new_x"]:
    """Give each voxel the label whose indicators weigh most; a small bonus lets `nearest` decide ties."""
    boxes = bounding_boxes(label)
    most = max(boxes, key=lambda value: math.prod(part.stop - part.start for part in boxes[value]))
    result = np.full(nearest.shape, most, dtype=label.dtype)
    best = np.zeros(nearest.shape, dtype=np.float32)
    taken = np.zeros(nearest.shape, dtype=np.float32)
    targets = []
    for value, box in boxes.items():
        if value == most:
            continue
        indicator = (label[box] == value).astype(np.float32)
        target, weight = _resize_box(indicator, [part.start for part in box], operators)
        targets.append(target)
        taken[target] += weight
        weight += np.float32(BONUS) * (nearest[target] == value)
        wins = weight - best[target] > BONUS / 2
        np.copyto(best[target], weight, where=wins)
        np.copyto(result[target], label.dtype.type(value), where=wins)
    if targets:
        z, y, x = (
            slice(min(s.start for s in along), max(s.stop for s in along)) for along in zip(*targets, strict=True)
        )
        # the weight of the label that is everywhere is what the others leave: no pass of its own; planes fit a cache
        for index in range(z.start, z.stop):
            part = (index, y, x)
            left = 1 - taken[part]
            left += np.float32(BONUS) * (nearest[part] == most)
            left -= best[part]
            equal = np.abs(left) <= BONUS / 2
            np.copyto(result[part], label.dtype.type(most), where=left > BONUS / 2)
            np.minimum(result[part], label.dtype.type(most), out=result[part], where=equal)
    return result


def _resize_box(
    indicator: Float32[np.ndarray, "z y x"], lower: Sequence[int], operators: Sequence[AxisOperator]
) -> tuple[tuple[slice, ...], Float32[np.ndarray, "new_z new_y new_x"]]:
    """Resize a part that begins at `lower` and is zero elsewhere; return where it lands and its values there."""
    target = []
    for axis, operator in enumerate(operators):
        rows = operator.row_range_for(lower[axis], lower[axis] + indicator.shape[axis])
        target.append(slice(*rows))
        indicator = apply_rows(indicator, axis, operator, rows=rows, offset=lower[axis])
    return tuple(target), indicator


def _taps(
    n_in: int, n_out: int, order: Order
) -> tuple[Int64[np.ndarray, "{n_out} taps"], Float64[np.ndarray, "{n_out} taps"]]:
    """Return consecutive columns (n_out, taps), not yet clamped to the axis, and their weights."""
    if order == NEAREST or n_in == n_out:
        columns = (2 * np.arange(n_out, dtype=np.int64) + 1) * n_in // (2 * n_out)
        return columns[:, None], np.ones((n_out, 1))
    position = (np.arange(n_out) + 0.5) * (n_in / n_out) - 0.5
    below = np.floor(position).astype(np.int64)
    t = position - below
    if order == LINEAR:
        return below[:, None] + np.arange(2), np.stack([1 - t, t], axis=1)
    if order == CUBIC:
        offsets = np.arange(-1 - PREFILTER_REACH, 3 + PREFILTER_REACH)
        basis = np.stack([(1 - t) ** 3, 4 - 6 * t**2 + 3 * t**3, 1 + 3 * t + 3 * t**2 - 3 * t**3, t**3], axis=1) / 6
        distance = np.abs(np.arange(-1, 3)[:, None] - offsets[None, :])
        prefilter = -6 * POLE / (1 - POLE**2) * POLE**distance
        return below[:, None] + offsets, basis @ prefilter
    msg = f"order {order} is not 0 (nearest), 1 (linear) or 3 (cubic spline)"
    raise ValueError(msg)


def _dense(
    first: Int64[np.ndarray, " n_out"], weights: Float32[np.ndarray, "n_out width"], row_start: int, row_stop: int
) -> Block:
    width = weights.shape[1]
    start, stop = int(first[row_start]), int(first[row_stop - 1]) + width
    matrix = np.zeros((row_stop - row_start, stop - start), dtype=np.float32)
    columns = first[row_start:row_stop, None] - start + np.arange(width)
    np.put_along_axis(matrix, columns, weights[row_start:row_stop], axis=1)
    return Block(row_start, row_stop, start, stop, matrix)


def _per_axis(order: Order | Sequence[Order], axes: int) -> tuple[Order, ...]:
    return (order,) * axes if isinstance(order, int) else tuple(order)
