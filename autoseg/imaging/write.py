"""One door for what is written: `write_label` (same grid and format as its image) and `write_image`."""

from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8, UInt16

from autoseg.core.errors import AutosegError
from autoseg.imaging.array_file import write_array_label
from autoseg.imaging.itk import write_itk_label
from autoseg.imaging.nifti_write import write_nifti_image, write_nifti_label
from autoseg.imaging.raster import write_raster_label
from autoseg.imaging.read import IMAGE_ENDINGS, ending_of, read_header
from autoseg.imaging.tiff import write_tiff_label
from autoseg.imaging.volume import Grid, Volume

_LABEL_ENDINGS = {
    "": ".nii.gz",  # a folder: a DICOM series
    ".nhdr": ".nrrd",  # header and voxels apart cannot be replaced in one step
    ".mhd": ".mha",
    ".gif": ".png",
    ".jpg": ".png",  # lossy
    ".jpeg": ".png",
    ".hdr": ".nii.gz",  # Analyze cannot say which side is left
    ".npz": ".npy",
    ".zarr": ".nii.gz",  # a folder cannot be replaced in one step
    ".ome.zarr": ".nii.gz",
}
"""Ending of an image -> ending of its label map, where it is another one."""


def label_ending(image: Path) -> str:
    """Return the ending of the label map that belongs to an image: its own, unless that format cannot hold labels."""
    ending = ending_of(image)
    return _LABEL_ENDINGS.get(ending, ending)


def write_label(
    path: Path, array: UInt8[np.ndarray, "z y x"] | UInt16[np.ndarray, "z y x"], like: Path | Volume
) -> None:
    """Write a label map (z, y, x) on the grid of `like`, atomically, and verify it by reading it again.

    The ending of `path` chooses the format; `label_ending` gives the one that fits an image. NIfTI keeps every geometry
    field of a NIfTI `like` bit for bit.

    Raises:
        AutosegError: `path` has no ending that can hold a label map.
        ResourceError: the disk is full, or what was read back is not what was written.

    """
    grid = like.grid if isinstance(like, Volume) else read_header(like).grid
    _check(array, grid)
    family = IMAGE_ENDINGS.get(ending_of(path), "")
    kept = like if isinstance(like, Path) and IMAGE_ENDINGS.get(ending_of(like)) == family else None
    if label_ending(path) != ending_of(path):
        family = ""
    if family == "nifti":
        write_nifti_label(path, array, grid, kept)
    elif family == "itk":
        write_itk_label(path, array, grid, kept)
    elif family == "tiff":
        write_tiff_label(path, array, grid)
    elif family == "array":
        write_array_label(path, array, grid)
    elif family == "raster" and grid.shape[0] == 1:
        write_raster_label(path, array)
    else:
        known = label_ending(like if isinstance(like, Path) else path)
        raise AutosegError.at(path, "is not a format for this label map", f"let its name end in {known}")


def write_image(path: Path, volume: Volume) -> None:
    """Write an image (channel, z, y, x) as NIfTI with its spacing and geometry, atomically and verified.

    Raises:
        AutosegError: `path` does not end in .nii or .nii.gz.
        ResourceError: the disk is full.

    """
    if IMAGE_ENDINGS.get(ending_of(path)) != "nifti":
        raise AutosegError.at(path, "images are written as NIfTI", "let its name end in .nii.gz")
    write_nifti_image(path, volume)


def _check(array: Shaped[np.ndarray, "..."], grid: Grid) -> None:
    if array.dtype not in (np.uint8, np.uint16) or array.shape != grid.shape:
        msg = f"a label map is uint8 or uint16 of shape {grid.shape}, not {array.dtype} {array.shape}"
        raise ValueError(msg)
