"""TIFF: one image, or a stack of pages that is a volume; label maps out as gray TIFF.

Pages lie along z, samples and the axis C are channels. tifffile reads what it can without further libraries (plain,
deflate, PackBits, LZMA); palettes and the other compressions go through Pillow. Voxel sizes are taken from ImageJ's
metadata when they name their unit; otherwise a pixel counts as 1 mm.
"""

import logging
import math
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Integer, Shaped

from autoseg.core.errors import AutosegError
from autoseg.core.files import write_atomically
from autoseg.imaging.checks import refuse_more_than_memory
from autoseg.imaging.header import Header
from autoseg.imaging.nifti_write import DISCLAIMER
from autoseg.imaging.raster import compare_written, pixel_grid, read_raster, read_raster_label, without_alpha
from autoseg.imaging.sidecar import spacing_beside
from autoseg.imaging.volume import Grid, Volume

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPageSeries

_MEND = "copy or export the file again"
_READ_BY_TIFFFILE = {1, 8, 32773, 32946, 34925}  # none, deflate, PackBits, old deflate, LZMA
_WHITE_IS_ZERO, _PALETTE = 0, 3  # PhotometricInterpretation
_ALPHA = {1, 2}  # ExtraSamples: associated and unassociated alpha
_MM_PER_UNIT = {"nm": 1e-6, "micron": 1e-3, "um": 1e-3, "µm": 1e-3, "\\u00b5m": 1e-3, "mm": 1.0, "cm": 10.0}
_DECODER_ERRORS = (
    *(OSError, ValueError, KeyError, IndexError, TypeError, RuntimeError, AttributeError, ArithmeticError),
    *(AssertionError, MemoryError, struct.error, zlib.error),
)
"""What tifffile and Pillow raise for damaged files (TiffFileError is a ValueError)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stack:
    """An opened TIFF: which axis of its pixel array is what, and what `read_tiff` makes of it."""

    tif: "TiffFile"
    series: "TiffPageSeries"
    channel_axis: int | None
    alpha: bool
    shape: tuple[int, int, int]

    @property
    def palette(self) -> bool:
        """Whether the pixels are indexes into a palette."""
        return int(self.series.keyframe.photometric) == _PALETTE

    @property
    def channels(self) -> int:
        """Number of channels without alpha."""
        count = 1 if self.channel_axis is None else int(self.series.shape[self.channel_axis])
        return count - self.alpha


def read_tiff_header(path: Path) -> Header:
    """Read grid, channels and type of a TIFF without its pixels."""
    from autoseg.imaging.raster import read_raster_header

    with _opened(path) as stack:
        if stack.palette:
            return read_raster_header(path)
        return Header(grid=_grid(path, stack), channels=stack.channels, dtype=_returned(stack.series.dtype).name)


def read_tiff(path: Path) -> Volume:
    """Read a TIFF image or stack.

    Returns:
        Array (channel, z, y, x) in the file's type, float32 for real numbers; white-is-zero images are inverted so that
        bright is high, as viewers show them.

    Raises:
        AutosegError: truncated, damaged, pages of different sizes, or a compression that cannot be read.
        ResourceError: the image does not fit the machine's memory.

    """
    with _opened(path) as stack:
        return read_raster(path) if stack.palette else _volume(path, stack)


def read_tiff_label(path: Path) -> Volume:
    """Read a label map: like `read_tiff`, but a colour palette gives its index and not its colour."""
    with _opened(path) as stack:
        return read_raster_label(path) if stack.palette else _volume(path, stack)


def write_tiff_label(path: Path, array: Integer[np.ndarray, "z y x"], grid: Grid) -> None:
    """Write a label map (z, y, x) as a gray TIFF, one page a slice, with ImageJ's voxel size when it is not 1 mm."""
    import tifffile

    z, y, x = grid.spacing_mm
    flat = grid.shape[0] == 1
    sized = (y, x) != (1.0, 1.0) or (not flat and z != 1.0)

    def writer(temporary: Path) -> None:
        if sized:
            metadata = {"axes": "YX" if flat else "ZYX", "unit": "mm", "spacing": z, "Info": DISCLAIMER}
            tifffile.imwrite(
                temporary, array[0] if flat else array, imagej=True, resolution=(1 / x, 1 / y), metadata=metadata
            )
        else:
            tifffile.imwrite(
                temporary,
                array[0] if flat else array,
                compression="zlib",
                photometric="minisblack",
                description=DISCLAIMER,
                metadata=None,
            )
        compare_written(read_tiff_label, temporary, array)

    write_atomically(path, writer, expected_bytes=array.nbytes)


@contextmanager
def _opened(path: Path) -> Iterator[_Stack]:
    from tifffile import TiffFile

    _verify_chain(path)
    # tifffile logs what it then raises; without a handler of its own the log would go to stderr.
    logging.getLogger("tifffile").addHandler(logging.NullHandler())
    with path.open("rb") as handle:
        try:
            tif = TiffFile(handle, _multifile=False)  # else it opens the files that OME's XML names, wherever they are
            _refuse_parts(path, tif.ome_metadata or "")
            yield _layout(path, tif, list(tif.series))  # tags are read when they are asked for
        except AutosegError:
            raise
        except _DECODER_ERRORS as error:
            raise AutosegError.at(path, f"cannot be read ({error})", _MEND) from error


def _refuse_parts(path: Path, ome_xml: str) -> None:
    """Refuse an OME-TIFF that is one of several files: alone it would be a stack that lacks slices."""
    own = re.search(r'<(?:\w+:)?OME\b[^>]*\bUUID="([^"]+)"', ome_xml)
    named = set(re.findall(r"<(?:\w+:)?UUID\b[^>]*>([^<]+)<", ome_xml))
    if len(named) > 1 or (own and named - {own[1]}):
        raise AutosegError.at(path, "is one of several files of an OME-TIFF", "save it as one file")


def _layout(path: Path, tif: "TiffFile", series: "list[TiffPageSeries]") -> _Stack:
    """Name the axes: Y and X, one channel axis (S or C), one other axis that is z."""
    if len(series) != 1:
        raise AutosegError.at(path, f"holds {len(series)} images of different sizes", "save each in a file of its own")
    axes, sizes = series[0].axes, series[0].shape
    wide = [(axis, place) for place, (axis, size) in enumerate(zip(axes, sizes, strict=True)) if size > 1]
    channel_axes = [place for axis, place in wide if axis in "SC"]
    depth_axes = [place for axis, place in wide if axis not in "SCYX"]
    if len(channel_axes) > 1 or len(depth_axes) > 1 or not {"Y", "X"} <= set(axes):
        what = f"has axes {axes} of {' x '.join(str(n) for n in sizes)}"
        raise AutosegError.at(path, what, "save one image or one stack a file")
    if 0 in sizes:
        raise AutosegError.at(path, f"has no pixels ({' x '.join(str(n) for n in sizes)})", _MEND)
    extra = {int(sample) for sample in series[0].keyframe.extrasamples}
    return _Stack(
        tif=tif,
        series=series[0],
        channel_axis=channel_axes[0] if channel_axes else None,
        alpha=bool(channel_axes) and axes[channel_axes[0]] == "S" and bool(extra & _ALPHA),
        shape=(sizes[depth_axes[0]] if depth_axes else 1, sizes[axes.index("Y")], sizes[axes.index("X")]),
    )


def _grid(path: Path, stack: _Stack) -> Grid:
    metadata = stack.tif.imagej_metadata or {}
    mm = _MM_PER_UNIT.get(str(metadata.get("unit", "")))
    if mm is None:
        return pixel_grid(path, stack.shape, spacing_beside(path) or (1, 1, 1))
    across = []
    for name in ("XResolution", "YResolution"):
        tag = stack.tif.pages.first.tags.get(name)
        pixels, units = tag.value if tag is not None else (1, 1)
        across.append(mm * units / pixels if pixels else mm)
    return pixel_grid(path, stack.shape, (across[0], across[1], mm * float(metadata.get("spacing", 1.0))))


def _returned(stored: np.dtype[Any]) -> np.dtype[Any]:
    if stored.kind == "f":
        return np.dtype(np.float32)
    return np.dtype(np.uint8) if stored.kind == "b" else stored.newbyteorder("=")


def _volume(path: Path, stack: _Stack) -> Volume:
    series = stack.series
    refuse_more_than_memory(path, series.nbytes)
    if series.dtype.kind not in "iufb":
        raise AutosegError.at(path, f"holds pixels of type {series.dtype}", "convert them to real numbers")
    _refuse_lost_parts(path, stack)
    pixels = _decoded(path, stack)
    if int(series.keyframe.photometric) == _WHITE_IS_ZERO and pixels.dtype.kind in "bu":
        pixels = ~pixels
    if stack.channel_axis is not None:
        pixels = np.moveaxis(pixels, stack.channel_axis, 0)
    array = pixels.reshape(-1, *stack.shape)
    if stack.alpha:
        array = without_alpha(path, array)
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array.astype(_returned(series.dtype), copy=False))
    return Volume(array=array, grid=_grid(path, stack))


def _refuse_lost_parts(path: Path, stack: _Stack) -> None:
    """Refuse pages with fewer strips or tiles than their pixels take; tifffile reads zeros instead, for any size."""
    keyframe = stack.series.keyframe
    try:
        needed = math.prod(keyframe.chunked)
    except _DECODER_ERRORS as error:
        raise AutosegError.at(path, f"cannot be read ({error})", _MEND) from error
    for number, page in enumerate(stack.series.pages):
        present = 0 if page is None else len(page.dataoffsets)
        if present < needed and not keyframe.is_contiguous:
            raise AutosegError.at(path, f"page {number} has {present} of its {needed} strips or tiles", _MEND)


def _decoded(path: Path, stack: _Stack) -> Shaped[np.ndarray, "..."]:
    """Return the pixels in the axes of the series, through tifffile or, for its compression, through Pillow."""
    series = stack.series
    try:
        if int(series.keyframe.compression) in _READ_BY_TIFFFILE:
            pixels = np.asarray(series.asarray())
        else:
            pixels = _through_pillow(path, stack)
    except _DECODER_ERRORS as error:
        raise AutosegError.at(path, f"cannot be read ({error})", _MEND) from error
    if pixels.dtype != series.dtype.newbyteorder("="):
        from tifffile import COMPRESSION

        compression = COMPRESSION(series.keyframe.compression)
        what = f"{series.dtype} pixels with compression {compression.name} cannot be read"
        raise AutosegError.at(path, what, "save it uncompressed, or with deflate compression")
    if pixels.size != series.size:
        raise AutosegError.at(path, f"holds {pixels.size} of its {series.size} pixel values", _MEND)
    return pixels.reshape(series.shape)


def _through_pillow(path: Path, stack: _Stack) -> Shaped[np.ndarray, "..."]:
    from PIL import Image

    with Image.open(path, formats=("TIFF",)) as image:
        pages = []
        for page in range(len(stack.series.pages)):
            image.seek(page)
            pixels = np.asarray(image)
            pages.append(pixels.astype(pixels.dtype.newbyteorder("=")))
    if int(stack.series.keyframe.photometric) == _WHITE_IS_ZERO and pages[0].dtype.kind in "bu":
        return ~np.stack(pages)  # Pillow has inverted them already; `_volume` does so for all
    return np.stack(pages)


def _verify_chain(path: Path) -> None:
    """Follow the chain of pages to its end: readers stop at a missing page without a word.

    Raises:
        AutosegError: not a TIFF, or a page or its pixels lie behind the end of the file.

    """
    size = path.stat().st_size
    with path.open("rb") as handle:
        start = handle.read(16)
        order = {b"II": "<", b"MM": ">"}.get(start[:2], "")
        kind = struct.unpack(f"{order}H", start[2:4])[0] if order and len(start) == 16 else 0
        if kind not in (42, 43):
            what = "is empty" if not size else "is not a TIFF file"
            raise AutosegError.at(path, what, "check what it is; an HTML page is a failed download")
        offset, count, entry = ("Q", "Q", 20) if kind == 43 else ("I", "H", 12)
        width, many = struct.calcsize(offset), struct.calcsize(count)
        (place,) = struct.unpack(order + offset, start[8:16] if kind == 43 else start[4:8])
        seen: set[int] = set()
        while place:
            handle.seek(place)
            head = handle.read(many)
            entries = struct.unpack(order + count, head)[0] if len(head) == many else 0
            link = place + many + entries * entry
            if place in seen or not entries or link + width > size:
                raise AutosegError.at(path, f"is truncated or damaged behind page {len(seen)}", _MEND)
            seen.add(place)
            handle.seek(link)
            (place,) = struct.unpack(order + offset, handle.read(width))
