"""Charts of the report as inline SVG. Matplotlib through its object interface: no global state, no window, no file.

What is drawn in INK becomes the page's text colour, so that a chart follows light and dark.
"""

import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#0a0b0c"
PALETTE = ("#3b8fd4", "#e07b39", "#2fa37c", "#c65fb0", "#c9a227", "#d1495b", "#6a7fdb", "#7a9e3f")
"""Mid tones that stand out on white and on near black, told apart by most colour-blind people."""

_MAXIMUM_POINTS = 3000
"""Single values drawn in one chart; above it only boxes, to keep the page small."""
_LOG_FROM_RATIO = 50.0
"""A linear axis hides the small values when the largest is this many times the smallest."""
_SEED = 0
_MAXIMUM_SQUARE_POINTS = 400
"""Of more cases every second, third and so on is drawn."""

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "autoseg",
    "text.parse_math": False,
    "font.size": 10,
    "font.family": "sans-serif",
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": "none",
    "legend.frameon": False,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A name and its values; of a range chart the five marks (minimum, low, middle, high, maximum)."""

    name: str
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A curve; points whose y is None are left out."""

    name: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A structure's (true, foreseen, lower, upper) of each case, all shares."""

    name: str
    points: tuple[tuple[float, float, float, float], ...]


def varies(row: Row) -> bool:
    """Whether the values of a row differ by more than rounding."""
    return bool(np.ptp(row.values) > 1e-6 * np.abs(row.values).max())


def histograms(rows: Sequence[Row], what: str) -> str:
    """Return one small histogram per row, side by side; a value that never varies is written out instead."""

    def draw(canvas: "Figure") -> None:
        axes = canvas.subplots(1, len(rows), squeeze=False)[0]
        for axis, row, colour in zip(axes, rows, _colours(len(rows)), strict=True):
            axis.set_title(row.name, fontsize=10)
            if not varies(row):
                axis.text(0.5, 0.5, f"always {row.values[0]:.4g}", ha="center", va="center", transform=axis.transAxes)
                axis.set_axis_off()
                continue
            axis.hist(row.values, bins=_bins(np.asarray(row.values)), color=colour)
            axis.set_ylabel("cases" if axis is axes[0] else "")

    return _svg(draw, (9.0, 2.3), what)


def distributions(rows: Sequence[Row], what: str, x_label: str, limits: tuple[float, float] | None = None) -> str:
    """Return a box with its single values for each row, on one axis; logarithmic when values differ widely."""
    everything = [value for row in rows for value in row.values]

    def draw(canvas: "Figure") -> None:
        axis = canvas.subplots()
        generator = np.random.default_rng(_SEED)
        for position, (row, colour) in enumerate(zip(rows, _colours(len(rows)), strict=True)):
            _box(axis, position, row.values, colour)
            if len(everything) <= _MAXIMUM_POINTS:
                heights = position + generator.uniform(-0.25, 0.25, len(row.values))
                axis.plot(row.values, heights, "o", ms=2.6, alpha=0.55, color=colour, mew=0)
        axis.set_yticks(range(len(rows)), [row.name for row in rows])
        axis.set_ylim(len(rows) - 0.4, -0.6)
        axis.set_xlabel(x_label)
        axis.grid(axis="x", color=INK, alpha=0.15, lw=0.6)
        if limits:
            axis.set_xlim(*limits)
        elif everything and min(everything) > 0 and max(everything) > _LOG_FROM_RATIO * min(everything):
            axis.set_xscale("log")
            axis.xaxis.set_major_formatter(_plain)
            axis.xaxis.set_minor_formatter("")

    return _svg(draw, (9.0, 0.9 + 0.42 * len(rows)), what) if everything else ""


def ranges(rows: Sequence[Row], what: str, x_label: str) -> str:
    """Return for each row a thin line from minimum to maximum, a thick one from low to high, a dot in the middle."""

    def draw(canvas: "Figure") -> None:
        axis = canvas.subplots()
        for position, (row, colour) in enumerate(zip(rows, _colours(len(rows)), strict=True)):
            lowest, low, middle, high, highest = row.values
            axis.plot([lowest, highest], [position, position], color=colour, lw=1.2, alpha=0.7)
            axis.plot([low, high], [position, position], color=colour, lw=6, solid_capstyle="butt")
            axis.plot([middle], [position], "o", ms=5, color=INK)
        axis.set_yticks(range(len(rows)), [row.name for row in rows])
        axis.set_ylim(len(rows) - 0.4, -0.6)
        axis.set_xlabel(x_label)
        axis.grid(axis="x", color=INK, alpha=0.15, lw=0.6)
        if max(abs(value) for row in rows for value in row.values) > _LOG_FROM_RATIO * max(1.0, _typical(rows)):
            axis.set_xscale("symlog", linthresh=max(1.0, _typical(rows)))
            axis.xaxis.set_major_formatter(_plain)
            if min(row.values[0] for row in rows) >= 0:
                axis.set_xlim(left=0)

    return _svg(draw, (9.0, 0.9 + 0.42 * len(rows)), what)


def bars(rows: Sequence[Row], what: str, x_label: str) -> str:
    """Return a bar for each row, as long as its one value."""

    def draw(canvas: "Figure") -> None:
        axis = canvas.subplots()
        axis.barh(range(len(rows)), [row.values[0] for row in rows], height=0.62, color=PALETTE[0])
        axis.set_yticks(range(len(rows)), [row.name for row in rows])
        axis.set_ylim(len(rows) - 0.4, -0.6)
        axis.set_xlabel(x_label)
        axis.set_xlim(left=0)
        axis.grid(axis="x", color=INK, alpha=0.15, lw=0.6)

    return _svg(draw, (9.0, 0.7 + 0.3 * len(rows)), what)


def foresight(panel: Panel, position: int, what: str) -> str:
    """Return a square in the colour of a position: foreseen over true, with intervals; right on the diagonal."""
    every = max(1, math.ceil(len(panel.points) / _MAXIMUM_SQUARE_POINTS))
    true, foreseen, lower, upper = zip(*panel.points[::every], strict=True)
    start = max(0.0, min(*true, *foreseen) - 0.05)
    colour = PALETTE[position % len(PALETTE)]

    def draw(canvas: "Figure") -> None:
        axis = canvas.subplots()
        axis.plot([start, 1], [start, 1], color=INK, lw=0.8, alpha=0.5)
        axis.vlines(true, lower, upper, color=colour, lw=0.8, alpha=0.3)
        axis.plot(true, foreseen, "o", ms=3, alpha=0.7, color=colour, mew=0)
        axis.set(xlim=(start, 1.005), ylim=(start, 1.005), aspect="equal", xlabel="true Dice", ylabel="foreseen")
        axis.set_title(panel.name, fontsize=10)

    return _svg(draw, (3.0, 3.1), what).replace("<svg", '<svg class="small"', 1)


def curves(losses: Sequence[Line], scores: Sequence[Line], what: str) -> str:
    """Return the training loss beside the validation Dice, both over minutes."""

    def draw(canvas: "Figure") -> None:
        left, right = canvas.subplots(1, 2)
        for axis, lines, label in ((left, losses, "training loss"), (right, scores, "validation Dice")):
            for line, colour in zip(lines, _colours(len(lines)), strict=True):
                points = [(x, y) for x, y in zip(line.x, line.y, strict=True) if y is not None]
                marker = "o" if len(points) < 40 else None
                axis.plot([x for x, _ in points], [y for _, y in points], color=colour, marker=marker, ms=3, lw=1.4)
                if points and len(lines) > 1:
                    axis.plot([], [], color=colour, label=line.name)
            axis.set_title(label, fontsize=10)
            axis.set_xlabel("minutes")
            axis.grid(color=INK, alpha=0.15, lw=0.6)
            if 1 < len(lines) <= len(PALETTE) and axis.get_legend_handles_labels()[0]:
                axis.legend(fontsize=8, loc="lower right")

    return _svg(draw, (9.0, 3.1), what)


def _box(axis: "Axes", position: int, values: Sequence[float], colour: str) -> None:
    if not values:
        return
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    axis.barh(position, high - low, left=low, height=0.62, color=colour, alpha=0.22, lw=0)
    axis.plot([middle, middle], [position - 0.31, position + 0.31], color=INK, lw=1.6)


def _bins(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[float]:
    """Return edges of about 2 sqrt(n) bins; of whole numbers every bin holds the same count of them."""
    low, high = float(values.min()), float(values.max())
    count = min(30, max(8, math.isqrt(values.size) * 2))
    if np.all(values == np.round(values)):
        width = max(1, math.ceil((high - low + 1) / count))
        return [low - 0.5 + width * i for i in range(math.ceil((high - low + 1) / width) + 1)]
    return [float(edge) for edge in np.linspace(low, high, count + 1)]


def _plain(value: float, _position: float) -> str:
    """Write a tick of a logarithmic axis as a number; matplotlib's own form is mathematics, which is switched off."""
    return f"{value:,.0f}" if abs(value) >= 1 else f"{value:g}"


def _typical(rows: Sequence[Row]) -> float:
    return float(np.median([abs(row.values[2]) for row in rows]))


def _colours(count: int) -> list[str]:
    return [PALETTE[i % len(PALETTE)] for i in range(count)]


def _svg(draw: Callable[["Figure"], None], size_in: tuple[float, float], what: str) -> str:
    """Let `draw` fill a figure and return it as an SVG element without document heading, metadata or addresses."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        canvas = Figure(figsize=size_in, layout="constrained")
        draw(canvas)
        text = io.StringIO()
        FigureCanvasSVG(canvas).print_svg(  # type: ignore[no-untyped-call]
            text, metadata={"Date": None, "Creator": None, "Type": None, "Format": None}
        )
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", svg).replace(INK, "currentColor").replace("xlink:href", "href")
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(what)}"', 1)
