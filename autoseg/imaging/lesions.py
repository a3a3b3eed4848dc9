"""Lesions one by one: which were found, which were made up, and how well the found ones were outlined.

A lesion is a connected component (26 neighbours, 8 in a single slice). Predicted and reference lesions are paired one
to one (Hungarian method) where their IoU reaches a threshold: as many pairs as possible, and of such pairings the one
of largest summed IoU. Threshold 0.1 asks whether a lesion was detected (as PI-CAI does), 0.5 whether it was outlined
(panoptic quality; Kirillov et al., Panoptic segmentation, CVPR 2019).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components as graph_components

from autoseg.imaging.components import connected_components

Mask = NDArray[np.bool_]
Integers = NDArray[np.int64]

DETECTION_IOU = 0.1
"""A lesion that is hit at all counts as found: its outline is judged apart."""

QUALITY_IOU = 0.5
"""From here on at most one lesion of each side fits another, and the pairing is not a matter of choice."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LesionOverlaps:
    """Measured once: sizes in voxels of the lesions on either side, and every pair of them that shares voxels.

    `shared` (n, 3) holds predicted lesion, reference lesion (both from 0) and shared voxels.
    """

    prediction_voxels: Integers
    reference_voxels: Integers
    shared: Integers


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionPair:
    """A predicted and a reference lesion, numbered from 0, that were taken for the same."""

    prediction: int
    reference: int
    iou: float
    dice: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionScores:
    """Lesions of one label in one case.

    tp, fp, fn, f1, sensitivity, precision and `dice` (mean over the found lesions) belong to DETECTION_IOU; pq, the
    product of sq (mean IoU of the pairs) and rq (their F1), to QUALITY_IOU. None where there is nothing to divide by:
    f1, pq and rq without any lesion, sensitivity without a reference lesion, precision without a predicted one, dice
    and sq without a pair.
    """

    tp: int
    fp: int
    fn: int
    f1: float | None
    sensitivity: float | None
    precision: float | None
    dice: float | None
    pq: float | None
    sq: float | None
    rq: float | None


def lesion_scores(prediction: Mask, reference: Mask) -> LesionScores:
    """Return how the lesions of two masks (z, y, x) on one grid agree."""
    overlaps = lesion_overlaps(prediction, reference)
    sizes = len(overlaps.prediction_voxels), len(overlaps.reference_voxels)
    found = matched_lesions(overlaps, DETECTION_IOU)
    outlined = matched_lesions(overlaps, QUALITY_IOU)
    rq = _f1(len(outlined), *sizes)
    sq = _mean([pair.iou for pair in outlined])
    return LesionScores(
        tp=len(found),
        fp=sizes[0] - len(found),
        fn=sizes[1] - len(found),
        f1=_f1(len(found), *sizes),
        sensitivity=len(found) / sizes[1] if sizes[1] else None,
        precision=len(found) / sizes[0] if sizes[0] else None,
        dice=_mean([pair.dice for pair in found]),
        pq=None if rq is None else rq * (sq or 0.0),
        sq=sq,
        rq=rq,
    )


def lesion_overlaps(prediction: Mask, reference: Mask) -> LesionOverlaps:
    """Label the lesions of two masks (z, y, x) and count the voxels that each pair shares.

    Raises:
        ValueError: the masks differ in shape.

    """
    if prediction.shape != reference.shape:
        msg = f"prediction {prediction.shape} and reference {reference.shape} differ in shape"
        raise ValueError(msg)
    predicted, referred = connected_components(prediction), connected_components(reference)
    return LesionOverlaps(
        prediction_voxels=predicted.sizes_voxels,
        reference_voxels=referred.sizes_voxels,
        shared=shared_voxels(predicted.labels, referred.labels),
    )


def shared_voxels(first: NDArray[np.int32], second: NDArray[np.int32]) -> Integers:
    """Return rows (n, 3): component, component (both from 0), voxels they share; 0 in the arrays is no component."""
    both = (first > 0) & (second > 0)
    a, b = first[both].astype(np.int64) - 1, second[both].astype(np.int64) - 1
    width = int(b.max(initial=0)) + 1
    codes, counts = np.unique(a * width + b, return_counts=True)
    return np.stack([codes // width, codes % width, counts], axis=1).astype(np.int64)


def matched_lesions(overlaps: LesionOverlaps, threshold: float) -> tuple[LesionPair, ...]:
    """Return the pairs of lesions with an IoU of at least `threshold` (above 0), each lesion in one pair at most."""
    p, r, shared = overlaps.shared.T
    sizes = overlaps.prediction_voxels[p] + overlaps.reference_voxels[r]
    iou = shared / (sizes - shared)
    near = iou >= threshold
    p, r, iou, dice = p[near], r[near], iou[near], (2 * shared / sizes)[near]
    pairs = [
        LesionPair(prediction=int(p[i]), reference=int(r[i]), iou=float(iou[i]), dice=float(dice[i]))
        for i in _assignment(p, r, iou)
    ]
    return tuple(sorted(pairs, key=lambda pair: (pair.reference, pair.prediction)))


def _assignment(p: Integers, r: Integers, iou: NDArray[np.float64]) -> list[int]:
    """Return the numbers of the candidates (prediction, reference, IoU) that are taken.

    Candidates fall into small groups that share no lesion; each is solved alone, so thousands of lesions need no table
    of all against all.
    """
    if not len(p):
        return []
    first, second = np.unique(p, return_inverse=True)[1], np.unique(r, return_inverse=True)[1]
    nodes = int(first.max()) + int(second.max()) + 2
    links = coo_array((np.ones(len(p)), (first, second + int(first.max()) + 1)), shape=(nodes, nodes))
    group = graph_components(links, directed=False)[1][first]
    alone = np.bincount(group)[group] == 1
    taken = [int(n) for n in np.flatnonzero(alone)]
    order = np.flatnonzero(~alone)
    order = order[np.argsort(group[order], kind="stable")]
    if not len(order):
        return taken
    for members in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        rows, i = np.unique(first[members], return_inverse=True)
        columns, j = np.unique(second[members], return_inverse=True)
        gain = np.zeros((len(rows), len(columns)))
        gain[i, j] = iou[members] + min(gain.shape)  # one pair more outweighs any IoU
        number = np.full(gain.shape, -1)
        number[i, j] = members
        chosen = number[linear_sum_assignment(gain, maximize=True)]
        taken += [int(n) for n in chosen if n >= 0]
    return taken


def _f1(tp: int, predicted: int, referred: int) -> float | None:
    return 2 * tp / (predicted + referred) if predicted + referred else None


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
