"""Analyze 7.5: a header (.hdr) and its voxels (.img) in two files; also NIfTI in this form.

Analyze has no geometry but voxel sizes: which way x runs is a matter of belief. It is read as nibabel and SPM do, x
towards the patient's left in the file (radiological) and so flipped in space, about the centre; and it is said. Labels
of the same form are read alike, so the pair fits whatever is true.
"""

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from autoseg.core.errors import AutosegError
from autoseg.imaging.checks import refuse_more_than_memory
from autoseg.imaging.geometry import grid_from_xyz
from autoseg.imaging.header import Header
from autoseg.imaging.volume import Volume

if TYPE_CHECKING:
    from nibabel.analyze import AnalyzeHeader

ORIENTATION_NOTE = (
    "Analyze files do not say which side is left: x is taken to run from right to left, as SPM and nibabel do"
)
_HEADER_BYTES = 348
_MEND = "copy the .hdr and .img file again, or convert them to NIfTI"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """A verified header: where the voxels lie and how they are scaled."""

    voxels: Path
    shape: tuple[int, int, int, int]
    dimensions: int
    stored: np.dtype[Any]
    offset: int
    scale: tuple[float, float] | None
    affine: Float64[np.ndarray, "4 4"]
    notes: tuple[str, ...]

    @property
    def returned(self) -> np.dtype[Any]:
        """The type of the array."""
        real = self.scale is not None or self.stored.kind == "f"
        return np.dtype(np.float32) if real else self.stored.newbyteorder("=")


def read_analyze_header(path: Path) -> Header:
    """Read grid, channels and type of a .hdr/.img pair; raises as `read_analyze` for what the header shows."""
    pair = _parse(path)
    grid = grid_from_xyz(path, pair.shape[1:], pair.affine, dimensions=2 if pair.dimensions == 2 else 3)
    return Header(grid=grid, channels=pair.shape[0], dtype=pair.returned.name)


def read_analyze(path: Path) -> Volume:
    """Read a .hdr/.img pair, Analyze 7.5 or NIfTI, by its .hdr file.

    Returns:
        Array (channel, z, y, x): integers keep their type unless the header scales them, all else is float32.

    Raises:
        AutosegError: a file is missing or damaged, or the voxels are no real numbers.
        ResourceError: the image does not fit the machine's memory.

    """
    pair = _parse(path)
    refuse_more_than_memory(path, math.prod(pair.shape) * max(pair.stored.itemsize, 4))
    array = np.fromfile(pair.voxels, pair.stored, math.prod(pair.shape), offset=pair.offset).reshape(pair.shape)
    with np.errstate(over="ignore", invalid="ignore"):
        if pair.scale is not None:
            array = array * np.float64(pair.scale[0]) + pair.scale[1]
        array = np.ascontiguousarray(array.astype(pair.returned, copy=False))
    grid = grid_from_xyz(path, pair.shape[1:], pair.affine, dimensions=2 if pair.dimensions == 2 else 3)
    return Volume(array=array, grid=grid, notes=pair.notes)


def _parse(path: Path) -> _Pair:
    from nibabel.nifti1 import Nifti1PairHeader
    from nibabel.spatialimages import HeaderDataError
    from nibabel.spm99analyze import Spm99AnalyzeHeader

    voxels = next((path.with_suffix(ending) for ending in (".img", ".IMG") if path.with_suffix(ending).is_file()), None)
    if voxels is None:
        raise AutosegError.at(path, "its voxels are missing (the .img file of the same name)", _MEND)
    with path.open("rb") as handle:
        data = handle.read(_HEADER_BYTES)
    if len(data) < _HEADER_BYTES or _HEADER_BYTES not in {struct.unpack(o + "i", data[:4])[0] for o in "<>"}:
        raise AutosegError.at(path, "is no Analyze header", _MEND)
    nifti = data[344:348] == b"ni1\0"
    raw = (Nifti1PairHeader if nifti else Spm99AnalyzeHeader)(data, check=False)
    try:
        stored = raw.get_data_dtype()
        slope, inter = raw.get_slope_inter()
        affine = np.array(raw.get_best_affine(), np.float64)
    except (KeyError, HeaderDataError, ValueError) as error:
        raise AutosegError.at(path, f"its header is damaged ({str(error).splitlines()[0]})", _MEND) from error
    if stored.kind not in "iuf":
        raise AutosegError.at(path, f"holds voxels of type {stored}", "convert it to real numbers")
    shape, dimensions = _shape(path, raw)
    offset = max(0, int(float(raw["vox_offset"]))) if np.isfinite(float(raw["vox_offset"])) else 0
    promised, present = offset + math.prod(shape) * stored.itemsize, voxels.stat().st_size
    if present != promised:
        what = "truncated file" if present < promised else "is too long"
        raise AutosegError.at(voxels, f"{what}: {present} bytes where its header promises {promised}", _MEND)
    scale = None if slope is None or (slope, inter or 0.0) == (1.0, 0.0) else (float(slope), float(inter or 0.0))
    notes = () if nifti else (ORIENTATION_NOTE,)
    return _Pair(
        voxels=voxels,
        shape=shape,
        dimensions=dimensions,
        stored=stored,
        offset=offset,
        scale=scale,
        affine=affine,
        notes=notes,
    )


def _shape(path: Path, raw: "AnalyzeHeader") -> tuple[tuple[int, int, int, int], int]:
    """Return (channel, z, y, x) and 2 or 3; the fourth axis holds channels."""
    dim = [int(v) for v in raw["dim"]]
    axes = dim[0]
    if not 2 <= axes <= 7 or any(n < 1 for n in dim[1 : axes + 1]) or any(n > 1 for n in dim[5 : axes + 1]):
        raise AutosegError.at(path, f"impossible dimensions {dim} in its header", _MEND)
    x, y, z, channels = (dim[1 : axes + 1] + [1] * 4)[:4]
    return (channels, z, y, x), 2 if z == 1 else 3
