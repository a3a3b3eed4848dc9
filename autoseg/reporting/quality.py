"""The report's section on the quality estimate: how well Dice can be foreseen without a reference."""

from autoseg.core.quality import COVERAGE, FALSE_ALARMS, NAMES, StructureQuality
from autoseg.reporting.markup import number, paragraph, section, subsection, table
from autoseg.reporting.material import Material

_EXPLAINED = (
    f"For every new case `autoseg predict` foresees the Dice of each structure with a {100 * COVERAGE:.0f} % interval,"
    f" and flags cases that look worse than {100 * (1 - FALSE_ALARMS):.0f} % of the known ones. It is fitted on cases"
    " that no network had seen. The interval holds for images like those of the training data; the flag is what notices"
    " others. It is no replacement for looking."
)


def quality_section(material: Material) -> str:
    """Show for each structure whether Dice can be foreseen, from what, and how well."""
    found = material.quality
    if found is None:
        return ""
    rows = [(each.label, str(each.n_cases), each.because, *_errors(each)) for each in found.structures]
    return section(
        "quality",
        "Quality of new cases",
        paragraph(_EXPLAINED),
        table(("structure", "cases", "what is known", "5 %", "median", "95 %"), rows),
        paragraph(
            "Errors are of the logit of 1 - Dice, left out of the fit: above 0 the case was worse than foreseen."
        ),
        *(_weights(each) for each in found.structures if each.parts),
    )


def _errors(each: StructureQuality) -> tuple[str, str, str]:
    errors = sorted(error for _, error in each.known)
    if not errors:
        return number(None), number(None), number(None)
    places = [round(share * (len(errors) - 1)) for share in (0.05, 0.5, 0.95)]
    low, middle, high = (number(errors[place]) for place in places)
    return low, middle, high


def _weights(each: StructureQuality) -> str:
    means = [sum(part.weights[i] for part in each.parts) / len(each.parts) for i in range(len(NAMES))]
    rows = [(name, number(mean)) for name, mean in zip(NAMES, means, strict=True) if mean > 0]
    text = "What lowers the estimate, per standard deviation; nothing may raise it."
    return subsection(f"From what: {each.label}", paragraph(text), table(("sign", "weight"), rows)) if rows else ""
