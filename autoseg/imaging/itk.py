"""NRRD and MetaImage in and out through SimpleITK, with the bytes counted and checksums verified first.

SimpleITK reads the geometry and the voxels; before it does, the sizes in the text header are compared with the bytes in
the file, and a compressed stream is read to its end. What SimpleITK returns must have the checksum of those bytes: of a
MetaImage that it cannot inflate it makes voxels all the same.
"""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Integer

from autoseg.core.errors import AutosegError
from autoseg.core.files import is_inside, write_atomically
from autoseg.imaging.checks import refuse_more_than_memory
from autoseg.imaging.geometry import grid_from_xyz, xyz_affine
from autoseg.imaging.header import Header
from autoseg.imaging.nifti_write import DISCLAIMER
from autoseg.imaging.volume import Grid, Volume

if TYPE_CHECKING:
    import SimpleITK as sitk  # noqa: N813 (the name its own documentation uses)

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""ITK and DICOM count towards the patient's left and posterior, NIfTI towards right and anterior."""

_MEND = "copy or export the file again"
_HEADER_LIMIT_BYTES = 1 << 20  # a text header longer than this is not one
_CHUNK_BYTES = 64 << 10
_SHOWN = 80
"""Characters of a name from a damaged header that an error shows."""
_GZIP, _ZLIB = 31, 15  # zlib's window bits with a gzip or a zlib wrapper; both carry a checksum
_NRRD_BYTES = {
    **dict.fromkeys(("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8", "uint8_t"), 1),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), 2),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), 2),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t", "uint", "unsigned int", "uint32", "uint32_t"), 4),
    "float": 4,
    "double": 8,
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"), 8),
    **dict.fromkeys(("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"), 8),
}
_META_BYTES = {
    **dict.fromkeys(("MET_CHAR", "MET_UCHAR"), 1),
    **dict.fromkeys(("MET_SHORT", "MET_USHORT"), 2),
    **dict.fromkeys(("MET_INT", "MET_UINT", "MET_LONG", "MET_ULONG", "MET_FLOAT"), 4),  # LONG has 32 bits everywhere
    **dict.fromkeys(("MET_LONG_LONG", "MET_ULONG_LONG", "MET_DOUBLE"), 8),
}


ByteOrder = Literal["<", ">"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Payload:
    """Where the voxels of a file lie, how many bytes they are uncompressed, and zlib's window bits or 0 for raw.

    `byteorder` is NumPy's sign; None where SimpleITK may put the components of a vector into another order.
    """

    file: Path
    start: int
    promised_bytes: int
    wrapper: int
    byteorder: ByteOrder | None


def read_itk_header(path: Path) -> Header:
    """Read grid, channels and type of an NRRD, NHDR, MHA or MHD file without its voxels.

    Raises:
        AutosegError: not such a file, or shorter than its header promises.

    """
    payload = _payload(path)
    _refuse_wrong_size(path, payload)
    reader = _information(path)
    channels, grid = _layout(path, reader)
    return Header(grid=grid, channels=channels, dtype=_dtype(path, reader).name)


def read_itk(path: Path) -> Volume:
    """Read an NRRD, NHDR, MHA or MHD file.

    Returns:
        Array (channel, z, y, x): components of a vector image or a fourth axis are the channels. Integers keep their
        type, real numbers are float32.

    Raises:
        AutosegError: truncated, damaged, or voxels that are no real numbers.
        ResourceError: the image does not fit the machine's memory.

    """
    import SimpleITK as sitk  # noqa: N813

    payload = _payload(path)
    _refuse_wrong_size(path, payload)
    refuse_more_than_memory(path, payload.promised_bytes)
    checksum = _verify(path, payload)
    reader = _information(path)
    channels, grid = _layout(path, reader)
    dtype = _dtype(path, reader)
    try:
        array = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise AutosegError.at(path, f"cannot be read ({_last_line(error)})", _MEND) from error
    if payload.byteorder and checksum != zlib.crc32(array.astype(array.dtype.newbyteorder(payload.byteorder)).data):
        raise AutosegError.at(path, "its header is damaged: the voxels come out wrong", _MEND)
    if reader.GetNumberOfComponents() > 1:
        array = np.moveaxis(array, -1, 0)
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array.reshape(channels, *grid.shape).astype(dtype, copy=False))
    return Volume(array=array, grid=grid)


def write_itk_label(path: Path, array: Integer[np.ndarray, "z y x"], grid: Grid, like: Path | None) -> None:
    """Write a label map (z, y, x) as .nrrd or .mha, with spacing, origin and direction of `like` or of `grid`."""
    import SimpleITK as sitk  # noqa: N813

    image = sitk.GetImageFromArray(array if like is None or _information(like).GetDimension() > 2 else array[0])
    if like is None:
        _set_geometry(image, grid)
    else:
        reader = _information(like)
        image.SetSpacing(reader.GetSpacing()[: image.GetDimension()])
        image.SetOrigin(reader.GetOrigin()[: image.GetDimension()])
        side = reader.GetDimension()
        direction = np.reshape(reader.GetDirection(), (side, side))[: image.GetDimension(), : image.GetDimension()]
        image.SetDirection(direction.ravel().tolist())
    image.SetMetaData("description", DISCLAIMER)

    def writer(temporary: Path) -> None:
        try:
            sitk.WriteImage(image, temporary, useCompression=True)
            back = read_itk(temporary)
        except (RuntimeError, AutosegError) as error:
            raise OSError(_last_line(error)) from error
        if not np.array_equal(back.array[0], array):
            msg = "what was read back differs from what was written"
            raise OSError(msg)

    write_atomically(path, writer, expected_bytes=array.nbytes)


def _set_geometry(image: "sitk.Image", grid: Grid) -> None:
    matrix = LPS_TO_RAS @ xyz_affine(grid)  # its own inverse: RAS to LPS is the same change of two signs
    spacing = np.asarray(grid.spacing_mm[::-1])
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(matrix[:3, 3].tolist())
    image.SetDirection((matrix[:3, :3] / spacing).ravel().tolist())


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].strip()


def _information(path: Path) -> "sitk.ImageFileReader":
    import SimpleITK as sitk  # noqa: N813

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise AutosegError.at(path, f"cannot be read ({_last_line(error)})", _MEND) from error
    return reader


def _layout(path: Path, reader: "sitk.ImageFileReader") -> tuple[int, Grid]:
    """Return the number of channels and the grid."""
    sizes, components = reader.GetSize(), reader.GetNumberOfComponents()
    side = len(sizes)
    if side not in (2, 3, 4) or (side == 4 and components > 1):
        raise AutosegError.at(path, f"has {side} axes and {components} components", "save one 3D image a file")
    x, y, z = (*sizes, 1)[:3]
    direction, spacing, origin = np.eye(3), np.ones(3), np.zeros(3)
    kept = min(side, 3)
    direction[:kept, :kept] = np.reshape(reader.GetDirection(), (side, side))[:kept, :kept]
    spacing[:kept], origin[:kept] = reader.GetSpacing()[:kept], reader.GetOrigin()[:kept]
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = direction * spacing, origin
    grid = grid_from_xyz(path, (z, y, x), LPS_TO_RAS @ matrix, dimensions=2 if z == 1 else 3)
    return (sizes[3] if side == 4 else components), grid


def _dtype(path: Path, reader: "sitk.ImageFileReader") -> np.dtype[Any]:
    import SimpleITK as sitk  # noqa: N813

    names = {"8-bit": "int8", "16-bit": "int16", "32-bit": "int32", "64-bit": "int64"}
    words = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    integer = next((name for bits, name in names.items() if bits in words and "integer" in words), None)
    if "complex" in words or (integer is None and "float" not in words):
        raise AutosegError.at(path, f"holds voxels of type {words}", "convert them to real numbers")
    if integer is None:
        return np.dtype(np.float32)
    return np.dtype(("u" if "unsigned" in words else "") + integer)


# --------------------------------------------------------------------------------------- sizes and checksums


def _payload(path: Path) -> _Payload:
    with path.open("rb") as handle:
        first = handle.readline(256)
        handle.seek(0)
        if not first:
            raise AutosegError.at(path, "is empty", "download or copy it again")
        if first.startswith(b"NRRD00"):
            return _nrrd_payload(path, handle)
        if b"=" in first:
            return _meta_payload(path, handle)
    raise AutosegError.at(path, "is neither NRRD nor MetaImage", "check what it is; an HTML page is a failed download")


def _fields(path: Path, handle: BufferedReader, separator: str, last: str) -> dict[str, str]:
    """Read `key separator value` lines up to an empty line or to the line whose key is `last`."""
    fields: dict[str, str] = {}
    while handle.tell() < _HEADER_LIMIT_BYTES and (line := handle.readline(_HEADER_LIMIT_BYTES)):
        text = line.decode("utf-8", errors="replace").strip()
        if not text:
            return fields
        key, found, value = text.partition(separator)
        if found:
            fields[key.strip()] = value.strip()
        if key.strip() == last:
            return fields
    if separator == ":" and ("data file" in fields or "datafile" in fields):
        return fields
    raise AutosegError.at(path, "its header is damaged or too long", _MEND)


def _count(path: Path, text: str) -> int:
    if not re.fullmatch(r"\d+(\s+\d+)*", text):
        raise AutosegError.at(path, f"impossible sizes {text!r} in its header", _MEND)
    return int(np.prod([int(n) for n in text.split()], dtype=object))


def _nrrd_payload(path: Path, handle: BufferedReader) -> _Payload:
    fields = {key.lower(): value for key, value in _fields(path, handle, ":", "").items()}
    start = handle.tell()
    size = _NRRD_BYTES.get(fields.get("type", "").lower())
    wrapper = {"raw": 0, "gzip": _GZIP, "gz": _GZIP}.get(fields.get("encoding", "").lower())
    skips = {fields.get(name, "0") for name in ("line skip", "lineskip", "byte skip", "byteskip")}
    if size is None or wrapper is None or skips != {"0"}:
        what = f"NRRD of type {fields.get('type')} and encoding {fields.get('encoding')} cannot be verified"
        raise AutosegError.at(path, what, "save it as NRRD with gzip encoding, or as .nii.gz")
    file = fields.get("data file", fields.get("datafile"))
    plain = set(fields.get("kinds", "").split()) <= {"domain", "space"}
    return _Payload(
        file=path if file is None else _beside(path, file),
        start=start if file is None else 0,
        promised_bytes=_count(path, fields.get("sizes", "")) * size,
        wrapper=wrapper,
        byteorder=_order(fields.get("endian", "little") == "big") if plain else None,
    )


def _meta_payload(path: Path, handle: BufferedReader) -> _Payload:
    fields = _fields(path, handle, "=", "ElementDataFile")
    size = _META_BYTES.get(fields.get("ElementType", "").removesuffix("_ARRAY"))
    file = fields.get("ElementDataFile", "")
    if size is None or not file or fields.get("BinaryData", "True").lower() != "true":
        what = f"MetaImage of type {fields.get('ElementType')} in {file or 'no data file'} cannot be verified"
        raise AutosegError.at(path, what, "save it as .mha or .nii.gz")
    local = file.upper() == "LOCAL"
    components = _count(path, fields.get("ElementNumberOfChannels", "1"))
    return _Payload(
        file=path if local else _beside(path, file),
        start=handle.tell() if local else _count(path, fields.get("HeaderSize", "0")),
        promised_bytes=_count(path, fields.get("DimSize", "")) * components * size,
        wrapper=_ZLIB if fields.get("CompressedData", "False").lower() == "true" else 0,
        byteorder=_order(_msb(fields)),
    )


def _msb(fields: dict[str, str]) -> bool:
    names = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
    return any(fields.get(name, "False").lower() == "true" for name in names)


def _order(big: bool) -> ByteOrder:
    return ">" if big else "<"


def _beside(path: Path, name: str) -> Path:
    """Return the file of voxels that a header names: one file in the header's own folder."""
    file = path.with_name(name) if name and is_inside(name) and Path(name).name == name else None
    if file is None or not file.is_file():
        raise AutosegError.at(
            path, f"its voxels {name[:_SHOWN]!r} are not a file beside it", "keep header and voxels together"
        )
    return file


def _refuse_wrong_size(path: Path, payload: _Payload) -> None:
    there = payload.file.stat().st_size - payload.start
    promised = payload.promised_bytes
    if (not payload.wrapper and there != promised) or promised > there * 1032:
        what = f"{there} bytes of voxels where its header promises {promised}"
        raise AutosegError.at(path, f"is truncated or too long: {what}", _MEND)


def _verify(path: Path, payload: _Payload) -> int:
    """Read a payload to its end: its own checksum right, exactly the promised number of bytes. Return their CRC-32."""
    with payload.file.open("rb") as handle:
        handle.seek(payload.start)
        found, checksum = 0, 0
        for data in _inflated(path, handle, payload.wrapper):
            found, checksum = found + len(data), zlib.crc32(data, checksum)
            if found > payload.promised_bytes:
                break
    if found != payload.promised_bytes:
        what = f"{found} bytes of voxels where its header promises {payload.promised_bytes}"
        raise AutosegError.at(path, f"is truncated or too long: {what}", _MEND)
    return checksum


def _inflated(path: Path, handle: BufferedReader, wrapper: int) -> Iterator[bytes]:
    if not wrapper:
        while chunk := handle.read(_CHUNK_BYTES << 4):
            yield chunk
        return
    stream = zlib.decompressobj(wrapper)
    try:
        while not stream.eof and (chunk := stream.unconsumed_tail or handle.read(_CHUNK_BYTES)):
            yield stream.decompress(chunk, _CHUNK_BYTES << 4)  # a bomb grows a thousandfold
        if not stream.eof:
            yield stream.flush()
    except zlib.error as error:
        raise AutosegError.at(path, f"the compressed voxels are damaged ({error})", _MEND) from error
    if not stream.eof:
        raise AutosegError.at(path, "the compressed voxels end too early", _MEND)
