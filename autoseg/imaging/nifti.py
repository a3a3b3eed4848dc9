"""NIfTI in, checked: nothing is believed before the whole file has been seen.

Common readers return zeros for the missing end of a truncated file and never reach the checksum of a compressed one.
Here the sizes in the header are compared with the bytes in the file before anything is allocated, a compressed stream
is read to its end with its CRC verified, and only verified bytes become an image.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Real, UInt8

from autoseg.core.errors import AutosegError
from autoseg.imaging.checks import refuse_more_than_memory
from autoseg.imaging.geometry import grid_from_xyz
from autoseg.imaging.header import Header
from autoseg.imaging.volume import Grid, Volume

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WITH_CRC = 31  # zlib's window bits: 15 for the window + 16 for a gzip wrapper whose CRC and length are checked
_MAX_DEFLATE_RATIO = 1032  # zlib's technical details: one byte of deflate makes at most 1032 bytes
_CHUNK_BYTES = 64 << 10  # of compressed input; the output of one step stays below 64 MiB whatever the stream claims
_HEADER_BYTES = {348: 352, 540: 544}  # sizeof_hdr -> first possible byte of the voxels (4 bytes of extension flag)
_MAGIC = {348: b"n+1\0", 540: b"n+2\0"}
_PAIR_MAGIC = (b"ni1\0", b"ni2\0")
_MM_PER_UNIT = {1: 1000.0, 3: 0.001}  # xyzt_units: metre, micrometre; anything else is millimetres or not said
_MEND = "copy or export the file again"


@dataclass(frozen=True, slots=True, kw_only=True)
class NiftiHeader:
    """A verified header: nibabel's structure, shape (channel, z, y, x), where the voxels lie, how they are scaled."""

    raw: "Nifti1Header"
    shape: tuple[int, int, int, int]
    dimensions: int
    stored: np.dtype[Any]
    offset: int
    scale: tuple[float, float] | None
    interleaved: bool

    @property
    def total_bytes(self) -> int:
        """Size of the file that this header belongs to, uncompressed."""
        return self.offset + int(np.prod(self.shape, dtype=object)) * self.stored.itemsize


def read_nifti_header(path: Path) -> Header:
    """Read grid, channels and type of a `.nii` or `.nii.gz`; of a compressed file only the first block is read.

    Raises:
        AutosegError: not a NIfTI file, impossible numbers in the header, or sizes that the file cannot hold.

    """
    with path.open("rb") as handle:
        header = _parse(path, next(_stream(path, handle), b""))
        _refuse_impossible_size(path, header, compressed=_is_gzip(handle))
    return Header(grid=_grid(path, header), channels=header.shape[0], dtype=_returned_dtype(header).name)


def read_nifti(path: Path) -> Volume:
    """Read a `.nii` or `.nii.gz` with every byte accounted for.

    Returns:
        Array (channel, z, y, x): the file's axes reversed, a fourth axis is the channel. Integers keep their type
        unless the header scales them; everything else is float32.

    Raises:
        AutosegError: not NIfTI, truncated, a wrong checksum, bytes too many, or a type that is no gray or RGB image.
        ResourceError: the image does not fit the machine's memory.

    """
    header, data = read_verified(path)
    array = np.frombuffer(data, dtype=header.stored, offset=header.offset)
    if header.interleaved:
        array = np.moveaxis(array.reshape(*header.shape[1:], header.shape[0]), -1, 0)
    else:
        array = array.reshape(header.shape)
    return Volume(array=_scaled(array, header), grid=_grid(path, header))


def read_raw_header(path: Path) -> "Nifti1Header":
    """Return nibabel's header structure of a NIfTI file, for writing another file on the same grid."""
    with path.open("rb") as handle:
        return _parse(path, next(_stream(path, handle), b"")).raw


def read_verified(path: Path) -> tuple[NiftiHeader, UInt8[np.ndarray, " bytes"]]:
    """Read the whole file into memory of exactly the size that its header promises, and not one byte more."""
    with path.open("rb") as handle:
        chunks = _stream(path, handle)
        first = next(chunks, b"")
        header = _parse(path, first)
        _refuse_impossible_size(path, header, compressed=_is_gzip(handle))
        refuse_more_than_memory(path, header.total_bytes)
        data = np.empty(header.total_bytes, dtype=np.uint8)
        filled = 0
        while first:
            if filled + len(first) > header.total_bytes:
                raise AutosegError.at(path, f"has more than the {header.total_bytes} bytes its header promises", _MEND)
            data[filled : filled + len(first)] = np.frombuffer(first, dtype=np.uint8)
            filled += len(first)
            first = next(chunks, b"")
    if filled != header.total_bytes:
        raise AutosegError.at(
            path, f"is truncated: {filled} bytes where its header promises {header.total_bytes}", _MEND
        )
    return header, data


def _is_gzip(handle: BufferedReader) -> bool:
    position = handle.tell()
    handle.seek(0)
    magic = handle.read(2)
    handle.seek(position)
    return magic == _GZIP_MAGIC


def _stream(path: Path, handle: BufferedReader) -> Iterator[bytes]:
    """Yield the file's bytes, decompressed; at the end of a compressed stream CRC and length have been verified."""
    if _is_gzip(handle):
        yield from _decompressed(path, handle)
        return
    if path.name.lower().endswith(".gz"):
        kind = "an empty file" if not handle.peek(1) else "not a gzip file"
        raise AutosegError.at(path, kind, "download or copy it again")
    while chunk := handle.read(_CHUNK_BYTES << 4):
        yield chunk


def _decompressed(path: Path, handle: BufferedReader) -> Iterator[bytes]:
    member, complete = zlib.decompressobj(_GZIP_WITH_CRC), False
    try:
        while chunk := handle.read(_CHUNK_BYTES):
            rest = chunk.lstrip(b"\0") if complete else chunk  # zero padding after a member is legal
            while rest:
                if data := member.decompress(rest):
                    yield data
                complete = member.eof
                if not complete:
                    break
                rest = member.unused_data.lstrip(b"\0")
                member = zlib.decompressobj(_GZIP_WITH_CRC)
    except zlib.error as error:
        raise AutosegError.at(path, f"the compressed data is damaged ({error})", _MEND) from error
    if not complete:
        raise AutosegError.at(path, "the compressed data ends too early", _MEND)


def _parse(path: Path, first: bytes) -> NiftiHeader:
    import nibabel as nib
    from nibabel.spatialimages import HeaderDataError

    if not first:
        raise AutosegError.at(path, "is empty", "download or copy it again")
    sizes = {struct.unpack(order + "i", first[:4])[0] for order in "<>"} if len(first) >= 4 else set()
    size = next((s for s in _HEADER_BYTES if s in sizes), None)
    if size is None or len(first) < size:
        raise AutosegError.at(path, "is not a NIfTI file", "check what it is; an HTML page is a failed download")
    raw = (nib.Nifti1Header if size == 348 else nib.Nifti2Header)(first[:size], check=False)
    magic = bytes(raw["magic"].item()).ljust(4, b"\0")[:4]
    if magic in _PAIR_MAGIC:
        raise AutosegError.at(path, "is one half of a .hdr/.img pair", "convert the pair to one .nii.gz file")
    if magic != _MAGIC[size]:
        raise AutosegError.at(path, "is not a NIfTI file (no magic string in its header)", "convert it to .nii.gz")
    try:
        stored = raw.get_data_dtype()
        slope, inter = raw.get_slope_inter()
    except KeyError as error:
        raise AutosegError.at(path, f"its header names an unknown type of voxels ({error})", _MEND) from error
    except HeaderDataError as error:
        raise AutosegError.at(path, f"its header is damaged ({error})", _MEND) from error
    shape, dimensions = _shape(path, raw)
    colours = len(stored.names or ())
    if (stored.kind not in "iuf" and not colours) or (colours and shape[0] > 1):
        raise AutosegError.at(path, f"holds voxels of type {stored}", "convert them to real numbers")
    return NiftiHeader(
        raw=raw,
        shape=(colours, *shape[1:]) if colours else shape,
        dimensions=dimensions,
        stored=np.dtype(np.uint8) if colours else stored,
        offset=_offset(path, raw, _HEADER_BYTES[size]),
        scale=None if slope is None or colours or (slope, inter) == (1.0, 0.0) else (slope, inter),
        interleaved=colours > 0,
    )


def _shape(path: Path, raw: "Nifti1Header") -> tuple[tuple[int, int, int, int], int]:
    """Return (channel, z, y, x) and 2 or 3. Channels lie in the fourth axis, of vector images in the fifth."""
    dim = [int(v) for v in raw["dim"]]
    axes = dim[0]
    if not 2 <= axes <= 7 or any(n < 1 for n in dim[1 : axes + 1]):
        raise AutosegError.at(path, f"impossible dimensions {dim[: max(1, min(axes, 7)) + 1]} in its header", _MEND)
    sizes = dim[1 : axes + 1] + [1] * (7 - axes)
    x, y, z = sizes[:3]
    many = [n for n in sizes[3:] if n > 1]
    if len(many) > 1:
        raise AutosegError.at(path, f"has {3 + len(many)} axes {tuple(sizes[:axes])}", "save one 3D or 4D image a file")
    return (many[0] if many else 1, z, y, x), 2 if z == 1 else 3


def _offset(path: Path, raw: "Nifti1Header", minimum: int) -> int:
    value = float(raw["vox_offset"])
    if value == 0:
        return minimum
    if not np.isfinite(value) or value < minimum or value != int(value):
        raise AutosegError.at(path, f"its header places the voxels at byte {value:g}", _MEND)
    return int(value)


def _refuse_impossible_size(path: Path, header: NiftiHeader, *, compressed: bool) -> None:
    on_disk = path.stat().st_size
    promised = header.total_bytes
    if not compressed and on_disk != promised:
        what = "is truncated" if on_disk < promised else "is too long"
        raise AutosegError.at(path, f"{what}: {on_disk} bytes where its header promises {promised}", _MEND)
    if compressed and promised > on_disk * _MAX_DEFLATE_RATIO:
        what = f"its header promises {promised} bytes, more than {on_disk} compressed bytes can hold"
        raise AutosegError.at(path, what, _MEND)


def _grid(path: Path, header: NiftiHeader) -> Grid:
    from nibabel.spatialimages import HeaderDataError

    try:
        affine = np.array(header.raw.get_best_affine(), dtype=np.float64)
    except (HeaderDataError, ValueError) as error:
        raise AutosegError.at(path, f"its header has no valid geometry ({error})", _MEND) from error
    scale = _MM_PER_UNIT.get(int(header.raw["xyzt_units"]) & 7, 1.0)
    affine[:3] *= scale
    flat = int(header.raw["dim"][0]) == 2
    return grid_from_xyz(path, header.shape[1:], affine, dimensions=2 if header.dimensions == 2 else 3, flat=flat)


def _returned_dtype(header: NiftiHeader) -> np.dtype[Any]:
    if header.scale is not None or header.stored.kind == "f":
        return np.dtype(np.float32)
    return header.stored.newbyteorder("=")


def _scaled(array: Real[np.ndarray, "c z y x"], header: NiftiHeader) -> Real[np.ndarray, "c z y x"]:
    """Return native-endian numbers; scale in double precision, one slice at a time."""
    wanted = _returned_dtype(header)
    if header.scale is None:
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(array.astype(wanted, copy=False))
    slope, inter = header.scale
    scaled = np.empty(array.shape, dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for channel, out in zip(array, scaled, strict=True):
            for plane, out_plane in zip(channel, out, strict=True):
                out_plane[...] = plane.astype(np.float64) * slope + inter
    return scaled
