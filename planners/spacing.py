"""Which voxel size and axis order a dataset is worked on: target spacing, transposition, shapes after resampling."""

import math
from collections.abc import Sequence

from planners.fingerprint import CaseFingerprint, Fingerprint
from planners.recipe import Recipe

# A 2D image has no slice distance. Where one is needed to order the axes it is taken as this many in-plane
# spacings, so that the slice axis is always the worst. Source: nnU-Net, SimpleITKIO.
PLANE_THICKNESS = 999.0


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the percentile of `values` by linear interpolation, to the last bit as NumPy computes it."""
    ordered = sorted(values)
    position = (len(ordered) - 1) * (percent / 100)
    lower = math.floor(position)
    upper = min(lower + 1, len(ordered) - 1)
    weight = position - lower
    step = ordered[upper] - ordered[lower]
    # NumPy interpolates from the nearer end.
    return ordered[lower] + step * weight if weight < 0.5 else ordered[upper] - step * (1 - weight)


def median_per_axis(rows: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    """Return the median of each column of `rows`."""
    return tuple(percentile(column, 50) for column in zip(*rows, strict=True))


def working_spacing(case: CaseFingerprint) -> tuple[float, float, float]:
    """Return the spacing (mm) that orders the axes of a case: its own, with a very thick slice for a 2D image."""
    if case.dimensions == 2:
        _, y, x = case.spacing_mm
        return (PLANE_THICKNESS * max(y, x), y, x)
    return case.spacing_mm


def is_anisotropic(spacing_mm: Sequence[float], shape: Sequence[float], ratio: float) -> bool:
    """Return whether the worst axis has both `ratio` times coarser voxels and `ratio` times fewer of them."""
    worst = worst_axis(spacing_mm)
    other_spacing = max(s for axis, s in enumerate(spacing_mm) if axis != worst)
    other_voxels = min(n for axis, n in enumerate(shape) if axis != worst)
    return spacing_mm[worst] > ratio * other_spacing and ratio * shape[worst] < other_voxels


def target_spacing(fingerprint: Fingerprint, recipe: Recipe) -> tuple[float, ...]:
    """Return the spacing (mm, axes as on disk) that every case is resampled to.

    The median of the cases; the worst axis of anisotropic data takes a low percentile instead, because interpolating
    thick slices to thin ones costs less than throwing thin slices away, but never less than in-plane. Source: nnU-Net.
    """
    if recipe.spacing_mm is not None:
        return recipe.spacing_mm
    spacings = [working_spacing(case) for case in fingerprint.cases]
    target = list(median_per_axis(spacings))
    shape = median_per_axis([case.shape_after_crop for case in fingerprint.cases])
    if is_anisotropic(target, shape, recipe.anisotropy):
        worst = worst_axis(target)
        others = max(s for axis, s in enumerate(target) if axis != worst)
        low = percentile([spacing[worst] for spacing in spacings], recipe.anisotropic_percentile)
        target[worst] = low if low >= others else others + recipe.thinnest_slice_margin_mm
    return tuple(target)


def worst_axis(spacing_mm: Sequence[float]) -> int:
    """Return the axis with the coarsest spacing, the first of several."""
    return max(range(len(spacing_mm)), key=lambda axis: (spacing_mm[axis], -axis))


def transposition(spacing_mm: Sequence[float], shape: Sequence[float], recipe: Recipe) -> tuple[int, int, int]:
    """Return the axis order that makes the first axis the one across slices.

    By the recipe's rule that is the coarsest axis (nnU-Net), or one with a single voxel before the coarsest.
    """
    front = 0
    if recipe.transpose == "worst-axis-first":
        front = worst_axis(spacing_mm)
    elif recipe.transpose == "slices-first":
        front = worst_axis([float("inf") if n <= 1 else s for s, n in zip(spacing_mm, shape, strict=True)])
    first, second = (axis for axis in range(3) if axis != front)
    return (front, first, second)


def permuted(values: Sequence[float], order: Sequence[int]) -> tuple[float, ...]:
    """Return `values` in the order of axes `order`."""
    return tuple(values[axis] for axis in order)


def resampled_shape(case: CaseFingerprint, spacing_mm: Sequence[float]) -> tuple[int, ...]:
    """Return the shape of a cropped case at `spacing_mm`; halves are rounded to even, as nnU-Net and Python do."""
    pairs = zip(working_spacing(case), spacing_mm, case.shape_after_crop, strict=True)
    return tuple(max(1, round(old / new * edge)) for old, new, edge in pairs)


def median_shape(fingerprint: Fingerprint, spacing_mm: Sequence[float]) -> tuple[float, ...]:
    """Return the median shape of the cases at `spacing_mm`, axes as on disk, at least one voxel an axis."""
    return median_per_axis([resampled_shape(case, spacing_mm) for case in fingerprint.cases])
