"""The report's section on suspect labels: training cases where unseen predictions and labels disagree."""

from collections.abc import Sequence

from autoseg.core.errors import AutosegError
from autoseg.core.suspects import Suspect
from autoseg.reporting.markup import UNDEFINED, figure, number, paragraph, section, subsection, table
from autoseg.reporting.material import Material
from autoseg.reporting.overlays import legend, overlay_png, png_element
from autoseg.reporting.validation import overlay_of

_LISTED = 25
_DRAWN = 6
_EXPLAINED = (
    "Each case was predicted by a network that had not seen it. The score is the Dice that is missing from what was"
    " foreseen for the case, plus the Dice that a shift of the label, or an exchange of two structures, would gain."
    " Either the label or the prediction is wrong: look at the marked ones first."
)


def suspects_section(material: Material) -> str:
    """Show the most suspect cases in a table, and the first of them as overlays, marked or not."""
    found = material.suspects
    if found is None:
        return ""
    if not found.cases:
        return section("suspects", "Suspect labels", paragraph(f"None: {found.because}."))
    rows = [
        (
            each.case,
            "yes" if each.suspect else "",
            number(each.score),
            ", ".join(f"{part.label} {number(part.dice)}" for part in each.structures[:_DRAWN]),
            ", ".join(f"{part.label} {number(part.foreseen)}" for part in each.structures[:_DRAWN]),
            f"{each.explanation}, gains {each.gain:.2f}" if each.explanation else UNDEFINED,
        )
        for each in found.cases[:_LISTED]
    ]
    marked = sum(each.suspect for each in found.cases)
    return section(
        "suspects",
        "Suspect labels",
        paragraph(_EXPLAINED),
        paragraph(f"{marked} of {len(found.cases)} cases are marked; the first {len(rows)} are listed."),
        table(("case", "marked", "score", "Dice", "foreseen", "would agree better"), rows),
        *_pictures(material, found.cases[:_DRAWN]),
    )


def _pictures(material: Material, suspects: Sequence[Suspect]) -> tuple[str, ...]:
    dataset = material.dataset
    if dataset is None:
        return ()
    channel = material.fingerprint.channels[0] if material.fingerprint else None
    parts = [legend(dataset.labels)]
    for each in suspects:
        case = material.case(each.case)
        predictions = material.root / "validation" / each.configuration / f"fold_{each.fold}"
        prediction = next(iter(sorted(predictions.glob(f"{each.case}.*"))), None)
        if case is None or prediction is None:
            continue
        said = f"{each.case}, score {number(each.score)}{', marked' if each.suspect else ''}"
        caption = said + (f": {each.explanation}?" if each.explanation else "")
        try:
            png = overlay_png(overlay_of(dataset, case, prediction, channel))
        except AutosegError as error:
            parts.append(paragraph(f"{caption}. It cannot be drawn: {error}", "warning"))
        else:
            parts.append(figure(png_element(png, caption), caption))
    return (subsection("The first of the list", *parts),) if len(parts) > 1 else ()
