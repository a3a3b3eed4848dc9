"""NPY and NPZ: bare arrays, whose voxel size the user gives.

Axes are (y, x) of a picture, (z, y, x) of a volume, (channel, z, y, x) of several. Nothing that would have to be
executed is loaded: arrays of Python objects are refused.
"""

import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer

from autoseg.core.errors import AutosegError
from autoseg.core.files import write_atomically
from autoseg.imaging.checks import refuse_more_than_memory
from autoseg.imaging.header import Header
from autoseg.imaging.raster import compare_written, pixel_grid
from autoseg.imaging.reading import STRICT, ReadOptions
from autoseg.imaging.volume import Grid, Volume

_MEND = "save it again with numpy.save"
_ERRORS = (
    *(OSError, ValueError, EOFError, KeyError, SyntaxError, OverflowError, MemoryError, NotImplementedError),
    *(RuntimeError, TypeError, zipfile.BadZipFile, zlib.error, tokenize.TokenError),
)
"""What NumPy and zipfile raise for damaged files."""


def read_array_header(path: Path, options: ReadOptions = STRICT) -> Header:
    """Read grid, channels and type of an NPY file, or of the one array in an NPZ file.

    Raises:
        AutosegError: as `read_array`, for what the header shows.

    """
    with _opened(path) as (handle, size_bytes):
        shape, dtype = _layout(path, handle, size_bytes)
    channels, grid = _grid(path, shape, options)
    return Header(grid=grid, channels=channels, dtype=_returned(dtype).name)


def read_array(path: Path, options: ReadOptions = STRICT) -> Volume:
    """Read an NPY file, or the one array in an NPZ file.

    Returns:
        Array (channel, z, y, x): integers in their type, real numbers and bool as float32 and uint8.

    Raises:
        AutosegError: damaged, no real numbers, axes that have no meaning, or a voxel size that is not given.
        ResourceError: it does not fit the machine's memory.

    """
    with _opened(path) as (handle, size_bytes):
        shape, dtype = _layout(path, handle, size_bytes)
        channels, grid = _grid(path, shape, options)
        refuse_more_than_memory(path, math.prod(shape) * dtype.itemsize)
        handle.seek(0)
        with _damage_named(path):
            array = np.lib.format.read_array(handle, allow_pickle=False)
            if handle.read(1):
                raise AutosegError.at(path, "has more bytes than its header promises", _MEND)
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array.reshape(channels, *grid.shape).astype(_returned(dtype), copy=False))
    return Volume(array=array, grid=grid)


def write_array_label(path: Path, array: Integer[np.ndarray, "z y x"], grid: Grid) -> None:
    """Write a label map as NPY, (y, x) where its image is a picture, verified by reading it again."""

    def writer(temporary: Path) -> None:
        with temporary.open("wb") as handle:
            np.lib.format.write_array(handle, array[0] if grid.dimensions == 2 else array, allow_pickle=False)
        compare_written(lambda place: read_array(place, ReadOptions(spacing_mm=grid.spacing_mm)), temporary, array)

    write_atomically(path, writer, expected_bytes=array.nbytes)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, int]]:
    """Open the array's bytes; of an NPZ file those of its only member, uncompressed."""
    if path.suffix.lower() != ".npz":
        with path.open("rb") as handle:
            yield handle, path.stat().st_size
        return
    with _damage_named(path), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) != 1:
            names = ", ".join(member.filename.removesuffix(".npy") for member in members[:5])
            what = f"holds {len(members)} arrays ({names})"
            raise AutosegError.at(path, what, "save one array a file")
        with archive.open(members[0]) as handle:
            yield handle, members[0].file_size


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except _ERRORS as error:
        said = (str(error) or type(error).__name__).splitlines()[0][:200]
        what = "is empty" if path.stat().st_size == 0 else f"cannot be read ({said})"
        raise AutosegError.at(path, what, _MEND) from error


def _layout(path: Path, handle: Any, size_bytes: int) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type, after a check that the file is as long as they say."""
    with _damage_named(path):
        version = np.lib.format.read_magic(handle)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, dtype = readers[version](handle)
    if dtype.kind not in "iufb" or dtype.itemsize > 8:
        raise AutosegError.at(path, f"holds {dtype} values", "save it as real numbers")
    promised = handle.tell() + math.prod(shape) * dtype.itemsize
    if size_bytes != promised:
        what = f"{'truncated file' if size_bytes < promised else 'is too long'}: {size_bytes} bytes of {promised}"
        raise AutosegError.at(path, what, _MEND)
    return shape, dtype


def _grid(path: Path, shape: tuple[int, ...], options: ReadOptions) -> tuple[int, Grid]:
    """Return the number of channels and the grid."""
    flat = len(shape) == 2
    if not 2 <= len(shape) <= 4 or 0 in shape:
        what = f"has shape {' x '.join(map(str, shape)) or 'of a single number'}"
        raise AutosegError.at(path, what, "save it as (y, x), (z, y, x) or (channel, z, y, x)")
    if not flat and shape[-1] in (3, 4) and min(shape[:2]) > 4 and len(shape) == 3:
        what = f"has shape {' x '.join(map(str, shape))}, which looks like a colour picture"
        raise AutosegError.at(path, what, "save it as PNG, or as (channel, 1, y, x)")
    if not options.spacing_mm:
        raise AutosegError.at(path, "does not say its voxel size", "give --spacing-mm Z,Y,X (or Y,X)")
    wanted = 2 if flat else 3
    if len(options.spacing_mm) < wanted:
        what = f"has {wanted} axes in space, --spacing-mm gives {len(options.spacing_mm)}"
        raise AutosegError.at(path, what, "give it for every axis, slowest first")
    spacing = options.spacing_mm[-wanted:]
    z, y, x = (1.0, *spacing) if flat else spacing
    channels, sizes = (shape[0], shape[1:]) if len(shape) == 4 else (1, (1, *shape) if flat else shape)
    return channels, pixel_grid(path, (sizes[0], sizes[1], sizes[2]), (x, y, z))


def _returned(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    return np.dtype(np.float32) if dtype.kind == "f" else dtype.newbyteorder("=")
