"""Lesion-wise Dice and HD95 as BraTS defined them in 2023: every lesion counts the same, however small it is.

Reference lesions that a dilation joins are one lesion (consolidation). A reference lesion is compared with all
predicted components that touch its dilation; a missed lesion and a predicted component that touches none score Dice 0
and a fixed HD95. The case's score is the mean over reference lesions above a volume and false ones.

Two things the challenge's program does are taken for mistakes and differ here: a component that touches several lesions
counts for the one it shares most voxels of the dilation with, not for each; and the volume below which lesions do not
count holds for false ones, too. Rule: BraTS 2023 lesion-wise metrics (README of rachitsaluja/BraTS-2023-Metrics).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from autoseg.core.presets import LesionWise
from autoseg.imaging.components import connected_components
from autoseg.imaging.distances import hausdorff_95, surface_distances
from autoseg.imaging.lesions import shared_voxels

Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionWiseScores:
    """Means over `lesions` reference lesions and `false_lesions`; None where there is neither."""

    lesions: int
    false_lesions: int
    dice: float | None
    hd95_mm: float | None


def lesion_wise_scores(prediction: Mask, reference: Mask, spacing_mm: Spacing, rules: LesionWise) -> LesionWiseScores:
    """Score two masks (z, y, x) on one grid lesion by lesion.

    Raises:
        ValueError: the masks differ in shape.

    """
    if prediction.shape != reference.shape:
        msg = f"prediction {prediction.shape} and reference {reference.shape} differ in shape"
        raise ValueError(msg)
    voxel_mm3 = float(np.prod(spacing_mm))
    dilated = connected_components(_dilated(reference, rules.dilations))
    lesions = np.where(reference, dilated.labels, 0)
    predicted = connected_components(prediction)
    owner = _owners(shared_voxels(predicted.labels, dilated.labels), predicted.count)
    counted = np.bincount(lesions.reshape(-1), minlength=dilated.count + 1)[1:] * voxel_mm3 > rules.minimum_mm3
    dice: list[float] = []
    hd95_mm: list[float] = []
    for lesion in np.flatnonzero(counted):
        mask = lesions == lesion + 1
        found = np.isin(predicted.labels, np.flatnonzero(owner == lesion) + 1)
        distances = surface_distances(found, mask, spacing_mm)
        dice.append(2 * float((found & mask).sum()) / float(found.sum() + mask.sum()))
        hd95_mm.append(rules.penalty_mm if distances is None else hausdorff_95(distances))
    false = int(np.sum((owner < 0) & (predicted.sizes_voxels * voxel_mm3 > rules.minimum_mm3)))
    total = len(dice) + false
    return LesionWiseScores(
        lesions=len(dice),
        false_lesions=false,
        dice=sum(dice) / total if total else None,
        hd95_mm=(sum(hd95_mm) + false * rules.penalty_mm) / total if total else None,
    )


def _dilated(mask: Mask, times: int) -> Mask:
    """Grow a mask by neighbours that share a face or an edge (18; in a single slice all 8)."""
    if not times or not mask.any():
        return mask
    grown: Mask = ndimage.binary_dilation(mask, ndimage.generate_binary_structure(3, 2), iterations=times)
    return grown


def _owners(shared: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return for each predicted component the lesion that it shares most voxels with, -1 for none."""
    owner = np.full(count, -1, dtype=np.int64)
    for component, lesion, _ in shared[np.argsort(shared[:, 2], kind="stable")]:
        owner[component] = lesion
    return owner
