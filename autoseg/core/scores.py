"""How well predictions agree with references: the record, its summary, its table and its CSV.

Measured once as counts, everything else derived: Dice = 2 tp / (2 tp + fp + fn), IoU = tp / (tp + fp + fn), both None
where reference and prediction are empty. Undefined scores are left out of means and counted, never dropped in silence.
"""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from autoseg.core.statistics import CAUTION_PATIENTS, MINIMUM_PATIENTS, Interval, bca_interval, percentile_interval
from planners.fingerprint import Label

OVER_LABELS = "mean over labels"
"""The row that averages, within each case, the labels that are defined there."""

Metric = Literal["dice", "iou", "hd95_mm", "assd_mm", "nsd"]
_ALWAYS: tuple[Metric, ...] = ("dice", "iou")
_SURFACE: tuple[Metric, ...] = ("hd95_mm", "assd_mm", "nsd")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelScore:
    """One label of one case: voxel counts and what follows from them; ml is None in 2D, distances when not asked for.

    HD95 and ASSD of a label that only one side holds are infinite; they are written as the diagonal of the image in mm.
    """

    label: str
    tp: int
    fp: int
    fn: int
    dice: float | None
    iou: float | None
    reference_ml: float | None
    prediction_ml: float | None
    hd95_mm: float | None = None
    assd_mm: float | None = None
    nsd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseScore:
    """One case; `patient` groups cases for the intervals; `prediction` is None when no file was there."""

    case: str
    patient: str
    prediction: str | None
    labels: tuple[LabelScore, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One metric of one label (or OVER_LABELS) over cases.

    `n` scores are defined, `undefined` are not (reference and prediction empty). `only_reference` and
    `only_prediction` count the cases where the label was missed or made up.
    """

    label: str
    metric: Metric
    n: int
    undefined: int
    only_reference: int
    only_prediction: int
    mean: float | None
    mean_interval: Interval | None
    median: float | None
    median_interval: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Every case and label, and the summary. `tolerance_mm` belongs to NSD; None when distances were not asked for."""

    schema: ClassVar[str] = "autoseg.scores/1"

    labels: tuple[Label, ...]
    cases: tuple[CaseScore, ...]
    summaries: tuple[Summary, ...]
    notes: tuple[str, ...]
    tolerance_mm: float | None = None

    def summary(self, metric: Metric = "dice", label: str = OVER_LABELS) -> Summary:
        """Return one row of the summary; KeyError when there is none."""
        for row in self.summaries:
            if (row.metric, row.label) == (metric, label):
                return row
        msg = f"no summary of {metric} for {label!r}"
        raise KeyError(msg)

    def per_case(self, metric: Metric = "dice") -> tuple[float | None, ...]:
        """Return for each case the mean over its defined labels; None where no label is defined."""
        return tuple(_mean([getattr(score, metric) for score in case.labels]) for case in self.cases)


def make_scores(
    labels: tuple[Label, ...], cases: Sequence[CaseScore], notes: Sequence[str], tolerance_mm: float | None = None
) -> Scores:
    """Summarise `cases` over patients: mean with BCa interval, median with percentile interval, counts of undefined.

    Raises:
        ValueError: there are no cases.

    """
    if not cases:
        msg = "no case to score"
        raise ValueError(msg)
    ordered = tuple(sorted(cases, key=lambda case: case.case))
    metrics = _ALWAYS if tolerance_mm is None else _ALWAYS + _SURFACE
    names = [label.name for label in labels if label.role == "foreground"]
    rows = [
        _label_summary(ordered, position, name, metric) for metric in metrics for position, name in enumerate(names)
    ]
    rows += [_over_labels(ordered, metric) for metric in metrics]
    return Scores(
        labels=labels,
        cases=ordered,
        summaries=tuple(rows),
        notes=(*notes, *_caution(ordered)),
        tolerance_mm=tolerance_mm,
    )


def scores_csv(scores: Scores) -> str:
    """Return a row per case and label, with a heading; undefined cells are empty."""
    columns = ["label", "tp", "fp", "fn", "dice", "iou", "reference_ml", "prediction_ml"]
    if scores.tolerance_mm is not None:
        columns += _SURFACE
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("case", "patient", *columns))
    for case in scores.cases:
        for score in case.labels:
            writer.writerow((case.case, case.patient, *(_cell(getattr(score, column)) for column in columns)))
    return text.getvalue()


def scores_table(scores: Scores) -> str:
    """Return the summary as a table for people: one line per metric and label, notes below."""
    heading = ("label", "metric", "mean", "95 % interval", "median", "95 % interval", "n", "undefined")
    rows = [heading]
    for row in scores.summaries:
        if row.metric == "iou":
            continue
        rows.append(
            (
                row.label,
                metric_name(row.metric),
                _number(row.mean),
                _interval(row.mean_interval),
                _number(row.median),
                _interval(row.median_interval),
                str(row.n),
                str(row.undefined),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(heading))]
    lines = [
        "  ".join(_align(cell, width, i) for i, (cell, width) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    lines += [f"note: {note}" for note in scores.notes]
    return "\n".join(line.rstrip() for line in lines)


def metric_name(metric: Metric) -> str:
    """Return what people call a metric, with its unit."""
    return {"dice": "Dice", "iou": "IoU", "hd95_mm": "HD95 (mm)", "assd_mm": "ASSD (mm)", "nsd": "NSD"}[metric]


def dice_of(tp: int, fp: int, fn: int) -> float | None:
    """Return 2 tp / (2 tp + fp + fn), None when all are 0."""
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else None


def iou_of(tp: int, fp: int, fn: int) -> float | None:
    """Return tp / (tp + fp + fn), None when all are 0."""
    return tp / (tp + fp + fn) if tp + fp + fn else None


def _label_summary(cases: Sequence[CaseScore], position: int, name: str, metric: Metric) -> Summary:
    column = [case.labels[position] for case in cases]
    return _summary(
        [(case.patient, getattr(score, metric)) for case, score in zip(cases, column, strict=True)],
        name,
        metric,
        (sum(_missed(s) for s in column), sum(_made_up(s) for s in column)),
    )


def _over_labels(cases: Sequence[CaseScore], metric: Metric) -> Summary:
    everything = [score for case in cases for score in case.labels]
    return _summary(
        [(case.patient, _mean([getattr(score, metric) for score in case.labels])) for case in cases],
        OVER_LABELS,
        metric,
        (sum(_missed(s) for s in everything), sum(_made_up(s) for s in everything)),
    )


def _summary(values: Sequence[tuple[str, float | None]], label: str, metric: Metric, only: tuple[int, int]) -> Summary:
    defined = [(patient, value) for patient, value in values if value is not None]
    numbers, patients = [value for _, value in defined], [patient for patient, _ in defined]
    return Summary(
        label=label,
        metric=metric,
        n=len(numbers),
        undefined=len(values) - len(numbers),
        only_reference=only[0],
        only_prediction=only[1],
        mean=_over(np.mean, numbers),
        mean_interval=bca_interval(numbers, patients) if numbers else None,
        median=_over(np.median, numbers),
        median_interval=percentile_interval(numbers, patients) if numbers else None,
    )


def _over(function: Callable[[list[float]], np.floating], numbers: list[float]) -> float | None:
    return float(function(numbers)) if numbers else None


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def _missed(score: LabelScore) -> bool:
    return score.fn > 0 and score.tp + score.fp == 0


def _made_up(score: LabelScore) -> bool:
    return score.fp > 0 and score.tp + score.fn == 0


def _caution(cases: Sequence[CaseScore]) -> tuple[str, ...]:
    patients = len({case.patient for case in cases})
    if patients < MINIMUM_PATIENTS:
        return (f"{patients} patients are too few for an interval (at least {MINIMUM_PATIENTS})",)
    if patients < CAUTION_PATIENTS:
        return (f"intervals from {patients} patients (fewer than {CAUTION_PATIENTS}) are narrower than they should be",)
    return ()


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _interval(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval.lower:.4f} to {interval.upper:.4f}"


def _align(cell: str, width: int, column: int) -> str:
    return cell.ljust(width) if column < 2 else cell.rjust(width)


def _cell(value: str | float | None) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
