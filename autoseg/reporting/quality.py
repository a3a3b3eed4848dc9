"""The report's section on the quality estimate: how well Dice can be foreseen without a reference."""

from collections.abc import Sequence
from statistics import median

from autoseg.core.quality import COVERAGE, FALSE_ALARMS, NAMES, StructureQuality
from autoseg.reporting.charts import Panel, foresight
from autoseg.reporting.markup import UNDEFINED, figure, number, paragraph, section, subsection, table
from autoseg.reporting.material import Material

_DRAWN = 9
_EXPLAINED = (
    f"For every new case `autoseg predict` foresees the Dice of each structure with a {100 * COVERAGE:.0f} % interval,"
    f" and flags cases that look worse than {100 * (1 - FALSE_ALARMS):.0f} % of the known ones. It is fitted on cases"
    " that no network had seen. The interval holds for images like those of the training data; the flag is what notices"
    " others. Where several folds predict together, their average is a little surer than the single networks that this"
    " was learned from. It is no replacement for looking."
)

_ALONE = (
    "One network predicted each of the cases it was learned from, so how far networks disagree is no sign here, also"
    " where several folds predict together."
)


def quality_section(material: Material) -> str:
    """Show for each structure whether Dice can be foreseen, from what, and how well."""
    found = material.quality
    if found is None:
        return ""
    rows = [(each.label, str(each.n_cases), each.because, *_kept(each)) for each in found.structures]
    return section(
        "quality",
        "Quality of new cases",
        paragraph(_EXPLAINED),
        paragraph(_ALONE) if len(found.configurations) == 1 else "",
        table(("structure", "cases", "what is known", "interval covers", "median width"), rows),
        *(paragraph(_sentence(each)) for each in found.structures[:_DRAWN] if each.foreseen),
        _scatter(found.structures),
        *(_weights(each) for each in found.structures if each.parts),
    )


def _kept(each: StructureQuality) -> tuple[str, str]:
    if not each.foreseen:
        return UNDEFINED, UNDEFINED
    return f"{_covered(each)} of {len(each.foreseen)}", number(_width(each))


def _sentence(each: StructureQuality) -> str:
    covered, n = _covered(each), len(each.foreseen)
    interval = f"the {100 * COVERAGE:.0f} % interval covers {covered} of {n}, median width {_width(each):.3f} in Dice"
    return f"{each.label}: {interval}."


def _covered(each: StructureQuality) -> int:
    return sum(case.lower <= case.true <= case.upper for case in each.foreseen)


def _width(each: StructureQuality) -> float:
    return median(case.upper - case.lower for case in each.foreseen)


def _scatter(structures: Sequence[StructureQuality]) -> str:
    known = [each for each in structures if each.foreseen]
    shown = sorted(known, key=lambda each: median(case.true for case in each.foreseen))[:_DRAWN]
    if not shown:
        return ""
    panels = [
        Panel(name=each.label, points=tuple((c.true, c.dice, c.lower, c.upper) for c in each.foreseen))
        for each in known
        if each in shown
    ]
    some = f" Of {len(known)} structures the {len(shown)} with the lowest median Dice." if len(known) > _DRAWN else ""
    caption = f"Foreseen against true Dice of unseen cases, with intervals: right where they meet the diagonal.{some}"
    squares = (
        foresight(panel, position, f"foreseen against true Dice of {panel.name}")
        for position, panel in enumerate(panels)
    )
    return figure(f'<div class="panels">{"".join(squares)}</div>', caption)


def _weights(each: StructureQuality) -> str:
    means = [sum(part.weights[i] for part in each.parts) / len(each.parts) for i in range(len(NAMES))]
    rows = [(name, number(mean)) for name, mean in zip(NAMES, means, strict=True) if mean > 0]
    text = "What lowers the estimate, per standard deviation; nothing may raise it."
    return subsection(f"From what: {each.label}", paragraph(text), table(("sign", "weight"), rows)) if rows else ""
