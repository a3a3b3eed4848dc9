"""The report's section on calibration: do probabilities mean what they say, before and after the temperature."""

from collections.abc import Sequence

from autoseg.core.calibration import Bin, Temperature
from autoseg.reporting.charts import PALETTE
from autoseg.reporting.markup import figure, number, paragraph, section, subsection, table
from autoseg.reporting.material import Material

_SIDE, _MARGIN = 260, 36
_EXPLAINED = (
    "Of voxels with a probability of 0.8, eight in ten should be right. One temperature, fitted on voxels of cases that"
    " no network had seen, moves all probabilities towards that; it changes no label. The numbers after it are from"
    " cases left out of its fit. Counted are voxels near structures; each case counts the same."
)


def calibration_section(material: Material) -> str:
    """Show temperature, calibration error and reliability diagram."""
    found = material.calibration
    if found is None:
        return ""
    rows = [
        (
            each.of or "all labels",
            number(each.temperature),
            number(each.before.calibration_error if each.before else None, 4),
            number(each.after.calibration_error if each.after else None, 4),
            number(each.before.log_loss if each.before else None, 4),
            number(each.after.log_loss if each.after else None, 4),
            each.because,
        )
        for each in found.temperatures
    ]
    headings = ("of", "temperature", "error before", "after", "log loss before", "after", "because")
    return section(
        "calibration",
        "Calibration",
        paragraph(_EXPLAINED),
        paragraph(
            f"{found.n_voxels} voxels of {found.n_cases} unseen cases, each predicted by the network of its fold alone;"
            " the average of several folds, which predicts new cases, has no unseen cases to be measured on."
        ),
        table(headings, rows),
        *(_diagram(each) for each in found.temperatures),
    )


def _diagram(each: Temperature) -> str:
    if each.before is None or each.after is None:
        return ""
    what = f"Reliability of {each.of or 'all labels'}: before (line 1) and after (line 2) the temperature"
    lines = [("before", each.before.bins, PALETTE[1]), ("after", each.after.bins, PALETTE[0])]
    drawn = "".join(_curve(bins, colour) for _, bins, colour in lines)
    legend = "".join(
        f'<text x="{_MARGIN + 8}" y="{_MARGIN + 14 * row}" fill="{colour}" font-size="11">{name}</text>'
        for row, (name, _, colour) in enumerate(lines, start=1)
    )
    low, high = _MARGIN, _MARGIN + _SIDE
    size = _SIDE + 2 * _MARGIN
    svg = (
        f'<svg class="small" role="img" aria-label="{what}" viewBox="0 0 {size} {size}" style="max-width:{size}px">'
        f'<rect x="{low}" y="{low}" width="{_SIDE}" height="{_SIDE}" fill="none" stroke="currentColor"'
        ' stroke-opacity="0.4"/>'
        f'<line x1="{low}" y1="{high}" x2="{high}" y2="{low}" stroke="currentColor" stroke-opacity="0.4"/>'
        f"{drawn}{legend}"
        f'<text x="{size / 2}" y="{size - 8}" font-size="11" text-anchor="middle" fill="currentColor">'
        "said: confidence, 0 to 1</text>"
        f'<text x="12" y="{size / 2}" font-size="11" text-anchor="middle" fill="currentColor"'
        f' transform="rotate(-90 12 {size / 2})">true: accuracy, 0 to 1</text></svg>'
    )
    caption = "On the diagonal, probabilities are true; below it the network is too sure of itself."
    return subsection(f"Reliability of {each.of}" if each.of else "Reliability", figure(svg, caption))


def _curve(bins: Sequence[Bin], colour: str) -> str:
    """Return a line through the bins, with dots whose size shows how many voxels they hold."""
    points = [(_MARGIN + _SIDE * b.confidence, _MARGIN + _SIDE * (1 - b.accuracy), b.share) for b in bins]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{2 + 6 * s**0.5:.1f}" fill="{colour}"/>' for x, y, s in points
    )
    return f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>{dots}'
