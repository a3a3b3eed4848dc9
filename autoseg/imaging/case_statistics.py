"""Numbers that say how an image and its predicted structures look, to tell a case that is unlike those known.

Nothing here knows a reference. Images are normalised and on the network's grid, so that scanners and voxel sizes that
normalization and resampling take care of make no difference.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Integer

from autoseg.imaging.components import connected_components

SpacingMm = tuple[float, float, float]

MOST_VOXELS = 1 << 22
"""Of a larger image whole planes are left out, evenly: four million voxels give every mean to three digits."""
_QUANTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True, slots=True, kw_only=True)
class StructureStatistics:
    """One predicted structure: its voxels, parts (touching at faces, edges or corners), and where its centre is.

    `surface_voxels` have a neighbour across a face that is not of the structure. `centre` is relative to the image, 0
    to 1 along (z, y, x); None where nothing is predicted.
    """

    voxels: int
    volume_mm3: float
    components: int
    largest_voxels: int
    surface_voxels: int
    centre: tuple[float, float, float] | None


def image_statistics(image: Float32[np.ndarray, "c z y x"], spacing_mm: SpacingMm) -> tuple[float, ...]:
    """Return the logarithms of the extents in mm along (z, y, x), and for each channel how its intensities are spread.

    Per channel: three quantiles, skewness and kurtosis, cube roots of both; for each axis the mean step between
    neighbours, how much of it is noise (the second difference beside the first), and the slope over the image.
    """
    extents = [math.log(max(n, 1) * s) for n, s in zip(image.shape[1:], spacing_mm, strict=True)]
    found = [number for channel in image for number in _channel(channel)]
    return tuple(float(number) for number in (*extents, *found))


def structure_statistics(
    label_map: Integer[np.ndarray, "z y x"], values: Sequence[Sequence[int]], spacing_mm: SpacingMm
) -> tuple[StructureStatistics, ...]:
    """Return how each structure looks that has one of its `values` in the label map (z, y, x)."""
    from scipy import ndimage  # takes a while to load: prediction begins before

    boxes = ndimage.find_objects(label_map.astype(np.int32, copy=False))
    found = []
    for own in values:
        parts = [boxes[value - 1] for value in own if 0 < value <= len(boxes) and boxes[value - 1]]
        if not parts:
            found.append(_NOTHING)
            continue
        box = tuple(
            slice(min(part[axis].start for part in parts), max(part[axis].stop for part in parts)) for axis in range(3)
        )
        found.append(_structure(np.isin(label_map[box], own), box, label_map.shape, spacing_mm))
    return tuple(found)


_NOTHING = StructureStatistics(voxels=0, volume_mm3=0.0, components=0, largest_voxels=0, surface_voxels=0, centre=None)


def _structure(
    mask: Bool[np.ndarray, "z y x"], box: Sequence[slice], shape: Sequence[int], spacing_mm: SpacingMm
) -> StructureStatistics:
    from scipy import ndimage

    voxels = int(np.count_nonzero(mask))
    sizes = connected_components(mask).sizes_voxels
    inside = ndimage.binary_erosion(mask)  # beyond the box there is nothing of the structure
    centre = [
        (
            along.start
            + float(mask.sum(axis=tuple(a for a in range(3) if a != axis)) @ np.arange(mask.shape[axis])) / voxels
            + 0.5
        )
        / shape[axis]
        for axis, along in enumerate(box)
    ]
    return StructureStatistics(
        voxels=voxels,
        volume_mm3=voxels * math.prod(spacing_mm),
        components=len(sizes),
        largest_voxels=int(sizes.max()),
        surface_voxels=voxels - int(np.count_nonzero(inside)),
        centre=(centre[0], centre[1], centre[2]),
    )


def _channel(channel: Float32[np.ndarray, "z y x"]) -> list[float]:
    """Return the numbers of one channel, from pairs of planes where it is large."""
    step = math.ceil(channel.size / MOST_VOXELS)
    part = channel if step == 1 else channel[: len(channel) // step]  # refined below
    if step > 1:
        starts = np.linspace(0, len(channel) - 3, max(1, len(channel) // step // 3)).astype(int)
        part = channel[(starts[:, None] + np.arange(3)).reshape(-1).clip(0, len(channel) - 1)]
    values = part.astype(np.float64)
    mean, spread = float(values.mean()), float(values.std()) or 1.0
    standard = (values - mean) / spread
    moments = [float(np.cbrt((standard**power).mean())) for power in (3, 4)]
    numbers = [*map(float, np.quantile(values, _QUANTILES)), *moments]
    for axis in range(3):
        first = np.abs(np.diff(standard, axis=axis))
        second = np.abs(np.diff(standard, n=2, axis=axis))
        size = float(first.mean()) if first.size else 0.0
        rough = float(second.mean()) / size if second.size and size else 0.0
        numbers += [math.log(size + 1e-3), rough, _slope(standard, axis)]
    return numbers


def _slope(standard: Float64[np.ndarray, "z y x"], axis: int) -> float:
    """Return the size of the correlation of intensity with the place along an axis."""
    profile = standard.mean(axis=tuple(a for a in range(3) if a != axis))
    place = np.linspace(-1, 1, len(profile)) if len(profile) > 1 else np.zeros(1)
    return abs(float((profile * place).mean()))
