"""Preprocessed cases on disk: blosc2 arrays in chunks that fit patch reads, one record per case.

A case is four files: NAME.image.b2nd float32 (c, z, y, x), NAME.label.b2nd int16 (l, z, y, x), NAME.locations.npy
int32 (n, 3) and NAME.json, written last: a case with its record is complete. Names are those of the dataset, cut where
they are too long for a file.
"""

import errno
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import blosc2
import numpy as np
from jaxtyping import Float32, Int16, Int32, Shaped

from autoseg.core.errors import AutosegError
from autoseg.core.files import LONGEST_NAME_BYTES, TEMPORARY_PREFIX, file_name, is_inside, write_atomically, write_bytes
from autoseg.core.records import read_record, write_record
from autoseg.core.runtime import digest_file
from autoseg.imaging.preparation import GridMapping, Shape

_RECORD = ".json"
BLOCK_BYTES = 128 << 10
"""Unit of decompression: fits the second-level cache of one core beside the patch."""
CHUNK_BYTES = 4 << 20
"""Unit of reading: large enough for disks, small enough that a patch drags little along."""
_COMPRESSION = {
    # Zstandard level 1 wrote seven times as fast as LZ4HC level 5 and 5 % smaller on smooth noise; a 96^3 patch took
    # 4 ms to read
    "codec": blosc2.Codec.ZSTD,
    "clevel": 1,
    "filters": [blosc2.Filter.SHUFFLE],
    "nthreads": 1,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCase:
    """What identifies a stored case. `digest` is that of its inputs; `patch` (z, y, x) is how it will be read.

    The patch of a 2D configuration is (1, y, x).
    """

    name: str
    digest: str
    mapping: GridMapping
    patch: Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A file of a case, with what proves it whole."""

    name: str
    size_bytes: int
    sha256: str

    def __post_init__(self) -> None:
        """Refuse a file outside the folder of the record."""
        if not is_inside(self.name) or "/" in self.name:
            msg = f"{self.name!a} lies outside the folder"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRecord:
    """The record of a stored case; `location_counts` are in the order of the foreground labels."""

    schema: ClassVar[str] = "autoseg.case/1"

    case: StoredCase
    channels: int
    label_maps: int
    location_counts: tuple[int, ...]
    image: StoredFile
    label: StoredFile
    locations: StoredFile


def write_case(
    folder: Path,
    case: StoredCase,
    image: Float32[np.ndarray, "c z y x"],
    label: Int16[np.ndarray, "l z y x"],
    locations: Sequence[Int32[np.ndarray, "_places 3"]],
) -> CaseRecord:
    """Write a case; its record appears when everything else is in place.

    Args:
        folder: of all cases of a configuration.
        case: identity; an older case of the same name is replaced.
        image: (c, z, y, x) on the network's grid.
        label: (l, z, y, x), class indexes or 0/1 maps.
        locations: voxels (n, 3) of each foreground label.

    Raises:
        ResourceError: the disk is full or the folder cannot be written.

    """
    place = folder / file_name(case.name, _RECORD)
    place.unlink(missing_ok=True)
    record = CaseRecord(
        case=case,
        channels=len(image),
        label_maps=len(label),
        location_counts=tuple(len(places) for places in locations),
        image=_write_array(folder / file_name(case.name, ".image.b2nd"), image, case.patch),
        label=_write_array(folder / file_name(case.name, ".label.b2nd"), label, case.patch),
        locations=_write_locations(folder / file_name(case.name, ".locations.npy"), locations),
    )
    write_record(place, record)
    return record


class CaseStore:
    """Reads the cases of one folder. Only records are kept in memory; safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        """Take the folder; nothing is read yet."""
        self.folder = folder
        self._records: dict[str, CaseRecord] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the cases that have a record, sorted."""
        found = (path for path in self.folder.glob(f"*{_RECORD}") if not path.name.startswith(TEMPORARY_PREFIX))
        return tuple(sorted(map(_name_of, found)))

    def record(self, name: str) -> CaseRecord:
        """Return the record of a case.

        Raises:
            AutosegError: no such case, or its record is not readable.

        """
        if name not in self._records:
            self._records[name] = read_record(self.folder / file_name(name, _RECORD), CaseRecord)
        return self._records[name]

    def shape(self, name: str) -> Shape:
        """Return the case's shape (z, y, x) on the network's grid."""
        return self.record(name).case.mapping.network_shape

    def mapping(self, name: str) -> GridMapping:
        """Return the case's way to the network's grid and back."""
        return self.record(name).case.mapping

    def read_image(self, name: str, lower: Sequence[int], upper: Sequence[int]) -> Float32[np.ndarray, "c z y x"]:
        """Return the part [lower, upper) (z, y, x) of the image, float32 (c, ...).

        Raises:
            ValueError: the part is not inside the image.
            AutosegError: the file is missing or damaged.

        """
        return self._read(name, self.record(name).image, lower, upper)

    def read_label(self, name: str, lower: Sequence[int], upper: Sequence[int]) -> Int16[np.ndarray, "l z y x"]:
        """Return the part [lower, upper) (z, y, x) of the label, int16 (l, ...); errors as `read_image`."""
        return self._read(name, self.record(name).label, lower, upper)

    def locations(self, name: str) -> tuple[Int32[np.ndarray, "_places 3"], ...]:
        """Return the remembered voxels (n, 3) of each foreground label.

        Raises:
            AutosegError: the file is missing or damaged.

        """
        record = self.record(name)
        path = self.folder / record.locations.name
        try:
            together = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise _damaged(path, error) from error
        return tuple(np.split(together, np.cumsum(record.location_counts)[:-1]))

    def complete(self, name: str, digest: str) -> bool:
        """Return whether the case was made from inputs with this digest and every byte of it is as written."""
        path = self.folder / file_name(name, _RECORD)
        if not path.exists():
            return False
        try:
            record = read_record(path, CaseRecord)
        except AutosegError:
            return False
        files = (record.image, record.label, record.locations)
        return record.case.digest == digest and all(self._whole(file) for file in files)

    def _whole(self, file: StoredFile) -> bool:
        path = self.folder / file.name
        if not path.is_file() or path.stat().st_size != file.size_bytes:
            return False
        return digest_file(path) == file.sha256

    def _read(
        self, name: str, file: StoredFile, lower: Sequence[int], upper: Sequence[int]
    ) -> Shaped[np.ndarray, "lead z y x"]:
        shape = self.shape(name)
        if not all(0 <= low <= high <= n for low, high, n in zip(lower, upper, shape, strict=True)):
            msg = f"case {name}: part {tuple(lower)}..{tuple(upper)} is not inside {shape}"
            raise ValueError(msg)
        path = self.folder / file.name
        try:
            stored = blosc2.open(str(path), mode="r", mmap_mode="r", dparams={"nthreads": 1})
            part = stored[(slice(None), *(slice(low, high) for low, high in zip(lower, upper, strict=True)))]
        except (OSError, RuntimeError, ValueError) as error:
            raise _damaged(path, error) from error
        return np.asarray(part)


def chunk_shapes(shape: Sequence[int], patch: Sequence[int], item_bytes: int) -> tuple[Shape, Shape]:
    """Return chunk and block shape (z, y, x) for an array of `shape` that is read in patches.

    A block starts as the patch and is halved along its longest axis until it fits BLOCK_BYTES; a chunk is a whole
    number of blocks, grown along the axis that covers least of the patch while it fits CHUNK_BYTES.
    """
    block = [min(p, n) for p, n in zip(patch, shape, strict=True)]
    while int(np.prod(block)) * item_bytes > BLOCK_BYTES:
        longest = max(range(3), key=lambda axis: block[axis])
        block[longest] = -(-block[longest] // 2)
    chunk = list(block)
    while True:
        open_axes = [axis for axis in range(3) if chunk[axis] < min(patch[axis], shape[axis])]
        if not open_axes:
            break
        axis = min(open_axes, key=lambda a: chunk[a] / patch[a])
        if int(np.prod(chunk)) // chunk[axis] * (chunk[axis] + block[axis]) * item_bytes > CHUNK_BYTES:
            break
        chunk[axis] += block[axis]
    return (chunk[0], chunk[1], chunk[2]), (block[0], block[1], block[2])


def _write_array(path: Path, array: Shaped[np.ndarray, "lead z y x"], patch: Shape) -> StoredFile:
    chunk, block = chunk_shapes(array.shape[1:], patch, array.itemsize)
    chunk = _within(chunk, array.shape[1:])

    def writer(temporary: Path) -> None:
        try:
            blosc2.asarray(
                np.ascontiguousarray(array),
                urlpath=str(temporary),
                chunks=(1, *chunk),
                blocks=(1, *_within(block, chunk)),
                cparams=_COMPRESSION,
            )
        except RuntimeError as error:  # its word for a full disk
            raise OSError(errno.ENOSPC, str(error)) from error

    def verify(temporary: Path) -> None:
        try:
            same = np.array_equal(blosc2.open(str(temporary), mode="r", dparams={"nthreads": 1})[:], array)
        except RuntimeError as error:
            raise OSError(str(error)) from error
        if not same:
            msg = "what was read back differs from what was written"
            raise OSError(msg)

    write_atomically(path, writer, verify=verify, expected_bytes=array.nbytes)
    return _stored(path)


def _write_locations(path: Path, locations: Sequence[Int32[np.ndarray, "_places 3"]]) -> StoredFile:
    together = np.concatenate([np.empty((0, 3), np.int32), *locations])
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, together, allow_pickle=False)
    write_bytes(path, buffer.getvalue())
    return _stored(path)


def _within(shape: Sequence[int], bounds: Sequence[int]) -> Shape:
    z, y, x = (min(n, bound) for n, bound in zip(shape, bounds, strict=True))
    return (z, y, x)


def _name_of(record: Path) -> str:
    """Return the case that a record belongs to; one whose name was cut says it inside."""
    if len(record.name.encode()) < LONGEST_NAME_BYTES - 3:  # a cut leaves at most three bytes of a last character
        return record.name.removesuffix(_RECORD)
    return read_record(record, CaseRecord).case.name


def _stored(path: Path) -> StoredFile:
    return StoredFile(name=path.name, size_bytes=path.stat().st_size, sha256=digest_file(path))


def _damaged(path: Path, error: Exception) -> AutosegError:
    return AutosegError.at(path, f"damaged or missing ({error})", "run autoseg preprocess again")
