"""What a user lets the readers do with files that they would refuse otherwise."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """Options of one reading; the default refuses whatever is not plainly an image in space.

    Attributes:
        resample: put a DICOM series with missing slices, uneven distances or a tilted gantry on a regular grid.
        missing_chunks: take an absent chunk of an OME-Zarr for what its format says, the fill value.
        spacing_mm: distance of voxels (z, y, x) or (y, x) of files that do not say it (NPY, NPZ); empty: not given.

    """

    resample: bool = False
    missing_chunks: bool = False
    spacing_mm: tuple[float, ...] = ()


STRICT = ReadOptions()
