"""Centreline Dice: do thin structures keep their course, whatever their thickness."""

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def centreline_dice(prediction: Mask, reference: Mask) -> float | None:
    """Return the harmonic mean of two shares: of each mask's centreline, what lies inside the other mask.

    Masks are (z, y, x); a single slice is thinned in the plane. None where both are empty, 0 where one is. Source: Shit
    et al., clDice, CVPR 2021, with hard masks and scikit-image's thinning.

    Raises:
        ValueError: the masks differ in shape.

    """
    if prediction.shape != reference.shape:
        msg = f"prediction {prediction.shape} and reference {reference.shape} differ in shape"
        raise ValueError(msg)
    if not prediction.any() and not reference.any():
        return None
    if not prediction.any() or not reference.any():
        return 0.0
    precision = _share_inside(_centreline(prediction), reference)
    sensitivity = _share_inside(_centreline(reference), prediction)
    return 2 * precision * sensitivity / (precision + sensitivity) if precision + sensitivity else 0.0


def _centreline(mask: Mask) -> Mask:
    from skimage.morphology import skeletonize  # takes a while to load, and few need it

    thin = skeletonize(mask[0])[None] if len(mask) == 1 else skeletonize(mask)
    centreline: Mask = np.asarray(thin, dtype=np.bool_)
    return centreline if centreline.any() else mask


def _share_inside(centreline: Mask, mask: Mask) -> float:
    return float((centreline & mask).sum()) / float(centreline.sum())
