"""The report's section on what was chosen to predict, and on what evidence."""

from autoseg.core.selection import Choice
from autoseg.imaging.selection import LabelPostprocessing
from autoseg.reporting.markup import number, paragraph, section, subsection, table
from autoseg.reporting.material import Material

_RULE = (
    "Of all candidates the simplest is taken whose mean Dice over unseen cases is within one standard error of the best"
    " one's; the error is that of the difference, over patients. A structure that a candidate rightly leaves out counts"
    " as 1 where another candidate makes it up; cases in which no reference and no candidate has it are left out."
)


def selection_section(material: Material) -> str:
    """Show the candidates, how far each is behind the best, and what was chosen."""
    found = material.selection
    if found is None:
        return ""
    names = ", ".join(found.left_out)
    left_out = f"Not compared, for lack of time or of trained folds: {names}." if names else ""
    return section(
        "selection",
        "Selection",
        paragraph(_RULE),
        subsection("What predicts", paragraph(_sentence(found.choice)), _candidates(found.choice)),
        *(_postprocessing(each) for each in found.postprocessing),
        paragraph(left_out) if left_out else "",
    )


def _postprocessing(each: LabelPostprocessing) -> str:
    parts = [paragraph(_sentence(each.choice)), _candidates(each.choice)]
    if each.filling is not None:
        parts += [paragraph(f"Then, of holes. {_sentence(each.filling)}"), _candidates(each.filling)]
    return subsection(f"Postprocessing of {each.label}", *parts)


def _sentence(choice: Choice) -> str:
    left_out = f"; {choice.n_left_out} more say nothing" if choice.n_left_out else ""
    cases = f"{choice.n_cases} cases of {choice.n_patients} patients{left_out}"
    return f"Chosen: {choice.chosen}, {choice.because} ({cases})."


def _candidates(choice: Choice) -> str:
    rows = [
        (each.name, number(each.mean, 4), number(each.behind_best, 4), number(each.standard_error, 4))
        for each in choice.candidates
    ]
    return table(("candidate", "mean Dice", "behind the best", "standard error"), rows) if rows else ""
