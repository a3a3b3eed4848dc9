"""Masks and label maps as runs: stretches of one value along the last axis, far fewer than voxels.

Holes, connected parts and bounding boxes are found among them.

By NumPy alone, so that a model that was exported to run without SciPy prepares its images, and keeps the largest part
of a structure, with the very same code.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64, Integer, UInt8, UInt16

Pairs = tuple[Int64[np.ndarray, " pairs"], Int64[np.ndarray, " pairs"]]
LabelMap = UInt8[np.ndarray, "z y x"] | UInt16[np.ndarray, "z y x"]

_DENSE_VALUES = 4096
"""Range of label values up to which a table has a row for each of them, also for those that do not occur."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Runs:
    """Runs of a mask of `shape`, in its order: flat index of the first voxel and of the one after the last."""

    shape: tuple[int, ...]
    start: Int64[np.ndarray, " runs"]
    stop: Int64[np.ndarray, " runs"]


def find_runs(mask: Bool[np.ndarray, "*axes"]) -> Runs:
    """Return the runs of True along the last axis of a mask of at least one axis and one voxel."""
    flat, length = np.ascontiguousarray(mask).reshape(-1), mask.shape[-1]
    begins, ends = flat.copy(), flat.copy()
    begins[1:] &= ~flat[:-1]
    begins[::length] = flat[::length]
    ends[:-1] &= ~flat[1:]
    ends[length - 1 :: length] = flat[length - 1 :: length]
    return Runs(shape=mask.shape, start=np.flatnonzero(begins), stop=np.flatnonzero(ends) + 1)


def fill_holes(mask: Bool[np.ndarray, "*axes"]) -> Bool[np.ndarray, "*axes"]:
    """Return the mask with every hole filled; a hole is a region of False that reaches no face of the array.

    Regions are joined by faces alone. Drop an axis that has no faces, that of a single slice, before.
    """
    if mask.all():
        return mask
    empty = find_runs(~mask)
    first = _first_of_part(empty, corners=False)
    opened = np.zeros(len(first), dtype=np.bool_)
    opened[first[_on_a_face(empty)]] = True
    filled = np.ascontiguousarray(mask).copy()
    filled.reshape(-1)[_voxels(empty, ~opened[first])] = True
    return filled


def keep_largest(label_map: LabelMap, values: Sequence[int], otherwise: int = 0) -> LabelMap:
    """Return the label map (z, y, x) in which of all voxels with one of `values` only the largest part is left.

    The values count as one structure, and voxels that share a corner as one part; what is removed becomes `otherwise`.
    Parts of equal size are all kept. Source: nnU-Net's postprocessing (Isensee et al., Nature Methods 2021).
    """
    return remove_small(label_map, values, None, otherwise)


def remove_small(
    label_map: LabelMap, values: Sequence[int], minimum_voxels: int | None, otherwise: int = 0
) -> LabelMap:
    """Return the label map (z, y, x) without the parts of `values` that have fewer voxels; None: than the largest has.

    As for `keep_largest`, the values count as one structure and what is removed becomes `otherwise`.
    """
    runs = find_runs(np.isin(label_map, values))
    first = _first_of_part(runs, corners=True)
    sizes = np.bincount(first, weights=runs.stop - runs.start, minlength=len(first))
    limit = sizes.max(initial=0) if minimum_voxels is None else minimum_voxels
    removed = _voxels(runs, sizes[first] < limit)
    if not len(removed):
        return label_map
    kept = np.ascontiguousarray(label_map).copy()
    kept.reshape(-1)[removed] = otherwise
    return kept


def bounding_boxes(label: Integer[np.ndarray, "*axes"]) -> dict[int, tuple[slice, ...]]:
    """Return the bounding box of every value that occurs in a label map, values in ascending order."""
    flat, length = np.ascontiguousarray(label).reshape(-1), label.shape[-1]
    ends = np.empty(flat.size, dtype=np.bool_)
    np.not_equal(flat[1:], flat[:-1], out=ends[:-1])
    ends[length - 1 :: length] = True
    last = np.flatnonzero(ends)
    first = np.concatenate([[0], last[:-1] + 1])
    values, code = _numbered(flat[last])
    row = first // length
    column = first - row * length
    seen = [_seen(code, column, (len(values), length)) | _seen(code, column + last - first, (len(values), length))]
    for n in label.shape[-2::-1]:
        seen.insert(0, _seen(code, row % n, (len(values), n)))
        row //= n
    lower = [table.argmax(axis=1).tolist() for table in seen]
    upper = [(table.shape[1] - table[:, ::-1].argmax(axis=1)).tolist() for table in seen]
    return {
        values[index]: tuple(slice(low[index], high[index]) for low, high in zip(lower, upper, strict=True))
        for index in np.flatnonzero(seen[-1].any(axis=1)).tolist()
    }


def _numbered(values: Integer[np.ndarray, " n"]) -> tuple[list[int], Int64[np.ndarray, " n"]]:
    """Return label values in ascending order, all that occur among them, and the place of each of `values` in them."""
    lowest, highest = int(values.min()), int(values.max())
    if highest - lowest < _DENSE_VALUES:
        return list(range(lowest, highest + 1)), values.astype(np.int64) - lowest
    found, code = np.unique(values, return_inverse=True)
    return found.tolist(), code


def _seen(
    code: Int64[np.ndarray, " n"], place: Int64[np.ndarray, " n"], shape: tuple[int, int]
) -> Bool[np.ndarray, "values places"]:
    """Return a table of `shape` that is True at each pair (code, place)."""
    table = np.zeros(shape, dtype=np.bool_)
    table.reshape(-1)[code * shape[1] + place] = True
    return table


def _on_a_face(runs: Runs) -> Bool[np.ndarray, " runs"]:
    """Tell which runs reach a face of the array."""
    *places, first = np.unravel_index(runs.start, runs.shape)
    found = (first == 0) | (first + (runs.stop - runs.start) == runs.shape[-1])
    for place, length in zip(places, runs.shape[:-1], strict=True):
        found |= (place == 0) | (place == length - 1)
    return np.asarray(found)


def _first_of_part(runs: Runs, *, corners: bool) -> Int64[np.ndarray, " runs"]:
    """Return for each run the lowest number of a run that it is connected with, over any number of others."""
    one, other = _touching(runs, corners=corners)
    first = np.arange(len(runs.start))
    while one.size:
        low, high = np.minimum(first[one], first[other]), np.maximum(first[one], first[other])
        apart = low != high
        one, other = one[apart], other[apart]
        np.minimum.at(first, high[apart], low[apart])
        while not np.array_equal(first, first[first]):
            first = first[first]
    return first


def _touching(runs: Runs, *, corners: bool) -> Pairs:
    """Return all pairs of runs (numbers of the one, of the other) that share a face of a voxel, or just a corner."""
    none = np.zeros(0, dtype=np.int64)
    ones: list[Any] = [none]
    others: list[Any] = [none]
    places = np.unravel_index(runs.start, runs.shape)
    widened = int(corners)
    row_start = runs.start - places[-1]
    start = np.maximum(runs.start - widened, row_start)
    stop = np.minimum(runs.stop + widened, row_start + runs.shape[-1])
    for step in _steps(len(runs.shape) - 1, corners=corners):
        inside = np.ones(len(start), dtype=np.bool_)
        for place, move, length in zip(places, step, runs.shape, strict=False):
            inside &= (place + move >= 0) & (place + move < length)
        chosen = np.flatnonzero(inside)
        shift = sum(move * math.prod(runs.shape[axis + 1 :]) for axis, move in enumerate(step))
        # where these runs would lie one step further; the runs there are disjoint and in order
        lower = np.searchsorted(runs.stop, start[chosen] + shift, side="right")
        upper = np.searchsorted(runs.start, stop[chosen] + shift, side="left")
        ones.append(np.repeat(chosen, upper - lower))
        others.append(_ranges(lower, upper - lower))
    return np.concatenate(ones), np.concatenate(others)


def _steps(axes: int, *, corners: bool) -> list[tuple[int, ...]]:
    """Return the steps to rows that come later: one axis forward, or any neighbour."""
    steps = [step for step in product((-1, 0, 1), repeat=axes) if step > (0,) * axes]
    return steps if corners else [step for step in steps if sum(map(abs, step)) == 1]


def _voxels(runs: Runs, chosen: Bool[np.ndarray, " runs"]) -> Int64[np.ndarray, " voxels"]:
    """Return the flat indexes of all voxels of the chosen runs."""
    return _ranges(runs.start[chosen], (runs.stop - runs.start)[chosen])


def _ranges(start: Int64[np.ndarray, " n"], count: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " total"]:
    """Return the whole numbers start[0] .. start[0] + count[0] - 1, then those of start[1], and so on."""
    before = np.cumsum(count) - count
    return np.repeat(start - before, count) + np.arange(int(count.sum()))
