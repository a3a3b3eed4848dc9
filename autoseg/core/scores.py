"""How well predictions agree with references: the record, its summary, its table and its CSV.

Measured once, everything else derived; what each metric is and where it is undefined stands in core/definitions.
Undefined scores are left out of means and counted, never dropped in silence.
"""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from autoseg.core.caution import CountedRow, caution
from autoseg.core.definitions import ENDLESS, TOLERANT, Metric, described, title_of
from autoseg.core.presets import Rules
from autoseg.core.seals import FileDigest
from autoseg.core.statistics import Interval, bca_interval, percentile_interval
from autoseg.core.text import cell
from planners.fingerprint import Label

OVER_LABELS = "mean over labels"
"""The row that averages, within each case, the labels that are defined there."""

EVERY_FILE = "every file counts as a patient"
"""How the note begins that nothing is known of patients; comparisons repeat it."""

DICE_ONLY = Rules()
_INFINITE_WHERE = "are infinite where"
_COLUMNS = ("label", "tp", "fp", "fn", "reference_ml", "prediction_ml")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelScore:
    """One label of one case: voxel counts, volumes (None in 2D) and metrics (None: undefined, or not asked for).

    Distances of a label that only one side holds are infinite; here they are the diagonal of the image in mm, which is
    what means take. core/definitions says what each metric is.
    """

    label: str
    tp: int
    fp: int
    fn: int
    dice: float | None
    iou: float | None
    reference_ml: float | None
    prediction_ml: float | None
    sensitivity: float | None = None
    precision: float | None = None
    volume_difference_ml: float | None = None
    relative_volume_difference: float | None = None
    hd_mm: float | None = None
    hd95_mm: float | None = None
    hd95_pooled_mm: float | None = None
    assd_mm: float | None = None
    masd_mm: float | None = None
    nsd: float | None = None
    nsd_voxel: float | None = None
    lesion_f1: float | None = None
    lesion_sensitivity: float | None = None
    lesion_precision: float | None = None
    lesion_false_positives: int | None = None
    lesion_dice: float | None = None
    pq: float | None = None
    sq: float | None = None
    rq: float | None = None
    cldice: float | None = None
    lesion_wise_dice: float | None = None
    lesion_wise_hd95_mm: float | None = None

    @property
    def missed(self) -> bool:
        """Whether only the reference holds the label."""
        return self.fn > 0 and self.tp + self.fp == 0

    @property
    def made_up(self) -> bool:
        """Whether only the prediction holds the label."""
        return self.fp > 0 and self.tp + self.fn == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseScore:
    """One case; `patient` groups cases for the intervals; `prediction` is None when no file was there.

    `prediction_files` and `reference_files` are what was compared, absent in older records.
    """

    case: str
    patient: str
    prediction: str | None
    labels: tuple[LabelScore, ...]
    prediction_files: tuple[FileDigest, ...] = ()
    reference_files: tuple[FileDigest, ...] = ()


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
    """Every case and label, and the summary, with what the metrics mean.

    `tolerance_mm` belongs to NSD: one for all labels or one for each. `both_empty` is what a rightly empty prediction
    scores, None where it is undefined. `definitions` has a sentence for each metric. `table` is scores.csv. Older
    records lack `definitions`, `preset` and `table`.
    """

    schema: ClassVar[str] = "autoseg.scores/1"

    labels: tuple[Label, ...]
    cases: tuple[CaseScore, ...]
    summaries: tuple[Summary, ...]
    notes: tuple[str, ...]
    tolerance_mm: float | tuple[float, ...] | None = None
    preset: str | None = None
    both_empty: float | None = None
    definitions: tuple[str, ...] = ()
    table: FileDigest | None = None

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics that were asked for."""
        return tuple(dict.fromkeys(row.metric for row in self.summaries))

    @property
    def notes_on_cases(self) -> tuple[str, ...]:
        """The notes that hold for these cases wherever they are pooled; make_scores makes the others anew."""
        return tuple(note for note in self.notes if "patients" not in note and _INFINITE_WHERE not in note)

    @property
    def rules(self) -> Rules:
        """How the scores were made; without lesion-wise rules, whose scores cannot be made anew from a record."""
        given = self.tolerance_mm
        tolerances_mm = () if given is None else given if isinstance(given, tuple) else (given,)
        return Rules(metrics=self.metrics, tolerances_mm=tolerances_mm, both_empty=self.both_empty)

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
    labels: tuple[Label, ...],
    cases: Sequence[CaseScore],
    notes: Sequence[str],
    rules: Rules = DICE_ONLY,
    preset: str | None = None,
) -> Scores:
    """Summarise `cases` over patients: mean with BCa interval, median with percentile interval, counts of undefined.

    Raises:
        ValueError: there are no cases.

    """
    if not cases:
        msg = "no case to score"
        raise ValueError(msg)
    ordered = tuple(sorted(cases, key=lambda case: case.case))
    names = [label.name for label in labels if label.role == "foreground"]
    rows = [
        _label_summary(ordered, position, name, metric)
        for metric in rules.metrics
        for position, name in enumerate(names)
    ]
    rows += [_over_labels(ordered, metric) for metric in rules.metrics]
    given = rules.tolerances_mm
    return Scores(
        labels=labels,
        cases=ordered,
        summaries=tuple(rows),
        notes=(*notes, *_one_sided(ordered, rules), *_caution(ordered, names, rules)),
        tolerance_mm=None if not given else given[0] if len(given) == 1 else given,
        preset=preset,
        both_empty=rules.both_empty,
        definitions=tuple(described(metric) for metric in rules.metrics),
    )


def scores_csv(scores: Scores) -> str:
    """Return a row per case and label, with a heading.

    Undefined cells are empty; distances of a label that only one side holds are inf, as they are by definition.
    """
    metrics = tuple(dict.fromkeys(("dice", "iou", *scores.metrics)))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("case", "patient", *_COLUMNS, *metrics))
    for case in scores.cases:
        for score in case.labels:
            plain = (cell(_cell(getattr(score, column))) for column in _COLUMNS)
            values = (
                "inf" if m in ENDLESS and (score.missed or score.made_up) else _cell(getattr(score, m)) for m in metrics
            )
            writer.writerow((cell(case.case), cell(case.patient), *plain, *values))
    return text.getvalue()


def scores_table(scores: Scores) -> str:
    """Return the summary as a table for people: one line per metric and label, notes below.

    The columns of cases where a label was missed or made up are there when there are such cases.
    """
    heading: tuple[str, ...] = ("label", "metric", "mean", "95 % interval", "median", "95 % interval", "n", "undefined")
    rows = [heading, *(_line(scores, row) for row in scores.summaries)]
    if any(row.only_reference or row.only_prediction for row in scores.summaries):
        counts = [("missed", "made up"), *((str(r.only_reference), str(r.only_prediction)) for r in scores.summaries)]
        rows = [(*row, *more) for row, more in zip(rows, counts, strict=True)]
        heading = rows[0]
    widths = [max(len(row[i]) for row in rows) for i in range(len(heading))]
    lines = [
        "  ".join(_align(cell, width, i) for i, (cell, width) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    lines += [f"note: {note}" for note in scores.notes]
    return "\n".join(line.rstrip() for line in lines)


def dice_of(tp: int, fp: int, fn: int) -> float | None:
    """Return 2 tp / (2 tp + fp + fn), None when all are 0."""
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else None


def iou_of(tp: int, fp: int, fn: int) -> float | None:
    """Return tp / (tp + fp + fn), None when all are 0."""
    return tp / (tp + fp + fn) if tp + fp + fn else None


def _line(scores: Scores, row: Summary) -> tuple[str, ...]:
    return (
        row.label,
        title_of(row.metric) + _at(scores, row),
        _number(row.mean),
        _interval(row.mean_interval),
        _number(row.median),
        _interval(row.median_interval),
        str(row.n),
        str(row.undefined),
    )


def _at(scores: Scores, row: Summary) -> str:
    """Return " at 2 mm" for a metric that has a tolerance there."""
    given = scores.tolerance_mm
    if row.metric not in TOLERANT or given is None:
        return ""
    names = [label.name for label in scores.labels if label.role == "foreground"]
    if isinstance(given, float | int):
        return f" at {given:.4g} mm"
    return f" at {given[names.index(row.label)]:.4g} mm" if row.label in names else ""


def _label_summary(cases: Sequence[CaseScore], position: int, name: str, metric: Metric) -> Summary:
    column = [case.labels[position] for case in cases]
    return _summary(
        [(case.patient, getattr(score, metric)) for case, score in zip(cases, column, strict=True)],
        name,
        metric,
        (sum(s.missed for s in column), sum(s.made_up for s in column)),
    )


def _over_labels(cases: Sequence[CaseScore], metric: Metric) -> Summary:
    everything = [score for case in cases for score in case.labels]
    return _summary(
        [(case.patient, _mean([getattr(score, metric) for score in case.labels])) for case in cases],
        OVER_LABELS,
        metric,
        (sum(s.missed for s in everything), sum(s.made_up for s in everything)),
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


def _one_sided(cases: Sequence[CaseScore], rules: Rules) -> tuple[str, ...]:
    """Say where infinite distances went."""
    endless = [metric for metric in rules.metrics if metric in ENDLESS]
    count = sum(score.missed or score.made_up for case in cases for score in case.labels)
    if not endless or not count:
        return ()
    names = ", ".join(title_of(metric).removesuffix(" (mm)") for metric in endless)
    where = f"{_INFINITE_WHERE} only one side holds a label ({count} of {sum(len(c.labels) for c in cases)})"
    return (f"{names} {where}: means take the image's diagonal",)


def _caution(cases: Sequence[CaseScore], names: Sequence[str], rules: Rules) -> tuple[str, ...]:
    """Say where patients are few, in all or in the rows of a label that fewer have."""
    rows = [
        CountedRow(
            label=name,
            metric=title_of(metric),
            patients=len({case.patient for case in cases if getattr(case.labels[position], metric) is not None}),
        )
        for position, name in enumerate(names)
        for metric in rules.metrics
    ]
    if len(names) > 1:
        rows += [
            CountedRow(
                label=OVER_LABELS,
                metric=title_of(metric),
                patients=len({c.patient for c in cases if _mean([getattr(s, metric) for s in c.labels]) is not None}),
            )
            for metric in rules.metrics
        ]
    return caution(len({case.patient for case in cases}), rows)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _interval(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval.lower:.4f} to {interval.upper:.4f}"


def _align(cell: str, width: int, column: int) -> str:
    return cell.ljust(width) if column < 2 else cell.rjust(width)


def _cell(value: str | float | None) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
