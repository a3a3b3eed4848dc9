"""The report's section on validation: scores with intervals, distributions, the best, median and worst case."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from autoseg.core.definitions import ENDLESS, Metric, title_of
from autoseg.core.errors import AutosegError
from autoseg.core.scores import CaseScore, Scores, Summary
from autoseg.core.statistics import Interval
from autoseg.datasets.dataset import Case, Dataset
from autoseg.datasets.load import load_label
from autoseg.datasets.read_case import read_case
from autoseg.reporting.charts import PALETTE, Row, distributions
from autoseg.reporting.markup import UNDEFINED, figure, number, paragraph, section, subsection, table
from autoseg.reporting.material import Material, Validated
from autoseg.reporting.overlays import Overlay, display_window, legend, overlay_png, png_element
from autoseg.reporting.viewer import viewer
from planners.fingerprint import ChannelFingerprint

_MOST_LABEL_COLUMNS = 12
"""More labels than this make a table that nobody reads; the lowest of the case is shown instead."""

_SHOWN_CASES = 3
_VIEWED_VOXELS = 9 << 20
"""Of all viewers together: about a third of a byte each, so that the page stays far below 15 MB."""
_WITH_PATIENT_AXES = ("ct", "mr", "pet")
"""Modalities whose files say where left and right are."""


def validation_section(material: Material) -> str:
    """Show for each configuration how good its predictions of unseen cases are."""
    return section(
        "validation", "Validation", *(_configuration(validated, material) for validated in material.validated)
    )


def extremes(scores: Scores) -> tuple[tuple[str, int], ...]:
    """Return (what it is, position in `scores.cases`) of the best, the median and the worst case by mean Dice.

    With fewer than three cases, or without defined Dice, there are fewer.
    """
    defined = [(dice, position) for position, dice in enumerate(scores.per_case()) if dice is not None]
    ranked = [position for _, position in sorted(defined, key=lambda pair: (-pair[0], pair[1]))]
    if not ranked:
        return ()
    picked = {"best": ranked[0], "median": ranked[len(ranked) // 2], "worst": ranked[-1]}
    unique: dict[int, str] = {}
    for name, position in picked.items():
        unique[position] = f"{unique[position]} and {name}" if position in unique else name
    return tuple((name, position) for position, name in unique.items())


def _configuration(validated: Validated, material: Material) -> str:
    scores = validated.scores
    folds = ", ".join(map(str, validated.folds))
    title = f"{validated.configuration}, fold{'s' if len(validated.folds) > 1 else ''} {folds}"
    return subsection(
        title,
        paragraph(f"{len(scores.cases)} cases that the network had not seen in training. " + _explained(scores)),
        _summaries(scores.summaries),
        *(paragraph(f"Note: {note}.", "soft") for note in scores.notes),
        *(paragraph(definition, "soft") for definition in scores.definitions),
        *(_distribution(scores, metric) for metric in scores.metrics),
        *_overlays(validated, material),
        _per_case(scores),
    )


def _explained(scores: Scores) -> str:
    undefined = sum(row.undefined for row in scores.summaries if row.metric == "dice")
    text = "Intervals: 95 %, bootstrap over patients, BCa for the mean and percentile for the median."
    return text + (" Undefined: neither reference nor prediction holds the label." if undefined else "")


def _summaries(rows: Sequence[Summary]) -> str:
    headings = ("label", "metric", "mean", "95 %", "median", "95 %", "cases", "undefined", "missed", "made up")
    body = [
        (
            row.label,
            title_of(row.metric),
            number(row.mean),
            _interval(row.mean_interval),
            number(row.median),
            _interval(row.median_interval),
            str(row.n),
            str(row.undefined),
            str(row.only_reference),
            str(row.only_prediction),
        )
        for row in rows
    ]
    return table(headings, body, sortable=True)


def _distribution(scores: Scores, metric: Metric) -> str:
    names = [label.name for label in scores.labels if label.role == "foreground"]
    endless = metric in ENDLESS
    rows = [
        Row(
            name=name,
            values=tuple(
                float(value)
                for case in scores.cases
                if (value := getattr(score := case.labels[position], metric)) is not None
                and not (endless and (score.missed or score.made_up))
            ),
        )
        for position, name in enumerate(names)
    ]
    values = [value for row in rows for value in row.values]
    low, high = min(values, default=0.0), max(values, default=0.0)
    limits = (0.0, 1.03 * high or 1.0) if endless else (max(0.0, low - 0.05), 1.005)
    title = title_of(metric)
    drawn = distributions(rows, f"{title} of each label", title, limits)
    left_out = sum(score.missed or score.made_up for case in scores.cases for score in case.labels) if endless else 0
    rest = f" Left out: {left_out} that are infinite, for only one side holds the label." if left_out else ""
    return figure(drawn, f"{title} of each label: quartiles and single cases.{rest}") if drawn else ""


def _per_case(scores: Scores) -> str:
    names = [label.name for label in scores.labels if label.role == "foreground"]
    headings, rows = ["case"], [[case.case] for case in scores.cases]
    for before, metric in enumerate(scores.metrics):
        title = title_of(metric)
        headings.append(f"mean {title}")
        for row, mean in zip(rows, scores.per_case(metric), strict=True):
            row.append(number(mean))
        if len(names) * (before + 1) <= _MOST_LABEL_COLUMNS:
            headings += [f"{title} {name}" for name in names]
            for row, case in zip(rows, scores.cases, strict=True):
                row += [number(getattr(score, metric)) for score in case.labels]
    if len(names) > _MOST_LABEL_COLUMNS:
        headings += ["lowest Dice", "of label"]
        for row, case in zip(rows, scores.cases, strict=True):
            row.extend(_lowest(case))
    return subsection("Cases", table(headings, rows, sortable=True))


def _lowest(case: CaseScore) -> tuple[str, str]:
    defined = [(score.dice, score.label) for score in case.labels if score.dice is not None]
    if not defined:
        return UNDEFINED, ""
    dice, label = min(defined)
    return number(dice), label


def _overlays(validated: Validated, material: Material) -> tuple[str, ...]:
    dataset = material.dataset
    if dataset is None:
        return ()
    channel = material.fingerprint.channels[0] if material.fingerprint else None
    parts = [legend(validated.scores.labels)]
    for what, position in extremes(validated.scores):
        score, prediction = validated.scores.cases[position], validated.predictions[position]
        case = material.case(score.case)
        if case is None:
            continue
        caption = f"{what.capitalize()} case: {_described(score)}"
        try:
            drawn = overlay_of(dataset, case, prediction, channel)
            png = overlay_png(drawn)
        except AutosegError as error:
            parts.append(paragraph(f"{caption}. It cannot be drawn: {error}", "warning"))
        else:
            leaf = viewer(drawn, _VIEWED_VOXELS // (_SHOWN_CASES * len(material.validated)))
            parts.append(figure(leaf + png_element(png, caption, "still"), caption))
    return (subsection("Best, median and worst case", *parts),) if len(parts) > 1 else ()


def overlay_of(dataset: Dataset, case: Case, prediction: Path | None, channel: ChannelFingerprint | None) -> Overlay:
    """Return what is drawn of a case with its reference and a prediction."""
    arrays = read_case(dataset, case)
    grid = arrays.image.grid
    empty = np.zeros(grid.shape, dtype=np.uint8)
    modality = channel.modality if channel else "other"
    return Overlay(
        image=arrays.image.array,
        reference=empty if arrays.label is None else arrays.label,
        prediction=empty if prediction is None else load_label(prediction, grid),
        grid=grid,
        labels=dataset.labels,
        window=display_window(arrays.image.array, modality, channel.median if channel else None),
        patient_axes=modality in _WITH_PATIENT_AXES and grid.dimensions == 3,
    )


def _described(score: CaseScore) -> str:
    named = [f"{label.label} {number(label.dice)}" for label in score.labels[: len(PALETTE)]]
    more = ", ..." if len(score.labels) > len(named) else ""
    missing = ", no prediction" if score.prediction is None else ""
    return f"{score.case}, Dice {', '.join(named)}{more}{missing}"


def _interval(interval: Interval | None) -> str:
    return UNDEFINED if interval is None else f"{interval.lower:.3f}\u00a0to\u00a0{interval.upper:.3f}"
