"""The report's sections on data, plan and training; each returns HTML, or nothing when its part is not there yet."""

from collections.abc import Sequence

from autoseg.datasets.inspection import Finding
from autoseg.reporting.charts import Line, Row, curves, distributions, histograms, ranges, varies
from autoseg.reporting.markup import (
    duration,
    figure,
    folded,
    mebibytes,
    number,
    paragraph,
    section,
    sentence,
    significant,
    subsection,
    table,
    tiles,
)
from autoseg.reporting.material import Material, TrainingCurve, TrainingPoint, Validated
from planners.fingerprint import CaseFingerprint, ChannelFingerprint, Fingerprint
from planners.plan import Configuration, Decision, Plan

_AXES = ("z", "y", "x")
_SHOWN_FINDINGS = 100
_ML_PER_MM3 = 1e-3
_MODALITY_NAMES = {"ct": "CT", "mr": "MR", "pet": "PET", "rgb": "RGB", "xray": "X-ray"}


def lead(material: Material) -> str:
    """Return the numbers that people look for first."""
    items = [_best(validated) for validated in material.validated]
    if material.dataset:
        items.append((str(len(material.dataset.cases)), "labelled cases"))
        items.append((str(len(material.dataset.labels)), "labels"))
    seconds = sum(curve.points[-1].seconds for curve in material.trainings if curve.points)
    if seconds:
        items.append((duration(seconds), "of training"))
    return tiles(items)


def dataset_section(material: Material) -> str:
    """Say how the folder was understood, and what was found wrong with it."""
    dataset = material.dataset
    parts = []
    if dataset:
        parts.append(paragraph(f"{dataset.folder}, layout {dataset.layout}."))
        names = [(label.name, ", ".join(map(str, label.values)), label.role) for label in dataset.labels]
        parts.append(table(("label", "values", "role"), names))
        known = [(inference.what, inference.value, inference.because) for inference in dataset.inferences]
        parts.append(subsection("What was concluded", table(("what", "value", "because"), known)))
    if material.folds:
        folds = [(str(i), str(len(f.train)), str(len(f.validation))) for i, f in enumerate(material.folds.folds)]
        split = table(("fold", "cases to train on", "cases to validate on"), folds)
        parts.append(subsection("Folds", paragraph(material.folds.because), split))
    if material.inspection:
        parts.append(subsection("Findings", _findings(material.inspection.findings)))
    return section("data", "Data", *parts)


def fingerprint_section(material: Material) -> str:
    """Show spacings, shapes, intensities and label sizes over cases."""
    fingerprint = material.fingerprint
    if fingerprint is None:
        return ""
    cases = fingerprint.cases
    axes = _AXES[1:] if all(case.dimensions == 2 for case in cases) else _AXES
    first = len(_AXES) - len(axes)
    spacing = [Row(name=f"{a} (mm)", values=tuple(c.spacing_mm[first + i] for c in cases)) for i, a in enumerate(axes)]
    shapes = [
        Row(name=f"{a} (voxels)", values=tuple(float(c.shape_after_crop[first + i]) for c in cases))
        for i, a in enumerate(axes)
    ]
    kept = fingerprint.median_relative_size_after_crop
    return section(
        "fingerprint",
        "Fingerprint",
        paragraph("The dataset in numbers: all that the planner knows of it."),
        _spacing(spacing),
        figure(
            histograms(shapes, "shape of the cases"),
            f"Shape after cropping to what is not zero; the median case keeps {kept:.0%} of its voxels.",
        ),
        _intensities(fingerprint.channels),
        _label_sizes(fingerprint),
    )


def plan_section(material: Material) -> str:
    """Say what was planned and why, in sentences, and show the networks."""
    plan = material.plan
    if plan is None:
        return ""
    general = [decision for decision in plan.decisions if decision.configuration is None]
    parts = [paragraph(f"Recipe {plan.recipe}."), _decisions(general)]
    for configuration in plan.configurations:
        own = [decision for decision in plan.decisions if decision.configuration == configuration.name]
        parts.append(
            subsection(configuration.name, _at_a_glance(configuration), _decisions(own), _stages(configuration))
        )
    return section("plan", "Plan", *parts)


def training_section(material: Material) -> str:
    """Draw loss and validation Dice of each training, and say what the time went into."""
    parts = [_training(curve, material.plan) for curve in material.trainings if curve.points]
    return section("training", "Training", *parts)


def _best(validated: Validated) -> tuple[str, str]:
    summary = validated.scores.summary()
    interval = summary.mean_interval
    text = f"mean Dice of {summary.n} validation cases, {validated.configuration}"
    if interval:
        text += f" (95 %: {interval.lower:.3f} to {interval.upper:.3f})"
    return number(summary.mean), text


def _spacing(rows: Sequence[Row]) -> str:
    if any(varies(row) for row in rows):
        return figure(histograms(rows, "voxel spacing of the cases"), "Spacing: distance between voxel centres.")
    same = " × ".join(f"{row.values[0]:.4g}" for row in rows)
    return paragraph(
        f"Spacing: {same} mm (z, y, x) in every case." if len(rows) == 3 else f"Spacing: {same} mm (y, x)."
    )


def _findings(findings: Sequence[Finding]) -> str:
    if not findings:
        return paragraph("None.")
    order = {"error": 0, "warning": 1, "note": 2}
    ranked = sorted(findings, key=lambda finding: order[finding.severity])
    rows = [(f.severity, f.where, f.what, f.mend) for f in ranked[:_SHOWN_FINDINGS]]
    more = len(ranked) - len(rows)
    rest = paragraph(f"{more} more are in inspection.json.") if more > 0 else ""
    return table(("severity", "where", "what", "mend"), rows, sortable=True) + rest


def _intensities(channels: Sequence[ChannelFingerprint]) -> str:
    rows = []
    marks = []
    for channel in channels:
        five = (channel.minimum, channel.percentile_00_5, channel.median, channel.percentile_99_5, channel.maximum)
        modality = _MODALITY_NAMES.get(channel.modality, channel.modality)
        rows.append(
            (
                channel.name,
                f"{modality} ({channel.modality_reason})",
                *(significant(value) for value in (*five, channel.mean, channel.std)),
            )
        )
        known = tuple(value for value in five if value is not None)
        if len(known) == len(five):
            marks.append(Row(name=channel.name, values=known))
    headings = ("channel", "modality", "minimum", "0.5 %", "median", "99.5 %", "maximum", "mean", "std")
    drawn = ranges(marks, "foreground intensities per channel", "intensity") if marks else ""
    caption = "Foreground intensities: thin from minimum to maximum, thick from 0.5 to 99.5 %, dot at the median."
    return subsection("Intensities", figure(drawn, caption) if drawn else "", table(headings, rows))


def _label_sizes(fingerprint: Fingerprint) -> str:
    flat = all(case.dimensions == 2 for case in fingerprint.cases)
    rows, counts = [], []
    for position, label in enumerate(fingerprint.labels):
        present = [case for case in fingerprint.cases if case.label_voxels[position]]
        sizes = tuple(float(c.label_voxels[position]) if flat else _ml(c, position) for c in present)
        components = sum(case.label_components[position] for case in present)
        rows.append(Row(name=label.name, values=sizes))
        mean = f"{components / len(present):.1f}" if present else number(None)
        counts.append((label.name, str(len(present)), mean))
    unit = "pixels per case" if flat else "ml per case"
    drawn = distributions(rows, "size of each label", unit)
    return subsection(
        "Labels",
        figure(drawn, "Size of each label in the cases that hold it: quartiles and single cases.") if drawn else "",
        table(("label", "cases with it", "components per case"), counts, sortable=True),
    )


def _ml(case: CaseFingerprint, position: int) -> float:
    z, y, x = case.spacing_mm
    return case.label_voxels[position] * z * y * x * _ML_PER_MM3


def _at_a_glance(configuration: Configuration) -> str:
    def times(values: Sequence[float], form: str = "g") -> str:
        return " × ".join(f"{value:{form}}" for value in values)

    parts = (
        f"{configuration.architecture} in {configuration.dimensions}D",
        f"spacing {times(configuration.spacing_mm, '.3g')} mm",
        f"patch {times(configuration.patch)} voxels",
        f"batch {configuration.batch}",
        f"about {mebibytes(configuration.estimated_bytes)} to train",
    )
    return paragraph(", ".join(parts) + ".")


def _decisions(decisions: Sequence[Decision]) -> str:
    return "\n".join(
        sentence(
            d.parameter, f"{d.value}, because {d.because.rstrip('.')}" + (f"; not {d.rejected}." if d.rejected else ".")
        )
        for d in decisions
    )


def _stages(configuration: Configuration) -> str:
    rows = [
        (
            str(i + 1),
            str(stage.features),
            " × ".join(map(str, stage.stride)),
            " × ".join(map(str, stage.kernel)),
            str(stage.convolutions),
            str(stage.decoder_convolutions) if stage.decoder_convolutions else number(None),
        )
        for i, stage in enumerate(configuration.stages)
    ]
    headings = ("stage", "features", "stride", "kernel", "blocks or convolutions", "in the decoder")
    return folded("Stages of the network", table(headings, rows))


def _training(curve: TrainingCurve, plan: Plan | None) -> str:
    points = curve.points
    minutes = tuple(point.seconds / 60 for point in points)
    losses = [Line(name="loss", x=minutes, y=tuple(point.train_loss for point in points))]
    scores = [Line(name="mean", x=minutes, y=tuple(point.validation_dice for point in points))]
    names = [label.name for label in plan.labels if label.role == "foreground"] if plan else []
    if 1 < len(names) <= 6:
        for position, name in enumerate(names):
            values = tuple(_at(point, position) for point in points)
            scores.append(Line(name=name, x=minutes, y=values))
    data, compute = sum(p.data_seconds for p in points), sum(p.compute_seconds for p in points)
    waiting = f"{data / (data + compute):.0%} of the time was spent waiting for data" if data + compute else ""
    last = points[-1]
    said = (
        f"{last.step} steps in {duration(last.seconds)}",
        f"{last.samples_per_s:.1f} samples per second",
        waiting,
        f"largest memory {mebibytes(last.peak_memory_bytes)}",
        curve.schedule,
    )
    drawn = curves(losses, scores, f"training of {curve.configuration}, fold {curve.fold}")
    caption = "Loss on training patches; Dice on a few whole validation cases, on the network's grid."
    title = f"{curve.configuration}, fold {curve.fold}"
    return subsection(title, figure(drawn, caption), paragraph(", ".join(part for part in said if part) + "."))


def _at(point: TrainingPoint, position: int) -> float | None:
    values = point.validation_dice_per_label
    return values[position] if position < len(values) else None
