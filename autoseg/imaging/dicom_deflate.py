"""Deflated DICOM: inflated piece by piece, and never further than its own header promises."""

import io
import zlib
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from autoseg.core.errors import AutosegError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

_PIECE_BYTES = 1 << 20
_HEADER_BYTES = 8 << 20
_HEADER_RATIO = 16
"""What stands before the pixels, and behind them, may inflate to 8 MiB and 16 times the file.

Text deflates by three to ten, and the groups of thousands of frames, which repeat, take a few MiB.
"""
_MOST_ELEMENTS = 5_000  # of the data set itself; those of scanners, with their private groups, have some hundred
_HIGHEST_RATIO = 1032  # zlib's technical details: one byte of deflate makes at most 1032 bytes
_PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_MEND = "copy it again, or export it without the deflated transfer syntax"


def read_deflated(path: Path, start: int, *, pixels: bool) -> "FileDataset":
    """Read a DICOM file whose data set is deflated from byte `start` on; what it inflates to is checked to its end.

    Without `pixels` no more than a header is held in memory. What stands behind the pixels is left out.

    Raises:
        AutosegError: it inflates to more than its header promises, and a margin for the header, or to less.
        zlib.error: it is damaged or cut off.

    """
    from pydicom.dataset import FileDataset
    from pydicom.filereader import read_dataset, read_partial

    margin_bytes = _HEADER_BYTES + _HEADER_RATIO * path.stat().st_size
    with path.open("rb") as handle:
        head = read_partial(io.BytesIO(handle.read(start)), force=True)
        inflated = _Inflated(path, handle, margin_bytes)
        dataset = read_dataset(inflated, False, True, stop_when=_at_pixels(path))
        before, promised = inflated.tell(), _promised_bytes(dataset)
        if promised > path.stat().st_size * _HIGHEST_RATIO:
            raise _short(path, "fewer", promised)
        inflated.limit_bytes = before + promised + margin_bytes
        if pixels:
            dataset.update(read_dataset(inflated, False, True, stop_when=lambda tag, _vr, _length: tag not in _PIXELS))
        if inflated.end() < before + promised:
            raise _short(path, inflated.end() - before, promised)
    return FileDataset(path, dataset, head.preamble, head.file_meta, is_implicit_VR=False, is_little_endian=True)


def deflated_from(path: Path, *, force: bool) -> int | None:
    """Return the byte from which pydicom would inflate a file, at once and without a limit; None if it would not.

    pydicom itself is asked, so that nothing it takes for deflated passes; errors are pydicom's.
    """
    from pydicom.filereader import read_partial

    with _Watched(path.open("rb", buffering=0)) as handle:
        try:
            read_partial(handle, stop_when=lambda _tag, _vr, _length: True, force=force)
        except _WouldInflateError:
            return handle.tell()
    return None


class _WouldInflateError(Exception):
    pass


class _Watched(io.BufferedReader):
    """A file that notices when all the rest of it is wanted, as only a deflated data set is."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            raise _WouldInflateError
        return super().read(size)


class _Inflated(io.BytesIO):
    """What a stream inflates to, made as it is read."""

    def __init__(self, path: Path, compressed: BinaryIO, limit_bytes: int) -> None:
        super().__init__()
        self.limit_bytes = limit_bytes
        self._path = path
        self._pieces = _pieces(compressed)
        self._made = 0

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = None if size is None or size < 0 else self.tell() + size
        here = self.tell()
        while (wanted is None or self._made < wanted) and (piece := self._next()) is not None:
            self.seek(0, io.SEEK_END)
            self.write(piece)
        self.seek(here)
        return super().read(size)

    def end(self) -> int:
        """Inflate to the end, without keeping what comes, and return how many bytes there were."""
        while self._next() is not None:
            pass
        return self._made

    def _next(self) -> bytes | None:
        piece = next(self._pieces, None)
        self._made += len(piece or b"")
        if self._made > self.limit_bytes:
            what = f"inflates to more than the {self.limit_bytes} bytes that its header and size allow"
            raise AutosegError.at(self._path, what, _MEND)
        return piece


def _pieces(compressed: BinaryIO) -> Iterator[bytes]:
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    waiting = b""
    while not stream.eof:
        waiting = waiting or compressed.read(_PIECE_BYTES)
        piece = stream.decompress(waiting, _PIECE_BYTES)
        if not (waiting or piece or stream.eof):
            msg = "incomplete deflate stream"
            raise zlib.error(msg)
        waiting = stream.unconsumed_tail
        yield piece


def _at_pixels(path: Path) -> Callable[[int, str | None, int], bool]:
    """Return what tells whether an element is the pixels, and refuses a header of too many elements."""
    seen = count(1)

    def stop(tag: int, _vr: str | None, _length: int) -> bool:
        if next(seen) > _MOST_ELEMENTS:
            raise AutosegError.at(path, f"has more than {_MOST_ELEMENTS} elements before its pixels", _MEND)
        return tag in _PIXELS

    return stop


def _promised_bytes(dataset: "Dataset") -> int:
    """Return how many bytes the pixels take by a header: rows x columns x frames x samples x bits."""
    if "Rows" not in dataset or "Columns" not in dataset:
        return 0
    values = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("NumberOfFrames", None) or 1)
    bits = values * int(dataset.get("SamplesPerPixel", 1)) * int(dataset.get("BitsAllocated", 0))
    if dataset.get("PhotometricInterpretation") == "YBR_FULL_422":
        bits = bits * 2 // 3  # stores two samples for three
    return (bits + 7) // 8


def _short(path: Path, present: int | str, promised: int) -> AutosegError:
    return AutosegError.at(path, f"truncated file: {present} bytes where its pixels take {promised}", _MEND)
