"""OME-Zarr (NGFF 0.4 and 0.5): the highest resolution of a multiscale image, with its axes and units.

Zarr leaves out chunks that hold nothing but the fill value, so a chunk that was lost in copying looks like empty space.
An absent chunk is an error unless it is allowed. Only compressors are run that make bytes of bytes: one of the codecs
that Zarr 2 knows is Python's pickle, which would run a program from the file.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from autoseg.core.errors import AutosegError
from autoseg.imaging.checks import refuse_more_than_memory
from autoseg.imaging.geometry import grid_from_xyz
from autoseg.imaging.header import Header
from autoseg.imaging.itk import LPS_TO_RAS
from autoseg.imaging.reading import STRICT, ReadOptions
from autoseg.imaging.volume import Grid, Volume

if TYPE_CHECKING:
    import zarr

ZARR_ENDING = ".zarr"
LABELS = "labels"
_MEND = "copy or export it again"
_METADATA_LIMIT_BYTES = 16 << 20
_MOST_CHUNKS = 10_000_000
_CODECS = frozenset({"blosc", "zlib", "gzip", "zstd", "lz4", "lzma", "bz2", "shuffle", "delta", "crc32c", "bytes"})
_CODECS |= {"transpose", "sharding_indexed", "numcodecs.shuffle", "numcodecs.delta", "numcodecs.zlib", "numcodecs.lz4"}
_MM_PER_UNIT = {
    "angstrom": 1e-7,
    "nanometer": 1e-6,
    "micrometer": 1e-3,
    "millimeter": 1.0,
    "centimeter": 10.0,
    "decimeter": 100.0,
    "meter": 1000.0,
    "inch": 25.4,
    "nm": 1e-6,
    "um": 1e-3,
    "µm": 1e-3,
    "mm": 1.0,
}
_ERRORS = (OSError, ValueError, KeyError, TypeError, IndexError, RuntimeError, AttributeError, EOFError, MemoryError)
"""What zarr and its codecs raise for damaged files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Image:
    """An opened array, which of its axes is what, and where it lies."""

    array: "zarr.Array[Any]"
    folder: Path
    order: tuple[int, ...]
    channels: int
    channel_names: tuple[str, ...]
    grid: Grid
    notes: tuple[str, ...]

    @property
    def returned(self) -> np.dtype[Any]:
        """The type of the voxels that are returned."""
        dtype = np.dtype(self.array.dtype)
        if dtype.kind == "b":
            return np.dtype(np.uint8)
        return np.dtype(np.float32) if dtype.kind == "f" else dtype.newbyteorder("=")


def read_zarr_header(path: Path, options: ReadOptions = STRICT) -> Header:
    """Read grid, channels and type of an OME-Zarr image; raises as `read_zarr` for what the metadata shows."""
    image = _opened(path)
    if not options.missing_chunks:
        _refuse_missing(path, image)
    return Header(grid=image.grid, channels=image.channels, dtype=image.returned.name)


def read_zarr(path: Path, options: ReadOptions = STRICT) -> Volume:
    """Read the highest resolution of an OME-Zarr image.

    Returns:
        Array (channel, z, y, x): integers in their type, real numbers as float32, with the names of the channels.

    Raises:
        AutosegError: not OME-Zarr, damaged, several times or images, or a chunk that is absent.
        ResourceError: it does not fit the machine's memory.

    """
    image = _opened(path)
    notes = image.notes
    if options.missing_chunks:
        lost, of = _missing(path, image)
        notes += (f"{len(lost)} of {of} chunks are absent and were taken for empty space",) if lost else ()
    else:
        _refuse_missing(path, image)
    refuse_more_than_memory(path, math.prod(image.array.shape) * image.array.dtype.itemsize)
    with _damage_named(path):
        values = np.asarray(image.array[...])
    with np.errstate(over="ignore"):
        ordered = values.transpose(image.order).reshape(image.channels, *image.grid.shape)
        array = np.ascontiguousarray(ordered.astype(image.returned, copy=False))
    return Volume(array=array, grid=image.grid, channel_names=image.channel_names, notes=notes)


def label_groups(path: Path) -> tuple[str, ...]:
    """Return the names of the label images that an OME-Zarr image holds in its group `labels`; () if it has none.

    Raises:
        AutosegError: the group is damaged, or names something that is not in it.

    """
    group = path / LABELS
    if not any((group / name).is_file() for name in ("zarr.json", ".zattrs")):
        return ()
    with _damage_named(group):
        attributes = _attributes(group)
        names = attributes.get("ome", attributes).get("labels") or ()
        for name in names:
            single = isinstance(name, str) and PurePosixPath(name).name == name not in ("", "..") and "\\" not in name
            if not single or not (group / name).is_dir() or (group / name).is_symlink():
                raise AutosegError.at(group, f"names {json.dumps(name)[:60]}, which is no label image in it", _MEND)
    return tuple(names)


# ----------------------------------------------------------------------------------------------- metadata


def _opened(path: Path) -> _Image:
    with _damage_named(path):
        attributes = _attributes(path)
        ome = attributes.get("ome", attributes)
        scales = ome.get("multiscales")
        if not scales:
            raise AutosegError.at(path, "is no OME-Zarr image: no multiscales in it", "give the group of one image")
        if len(scales) > 1:
            raise AutosegError.at(path, f"holds {len(scales)} images", "save one image a group")
        first = scales[0]["datasets"][0]
        place = PurePosixPath(str(first["path"]))
        if place.is_absolute() or ".." in place.parts:
            raise AutosegError.at(path, "its highest resolution lies outside of it", _MEND)
        folder = path / place
        _refuse_codecs(path, folder)
        array = _zarr(path).open_array(store=str(folder), mode="r")
        names = tuple(str(one.get("label", "")) for one in (ome.get("omero") or {}).get("channels") or ())
        return _layout(path, array, folder, (scales[0], first, names))


def _layout(
    path: Path, array: "zarr.Array[Any]", folder: Path, said: tuple[Mapping[str, Any], Mapping[str, Any], Sequence[str]]
) -> _Image:
    """Name the axes: x, y, perhaps z, perhaps channels; a time axis has one point."""
    scales, first, names = said
    axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in scales["axes"]]
    kinds = [str(axis.get("name", "")).lower() for axis in axes]
    if np.dtype(array.dtype).kind not in "iufb" or len(kinds) != array.ndim or 0 in array.shape:
        raise AutosegError.at(path, f"holds {array.dtype} values with axes {' '.join(kinds)}", "save it as numbers")
    wide = [kind for kind, size in zip(kinds, array.shape, strict=True) if size > 1 and kind not in "czyx"]
    if wide or len(set(kinds)) < len(kinds) or not {"y", "x"} <= set(kinds):
        what = f"has axes {' '.join(kinds)} of {' x '.join(map(str, array.shape))}"
        raise AutosegError.at(path, what, "save one image of one time")
    others = [kinds.index(kind) for kind in kinds if kind not in "czyx"]
    order = (*others, *(kinds.index(kind) for kind in "czyx" if kind in kinds))
    sizes = dict(zip(kinds, array.shape, strict=True))
    shape = (sizes.get("z", 1), sizes["y"], sizes["x"])
    matrix, notes = _matrix(path, scales, first, axes)
    flat = shape[0] == 1
    grid = grid_from_xyz(path, shape, LPS_TO_RAS @ matrix, dimensions=2 if flat else 3, flat="z" not in kinds)
    channels = sizes.get("c", 1)
    complete = len(names) == channels and all(names) and len(set(names)) == channels
    return _Image(
        array=array,
        folder=folder,
        order=order,
        channels=channels,
        channel_names=tuple(names) if complete else (),
        grid=grid,
        notes=notes,
    )


def _matrix(
    path: Path, scales: Mapping[str, Any], first: Mapping[str, Any], axes: Sequence[Mapping[str, Any]]
) -> tuple[Float64[np.ndarray, "4 4"], tuple[str, ...]]:
    """Return the matrix from (x, y, z) indexes to millimetres, as the file has them, and what was assumed."""
    scale, origin = np.ones(len(axes)), np.zeros(len(axes))
    for transform in (*first.get("coordinateTransformations", ()), *scales.get("coordinateTransformations", ())):
        kind = transform.get("type")
        if kind == "scale":
            factors = np.asarray(transform["scale"], np.float64)
            scale, origin = scale * factors, origin * factors
        elif kind == "translation":
            origin = origin + np.asarray(transform["translation"], np.float64)
        elif kind != "identity":
            raise AutosegError.at(path, f"has a coordinate transformation of kind {kind}", "save it with a scale")
    matrix = np.eye(4)
    notes: tuple[str, ...] = ()
    for column, kind in enumerate("xyz"):
        for index, axis in enumerate(axes):
            if str(axis.get("name", "")).lower() != kind:
                continue
            unit = str(axis.get("unit") or "")
            if unit and unit not in _MM_PER_UNIT:
                raise AutosegError.at(path, f"its axis {kind} is in {unit}", "give the size of voxels in a length")
            if not unit:
                notes = ("its axes have no unit: taken for millimetres",)
            factor = _MM_PER_UNIT.get(unit, 1.0)
            matrix[column, column], matrix[column, 3] = scale[index] * factor, origin[index] * factor
    return matrix, notes


def _attributes(path: Path) -> dict[str, Any]:
    """Return the attributes of a group, Zarr 3 or 2."""
    if (path / "zarr.json").is_file():
        return dict(_json(path / "zarr.json").get("attributes") or {})
    if (path / ".zattrs").is_file():
        return _json(path / ".zattrs")
    raise AutosegError.at(path, "is no Zarr group: neither zarr.json nor .zattrs in it", "give the group of one image")


def _json(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _METADATA_LIMIT_BYTES:
        raise AutosegError.at(path, "is larger than any metadata", _MEND)
    document = json.loads(path.read_bytes())
    if not isinstance(document, dict):
        raise AutosegError.at(path, "is no Zarr metadata", _MEND)
    return document


def _refuse_codecs(path: Path, folder: Path) -> None:
    """Refuse an array whose metadata name a codec that is not known to be harmless."""
    file = next((folder / name for name in ("zarr.json", ".zarray") if (folder / name).is_file()), None)
    if file is None:
        raise AutosegError.at(folder, "is no Zarr array: its metadata are missing", _MEND)
    document = _json(file)
    listed = [*(document.get("filters") or ()), document.get("compressor"), *(document.get("codecs") or ())]
    while listed:
        codec = listed.pop()
        if codec is None:
            continue
        name = str(codec.get("id") or codec.get("name"))
        if name not in _CODECS:
            raise AutosegError.at(path, f"is compressed with {name}, which is not read", "save it with blosc or zstd")
        settings = codec.get("configuration") or {}
        listed += [*(settings.get("codecs") or ()), *(settings.get("index_codecs") or ())]


# ------------------------------------------------------------------------------------------------- chunks


def _missing(path: Path, image: _Image) -> tuple[list[str], int]:
    """Return the names of absent chunks (of shards, where chunks are kept in them), and how many there should be."""
    stored = getattr(image.array, "shards", None) or image.array.chunks
    if min(stored, default=1) < 1:
        raise AutosegError.at(path, f"has chunks of {' x '.join(map(str, stored))}", _MEND)
    counts = [math.ceil(size / part) for size, part in zip(image.array.shape, stored, strict=True)]
    if math.prod(counts) > _MOST_CHUNKS:
        raise AutosegError.at(path, f"claims to have {math.prod(counts)} chunks", "save it in larger ones")
    names = (image.array.metadata.encode_chunk_key(index) for index in np.ndindex(*counts))
    return [name for name in names if not (image.folder / name).is_file()], math.prod(counts)


def _refuse_missing(path: Path, image: _Image) -> None:
    lost, of = _missing(path, image)
    if lost:
        what = f"{len(lost)} of {of} chunks are absent, the first {lost[0]}: empty space, or lost in copying"
        raise AutosegError.at(path, what, "copy it again, or give --allow-missing-chunks to take them for empty")


def _zarr(path: Path) -> Any:
    try:
        import zarr
    except ImportError as error:
        raise AutosegError.at(path, "is OME-Zarr, and zarr is not installed", "pip install 'autoseg[zarr]'") from error
    return zarr


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except _ERRORS as error:
        said = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise AutosegError.at(path, f"cannot be read ({said})", _MEND) from error
