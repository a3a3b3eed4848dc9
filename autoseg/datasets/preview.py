"""A case as a small picture: its slice with most label, gray, with the label's outlines in colour."""

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoseg.imaging.volume import Grid

_MOST_PIXELS = 160
"""Longer sides are thinned: enough to see a mirrored label, and 200 pictures stay below 5 MB."""
_GRAYS = 240
_COLOURS = ((230, 75, 53), (77, 187, 213), (0, 160, 135), (255, 201, 71), (170, 120, 220), (243, 155, 127))
_PERCENTILES = (1, 99)
_LEVEL = 6


def preview_png(image: NDArray[Any], label: NDArray[np.integer[Any]] | None, grid: Grid) -> bytes:
    """Return a PNG of the plane across the widest spacing that holds most of the label, the middle one without label.

    Args:
        image: (channel, z, y, x); the mean of the channels is shown between its percentiles 1 and 99.
        label: (z, y, x), or None.
        grid: of both.

    """
    axis = int(np.argmax(grid.spacing_mm)) if grid.dimensions == 3 else 0
    index = image.shape[1 + axis] // 2
    if label is not None and label.any():
        index = int(np.argmax(np.count_nonzero(label, axis=tuple(a for a in range(3) if a != axis))))
    plane = np.take(image, index, axis=1 + axis)
    step = -(-max(plane.shape[1:]) // _MOST_PIXELS)
    gray = plane[:, ::step, ::step].mean(axis=0, dtype=np.float32)
    low, high = np.percentile(gray, _PERCENTILES)
    shown = np.clip((gray - low) / max(high - low, 1e-12), 0, 1) * (_GRAYS - 1)
    levels = shown.astype(np.uint8)
    if label is not None:
        _outline(levels, np.take(label, index, axis=axis)[::step, ::step])
    return _png(levels)


def _outline(levels: NDArray[np.uint8], label: NDArray[np.integer[Any]]) -> None:
    inner = np.zeros(label.shape, bool)
    inner[1:-1, 1:-1] = True
    for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
        inner &= np.roll(label, step, axis=axis) == label
    edge = (label > 0) & ~inner
    levels[edge] = _GRAYS + (label[edge] - 1) % len(_COLOURS)


def _png(levels: NDArray[np.uint8]) -> bytes:
    """Return an 8-bit PNG with a palette (PNG specification, third edition, chapters 5 and 11)."""
    rows, columns = levels.shape
    grays = [(value, value, value) for value in np.linspace(0, 255, _GRAYS).astype(int).tolist()]
    palette = bytes(part for colour in (*grays, *_COLOURS) for part in colour)
    lines = np.concatenate([np.zeros((rows, 1), np.uint8), levels], axis=1)  # 0 before each row: not filtered
    header = struct.pack(">2I5B", columns, rows, 8, 3, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"PLTE", palette), (b"IDAT", zlib.compress(lines.tobytes(), _LEVEL)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
