"""Segmentation without learning: thresholds, region growing, watershed. Baselines, and helpers for labelling.

All take one channel (z, y, x) and return masks or label maps of its shape.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int32, Integer, Real
from scipy import ndimage
from skimage import filters, segmentation

Mask = Bool[np.ndarray, "z y x"]
Image = Real[np.ndarray, "z y x"]
LabelMap = Int32[np.ndarray, "z y x"]
Voxel = tuple[int, int, int]


def otsu_threshold(values: Real[np.ndarray, "..."]) -> float | None:
    """Return the threshold that separates two classes of intensities best; None when all values are equal.

    Source: Otsu, A threshold selection method from gray-level histograms (IEEE SMC 1979).
    """
    if values.min() == values.max():
        return None
    return float(filters.threshold_otsu(values))


def segment_by_otsu(image: Image) -> Mask:
    """Return the voxels above Otsu's threshold; none in a constant image."""
    threshold = otsu_threshold(image)
    return np.zeros(image.shape, dtype=np.bool_) if threshold is None else np.asarray(image > threshold)


def grow_region(image: Image, seeds: Sequence[Voxel], lower: float, upper: float) -> Mask:
    """Return the voxels in [lower, upper] that a path of face neighbours in that range joins to a seed.

    Raises:
        ValueError: a seed (z, y, x) lies outside the image.

    """
    within = (image >= lower) & (image <= upper)
    regions = np.empty(image.shape, dtype=np.int32)
    ndimage.label(within, output=regions)
    for seed in seeds:
        if not all(0 <= index < n for index, n in zip(seed, image.shape, strict=True)):
            msg = f"seed {seed} is not inside {image.shape}"
            raise ValueError(msg)
    reached = {int(regions[seed]) for seed in seeds} - {0}
    return np.isin(regions, sorted(reached))


def split_touching(mask: Mask, spacing_mm: tuple[float, float, float], minimum_distance_mm: float) -> LabelMap:
    """Return the objects of a mask numbered from 1, touching ones cut apart at their necks by a watershed.

    Each object grows from a deepest point; of two deepest points closer than `minimum_distance_mm` one is kept. Source:
    Beucher and Meyer, The morphological approach to segmentation (1993), on the distance to background.
    """
    depth = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=spacing_mm)[1:-1, 1:-1, 1:-1]
    reach = tuple(2 * int(minimum_distance_mm / s) + 1 for s in spacing_mm)
    peaks = mask & (depth == ndimage.maximum_filter(depth, size=reach, mode="nearest"))
    markers, _ = ndimage.label(peaks, structure=np.ones((3, 3, 3), dtype=np.bool_))
    return np.asarray(segmentation.watershed(-depth, markers, mask=mask), dtype=np.int32)


def segment_by_watershed(image: Image, markers: Integer[np.ndarray, "z y x"]) -> LabelMap:
    """Return the label map that floods the gradient of the image from `markers` (z, y, x), 0 where not marked.

    Every voxel gets the label of the marker whose flood reaches it first; borders settle on edges of the image.
    """
    steps = ndimage.gaussian_gradient_magnitude(image.astype(np.float32), 1.0, mode="nearest")
    return np.asarray(segmentation.watershed(steps, markers), dtype=np.int32)
