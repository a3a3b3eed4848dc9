"""Counts and surface scores of one structure in one case. Undefined is None.

Overlap comes from counts, boundaries from distances; each is measured once and everything else derived. Definitions
follow Metrics Reloaded (Maier-Hein et al., Nature Methods 2024): neither prediction nor reference has a voxel - every
score is undefined; one of them has none - Dice, IoU and NSD are 0 and distances undefined.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64, Integer

from autoseg.core.labels import IGNORE
from autoseg.core.scores import dice_of as dice
from autoseg.core.scores import iou_of as iou
from autoseg.imaging.distances import (
    average_symmetric,
    hausdorff,
    hausdorff_95,
    mean_average,
    surface_dice,
    surface_distances,
    surfel_distances,
)

__all__ = ["SurfaceScores", "confusion_counts", "diagonal_mm", "dice", "iou", "surface_scores"]

_PART_VOXELS = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SurfaceScores:
    """How far two surfaces lie apart; `nsd` is the share of both surfaces within the tolerance, by area."""

    hd_mm: float | None
    hd95_mm: float | None
    assd_mm: float | None
    masd_mm: float | None
    nsd: float | None


def confusion_counts(
    prediction: Integer[np.ndarray, "..."], reference: Integer[np.ndarray, "..."], n_classes: int
) -> tuple[Int64[np.ndarray, " {n_classes}"], Int64[np.ndarray, " {n_classes}"], Int64[np.ndarray, " {n_classes}"]]:
    """Return true positives, false positives and false negatives per class, each int64 (n_classes,).

    Both arrays hold class indexes and have one shape. Voxels where the reference is IGNORE take no part; other
    negative values (OUTSIDE) are background. One pass over a joint histogram serves all classes.

    Raises:
        ValueError: shapes differ, or a class index is not below `n_classes`.

    """
    if prediction.shape != reference.shape:
        msg = f"prediction {prediction.shape} and reference {reference.shape} differ in shape"
        raise ValueError(msg)
    joint = np.zeros(n_classes * n_classes, dtype=np.int64)
    predicted, referred = prediction.reshape(-1), reference.reshape(-1)
    for start in range(0, len(predicted), _PART_VOXELS):
        p = predicted[start : start + _PART_VOXELS].astype(np.int64)
        r = referred[start : start + _PART_VOXELS].astype(np.int64)
        if r.min() < 0:
            p, r = p[r != IGNORE], r[r != IGNORE]
        p, r = np.maximum(p, 0), np.maximum(r, 0)
        if max(p.max(initial=0), r.max(initial=0)) >= n_classes:
            msg = f"class index {max(p.max(), r.max())} is not below {n_classes}"
            raise ValueError(msg)
        joint += np.bincount(r * n_classes + p, minlength=len(joint))
    table = joint.reshape(n_classes, n_classes)
    tp = np.diagonal(table).copy()
    return tp, table.sum(axis=0) - tp, table.sum(axis=1) - tp


def surface_scores(
    prediction: Bool[np.ndarray, "z y x"],
    reference: Bool[np.ndarray, "z y x"],
    spacing_mm: tuple[float, float, float],
    tolerance_mm: float,
) -> SurfaceScores:
    """Return the surface scores of two masks (z, y, x) on one grid; a single slice is judged in the plane."""
    distances = surface_distances(prediction, reference, spacing_mm)
    if distances is None:
        nsd = 0.0 if prediction.any() or reference.any() else None
        return SurfaceScores(hd_mm=None, hd95_mm=None, assd_mm=None, masd_mm=None, nsd=nsd)
    surfels = surfel_distances(prediction, reference, spacing_mm)
    return SurfaceScores(
        hd_mm=hausdorff(distances),
        hd95_mm=hausdorff_95(distances),
        assd_mm=average_symmetric(distances),
        masd_mm=mean_average(distances),
        nsd=None if surfels is None else surface_dice(surfels, tolerance_mm),
    )


def diagonal_mm(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> float:
    """Return the length of the image's diagonal: the distance to give a structure that was missed altogether."""
    return float(np.linalg.norm([n * s for n, s in zip(shape, spacing_mm, strict=True)]))
