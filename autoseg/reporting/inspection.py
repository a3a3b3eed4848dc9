"""The page of an inspection: how the folder was understood, what is wrong, every case in a row and as a picture."""

from collections import Counter
from collections.abc import Mapping, Sequence

from autoseg.datasets.dataset import Case, Dataset
from autoseg.datasets.inspection import CaseFacts, Finding, Inspection
from autoseg.reporting.markup import figure, page, paragraph, section, significant, table, tiles
from autoseg.reporting.overlays import png_element

_MOST_PICTURES = 200
_MOST_PICTURE_BYTES = 8 << 20
"""In base64 a third more: the page stays below 15 MB, which mail and browsers take."""
_MOST_ROWS = 2000
_RANK = {"error": 0, "warning": 1, "note": 2}


def inspection_page(inspection: Inspection, dataset: Dataset, previews: Mapping[str, bytes]) -> str:
    """Return the page as self-contained HTML.

    Args:
        inspection: what was found.
        dataset: the folder as it was understood.
        previews: PNG of cases by their stamp; cases with findings come first.

    """
    cases = (*zip(dataset.cases, inspection.cases, strict=True),)
    tests = (*zip(dataset.test_cases, inspection.test_cases, strict=True),)
    of_case = _by_case((*cases, *tests), inspection.findings)
    severities = Counter(finding.severity for finding in inspection.findings)
    lead = tiles(
        [
            (str(inspection.n_cases), "labelled cases"),
            (str(inspection.n_test_cases), "unlabelled cases"),
            (str(severities["error"]), "errors: would stop training"),
            (str(severities["warning"]), "warnings: would spoil it"),
        ]
    )
    sections = (
        ("understood", section("understood", "How it was understood", _understood(inspection))),
        ("findings", section("findings", "What was found", _findings(inspection.findings))),
        ("pictures", section("pictures", "Pictures", _pictures((*cases, *tests), of_case, previews))),
        ("cases", section("cases", "Cases", _cases(cases, of_case))),
    )
    return page(f"{inspection.dataset}: inspection", lead, sections)


Rows = Sequence[tuple[Case, CaseFacts]]


def _by_case(cases: Rows, findings: Sequence[Finding]) -> dict[str, list[Finding]]:
    """Return the findings of each case that has some, the worst first."""
    owner = {name: case.name for case, _ in cases for name in (*case.images, *case.references) if name}
    of_case: dict[str, list[Finding]] = {}
    for finding in sorted(findings, key=lambda one: _RANK[one.severity]):
        if finding.where in owner:
            of_case.setdefault(owner[finding.where], []).append(finding)
    return of_case


def _understood(inspection: Inspection) -> str:
    rows = [
        ("layout", inspection.layout, ""),
        ("channels", ", ".join(inspection.channels), ""),
        ("labels", ", ".join(inspection.labels), ""),
        *((said.what, said.value, said.because) for said in inspection.inferences),
    ]
    return table(("what", "is", "because"), rows)


def _findings(findings: Sequence[Finding]) -> str:
    rows = [(one.severity, one.where, one.what, one.mend) for one in findings[:_MOST_ROWS]]
    return table(("severity", "where", "what", "what to do"), rows, sortable=True) or paragraph("Nothing.")


def _pictures(cases: Rows, of_case: Mapping[str, list[Finding]], previews: Mapping[str, bytes]) -> str:
    ranked = sorted(cases, key=lambda pair: _RANK[of_case[pair[0].name][0].severity] if pair[0].name in of_case else 3)
    figures: list[str] = []
    size = 0
    for case, fact in ranked:
        png = previews.get(fact.stamp, b"")
        size += len(png)
        if len(figures) == _MOST_PICTURES or size > _MOST_PICTURE_BYTES:
            break
        if png:
            whats = "; ".join(finding.what for finding in of_case.get(case.name, ()))
            figures.append(figure(png_element(png, case.name), f"{case.name}: {whats}" if whats else case.name))
    if not figures:
        return ""
    told = "The slice with most label, its outline in colour; cases with findings first."
    told += "" if len(figures) == len(cases) else f" {len(figures)} of {len(cases)} cases."
    return paragraph(told, "soft") + f'\n<div class="pictures">{"".join(figures)}</div>'


def _cases(cases: Rows, of_case: Mapping[str, list[Finding]]) -> str:
    rows = [
        (
            case.name,
            " x ".join(map(str, fact.shape)),
            " x ".join(map(significant, fact.spacing_mm)),
            fact.orientation,
            "; ".join(f"{significant(c.minimum)} to {significant(c.maximum)}" for c in fact.channels),
            str(sum(1 for file in fact.values for count in file if count.value)),
            str(sum(count.voxels for file in fact.values for count in file if count.value)),
            str(len(of_case.get(case.name, ()))),
        )
        for case, fact in cases[:_MOST_ROWS]
    ]
    headings = (
        "case",
        "voxels (z, y, x)",
        "spacing in mm",
        "axes",
        "intensities",
        "labels",
        "label voxels",
        "findings",
    )
    return table(headings, rows, sortable=True)
