"""Records in a few lines for people, as the commands print them."""

from collections.abc import Sequence

from autoseg.datasets.inspection import Finding, Inspection
from planners.explain import explain
from planners.fingerprint import Fingerprint
from planners.plan import Configuration, Plan

_SHOWN = 20
"""Findings that are printed; the record has all."""


def inspection_text(inspection: Inspection) -> str:
    """Return how the folder was understood and what was found."""
    lines = [
        f"{inspection.dataset}: {_count(inspection.n_cases, 'labelled case')}, {inspection.n_test_cases} unlabelled",
        f"layout    {inspection.layout}",
        f"channels  {', '.join(inspection.channels)}",
        f"labels    {', '.join(inspection.labels)}",
    ]
    lines += _cases(inspection)
    lines += [f"concluded: {said.what} is {said.value} ({said.because})" for said in inspection.inferences[:_SHOWN]]
    lines += [_finding(finding) for finding in inspection.findings[:_SHOWN]]
    if len(inspection.findings) > _SHOWN:
        lines.append(f"... and {len(inspection.findings) - _SHOWN} more in inspection.json")
    return "\n".join(lines)


def fingerprint_text(fingerprint: Fingerprint) -> str:
    """Return the dataset in numbers: sizes, spacings, intensities, structures."""
    cases = fingerprint.cases
    shapes = [case.shape for case in cases]
    lines = [
        f"{fingerprint.dataset}: {_count(len(cases), 'case')}",
        f"shape      {_range(shapes)} voxels (z, y, x), median {_axes(_medians(shapes))}",
        f"spacing    {_axes(_medians([case.spacing_mm for case in cases]))} mm (median)",
        f"cropping   keeps {100 * fingerprint.median_relative_size_after_crop:.0f} % (median)",
    ]
    for channel in fingerprint.channels:
        numbers = "no foreground" if channel.mean is None else f"foreground {channel.mean:.4g} ± {channel.std or 0:.4g}"
        lines.append(f"channel    {channel.name}: {channel.modality} ({channel.modality_reason}), {numbers}")
    foreground = [label for label in fingerprint.labels if label.role == "foreground"]
    for position, label in enumerate(foreground):
        present = [case.label_voxels[position] for case in cases if case.label_voxels[position]]
        voxels = f", median {sorted(present)[len(present) // 2]} voxels" if present else ""
        lines.append(f"label      {label.name}: in {len(present)} of {len(cases)} cases{voxels}")
    return "\n".join(lines)


def plan_text(plan: Plan, *, explained: bool) -> str:
    """Return the networks of a plan, one per line, or every decision with its reason."""
    if explained:
        return explain(plan).rstrip()
    return "\n".join([f"{plan.dataset} by recipe {plan.recipe}", *map(configuration_text, plan.configurations)])


def configuration_text(configuration: Configuration) -> str:
    """Return a network in one line: its shape, its patch and how long it learns."""
    features = "-".join(str(stage.features) for stage in configuration.stages)
    schedule = configuration.schedule
    length = "by the clock" if schedule.steps is None else f"{schedule.steps} steps"
    if schedule.convergence is not None:
        length = f"until validation rises no more, {schedule.steps} steps at most"
    return (
        f"{configuration.name}: {configuration.architecture} {features}, patch {_axes(configuration.patch)}, "
        f"batch {configuration.batch}, spacing {_axes(configuration.spacing_mm)} mm, {schedule.optimizer} {length}"
    )


def _cases(inspection: Inspection) -> list[str]:
    """Return a table of what the cases that could be read hold: the least, the median and the largest."""
    read = [fact for fact in inspection.cases if fact.channels]
    if not read:
        return []
    rows: list[tuple[str, ...]] = [("", "least", "median", "largest")]
    rows.append(("voxels (z, y, x)", *_three([fact.shape for fact in read])))
    rows.append(("spacing in mm", *_three([fact.spacing_mm for fact in read])))
    for number, name in enumerate(inspection.channels):
        values = [fact.channels[number] for fact in read if number < len(fact.channels)]
        ends = [[(c.minimum, c.mean, c.maximum)[place] for c in values] for place in range(3)]
        shown = (min(ends[0]), sorted(ends[1])[len(values) // 2], max(ends[2])) if values else ()
        rows.append((f"intensity {name}", *(f"{value:.4g}" for value in shown)))
    voxels = sorted(sum(count.voxels for file in fact.values for count in file if count.value) for fact in read)
    rows.append(("label voxels", *(str(v) for v in (voxels[0], voxels[len(voxels) // 2], voxels[-1]))))
    widths = [max(len(row[column]) for row in rows if column < len(row)) for column in range(4)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows]


def _three(rows: Sequence[Sequence[float]]) -> tuple[str, str, str]:
    columns = list(zip(*rows, strict=True))
    return _axes([min(column) for column in columns]), _axes(_medians(rows)), _axes([max(column) for column in columns])


def _finding(finding: Finding) -> str:
    return f"{finding.severity}: {finding.where}: {finding.what}; {finding.mend}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _axes(values: Sequence[float]) -> str:
    return "x".join(f"{value:.4g}" for value in values)


def _medians(rows: Sequence[Sequence[float]]) -> tuple[float, ...]:
    return tuple(sorted(column)[len(column) // 2] for column in zip(*rows, strict=True))


def _range(shapes: Sequence[tuple[int, ...]]) -> str:
    columns = list(zip(*shapes, strict=True))
    return f"{_axes([min(column) for column in columns])} to {_axes([max(column) for column in columns])}"
