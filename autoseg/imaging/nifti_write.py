"""NIfTI out: the input's own header with new voxels, read back before it gets its final name."""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Integer, Real

from autoseg.core.errors import AutosegError
from autoseg.core.files import write_atomically
from autoseg.imaging.geometry import xyz_affine
from autoseg.imaging.nifti import read_nifti, read_raw_header
from autoseg.imaging.volume import Grid, Volume

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

DISCLAIMER = "research use, not a diagnosis"

_DESCRIPTION = f"autoseg: {DISCLAIMER}".encode()  # 43 of the 80 bytes of descrip
_INTENT_LABEL = 1002  # NIFTI_INTENT_LABEL: the values are names, not measurements
_GZIP = 31  # zlib's window bits for a gzip wrapper
_COMPRESSION_LEVEL = 4  # label maps: 2 % larger than level 6 in half the time
_SCANNER_ALIGNED = 1  # NIFTI_XFORM_SCANNER_ANAT
_UNITS_MM = 2


def write_nifti_label(path: Path, array: Integer[np.ndarray, "z y x"], grid: Grid, like: Path | None) -> None:
    """Write a label map (z, y, x); geometry fields are those of the NIfTI file `like`, else made from `grid`."""
    raw = _new_header(grid) if like is None else read_raw_header(like).copy()
    raw["dim"] = [min(int(raw["dim"][0]), 3), *array.shape[::-1], 1, 1, 1, 1]
    raw["intent_code"], raw["intent_name"] = _INTENT_LABEL, b""
    raw["intent_p1"] = raw["intent_p2"] = raw["intent_p3"] = 0
    raw["descrip"], raw["aux_file"] = _DESCRIPTION, b""
    raw["cal_max"] = raw["cal_min"] = 0
    _write(path, array[np.newaxis], raw)


def write_nifti_image(path: Path, volume: Volume) -> None:
    """Write an image (channel, z, y, x); several channels become the fourth axis."""
    raw = _new_header(volume.grid)
    if len(volume.array) > 1:
        raw["dim"] = [4, *volume.grid.shape[::-1], len(volume.array), 1, 1, 1]
    raw["descrip"] = b"autoseg"
    _write(path, volume.array, raw)


def _new_header(grid: Grid) -> "Nifti1Header":
    import nibabel as nib

    raw = nib.Nifti1Header()
    flat = grid.dimensions == 2
    raw["dim"] = [2 if flat else 3, *grid.shape[::-1], 1, 1, 1, 1]
    raw.set_qform(xyz_affine(grid), _SCANNER_ALIGNED, strip_shears=True)
    raw.set_sform(xyz_affine(grid), _SCANNER_ALIGNED)
    raw["xyzt_units"] = _UNITS_MM
    return raw


def _write(path: Path, array: Real[np.ndarray, "c z y x"], raw: "Nifti1Header") -> None:
    """Write (channel, z, y, x) below a header whose geometry is already set, then read it back and compare."""
    order = raw.endianness
    raw.set_data_dtype(array.dtype)
    raw["scl_slope"], raw["scl_inter"] = 1, 0
    raw["magic"] = b"n+1" if raw["sizeof_hdr"] == 348 else b"n+2\0\r\n\x1a\n"
    raw["vox_offset"] = int(raw["sizeof_hdr"]) + 4
    head = raw.binaryblock + bytes(4)
    voxels = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder(order))

    def writer(temporary: Path) -> None:
        with temporary.open("wb") as handle:
            if path.name.lower().endswith(".gz"):
                _compress(handle.write, (head, *(plane.tobytes() for channel in voxels for plane in channel)))
            else:
                handle.write(head)
                handle.write(voxels.tobytes())
        try:
            back = read_nifti(temporary).array
        except AutosegError as error:
            raise OSError(str(error)) from error
        if not np.array_equal(back, array):
            msg = "what was read back differs from what was written"
            raise OSError(msg)

    write_atomically(path, writer, expected_bytes=voxels.nbytes)


def _compress(write: Callable[[bytes], object], parts: tuple[bytes, ...]) -> None:
    """Write one gzip member without name or time, so that equal label maps are equal files."""
    stream = zlib.compressobj(_COMPRESSION_LEVEL, zlib.DEFLATED, _GZIP)
    for part in parts:
        write(stream.compress(part))
    write(stream.flush())
