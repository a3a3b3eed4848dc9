"""One door for every image file: `read_image`, `read_header`, `read_label`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from autoseg.core.errors import AutosegError
from autoseg.core.isolation import isolated
from autoseg.imaging.analyze import read_analyze, read_analyze_header
from autoseg.imaging.array_file import read_array, read_array_header
from autoseg.imaging.checks import as_integers, refuse_non_finite
from autoseg.imaging.dicom import read_dicom, read_dicom_header
from autoseg.imaging.dicom_scan import is_dicom, series_folders
from autoseg.imaging.header import Header
from autoseg.imaging.itk import read_itk, read_itk_header
from autoseg.imaging.nifti import read_nifti, read_nifti_header
from autoseg.imaging.raster import read_raster, read_raster_header, read_raster_label
from autoseg.imaging.reading import STRICT, ReadOptions
from autoseg.imaging.tiff import read_tiff, read_tiff_header, read_tiff_label
from autoseg.imaging.volume import Volume
from autoseg.imaging.zarr_file import LABELS, ZARR_ENDING, read_zarr, read_zarr_header

__all__ = [
    "IMAGE_ENDINGS",
    "Header",
    "ending_of",
    "is_image",
    "read_header",
    "read_image",
    "read_label",
    "series_folders",
]

IMAGE_ENDINGS: Mapping[str, str] = MappingProxyType({
    ".nii.gz": "nifti",
    ".nii": "nifti",
    ".nrrd": "itk",
    ".nhdr": "itk",
    ".mha": "itk",
    ".mhd": "itk",
    ".png": "raster",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".bmp": "raster",
    ".gif": "raster",
    ".jpg": "raster",
    ".jpeg": "raster",
    ".hdr": "analyze",
    ".npy": "array",
    ".npz": "array",
    ".zarr": "zarr",
    ".ome.zarr": "zarr",
})  # fmt: skip
"""Ending (lower case) -> family of readers.

A folder is read as a DICOM series. `.dcm` is left out although `read_image` takes it: such a file is one slice of a
case and not a case. An OME-Zarr is a folder, too, known by its ending. Of an Analyze pair the .hdr file is named.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Readers:
    """Functions of a path; `optioned` ones take the options, too."""

    image: Callable[..., Volume]
    label: Callable[..., Volume]
    header: Callable[..., Header]
    optioned: bool = False


_READERS: Mapping[str, _Readers] = MappingProxyType({
    "nifti": _Readers(image=read_nifti, label=read_nifti, header=read_nifti_header),
    "itk": _Readers(image=read_itk, label=read_itk, header=read_itk_header),
    "raster": _Readers(image=read_raster, label=read_raster_label, header=read_raster_header),
    "tiff": _Readers(image=read_tiff, label=read_tiff_label, header=read_tiff_header),
    "analyze": _Readers(image=read_analyze, label=read_analyze, header=read_analyze_header),
    "array": _Readers(image=read_array, label=read_array, header=read_array_header, optioned=True),
    "zarr": _Readers(image=read_zarr, label=read_zarr, header=read_zarr_header, optioned=True),
    "dicom": _Readers(image=read_dicom, label=read_dicom, header=read_dicom_header, optioned=True),
})  # fmt: skip


CHECKED_BY_US = frozenset({"nifti", "analyze", "array", "zarr"})
"""Families that code of ours parses, which compares every size with the bytes on disk before anything is allocated."""


def ending_of(path: Path) -> str:
    """Return the known ending of a file name in lower case, or "" when it is not an image's.

    A label image in the group `labels` of an OME-Zarr image is an OME-Zarr, too.

    >>> ending_of(Path("case_1.5.NII.gz")), ending_of(Path("notes.txt")), ending_of(Path("a.zarr/labels/cells"))
    ('.nii.gz', '', '.zarr')

    """
    if path.parent.name == LABELS and path.parent.parent.name.lower().endswith(ZARR_ENDING):
        return ZARR_ENDING
    name = path.name.lower()
    return max((ending for ending in IMAGE_ENDINGS if name.endswith(ending) and name != ending), key=len, default="")


def is_image(path: Path) -> bool:
    """Tell by its name whether a path is an image: a file with a known ending, or the folder of an OME-Zarr."""
    ending = ending_of(path)
    return bool(ending) and path.is_dir() == (IMAGE_ENDINGS[ending] == "zarr")


def read_image(path: Path, options: ReadOptions = STRICT) -> Volume:
    """Read an image file, or a folder with one DICOM series; `options` allow what is refused otherwise.

    Returns:
        Array (channel, z, y, x). Integers keep the file's type; scaled and real values are float32.

    Raises:
        AutosegError: missing, damaged, of an unknown format, or with NaN or infinite voxels.
        ResourceError: larger than the memory.

    """
    volume = read_image_as_stored(path, options)
    refuse_non_finite(path, volume.array)
    return volume


def read_image_as_stored(path: Path, options: ReadOptions = STRICT) -> Volume:
    """Read as `read_image` does, also an image with NaN or infinite voxels: for mending them."""
    readers = _READERS[_family(path)]
    return readers.image(path, *((options,) if readers.optioned else ()))


def read_header(path: Path, options: ReadOptions = STRICT) -> Header:
    """Read grid, channels and type without the pixels; raises as `read_image` does for what the header shows.

    Headers that larger libraries parse are read in the child process of limited memory.
    """
    family = _family(path)
    arguments = (path, options) if _READERS[family].optioned else (path,)
    if family in CHECKED_BY_US:
        return _READERS[family].header(*arguments)
    return isolated(path, _READERS[family].header, *arguments)


def read_label(path: Path, options: ReadOptions = STRICT) -> Volume:
    """Read a label map: one channel of integers, shape (1, z, y, x).

    A colour image whose channels are equal is read as gray; of a colour palette the index is the label.

    Raises:
        AutosegError: as `read_image`; several channels, or values that are not whole numbers.

    """
    readers = _READERS[_family(path)]
    volume = readers.label(path, *((options,) if readers.optioned else ()))
    refuse_non_finite(path, volume.array)
    array = volume.array
    if len(array) > 1 and all(np.array_equal(array[0], channel) for channel in array[1:]):
        array = array[:1]
    if len(array) > 1:
        raise AutosegError.at(path, f"a label map has one channel, this has {len(array)}", "save one label map a file")
    return replace(volume, array=as_integers(path, array))


def _family(path: Path) -> str:
    if not path.exists():
        raise AutosegError.at(path, "does not exist", "check the path")
    if not path.is_file() and not path.is_dir():  # opening a pipe would wait for ever
        raise AutosegError.at(path, "is a pipe or a device, no file", "take it out of the folder")
    ending = ending_of(path)
    if ending and is_image(path):
        return IMAGE_ENDINGS[ending]
    if path.is_dir() or path.suffix.lower() == ".dcm" or (not ending and is_dicom(path)):
        return "dicom"
    known = " ".join(IMAGE_ENDINGS)
    raise AutosegError.at(path, "is not an image format that can be read", f"convert it to one of {known}")
