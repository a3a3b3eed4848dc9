"""A case as a picture: image in a sensible window, reference and prediction as contours, in three planes."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from autoseg.imaging.volume import Grid
from autoseg.reporting.charts import PALETTE
from planners.fingerprint import Label
from planners.normalization import WINDOWS_HU

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Mask = NDArray[np.bool_]
Integers = NDArray[np.integer]
Kind = TypeVar("Kind", bound=np.generic)

_MARGIN = 0.6
"""Of the structure's extent, shown on each side of it: enough to see where in the body one is."""
SMALLEST_FIELD_VOXELS = 48
_PERCENTILES = (0.5, 99.5)
_SAMPLED_VOXELS = 1 << 20
"""A million voxels give the percentiles of a large image well enough for display, in a hundredth of the time."""
_PANEL_IN, _SINGLE_PANEL_IN, _DOTS_PER_IN = 4.0, 6.0, 100
_BACKGROUND = "#101317"
_EDGE_TEXT: Any = {
    "color": "#ffd75e",
    "fontsize": 9,
    "ha": "center",
    "va": "center",
    "bbox": {"boxstyle": "round,pad=0.15", "facecolor": _BACKGROUND, "edgecolor": "none", "alpha": 0.55},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """What is drawn: image (channel, z, y, x), reference (z, y, x) values or (l, z, y, x) masks, prediction (z, y, x).

    `patient_axes`: the grid says where left, right, front and back are, so slices can be turned to the usual views.
    """

    image: NDArray[np.generic]
    reference: Integers
    prediction: Integers
    grid: Grid
    labels: tuple[Label, ...]
    window: tuple[float, float] | None
    patient_axes: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One plane: the axis that is cut, its title, and whether its rows run upwards and must be turned."""

    axis: int
    title: str
    flipped: bool
    edges: tuple[str, str, str, str]


_PATIENT_VIEWS = (
    View(axis=0, title="axial", flipped=False, edges=("R", "L", "A", "P")),
    View(axis=1, title="coronal", flipped=True, edges=("R", "L", "S", "I")),
    View(axis=2, title="sagittal", flipped=True, edges=("A", "P", "S", "I")),
)
_ARRAY_VIEWS = (
    View(axis=0, title="y, x", flipped=False, edges=("", "", "", "")),
    View(axis=1, title="z, x", flipped=False, edges=("", "", "", "")),
    View(axis=2, title="z, y", flipped=False, edges=("", "", "", "")),
)


def overlay_png(overlay: Overlay) -> bytes:
    """Return a PNG with three planes through the largest cross-section (one for a 2D image).

    Reference: filled; prediction: line. Each label has its colour of the palette.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    upright = turned(overlay)
    views = views_of(overlay)
    panel_in = _PANEL_IN if len(views) > 1 else _SINGLE_PANEL_IN
    canvas = Figure(figsize=(panel_in * len(views), panel_in), dpi=_DOTS_PER_IN, facecolor=_BACKGROUND)
    canvas.subplots_adjust(left=0.005, right=0.995, bottom=0.01, top=0.93, wspace=0.02)
    shown = foreground_of(upright)
    for axis, view in zip(canvas.subplots(1, len(views), squeeze=False)[0], views, strict=True):
        _draw(axis, upright, shown, view)
    data = io.BytesIO()
    FigureCanvasAgg(canvas).print_png(data, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return data.getvalue()


def views_of(overlay: Overlay) -> tuple[View, ...]:
    """Return the planes of a case: three, or one of a 2D image."""
    views = _PATIENT_VIEWS if overlay.patient_axes else _ARRAY_VIEWS
    return views[:1] if overlay.grid.dimensions == 2 else views


def png_element(png: bytes, what: str, kind: str = "") -> str:
    """Return an HTML image with the PNG inside; `kind` is a class of the style sheet."""
    named = f' class="{escape(kind)}"' if kind else ""
    return f'<img alt="{escape(what)}"{named} src="data:image/png;base64,{base64.b64encode(png).decode("ascii")}">'


def legend(labels: Sequence[Label]) -> str:
    """Return in HTML which colour is which label, and what is filled and what is a line."""
    entries = [
        f'<span><i style="background:{PALETTE[position % len(PALETTE)]}"></i>{escape(label.name)}</span>'
        for position, label in enumerate(labels)
        if label.role == "foreground" and position < len(PALETTE)
    ]
    more = "<span>further labels repeat the colours</span>" if len(labels) > len(PALETTE) else ""
    return f'<p class="legend">{"".join(entries)}{more}<span>filled: reference; line: prediction</span></p>'


def display_window(
    image: NDArray[np.generic], modality: str, foreground_median: float | None
) -> tuple[float, float] | None:
    """Return the (lower, upper) intensities to show; None for a colour image.

    CT: soft tissue, or lung or bone where half of the foreground lies outside it. Else percentiles 0.5 and 99.5.
    """
    if modality == "ct":
        lower, upper = WINDOWS_HU["soft-tissue"]
        if foreground_median is None or lower <= foreground_median <= upper:
            return lower, upper
        return WINDOWS_HU["lung" if foreground_median < lower else "bone"]
    if modality == "rgb" and len(image) == 3:
        return None
    values = image[0].reshape(-1)[:: max(1, image[0].size // _SAMPLED_VOXELS)]
    low, high = np.percentile(values, _PERCENTILES)
    return (float(low), float(high)) if high > low else (float(image[0].min()), float(image[0].max()) + 1.0)


def turned(overlay: Overlay) -> Overlay:
    """Turn the arrays to (foot to head, front to back, right to left), as radiologists look at them."""
    if not overlay.patient_axes:
        return overlay
    matrix = np.asarray(overlay.grid.affine, dtype=np.float64)[:3, :3]
    matrix = matrix / np.sqrt((matrix**2).sum(axis=0))
    order, flips = _orientation(matrix)
    spacing = [overlay.grid.spacing_mm[axis] for axis in order]
    diagonal = [[0.0, 0.0, -spacing[2], 0.0], [0.0, -spacing[1], 0.0, 0.0], [spacing[0], 0.0, 0.0, 0.0]]
    prediction = _turn(overlay.prediction, order, flips)
    z, y, x = prediction.shape
    rows = tuple((a, b, c, d) for a, b, c, d in (*diagonal, [0.0, 0.0, 0.0, 1.0]))
    return Overlay(
        image=_turn(overlay.image, order, flips),
        reference=_turn(overlay.reference, order, flips),
        prediction=prediction,
        grid=Grid(shape=(z, y, x), affine=rows, dimensions=overlay.grid.dimensions),
        labels=overlay.labels,
        window=overlay.window,
        patient_axes=True,
    )


def _orientation(directions: NDArray[np.float64]) -> tuple[list[int], list[bool]]:
    """Return which array axis runs most along head, front and right, and whether each must be turned around."""
    order: list[int] = []
    flips = []
    for world, wanted in ((2, 1.0), (1, -1.0), (0, -1.0)):
        free = [axis for axis in range(3) if axis not in order]
        axis = max(free, key=lambda a: abs(directions[world, a]))
        order.append(axis)
        flips.append(directions[world, axis] * wanted < 0)
    return order, flips


def _turn(array: NDArray[Kind], order: Sequence[int], flips: Sequence[bool]) -> NDArray[Kind]:
    first = array.ndim - 3
    moved = np.transpose(array, (*range(first), *(first + axis for axis in order)))
    return np.flip(moved, tuple(first + axis for axis, flip in enumerate(flips) if flip))


def foreground_of(overlay: Overlay) -> Mask:
    """Return where reference or prediction holds any label."""
    values = [value for label in overlay.labels if label.role == "foreground" for value in label.values]
    drawn = np.isin(overlay.reference, values) if overlay.reference.ndim == 3 else overlay.reference.any(axis=0)
    return np.asarray(drawn | (overlay.prediction > 0))


def _draw(axis: "Axes", overlay: Overlay, shown: Mask, view: View) -> None:
    """Draw one plane: the slice with most foreground, cropped around it."""
    others = tuple(a for a in range(3) if a != view.axis)
    index = int(np.argmax(shown.sum(axis=others))) if shown.any() else shown.shape[view.axis] // 2
    box = _box(np.asarray(shown.any(axis=view.axis)), [overlay.grid.spacing_mm[a] for a in others])

    def cut(array: NDArray[np.generic]) -> NDArray[np.generic]:
        plane: NDArray[np.generic] = np.take(array, index, axis=array.ndim - 3 + view.axis)[..., box[0], box[1]]
        return plane[..., ::-1, :] if view.flipped else plane

    aspect = overlay.grid.spacing_mm[others[0]] / overlay.grid.spacing_mm[others[1]]
    axis.set_axis_off()
    axis.set_title(view.title, color="white", fontsize=10, pad=4)
    image = cut(overlay.image)
    if overlay.window is None:
        axis.imshow(_colour(image), aspect=aspect, interpolation="bilinear")
    else:
        low, high = overlay.window
        axis.imshow(image[0], cmap="gray", vmin=low, vmax=high, aspect=aspect, interpolation="bilinear")
    _contours(axis, overlay, cut(overlay.reference), cut(overlay.prediction))
    for text, (x, y) in zip(
        view.edges if overlay.patient_axes else (), ((0.03, 0.5), (0.97, 0.5), (0.5, 0.965), (0.5, 0.035)), strict=False
    ):
        axis.text(x, y, text, transform=axis.transAxes, **_EDGE_TEXT)


def _contours(axis: "Axes", overlay: Overlay, reference: NDArray[np.generic], prediction: NDArray[np.generic]) -> None:
    for position, label in enumerate(overlay.labels):
        if label.role != "foreground":
            continue
        colour = PALETTE[position % len(PALETTE)]
        true = np.isin(reference, label.values) if reference.ndim == 2 else reference[position] == 1
        predicted = np.isin(prediction, label.values)
        if true.any():
            padded = np.pad(true.astype(np.float32), 1)
            x, y = np.arange(-1, true.shape[1] + 1), np.arange(-1, true.shape[0] + 1)
            axis.contourf(x, y, padded, levels=[0.5, 2.0], colors=[colour], alpha=0.35)
        if predicted.any():
            padded = np.pad(predicted.astype(np.float32), 1)
            x, y = np.arange(-1, predicted.shape[1] + 1), np.arange(-1, predicted.shape[0] + 1)
            axis.contour(x, y, padded, levels=[0.5], colors=[colour], linewidths=1.6)
    axis.set_xlim(-0.5, reference.shape[-1] - 0.5)
    axis.set_ylim(reference.shape[-2] - 0.5, -0.5)


def _box(shown: Mask, spacing_mm: Sequence[float]) -> tuple[slice, slice]:
    """Return a field around what is shown, square in millimetres as far as the image reaches."""
    if not shown.any():
        return slice(None), slice(None)
    inside = [np.flatnonzero(shown.any(axis=1 - axis)) for axis in range(2)]
    extents = [(i[-1] + 1 - i[0]) * s for i, s in zip(inside, spacing_mm, strict=True)]
    field_mm = max(max(extents) * (1 + 2 * _MARGIN), SMALLEST_FIELD_VOXELS * min(spacing_mm))
    slices = []
    for found, spacing, size in zip(inside, spacing_mm, shown.shape, strict=True):
        half = field_mm / spacing / 2
        centre = (found[0] + found[-1]) / 2
        slices.append(slice(max(0, int(centre - half)), min(size, int(np.ceil(centre + half)) + 1)))
    return slices[0], slices[1]


def _colour(image: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return (y, x, 3) between 0 and 1."""
    values = np.moveaxis(np.asarray(image, dtype=np.float64), 0, -1)
    return values / max(1.0, float(values.max()))
