"""What a radiologist reads off a segmentation: volume, largest diameter, number of parts, mean intensity."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, Integer, Real

from autoseg.imaging.components import connected_components
from autoseg.imaging.volume import Grid
from planners.fingerprint import Label

Mask = Bool[np.ndarray, "*axes"]
MM3_PER_ML = 1000.0
_ROWS_AT_ONCE = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One structure of one case; None where it has no voxel; a 2D image has an area instead of a volume.

    `largest_diameter_mm` is the largest distance between two points of its surface, voxel faces included: a row of n
    voxels measures n spacings. `mean_intensities` are in the order of the image's channels, empty without an image.
    """

    label: str
    voxels: int
    volume_ml: float | None
    area_mm2: float | None
    largest_diameter_mm: float | None
    components: int
    mean_intensities: tuple[float | None, ...]


def measure(
    label_map: Integer[np.ndarray, "z y x"],
    grid: Grid,
    labels: Sequence[Label],
    image: Real[np.ndarray, "c z y x"] | None = None,
) -> tuple[Measurement, ...]:
    """Measure every foreground label.

    Args:
        label_map: (z, y, x) label values; a label is wherever the map has one of its values.
        grid: the map's grid; with two dimensions areas are measured instead of volumes.
        labels: those of role "foreground" are measured, in their order.
        image: (c, z, y, x) on the same grid, in original units, for mean intensities.

    """
    from scipy import ndimage  # takes a while to load: prediction begins before

    boxes = ndimage.find_objects(label_map.astype(np.int32, copy=False))
    found = []
    for label in labels:
        if label.role == "foreground":
            parts = [boxes[value - 1] for value in label.values if 0 < value <= len(boxes) and boxes[value - 1]]
            found.append(_measure_label(label, label_map, _union(parts), grid, image))
    return tuple(found)


def largest_diameter_mm(mask: Mask, spacing_mm: Sequence[float]) -> float | None:
    """Return the largest distance between two surface points of a mask; None when it is empty.

    The mask has axes (z, y, x), or (y, x) to measure in the plane, and `spacing_mm` as many. Surface points are the
    centres of the voxels' outer faces; the two that lie furthest apart are vertices of their convex hull.
    """
    from scipy.spatial import ConvexHull
    from scipy.spatial.distance import cdist

    voxels = _row_ends(mask)
    if not len(voxels):
        return None
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    faces = np.concatenate([np.diag(spacing), -np.diag(spacing)]) / 2
    points = ((voxels * spacing)[:, None] + faces).reshape(-1, mask.ndim)
    hull = points[ConvexHull(points).vertices]
    return float(max(cdist(hull[i : i + _ROWS_AT_ONCE], hull).max() for i in range(0, len(hull), _ROWS_AT_ONCE)))


def _row_ends(mask: Mask) -> Int[np.ndarray, "ends axes"]:
    """Return the first and last voxel of every row along the last axis: no other can be a vertex of the hull."""
    rows = np.argwhere(mask.any(axis=-1))
    lines = mask[tuple(rows.T)]
    first, last = lines.argmax(axis=1), mask.shape[-1] - 1 - lines[:, ::-1].argmax(axis=1)
    return np.concatenate([np.column_stack([rows, first]), np.column_stack([rows, last])])


def _union(boxes: Sequence[tuple[slice, ...]]) -> tuple[slice, ...] | None:
    if not boxes:
        return None
    return tuple(slice(min(s.start for s in along), max(s.stop for s in along)) for along in zip(*boxes, strict=True))


def _measure_label(
    label: Label,
    label_map: Integer[np.ndarray, "z y x"],
    box: tuple[slice, ...] | None,
    grid: Grid,
    image: Real[np.ndarray, "c z y x"] | None,
) -> Measurement:
    solid, channels = grid.dimensions == 3, 0 if image is None else len(image)
    if box is None:
        return Measurement(
            label=label.name,
            voxels=0,
            volume_ml=0.0 if solid else None,
            area_mm2=None if solid else 0.0,
            largest_diameter_mm=None,
            components=0,
            mean_intensities=(None,) * channels,
        )
    mask = label_map[box] == label.values[0]
    for value in label.values[1:]:  # np.isin would make an int64 copy
        mask |= label_map[box] == value
    voxels = int(np.count_nonzero(mask))
    z, y, x = grid.spacing_mm
    means = () if image is None else tuple(float(c[box][mask].mean(dtype=np.float64)) for c in image)
    return Measurement(
        label=label.name,
        voxels=voxels,
        volume_ml=voxels * z * y * x / MM3_PER_ML if solid else None,
        area_mm2=None if solid else voxels * y * x,
        largest_diameter_mm=largest_diameter_mm(mask if solid else mask[0], (z, y, x) if solid else (y, x)),
        components=connected_components(mask).count,
        mean_intensities=means,
    )
