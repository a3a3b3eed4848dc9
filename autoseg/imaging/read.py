"""One door for every image file: `read_image`, `read_header`, `read_label`."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from autoseg.core.errors import AutosegError
from autoseg.imaging.checks import as_integers, refuse_non_finite
from autoseg.imaging.header import Header
from autoseg.imaging.nifti import read_nifti, read_nifti_header
from autoseg.imaging.volume import Volume

__all__ = ["IMAGE_ENDINGS", "Header", "ending_of", "read_header", "read_image", "read_label"]

IMAGE_ENDINGS: Mapping[str, str] = MappingProxyType(
    {
        ".nii.gz": "nifti",
        ".nii": "nifti",
    }
)
"""Ending (lower case) -> family of readers. A folder is read as a DICOM series."""

_READERS: Mapping[str, Callable[[Path], Volume]] = MappingProxyType({"nifti": read_nifti})
_HEADER_READERS: Mapping[str, Callable[[Path], Header]] = MappingProxyType({"nifti": read_nifti_header})


def ending_of(path: Path) -> str:
    """Return the known ending of a file name in lower case, or "" when it is not an image's.

    >>> ending_of(Path("case_1.5.NII.gz")), ending_of(Path("notes.txt"))
    ('.nii.gz', '')

    """
    name = path.name.lower()
    return max((ending for ending in IMAGE_ENDINGS if name.endswith(ending) and name != ending), key=len, default="")


def read_image(path: Path) -> Volume:
    """Read an image file, or a folder with one DICOM series.

    Returns:
        Array (channel, z, y, x). Integers keep the file's type; scaled and real values are float32.

    Raises:
        AutosegError: missing, damaged, of an unknown format, or with NaN or infinite voxels.
        ResourceError: larger than the memory.

    """
    volume = _READERS[_family(path)](path)
    refuse_non_finite(path, volume.array)
    return volume


def read_header(path: Path) -> Header:
    """Read grid, channels and type without the pixels; raises as `read_image` does for what the header shows."""
    return _HEADER_READERS[_family(path)](path)


def read_label(path: Path) -> Volume:
    """Read a label map: one channel of integers, shape (1, z, y, x).

    A colour image whose channels are equal is read as gray.

    Raises:
        AutosegError: as `read_image`; several channels, or values that are not whole numbers.

    """
    volume = read_image(path)
    array = volume.array
    if len(array) > 1 and all(np.array_equal(array[0], channel) for channel in array[1:]):
        array = array[:1]
    if len(array) > 1:
        raise AutosegError.at(path, f"a label map has one channel, this has {len(array)}", "save one label map a file")
    return replace(volume, array=as_integers(path, array))


def _family(path: Path) -> str:
    if not path.exists():
        raise AutosegError.at(path, "does not exist", "check the path")
    ending = ending_of(path)
    if not ending:
        known = " ".join(IMAGE_ENDINGS)
        raise AutosegError.at(path, "is not an image format that can be read", f"convert it to one of {known}")
    return IMAGE_ENDINGS[ending]
