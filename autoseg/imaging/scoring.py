"""One case's arrays -> the scores of its labels."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Integer

from autoseg.core.labels import IGNORE
from autoseg.core.scores import LabelScore, dice_of, iou_of
from autoseg.imaging.metrics import confusion_counts, diagonal_mm, surface_scores
from autoseg.imaging.volume import Grid
from planners.fingerprint import Label

LabelMap = Integer[np.ndarray, "z y x"]
Reference = Integer[np.ndarray, "*masks z y x"]
Mask = Bool[np.ndarray, "z y x"]
_ML_PER_MM3 = 1e-3
_LARGEST_TABLE = 1 << 16


def score_case(
    prediction: LabelMap, reference: Reference, labels: Sequence[Label], grid: Grid, tolerance_mm: float | None = None
) -> tuple[LabelScore, ...]:
    """Compare two label maps on one grid, label by label, in the order of the foreground `labels`.

    Args:
        prediction: (z, y, x) label values.
        reference: (z, y, x) label values, or (l, z, y, x) with one 0/1 mask per label when they overlap.
        labels: all labels; voxels that the reference gives to one of role "ignore" take no part.
        grid: the reference's; its voxel volume makes counts into millilitres (None for a 2D image).
        tolerance_mm: of NSD; HD95, ASSD and NSD are measured when it is given.

    """
    foreground = [(index, label) for index, label in enumerate(labels) if label.role == "foreground"]
    counted = _annotated(reference, [label for label in labels if label.role == "ignore"])
    if reference.ndim == 3 and all(len(label.values) == 1 for _, label in foreground):
        counts = _all_at_once(prediction, reference, [label for _, label in foreground], counted)
    else:
        counts = [_one_label(*_masks(prediction, reference, indexed, counted)) for indexed in foreground]
    scores = [_score(label.name, c, grid) for (_, label), c in zip(foreground, counts, strict=True)]
    if tolerance_mm is None:
        return tuple(scores)
    return tuple(
        _with_distances(score, _masks(prediction, reference, indexed, counted), grid, tolerance_mm)
        for score, indexed in zip(scores, foreground, strict=True)
    )


def values_in(array: Integer[np.ndarray, "..."]) -> tuple[int, ...]:
    """Return the distinct values of an integer array, ascending.

    >>> values_in(np.array([[0, 3], [3, 1]]))
    (0, 1, 3)

    """
    if array.size == 0:
        return ()
    if array.min() >= 0 and array.max() < _LARGEST_TABLE:
        return tuple(int(v) for v in np.flatnonzero(np.bincount(array.ravel())))
    return tuple(int(v) for v in np.unique(array))


def _annotated(reference: Reference, ignored: Sequence[Label]) -> Mask | None:
    """Return where the reference counts; None when it does everywhere."""
    values = [value for label in ignored for value in label.values]
    return np.isin(reference, values, invert=True) if values and reference.ndim == 3 else None


def _all_at_once(
    prediction: LabelMap, reference: LabelMap, labels: Sequence[Label], counted: Mask | None
) -> list[tuple[int, int, int]]:
    values = [label.values[0] for label in labels]
    indexes = _class_indexes(reference, values)
    if counted is not None:
        indexes[~counted] = IGNORE
    tp, fp, fn = confusion_counts(_class_indexes(prediction, values), indexes, len(values) + 1)
    return [(int(tp[i]), int(fp[i]), int(fn[i])) for i in range(1, len(values) + 1)]


def _masks(
    prediction: LabelMap, reference: Reference, indexed: tuple[int, Label], counted: Mask | None
) -> tuple[Mask, Mask]:
    """Return where prediction and reference hold the (index, label)."""
    index, label = indexed
    p = np.isin(prediction, label.values)
    r = np.isin(reference, label.values) if reference.ndim == 3 else reference[index] == 1
    return (p, r) if counted is None else (p & counted, r & counted)


def _one_label(prediction: Mask, reference: Mask) -> tuple[int, int, int]:
    both = int(np.count_nonzero(prediction & reference))
    return both, int(np.count_nonzero(prediction)) - both, int(np.count_nonzero(reference)) - both


def _class_indexes(array: LabelMap, values: Sequence[int]) -> LabelMap:
    """Map the i-th of `values` to i + 1 and everything else to 0."""
    if all(0 <= value < _LARGEST_TABLE for value in values) and array.size and array.max() < _LARGEST_TABLE:
        table = np.zeros(_LARGEST_TABLE, dtype=np.int16)
        table[list(values)] = np.arange(1, len(values) + 1)
        return np.asarray(table[np.maximum(array, 0)])
    indexes: LabelMap = np.zeros(array.shape, dtype=np.int16)
    for index, value in enumerate(values):
        indexes[array == value] = index + 1
    return indexes


def _score(name: str, counts: tuple[int, int, int], grid: Grid) -> LabelScore:
    tp, fp, fn = counts
    voxel_ml = float(np.prod(grid.spacing_mm)) * _ML_PER_MM3 if grid.dimensions == 3 else None
    return LabelScore(
        label=name,
        tp=tp,
        fp=fp,
        fn=fn,
        dice=dice_of(tp, fp, fn),
        iou=iou_of(tp, fp, fn),
        reference_ml=None if voxel_ml is None else (tp + fn) * voxel_ml,
        prediction_ml=None if voxel_ml is None else (tp + fp) * voxel_ml,
    )


def _with_distances(score: LabelScore, masks: tuple[Mask, Mask], grid: Grid, tolerance_mm: float) -> LabelScore:
    """Add the distances; where only one side holds the label they are infinite, and the image's diagonal stands in."""
    if score.tp + score.fp + score.fn == 0:
        return score
    if score.tp + score.fp == 0 or score.tp + score.fn == 0:
        worst = diagonal_mm(grid.shape, grid.spacing_mm)
        return replace(score, hd95_mm=worst, assd_mm=worst, nsd=0.0)
    surface = surface_scores(*masks, grid.spacing_mm, tolerance_mm)
    return replace(score, hd95_mm=surface.hd95_mm, assd_mm=surface.assd_mm, nsd=surface.nsd)
