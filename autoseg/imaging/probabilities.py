"""Probabilities of a case on disk: a chunked, compressed array (k, z, y, x) on the native grid, written as it is made.

CASE.b2nd is a blosc2 array of float16, rounded to multiples of 1/1024, which compresses well: a value is off by at most
0.0005, that of a plain float16 near 1. CASE.json, written last, names its channels. Outside the part of the image that
was predicted, background has probability 1.
"""

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from jaxtyping import Float, Float16

from autoseg.core.errors import AutosegError
from autoseg.core.records import read_record
from autoseg.imaging.orientation import Turn
from autoseg.imaging.preparation import GridMapping, Shape
from planners.plan import Target

Item = TypeVar("Item")

LEVELS = 1024
CHUNK_PLANES = 8
"""Planes that are finished together (autoseg.learning.reduction.TILE_PLANES), so that a chunk is written once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbabilitiesRecord:
    """What the channels of a stored array are. `largest_error` is that of its rounding.

    "labels": the channels are background and every label, and sum to one. "regions": each label, on its own. `sha256`
    is that of the file.
    """

    schema: ClassVar[str] = "autoseg.probabilities/1"

    file: str
    sha256: str
    channels: tuple[str, ...]
    target: Target
    shape: tuple[int, int, int, int]
    model_digest: str
    largest_error: float = 0.5 / LEVELS


class ProbabilityWriter:
    """Fills an array (k, z, y, x) on the native grid with blocks of the cropped, transposed grid.

    Where images are turned before anything else, `turn` is that of this one, and the array is on the grid as stored.
    Nothing but the block at hand is in memory. `begin` before the first block, `finish` after the last.
    """

    def __init__(
        self, path: Path, mapping: GridMapping, outputs: int, target: Target, turn: Turn | None = None
    ) -> None:
        """Take the place of the file, the crop, and what the channels are; nothing is written yet."""
        self._temporary = path
        self.mapping = mapping
        self.outputs = outputs
        self.target = target
        self._turn = turn
        self._array: Any = None  # a blosc2.NDArray
        self._rows = 0
        self._written: set[tuple[int, int]] = set()

    @property
    def _shape(self) -> Shape:
        """Native shape, transposed."""
        z, y, x = (self.mapping.native_shape[axis] for axis in self.mapping.transpose)
        return (z, y, x)

    def begin(self, rows: int) -> None:
        """Make the file; blocks are of `rows` rows on the uncropped grid, the first and last perhaps of fewer."""
        import blosc2  # takes a quarter of a second to load, and probabilities are seldom wanted

        compression = {"codec": blosc2.Codec.ZSTD, "clevel": 1, "filters": [blosc2.Filter.SHUFFLE], "nthreads": 1}
        planes, height, width = self._shape
        self._rows = min(rows, height)
        chunk = self._stored(self._native((min(CHUNK_PLANES, planes), self._rows, width)))
        with _full_disk_named():
            self._array = blosc2.zeros(
                (self.outputs, *self._stored(self.mapping.native_shape)),
                dtype=np.dtype(np.float16),
                urlpath=str(self._temporary),
                mode="w",
                chunks=(1, *chunk),
                cparams=compression,
            )

    def take(self, block: Float[np.ndarray, "k planes rows x"], plane: int, row: int) -> None:
        """Write a block that begins at a plane and a row of the crop."""
        lower = self.mapping.crop_lower
        start = (plane + lower[0], row + lower[1])
        corner = (start[0] // CHUNK_PLANES * CHUNK_PLANES, start[1] // self._rows * self._rows)
        size = self._chunk_size(corner)
        inside = tuple(
            slice(first, first + length)
            for first, length in zip(
                (start[0] - corner[0], start[1] - corner[1], lower[2]), block.shape[1:], strict=True
            )
        )
        for index, values in enumerate(block):
            whole = np.full(size, self._outside(index), np.float16)
            whole[inside] = values
            self._write(index, corner, whole)
        self._written.add(corner)

    def finish(self) -> None:
        """Fill what no block has touched."""
        planes, rows, _ = self._shape
        if self._outside(0):
            for corner in ((z, y) for z in range(0, planes, CHUNK_PLANES) for y in range(0, rows, self._rows)):
                if corner not in self._written:
                    self._write(0, corner, np.ones(self._chunk_size(corner), np.float16))

    def _outside(self, index: int) -> float:
        return float(index == 0 and self.target == "labels")

    def _chunk_size(self, corner: tuple[int, int]) -> Shape:
        planes, rows, columns = self._shape
        return (min(CHUNK_PLANES, planes - corner[0]), min(self._rows, rows - corner[1]), columns)

    def _write(self, index: int, corner: tuple[int, int], values: Float16[np.ndarray, "z y x"]) -> None:
        assert self._array is not None  # noqa: S101 (begin comes first)
        starts = (*corner, 0)
        parts = tuple(slice(first, first + n) for first, n in zip(starts, values.shape, strict=True))
        native = np.ascontiguousarray(values.transpose(np.argsort(self.mapping.transpose)))
        place = list(self._stored(self._native(parts)))
        if self._turn is not None:
            native, lengths = self._turn.undo(native), self._stored(self.mapping.native_shape)
            for axis in self._turn.flipped:
                place[axis] = slice(lengths[axis] - place[axis].stop, lengths[axis] - place[axis].start)
        with _full_disk_named():
            self._array[(slice(index, index + 1), *place)] = native[None]

    def _native(self, transposed: Sequence[Item]) -> tuple[Item, ...]:
        """Return what belongs to the transposed axes in the order of the native ones."""
        return tuple(transposed[self.mapping.transpose.index(axis)] for axis in range(3))

    def _stored(self, native: Sequence[Item]) -> tuple[Item, ...]:
        """Return what belongs to the native axes in the order of the stored ones, before any is flipped."""
        return tuple(native) if self._turn is None else tuple(native[self._turn.order.index(axis)] for axis in range(3))


@contextmanager
def _full_disk_named() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # blosc2's word for a full disk
        raise OSError(errno.ENOSPC, str(error)) from error


def read_probabilities(
    record_path: Path, lower: Sequence[int] = (0, 0, 0), upper: Sequence[int] | None = None
) -> Float16[np.ndarray, "k z y x"]:
    """Return the part [lower, upper) (z, y, x) of stored probabilities, float16 (k, z, y, x); by default all.

    Raises:
        AutosegError: the record or its array is missing or damaged.

    """
    import blosc2

    record = read_record(record_path, ProbabilitiesRecord)
    path = record_path.with_name(record.file)
    end = record.shape[1:] if upper is None else upper
    try:
        stored = blosc2.open(str(path), mode="r")
        part = stored[(slice(None), *(slice(low, high) for low, high in zip(lower, end, strict=True)))]
    except (OSError, RuntimeError, ValueError) as error:
        raise AutosegError.at(path, f"damaged or missing ({error})", "predict again with --probabilities") from error
    return np.asarray(part)
