"""A faulty DICOM series on a regular grid: lost slices interpolated, uneven distances evened, a tilt sheared back.

Each plane keeps its own place: where it lies along the normal, and how far it is shifted in its plane from the first.
A plane of the new grid is the weighted mean of the two planes around it, each shifted to where it truly lies; where it
coincides with a plane nothing is interpolated across slices. The grid is widened so that no pixel falls off.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Real

MOST_DISTANCES = 3.0
"""Slices further apart than this many usual distances have no believable anatomy between them: two lost slices."""

_COINCIDES = 1e-3  # of a distance


@dataclass(frozen=True, slots=True, kw_only=True)
class Mending:
    """How planes become a regular stack.

    Attributes:
        places: where each plane lies along the normal, ascending, in distances of the new grid from its first slice.
        shifts: (row, column) in pixels of each plane's first pixel from that of the new grid.
        shape: (z, y, x) of the new grid.
        origin: (row, column) in pixels of the new grid's first pixel from that of the first plane.
        step_mm: distance of the new slices.

    """

    places: tuple[float, ...]
    shifts: tuple[tuple[float, float], ...]
    shape: tuple[int, int, int]
    origin: tuple[int, int]
    step_mm: float


def plan_mending(
    places_mm: Float64[np.ndarray, " planes"],
    shifts: Float64[np.ndarray, "planes 2"],
    size: tuple[int, int],
    usual_mm: float,
) -> Mending:
    """Return the regular grid for planes.

    Args:
        places_mm: along the normal, ascending.
        shifts: (row, column) in pixels of each plane's first pixel from that of the first plane.
        size: rows and columns of a plane.
        usual_mm: the distance to aim at; the new one divides the stack evenly, so that its ends stay where they are.

    """
    extent_mm = float(places_mm[-1] - places_mm[0])
    count = max(2, round(extent_mm / usual_mm) + 1)
    step_mm = extent_mm / (count - 1)
    low, high = np.floor(shifts.min(axis=0)).astype(int), np.ceil(shifts.max(axis=0)).astype(int)
    rows, columns = (int(n + b - a) for n, a, b in zip(size, low, high, strict=True))
    own = shifts - low
    return Mending(
        places=tuple(float(v) for v in (places_mm - places_mm[0]) / step_mm),
        shifts=tuple((float(row), float(column)) for row, column in own),
        shape=(count, rows, columns),
        origin=(int(low[0]), int(low[1])),
        step_mm=step_mm,
    )


def mended(
    mending: Mending, plane: Callable[[int], Real[np.ndarray, "channel y x"]], channels: int
) -> Real[np.ndarray, "channel z rows columns"]:
    """Return the resampled stack, float32; pixels that no plane shows have the lowest value of the nearest plane.

    Args:
        mending: the grid.
        plane: the values of a plane by its number.
        channels: how many values a pixel has.

    """
    stack = np.empty((channels, *mending.shape), np.float32)
    places = np.asarray(mending.places)
    kept: dict[int, Real[np.ndarray, "channel rows columns"]] = {}

    def shifted(number: int) -> Real[np.ndarray, "channel rows columns"]:
        if number not in kept:
            kept[number] = _shifted(plane(number), mending.shifts[number], mending.shape[1:])
        return kept[number]

    for z in range(mending.shape[0]):
        after = int(np.clip(np.searchsorted(places, z), 1, len(places) - 1))
        for passed in [number for number in kept if number < after - 1]:
            del kept[passed]
        weight = float(np.clip((z - places[after - 1]) / (places[after] - places[after - 1]), 0.0, 1.0))
        if weight < _COINCIDES:
            stack[:, z] = shifted(after - 1)
        elif weight > 1 - _COINCIDES:
            stack[:, z] = shifted(after)
        else:
            stack[:, z] = (1 - weight) * shifted(after - 1) + weight * shifted(after)
    return stack


def _shifted(
    values: Real[np.ndarray, "channel y x"], shift: tuple[float, float], size: tuple[int, int]
) -> Real[np.ndarray, "channel rows columns"]:
    """Return the plane moved by (row, column) pixels on a larger one, by linear interpolation."""
    from scipy import ndimage  # not for `autoseg --help`

    whole = [int(np.floor(part)) for part in shift]
    rest = [part - n for part, n in zip(shift, whole, strict=True)]
    moved = np.empty((len(values), *size), np.float32)
    for channel, out in zip(values.astype(np.float32), moved, strict=True):
        pad = [(n, size[axis] - channel.shape[axis] - n) for axis, n in enumerate(whole)]
        out[:] = np.pad(channel, pad, constant_values=float(channel.min()))
        if any(part > _COINCIDES for part in rest):
            out[:] = ndimage.shift(out, rest, order=1, mode="nearest", prefilter=False)
    return moved
