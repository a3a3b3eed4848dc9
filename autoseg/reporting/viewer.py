"""A case that one can leaf through: its voxels packed into two pictures inside the page, drawn by viewer_script."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoseg.reporting.charts import PALETTE
from autoseg.reporting.overlays import SMALLEST_FIELD_VOXELS, Overlay, foreground_of, turned, views_of

Bytes = NDArray[np.uint8]
Shape = tuple[int, int, int]

_MARGIN = 0.35
"""Of the labels' extent, shown on each side: less than in a still picture, which cannot be moved."""
_JPEG_QUALITY = 85
"""Fine for looking; the label maps beside it are lossless."""
_MOST_POSITIONS = 255


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Packed:
    """A volume as a sheet of its z slices, `columns` side by side: intensities (y, x, 3) and label positions.

    The second sheet holds positions counted from 1: red is the reference, green the prediction, 0 is none.
    """

    shape: Shape
    spacing_mm: tuple[float, float, float]
    columns: int
    start: Shape
    image: Bytes
    labels: Bytes


def viewer(overlay: Overlay, most_voxels: int) -> str:
    """Return in HTML a viewer with a slider for each plane; nothing for a 2D image, which has but one slice.

    Around what the labels hold, coarser where it has more than `most_voxels`.
    """
    if overlay.grid.dimensions == 2:
        return ""
    packed = pack(overlay, most_voxels)
    views = views_of(overlay)
    data = {
        "shape": _joined(packed.shape),
        "spacing": ",".join(f"{s:.4g}" for s in packed.spacing_mm),
        "columns": str(packed.columns),
        "start": _joined(packed.start),
        "titles": ",".join(view.title.replace(", ", " by ") for view in views),
        "flips": ",".join(str(int(view.flipped)) for view in views),
        "edges": ",".join("".join(view.edges) if overlay.patient_axes else "" for view in views),
        "colours": ",".join(_colours(overlay)),
    }
    attributes = " ".join(f'data-{name}="{escape(value)}"' for name, value in data.items())
    return (
        f'<div class="viewer" {attributes}>'
        f'<img hidden alt="" src="data:image/jpeg;base64,{_encoded(packed.image, "JPEG")}">'
        f'<img hidden alt="" src="data:image/png;base64,{_encoded(packed.labels, "PNG")}"></div>'
    )


def pack(overlay: Overlay, most_voxels: int) -> Packed:
    """Turn, crop and thin the volume, and lay its slices side by side."""
    whole = turned(overlay)
    shown = foreground_of(whole)
    spacing = whole.grid.spacing_mm
    box = _field(shown, spacing)
    size = [part.stop - part.start for part in box]
    stride = _strides(size, spacing, most_voxels)
    z, y, x = (slice(part.start, part.stop, step) for part, step in zip(box, stride, strict=True))
    reference: NDArray[Any] = whole.reference[..., z, y, x]
    positions = np.stack([_positions(whole, reference), _positions(whole, whole.prediction[z, y, x])])
    shape: Shape = (positions.shape[1], positions.shape[2], positions.shape[3])
    columns = max(1, round(np.sqrt(shape[0] * shape[1] / shape[2])))
    labels = np.zeros((*shape, 3), np.uint8)
    labels[..., :2] = np.moveaxis(positions, 0, -1)
    return Packed(
        shape=shape,
        spacing_mm=(spacing[0] * stride[0], spacing[1] * stride[1], spacing[2] * stride[2]),
        columns=columns,
        start=_fullest(positions.max(axis=0) > 0),
        image=_sheet(_intensities(whole, whole.image[:, z, y, x]), columns),
        labels=_sheet(labels, columns),
    )


def _field(shown: NDArray[np.bool_], spacing_mm: Sequence[float]) -> tuple[slice, slice, slice]:
    """Return the box around what is shown, with a margin on each side of every axis."""
    if not shown.any():
        z, y, x = shown.shape
        return slice(0, z), slice(0, y), slice(0, x)
    inside = [np.flatnonzero(shown.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    smallest_mm = SMALLEST_FIELD_VOXELS * min(spacing_mm)
    parts = []
    for found, spacing, size in zip(inside, spacing_mm, shown.shape, strict=True):
        extent = found[-1] + 1 - found[0]
        middle, half = (found[0] + found[-1] + 1) / 2, max(extent * (1 + 2 * _MARGIN), smallest_mm / spacing) / 2
        parts.append(slice(max(0, int(middle - half)), min(size, int(np.ceil(middle + half)))))
    return parts[0], parts[1], parts[2]


def _strides(size: Sequence[int], spacing_mm: Sequence[float], most_voxels: int) -> list[int]:
    """Return how many voxels are one, along each axis: the finest axis gives way first."""
    stride = [1, 1, 1]
    while np.prod([-(-n // s) for n, s in zip(size, stride, strict=True)]) > most_voxels:
        finest = min(range(3), key=lambda a: (stride[a] * spacing_mm[a], -size[a]))
        stride[finest] += 1
    return stride


def _positions(overlay: Overlay, array: NDArray[Any]) -> Bytes:
    """Return the number of the label that each voxel holds, from 1; of overlapping ones the last."""
    result = np.zeros(array.shape[-3:], np.uint8)
    for position, label in enumerate(overlay.labels):
        if label.role == "foreground":
            held = np.isin(array, label.values) if array.ndim == 3 else array[position] == 1
            result[held] = 1 + position % _MOST_POSITIONS
    return result


def _intensities(overlay: Overlay, image: NDArray[np.generic]) -> Bytes:
    """Return (z, y, x, 3) for (channel, z, y, x), in the window that the overlay has."""
    if overlay.window is None:
        values = np.moveaxis(np.asarray(image, np.float32), 0, -1)
        return (values * (255 / max(1.0, float(values.max())))).astype(np.uint8)
    low, high = overlay.window
    gray = np.clip((np.asarray(image[0], np.float32) - low) / (high - low), 0, 1)
    return np.repeat((gray * 255).astype(np.uint8)[..., None], 3, axis=-1)


def _fullest(shown: NDArray[np.bool_]) -> Shape:
    """Return for each axis the slice with most label; the middle where there is none."""
    counts = [shown.sum(axis=tuple(a for a in range(3) if a != axis)) for axis in range(3)]
    z, y, x = (int(np.argmax(count)) if count.any() else len(count) // 2 for count in counts)
    return z, y, x


def _sheet(volume: Bytes, columns: int) -> Bytes:
    """Return slices (z, y, x, 3) as one picture (rows * y, columns * x, 3), rows from top to bottom."""
    z, y, x, _ = volume.shape
    rows = -(-z // columns)
    padded = np.zeros((rows * columns, y, x, 3), np.uint8)
    padded[:z] = volume
    return padded.reshape(rows, columns, y, x, 3).transpose(0, 2, 1, 3, 4).reshape(rows * y, columns * x, 3)


def _colours(overlay: Overlay) -> list[str]:
    return [PALETTE[position % len(PALETTE)] for position in range(min(len(overlay.labels), _MOST_POSITIONS))]


def _encoded(picture: Bytes, form: str) -> str:
    from PIL import Image

    data = io.BytesIO()
    if form == "JPEG":
        gray = bool((picture[..., :1] == picture).all())
        Image.fromarray(picture[..., 0] if gray else picture).save(data, form, quality=_JPEG_QUALITY, optimize=True)
    else:
        Image.fromarray(picture).save(data, form, optimize=True)
    return base64.b64encode(data.getvalue()).decode("ascii")


def _joined(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))
