"""One case's arrays -> the scores of its labels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Int64, Integer
from scipy import ndimage

from autoseg.core.definitions import DEFINITIONS, ENDLESS, ONE_IF_EMPTY, ZERO_IF_EMPTY, Family
from autoseg.core.presets import Rules
from autoseg.core.scores import DICE_ONLY, LabelScore, dice_of, iou_of
from autoseg.imaging.centreline import centreline_dice
from autoseg.imaging.lesion_wise import lesion_wise_scores
from autoseg.imaging.lesions import lesion_scores
from autoseg.imaging.metrics import diagonal_mm, joint_histogram, nsd, surface_scores
from autoseg.imaging.volume import Grid
from planners.fingerprint import Label

LabelMap = Integer[np.ndarray, "z y x"]
Predicted = Integer[np.ndarray, "*predicted z y x"]
Referred = Integer[np.ndarray, "*referred z y x"]
Mask = Bool[np.ndarray, "z y x"]
Box = tuple[slice, ...]
_ML_PER_MM3 = 1e-3
_LARGEST_TABLE = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Sample:
    """One label of one case, cut to the box that holds both masks; `diagonal_mm` is the whole image's."""

    prediction: Mask
    reference: Mask
    spacing_mm: tuple[float, float, float]
    diagonal_mm: float
    tolerance_mm: float | None
    rules: Rules


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Indexed:
    """Two label maps as class indexes (0: background), their joint histogram, and where the ignored index lies."""

    prediction: LabelMap
    reference: LabelMap
    joint: Int64[np.ndarray, "n n"]
    values: tuple[int, ...]
    ignored: tuple[int, ...]


def score_case(
    prediction: Predicted,
    reference: Referred,
    labels: Sequence[Label],
    grid: Grid,
    rules: Rules = DICE_ONLY,
) -> tuple[LabelScore, ...]:
    """Compare two label maps on one grid, label by label, in the order of the foreground `labels`.

    Args:
        prediction: (z, y, x) label values, or (l, z, y, x) with one 0/1 mask per label when they overlap.
        reference: the same; the two need not be of one kind.
        labels: all labels; voxels that the reference gives to one of role "ignore" take no part.
        grid: the reference's; its voxel volume makes counts into millilitres (None for a 2D image).
        rules: what to measure.

    """
    if rules.most_apart is not None and _apart(prediction, reference) > rules.most_apart:
        counted = tuple(metric for metric in rules.metrics if DEFINITIONS[metric].family == "overlap")
        rules = replace(rules, metrics=counted)
    if prediction.ndim == reference.ndim == 3:
        found = _from_maps(prediction, reference, labels, grid, rules)
    else:
        found = _from_masks(prediction, reference, labels, grid, rules)
    return tuple(_only_asked_for(score, rules) for score in found)


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


def _apart(prediction: Predicted, reference: Referred) -> int:
    """Return what the time of distances grows with: differing voxels, or where both maps change, whichever is less."""
    changes = _changes(prediction) + _changes(reference)
    if prediction.ndim != reference.ndim:
        return changes
    return min(changes, int(np.count_nonzero(prediction != reference)))


def _changes(array: Integer[np.ndarray, "*any z y x"]) -> int:
    """Return how many pairs of neighbours along the last three axes differ."""
    pairs = ((np.swapaxes(array, 0, axis)[1:], np.swapaxes(array, 0, axis)[:-1]) for axis in (-3, -2, -1))
    return sum(int(np.count_nonzero(after != before)) for after, before in pairs)


# ------------------------------------------------------------------------------------------------ two label maps
def _from_maps(
    prediction: LabelMap, reference: LabelMap, labels: Sequence[Label], grid: Grid, rules: Rules
) -> list[LabelScore]:
    """Count all labels in one joint histogram, and measure each in its box."""
    indexed = _indexed(prediction, reference, labels)
    foreground = [label for label in labels if label.role == "foreground"]
    scores = [_counted(label.name, _counts(indexed, label), grid) for label in foreground]
    families = _families(rules)
    if not families:
        return scores
    boxes = [ndimage.find_objects(array, len(indexed.values)) for array in (indexed.prediction, indexed.reference)]
    for position, label in enumerate(foreground):
        chosen = _indexes(indexed, label)
        parts = [side[i - 1] for side in boxes for i in chosen if side[i - 1] is not None]
        if not parts:
            continue
        box = _union(parts)
        p, r = _in(indexed.prediction[box], chosen), _in(indexed.reference[box], chosen)
        if indexed.ignored:
            p &= ~_in(indexed.reference[box], indexed.ignored)
        sample = _sample((p, r), grid, rules, position)
        scores[position] = _measured(scores[position], sample, families)
    return scores


def _indexed(prediction: LabelMap, reference: LabelMap, labels: Sequence[Label]) -> _Indexed:
    values = tuple(dict.fromkeys(value for label in labels for value in label.values))
    p, r = _class_indexes(prediction, values), _class_indexes(reference, values)
    if p.shape != r.shape:
        msg = f"prediction {p.shape} and reference {r.shape} differ in shape"
        raise ValueError(msg)
    ignored = tuple(values.index(v) + 1 for label in labels if label.role == "ignore" for v in label.values)
    joint = joint_histogram(p, r, len(values) + 1)
    joint[list(ignored)] = 0
    return _Indexed(prediction=p, reference=r, joint=joint, values=values, ignored=ignored)


def _class_indexes(array: LabelMap, values: Sequence[int]) -> LabelMap:
    """Map the i-th of `values` to i + 1 and everything else to 0."""
    kind = np.uint8 if len(values) < 255 else np.int32
    if array.size and all(0 <= value < _LARGEST_TABLE for value in values):
        byte = array.dtype == np.uint8
        low, high = (0, 255) if byte else (int(array.min()), int(array.max()))
        if low >= 0 and high < _LARGEST_TABLE:
            table = np.zeros(max(high, *values, 0) + 1, dtype=kind)
            table[list(values)] = np.arange(1, len(values) + 1)
            return np.asarray(table[array])
    indexes: LabelMap = np.zeros(array.shape, dtype=kind)
    for index, value in enumerate(values):
        indexes[array == value] = index + 1
    return indexes


def _indexes(indexed: _Indexed, label: Label) -> tuple[int, ...]:
    return tuple(indexed.values.index(value) + 1 for value in label.values)


def _counts(indexed: _Indexed, label: Label) -> tuple[int, int, int]:
    chosen = list(_indexes(indexed, label))
    tp = int(indexed.joint[np.ix_(chosen, chosen)].sum())
    return tp, int(indexed.joint[:, chosen].sum()) - tp, int(indexed.joint[chosen].sum()) - tp


def _in(array: Integer[np.ndarray, "z y x"], chosen: Sequence[int]) -> Mask:
    mask: Mask = array == chosen[0] if len(chosen) == 1 else np.isin(array, chosen)
    return mask


def _union(boxes: Sequence[Box]) -> Box:
    return tuple(slice(min(s.start for s in along), max(s.stop for s in along)) for along in zip(*boxes, strict=True))


# ------------------------------------------------------------------------------------------ masks that may overlap
def _from_masks(
    prediction: Predicted, reference: Referred, labels: Sequence[Label], grid: Grid, rules: Rules
) -> list[LabelScore]:
    families = _families(rules)
    ignored = [value for label in labels if label.role == "ignore" for value in label.values]
    counted = np.isin(reference, ignored, invert=True) if ignored and reference.ndim == 3 else None
    scores: list[LabelScore] = []
    for index, label in enumerate(labels):
        if label.role != "foreground":
            continue
        p, r = (side[index] != 0 if side.ndim == 4 else np.isin(side, label.values) for side in (prediction, reference))
        if counted is not None:
            p, r = p & counted, r & counted
        tp, in_p, in_r = (int(np.count_nonzero(m)) for m in (p & r, p, r))
        score = _counted(label.name, (tp, in_p - tp, in_r - tp), grid)
        if families and in_p + in_r:
            box = ndimage.find_objects((p | r).view(np.uint8))[0]
            score = _measured(score, _sample((p[box], r[box]), grid, rules, len(scores)), families)
        scores.append(score)
    return scores


# ------------------------------------------------------------------------------------------------------ measures
def _counted(name: str, counts: tuple[int, int, int], grid: Grid) -> LabelScore:
    """Return everything that follows from voxel counts."""
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
        sensitivity=tp / (tp + fn) if tp + fn else None,
        precision=tp / (tp + fp) if tp + fp else None,
        volume_difference_ml=None if voxel_ml is None else (fp - fn) * voxel_ml,
        relative_volume_difference=(fp - fn) / (tp + fn) if tp + fn else None,
        lesion_false_positives=0,
    )


def _families(rules: Rules) -> tuple[Family, ...]:
    """Return what has to be measured besides counts."""
    needed = dict.fromkeys(DEFINITIONS[metric].family for metric in rules.metrics)
    return tuple(family for family in needed if family != "overlap")


def _sample(masks: tuple[Mask, Mask], grid: Grid, rules: Rules, position: int) -> _Sample:
    return _Sample(
        prediction=masks[0],
        reference=masks[1],
        spacing_mm=grid.spacing_mm,
        diagonal_mm=diagonal_mm(grid.shape, grid.spacing_mm),
        tolerance_mm=rules.tolerance_mm(position),
        rules=rules,
    )


def _measured(score: LabelScore, sample: _Sample, families: Sequence[Family]) -> LabelScore:
    if score.tp + score.fp + score.fn:  # else all of it is ignored
        for family in families:
            score = _MEASURES[family](score, sample)
    return score


def _with_boundary(score: LabelScore, sample: _Sample) -> LabelScore:
    """Add boundary distances; where only one side holds the label they are infinite: the diagonal stands in."""
    found = surface_scores(sample.prediction, sample.reference, sample.spacing_mm, sample.tolerance_mm)
    if score.missed or score.made_up:
        return replace(score, nsd_voxel=found.nsd_voxel, **dict.fromkeys(ENDLESS, sample.diagonal_mm))  # type: ignore[arg-type]
    return replace(
        score,
        hd_mm=found.hd_mm,
        hd95_mm=found.hd95_mm,
        hd95_pooled_mm=found.hd95_pooled_mm,
        assd_mm=found.assd_mm,
        masd_mm=found.masd_mm,
        nsd_voxel=found.nsd_voxel,
    )


def _with_surfels(score: LabelScore, sample: _Sample) -> LabelScore:
    if sample.tolerance_mm is None:
        return score
    return replace(score, nsd=nsd(sample.prediction, sample.reference, sample.spacing_mm, sample.tolerance_mm))


def _with_lesions(score: LabelScore, sample: _Sample) -> LabelScore:
    found = lesion_scores(sample.prediction, sample.reference)
    return replace(
        score,
        lesion_f1=found.f1,
        lesion_sensitivity=found.sensitivity,
        lesion_precision=found.precision,
        lesion_false_positives=found.fp,
        lesion_dice=found.dice,
        pq=found.pq,
        sq=found.sq,
        rq=found.rq,
    )


def _with_centreline(score: LabelScore, sample: _Sample) -> LabelScore:
    return replace(score, cldice=centreline_dice(sample.prediction, sample.reference))


def _with_lesion_wise(score: LabelScore, sample: _Sample) -> LabelScore:
    if sample.rules.lesion_wise is None:
        return score
    found = lesion_wise_scores(sample.prediction, sample.reference, sample.spacing_mm, sample.rules.lesion_wise)
    if found.dice is None:  # nothing exceeds the least volume
        return _both_empty(score, sample.rules, only=frozenset({"lesion_wise_dice", "lesion_wise_hd95_mm"}))
    return replace(score, lesion_wise_dice=found.dice, lesion_wise_hd95_mm=found.hd95_mm)


_MEASURES: Mapping[Family, Callable[[LabelScore, _Sample], LabelScore]] = MappingProxyType(
    {
        "surface": _with_boundary,
        "surfels": _with_surfels,
        "lesions": _with_lesions,
        "centreline": _with_centreline,
        "lesion-wise": _with_lesion_wise,
    }
)


def _both_empty(score: LabelScore, rules: Rules, only: frozenset[str] = ONE_IF_EMPTY | ZERO_IF_EMPTY) -> LabelScore:
    """Give a label that neither side holds what the rules give it."""
    if rules.both_empty is None:
        return score
    ones = dict.fromkeys(ONE_IF_EMPTY & only, rules.both_empty)
    return replace(score, **ones, **dict.fromkeys(ZERO_IF_EMPTY & only, 0.0))  # type: ignore[arg-type]


def _only_asked_for(score: LabelScore, rules: Rules) -> LabelScore:
    """Apply the rule for what is empty, and blank what nobody asked for; Dice and IoU stay, they cost nothing."""
    if score.tp + score.fp + score.fn == 0:
        score = _both_empty(score, rules)
    others = [metric for metric in DEFINITIONS if metric not in rules.metrics and metric not in ("dice", "iou")]
    return replace(score, **dict.fromkeys(others))  # type: ignore[arg-type]
