"""Counts and surface scores of one structure in one case. Undefined is None.

Overlap comes from counts, boundaries from distances; each is measured once and everything else derived. Neither
prediction nor reference has a voxel: every score is undefined; one of them has none: Dice, IoU and NSD are 0, and
distances are infinite, which is None here.
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
    hausdorff_95_pooled,
    mean_average,
    surface_dice,
    surface_distances,
    surfel_distances,
)

__all__ = [
    "SurfaceScores",
    "confusion_counts",
    "diagonal_mm",
    "dice",
    "iou",
    "joint_histogram",
    "nsd",
    "surface_scores",
]

_PART_VOXELS = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SurfaceScores:
    """How far two boundaries lie apart; `nsd_voxel` is the share of their voxels within the tolerance, if given."""

    hd_mm: float | None
    hd95_mm: float | None
    hd95_pooled_mm: float | None
    assd_mm: float | None
    masd_mm: float | None
    nsd_voxel: float | None


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
    table = joint_histogram(prediction, reference, n_classes)
    tp = np.diagonal(table).copy()
    return tp, table.sum(axis=0) - tp, table.sum(axis=1) - tp


def joint_histogram(
    prediction: Integer[np.ndarray, "..."], reference: Integer[np.ndarray, "..."], n_classes: int
) -> Int64[np.ndarray, "{n_classes} {n_classes}"]:
    """Return how many voxels have reference class r (row) and predicted class p (column).

    Negative values are as in `confusion_counts`.

    Raises:
        ValueError: a class index is not below `n_classes`.

    """
    joint = np.zeros(n_classes * n_classes, dtype=np.int64)
    unsigned = prediction.dtype.kind == reference.dtype.kind == "u"
    kind = np.uint16 if unsigned and len(joint) <= 1 << 16 else np.int64
    predicted, referred = prediction.reshape(-1), reference.reshape(-1)
    for start in range(0, len(predicted), _PART_VOXELS):
        p, r = (side[start : start + _PART_VOXELS] for side in (predicted, referred))
        if not unsigned and min(p.min(), r.min()) < 0:
            p, r = p[r != IGNORE], r[r != IGNORE]
            p, r = np.maximum(p, 0), np.maximum(r, 0)
        if max(p.max(initial=0), r.max(initial=0)) >= n_classes:
            msg = f"class index {max(p.max(), r.max())} is not below {n_classes}"
            raise ValueError(msg)
        codes = np.multiply(r, n_classes, dtype=kind, casting="unsafe")
        joint += np.bincount(np.add(codes, p, dtype=kind, casting="unsafe"), minlength=len(joint))
    return joint.reshape(n_classes, n_classes)


def surface_scores(
    prediction: Bool[np.ndarray, "z y x"],
    reference: Bool[np.ndarray, "z y x"],
    spacing_mm: tuple[float, float, float],
    tolerance_mm: float | None = None,
) -> SurfaceScores:
    """Return the boundary scores of two masks (z, y, x) on one grid; a single slice is judged in the plane."""
    distances = surface_distances(prediction, reference, spacing_mm)
    if distances is None:
        one = prediction.any() or reference.any()
        return SurfaceScores(
            hd_mm=None,
            hd95_mm=None,
            hd95_pooled_mm=None,
            assd_mm=None,
            masd_mm=None,
            nsd_voxel=0.0 if one and tolerance_mm is not None else None,
        )
    return SurfaceScores(
        hd_mm=hausdorff(distances),
        hd95_mm=hausdorff_95(distances),
        hd95_pooled_mm=hausdorff_95_pooled(distances),
        assd_mm=average_symmetric(distances),
        masd_mm=mean_average(distances),
        nsd_voxel=None if tolerance_mm is None else surface_dice(distances, tolerance_mm),
    )


def nsd(
    prediction: Bool[np.ndarray, "z y x"],
    reference: Bool[np.ndarray, "z y x"],
    spacing_mm: tuple[float, float, float],
    tolerance_mm: float,
) -> float | None:
    """Return the share of both surfaces, by area, within the tolerance of the other; None when neither has a voxel."""
    surfels = surfel_distances(prediction, reference, spacing_mm, tolerance_mm)
    if surfels is None:
        return 0.0 if prediction.any() or reference.any() else None
    return surface_dice(surfels, tolerance_mm)


def diagonal_mm(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> float:
    """Return the length of the image's diagonal: the distance to give a structure that was missed altogether."""
    return float(np.linalg.norm([n * s for n, s in zip(shape, spacing_mm, strict=True)]))
