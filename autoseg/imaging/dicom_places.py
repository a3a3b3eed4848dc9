"""Where DICOM labels are drawn: on the voxels of a regular grid, or on the slices of a series that was mended.

A label on a mended series is read on the slices as they were scanned and then put on the regular grid by the image's
own mapping. Between slices a structure changes its outline as its signed distances do (Raya and Udupa 1990,
doi:10.1109/42.52980): a mean of two 0/1 masks would jump from one to the other.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from autoseg.imaging.dicom_mend import Mending, mended
from autoseg.imaging.volume import Grid

_ON_A_PLANE = 0.1
"""Of a distance: a slice of the regular grid this close to one that was scanned is that one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Places:
    """The planes on which a label may be drawn.

    Attributes:
        grid: the image's grid, of a mended series the regular one.
        shape: (planes, rows, columns).
        mending: places and shifts of the planes where they are not the grid's; then `lost` tells which of them are
            slices of the grid that nobody scanned. A label may have been drawn before they were lost.
        lost: a flag for each plane; empty without a mending.

    """

    grid: Grid
    shape: tuple[int, int, int]
    mending: Mending | None = None
    lost: tuple[bool, ...] = ()

    def index_of(self, points_mm: Float64[np.ndarray, "points 3"]) -> Float64[np.ndarray, "3 points"]:
        """Return (plane, row, column) of points in LPS millimetres."""
        ras = np.column_stack([points_mm * (-1.0, -1.0, 1.0), np.ones(len(points_mm))])
        index: Float64[np.ndarray, "3 points"] = (np.linalg.inv(np.asarray(self.grid.affine, np.float64)) @ ras.T)[:3]
        if self.mending is None:
            return index
        places, shifts = np.asarray(self.mending.places), np.asarray(self.mending.shifts)
        after = np.clip(np.searchsorted(places, index[0]), 1, len(places) - 1)
        part = (index[0] - places[after - 1]) / (places[after] - places[after - 1])
        moved = shifts[after - 1] + (shifts[after] - shifts[after - 1]) * part[:, np.newaxis]
        return np.stack([after - 1 + part, index[1] - moved[:, 0], index[2] - moved[:, 1]])


def places_of(grid: Grid, mending: Mending | None, size: tuple[int, int]) -> Places:
    """Return the planes of an image: of a mended one those that were scanned, and those that are missing.

    Args:
        grid: the image's grid.
        mending: how it was mended, None if it was not.
        size: rows and columns of a scanned slice.

    """
    if mending is None:
        return Places(grid=grid, shape=grid.shape)
    scanned = np.asarray(mending.places)
    missing = [float(z) for z in range(grid.shape[0]) if np.abs(scanned - z).min() > _ON_A_PLANE]
    planes = sorted([*((place, False) for place in mending.places), *((place, True) for place in missing)])
    at = [place for place, _ in planes]
    own = np.asarray(mending.shifts)
    shifts = tuple(zip(*(np.interp(at, scanned, own[:, axis]).tolist() for axis in (0, 1)), strict=True))
    return Places(
        grid=grid,
        shape=(len(planes), *size),
        mending=replace(mending, places=tuple(at), shifts=shifts),
        lost=tuple(lost for _, lost in planes),
    )


def on_grid(places: Places, mask: UInt8[np.ndarray, "planes rows columns"]) -> UInt8[np.ndarray, "z y x"]:
    """Return a 0/1 mask drawn on the planes on the image's grid."""
    if places.mending is None:
        return mask
    kept = [n for n, lost in enumerate(places.lost) if not lost or mask[n].any()]
    mending = replace(
        places.mending,
        places=tuple(places.mending.places[n] for n in kept),
        shifts=tuple(places.mending.shifts[n] for n in kept),
    )
    _, row_mm, column_mm = places.grid.spacing_mm
    distances = [_signed_distance(mask[n] > 0, (row_mm, column_mm)) for n in kept]
    inside = [float(one.max()) for one in distances]
    for n, distance in enumerate(distances):
        if inside[n] <= 0:  # nothing here: a structure of the next slice ends halfway, its deepest point last
            distance[:] = min(-1.0, *(-inside[m] for m in (n - 1, n + 1) if 0 <= m < len(inside)))
    shown: UInt8[np.ndarray, "z y x"] = (mended(mending, lambda n: distances[n][np.newaxis], 1)[0] > 0).astype(np.uint8)
    return shown


def _signed_distance(
    shown: Bool[np.ndarray, "rows columns"], spacing_mm: tuple[float, float]
) -> Float64[np.ndarray, "rows columns"]:
    """Return the distance to the outline in mm, above 0 inside."""
    from scipy import ndimage  # not for `autoseg --help`

    if not shown.any():
        return np.full(shown.shape, -1.0)
    if shown.all():
        shown = shown.copy()
        shown[0, 0] = False  # so that what lies out of the field of view, which gets the minimum, is outside
    inside: Float64[np.ndarray, "rows columns"]
    outside: Float64[np.ndarray, "rows columns"]
    inside = ndimage.distance_transform_edt(shown, sampling=spacing_mm)
    outside = ndimage.distance_transform_edt(~shown, sampling=spacing_mm)
    distance: Float64[np.ndarray, "rows columns"] = inside - outside
    return distance
