"""Results on the same cases, compared pair by pair: differences, intervals, tests, and a sentence for each.

The first result is what the others are compared with. A case counts where both define the score; where only one does
(one made a structure up, the other rightly predicted nothing) it cannot be paired, and is counted.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from autoseg.core.caution import CountedRow, caution
from autoseg.core.definitions import DEFINITIONS, TOLERANT, Metric, title_of
from autoseg.core.scores import EVERY_FILE, OVER_LABELS, LabelScore, Scores
from autoseg.core.statistics import (
    RANKED_PATIENTS,
    SIGNIFICANCE,
    Interval,
    PairedDifference,
    holm,
    paired_difference,
    patients_needed,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One of the compared results, by the name it goes by and where its scores lie; `sha256` is that of the file."""

    name: str
    scores: str
    sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One metric of one label (or "mean over labels") between two results: `result` minus `baseline`.

    `paired` holds the numbers, with a the result and b the baseline; None where no case defines both. `holm_p` is its
    p-value adjusted for the labels (and results) tested together. `one_sided` counts the cases that only one of the two
    defines, `undefined` those that neither does. `patients_needed` is the sample size at which the observed difference,
    if it is real, would show with 80 % power; None where it shows already or there is none.
    """

    label: str
    metric: Metric
    result: str
    baseline: str
    paired: PairedDifference | None
    holm_p: float | None
    one_sided: int
    undefined: int
    patients_needed: int | None
    conclusion: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Results on the same cases; every result but the first is compared with the first."""

    schema: ClassVar[str] = "autoseg.comparison/1"

    results: tuple[Result, ...]
    n_cases: int
    n_patients: int
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]


def compare_scores(
    results: Sequence[Result], scores: Sequence[Scores], metrics: Sequence[Metric] | None = None
) -> Comparison:
    """Compare scores of the same cases and labels, in the same order, with the first of them.

    Holm's correction is over the labels of all compared results, for each metric; the mean over labels is a question of
    its own and corrected over the results only.

    Args:
        results: what is compared, the baseline first.
        scores: their scores, in the same order.
        metrics: some of `shared_metrics`; all of them when None. A signed difference is compared by its size.

    Raises:
        ValueError: fewer than two results.

    """
    if len(results) < 2 or len(results) != len(scores):
        msg = "a comparison needs at least two results, each with its scores"
        raise ValueError(msg)
    first = scores[0]
    labels = [score.label for score in first.cases[0].labels]
    differences: list[Difference] = []
    for metric in metrics or shared_metrics(scores):
        for places in ([OVER_LABELS], labels):
            rows = [
                _difference(place, metric, (results[i], results[0]), (scores[i], first))
                for i in range(1, len(results))
                for place in places
            ]
            differences += _concluded(rows)
    patients = len({case.patient for case in first.cases})
    return Comparison(
        results=tuple(results),
        n_cases=len(first.cases),
        n_patients=patients,
        differences=tuple(differences),
        notes=_notes(scores, differences, patients),
    )


def comparison_table(comparison: Comparison) -> str:
    """Return what was found: a table for people, a sentence for each mean over labels, notes below."""
    heading = ("label", "metric", "result", "mean", "baseline", "difference", "95 % interval", "p (Holm)", "test", "n")
    rows = [heading]
    for row in comparison.differences:
        paired = row.paired
        rows.append(
            (
                row.label,
                _title(row.metric),
                row.result,
                "-" if paired is None else f"{paired.mean_a:.4f}",
                "-" if paired is None else f"{paired.mean_b:.4f}",
                "-" if paired is None else f"{paired.mean:+.4f}",
                _interval_text(paired.mean_interval if paired else None),
                "-" if row.holm_p is None else _p_text(row.holm_p),
                (paired.test if paired else None) or "-",
                str(paired.n if paired else 0),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(heading))]
    lines = [
        "  ".join(
            cell.ljust(w) if i < 3 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    lines.append(f"baseline: {comparison.results[0].name}; difference: result minus baseline")
    lines += _tests(comparison.differences)
    lines += [row.conclusion for row in comparison.differences if row.label == OVER_LABELS]
    lines += [f"note: {note}" for note in comparison.notes]
    return "\n".join(line.rstrip() for line in lines)


def _tests(differences: Sequence[Difference]) -> list[str]:
    """Say which tests were made."""
    paired = [row.paired for row in differences if row.paired]
    lines = []
    if any(one.test == "Wilcoxon" for one in paired):
        lines.append("test: Wilcoxon's signed-rank test of the patients' differences")
    if any(one.test == "sign flip" for one in paired):
        lines.append(f"test: under {RANKED_PATIENTS} patients all flips of the patients' signs (exact, of the mean)")
    return lines


def shared_metrics(scores: Sequence[Scores]) -> tuple[Metric, ...]:
    """Return the metrics that all results have with one meaning, without IoU where Dice says the same."""
    shared = scores[0].metrics
    for other in scores[1:]:
        same_tolerance = other.tolerance_mm == scores[0].tolerance_mm
        shared = tuple(m for m in shared if m in other.metrics and (same_tolerance or m not in TOLERANT))
    return tuple(metric for metric in shared if metric != "iou" or "dice" not in shared)


def _difference(place: str, metric: Metric, names: tuple[Result, Result], scores: tuple[Scores, Scores]) -> Difference:
    a: list[float] = []
    b: list[float] = []
    patients: list[str] = []
    one_sided = undefined = 0
    for case_a, case_b in zip(scores[0].cases, scores[1].cases, strict=True):
        pairs = [
            (_value(s, metric), _value(t, metric))
            for s, t in zip(case_a.labels, case_b.labels, strict=True)
            if place in (OVER_LABELS, s.label)
        ]
        both = [(x, y) for x, y in pairs if x is not None and y is not None]
        if both:
            a.append(math.fsum(x for x, _ in both) / len(both))
            b.append(math.fsum(y for _, y in both) / len(both))
            patients.append(case_b.patient)
        elif any(x is not None or y is not None for x, y in pairs):
            one_sided += 1
        else:
            undefined += 1
    return Difference(
        label=place,
        metric=metric,
        result=names[0].name,
        baseline=names[1].name,
        paired=paired_difference(a, b, patients) if a else None,
        holm_p=None,
        one_sided=one_sided,
        undefined=undefined,
        patients_needed=None,
        conclusion="",
    )


def _value(score: LabelScore, metric: Metric) -> float | None:
    value: float | None = getattr(score, metric)
    return abs(value) if value is not None and DEFINITIONS[metric].better == "nearer zero" else value


def _title(metric: Metric) -> str:
    title = title_of(metric)
    return f"size of {title}" if DEFINITIONS[metric].better == "nearer zero" else title


def _concluded(rows: Sequence[Difference]) -> list[Difference]:
    """Correct the p-values of tests that belong together, and say what follows."""
    p_values = [row.paired.p if row.paired else None for row in rows]
    tests = sum(p is not None for p in p_values)
    return [_with_conclusion(replace(row, holm_p=p), tests) for row, p in zip(rows, holm(p_values), strict=True)]


def _with_conclusion(row: Difference, tests: int) -> Difference:
    what = f"{row.label}, {_title(row.metric)}: {row.result} against {row.baseline}"
    if row.paired is None:
        return replace(row, conclusion=f"{what}: no case defines both")
    n = row.paired.patients or row.paired.n
    if row.holm_p is None:
        return replace(row, conclusion=f"{what}: equal in all {row.paired.n} cases")
    if row.holm_p < SIGNIFICANCE:
        # Ranks decide whether there is a difference, so their side of zero is named; the mean may be on the other.
        side = (row.paired.median if row.paired.test == "Wilcoxon" else 0.0) or row.paired.mean
        word = "better" if (side > 0) == (DEFINITIONS[row.metric].better == "higher") else "worse"
        said = f"{what}: {word}, mean difference {row.paired.mean:+.4f} (p = {_p_text(row.holm_p)}, n={n})"
        return replace(row, conclusion=said)
    needed = patients_needed(row.paired.mean, row.paired.sd, tests)
    if needed is None or needed <= n:
        return replace(row, conclusion=f"{what}: not distinguishable with n={n}")
    said = f"{what}: not distinguishable with n={n}; about {_rounded(needed)} cases would be needed"
    return replace(row, patients_needed=needed, conclusion=said)


def _notes(scores: Sequence[Scores], differences: Sequence[Difference], patients: int) -> tuple[str, ...]:
    notes = []
    if any(row.patients_needed for row in differences):
        notes.append(
            "cases needed: patients, at which the observed mean difference, if real, shows with 80 % power"
            " (normal theory, paired)"
        )
    one_sided = [row for row in differences if row.one_sided and row.label != OVER_LABELS]
    notes += [
        f"{row.label}, {_title(row.metric)}: {row.one_sided} cases defined only by {row.result} or {row.baseline}"
        " take no part (one of them made the label up where the reference has none)"
        for row in one_sided
    ]
    if len({other.tolerance_mm for other in scores}) > 1:
        notes.append("NSD is not compared: the results were scored with different tolerances")
    notes += [note for note in scores[0].notes if note.startswith(EVERY_FILE)]
    if len({tuple(case.patient for case in each.cases) for each in scores}) > 1:
        notes.append("the results do not agree on which cases are of one patient: those of the baseline are taken")
    several = len(scores) > 2
    rows = [
        CountedRow(
            label=f"{row.label} of {row.result}" if several else row.label,
            metric=_title(row.metric),
            patients=(row.paired.patients or row.paired.n) if row.paired else 0,
        )
        for row in differences
    ]
    return (*notes, *caution(patients, rows))


def _rounded(count: int) -> int:
    """Round up to two digits: more would claim more than an observed difference knows."""
    step = int(10 ** max(0, len(str(count)) - 2))
    return -(-count // step) * step


def _p_text(p: float) -> str:
    return "<0.0001" if p < 1e-4 else f"{p:.4f}"


def _interval_text(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval.lower:+.4f} to {interval.upper:+.4f}"
