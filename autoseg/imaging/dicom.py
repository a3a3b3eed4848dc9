"""A DICOM series in: one regular stack of parallel slices, or an error that names what is wrong with it.

Each slice keeps its own rescale slope. A series with a missing or doubled slice, uneven distances, a tilted gantry or
several images at one place is refused: read as a plain stack it would be a wrong volume. Some of them can be resampled.
"""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autoseg.core.errors import AutosegError
from autoseg.imaging.checks import refuse_more_than_memory
from autoseg.imaging.dicom_geometry import Stack, ordered
from autoseg.imaging.dicom_mend import mended
from autoseg.imaging.dicom_scan import Slice, damage_named, load, refuse_truncated
from autoseg.imaging.header import Header
from autoseg.imaging.reading import STRICT, ReadOptions
from autoseg.imaging.volume import Volume

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_INVERTED_MODALITIES = {"CR", "DX", "MG", "RG"}  # projection radiographs: MONOCHROME1 is how they are shown
_DECODED_BY_ITK = {f"1.2.840.10008.1.2.4.{kind}" for kind in (51, 57, 70)}  # JPEG of 12 bits, lossless JPEG


def read_dicom_header(path: Path, options: ReadOptions = STRICT) -> Header:
    """Read grid, channels and type of a DICOM series (folder) or a single DICOM file from the headers.

    Raises:
        AutosegError: as `read_dicom`, for all that the headers show.

    """
    stack = ordered(path, resample=options.resample)
    dtype = _dtype(stack.slices) if stack.mending is None else np.dtype(np.float32)
    return Header(grid=stack.grid, channels=stack.slices[0].channels, dtype=dtype.name)


def read_dicom(path: Path, options: ReadOptions = STRICT) -> Volume:
    """Read the one series in a folder (or folders below it), or a single file, which may be an enhanced multi-frame.

    Returns:
        Array (channel, z, y, x) of rescaled values: integers as stored when there is nothing to rescale, else float32.
        Slices run along the normal of the image plane. With `options.resample` a faulty series is put on a regular
        grid; what was done is in the volume's notes.

    Raises:
        AutosegError: no image, several series, a damaged file, or a stack that is not regular.
        ResourceError: the series does not fit the machine's memory.

    """
    stack = ordered(path, resample=options.resample)
    shape = (len(stack.slices), stack.slices[0].rows, stack.slices[0].columns)
    dtype, channels = _dtype(stack.slices), stack.slices[0].channels
    voxels = np.prod(shape, dtype=object) + (0 if stack.mending is None else np.prod(stack.grid.shape, dtype=object))
    refuse_more_than_memory(path, channels * int(voxels) * max(dtype.itemsize, 4))
    array = np.empty((channels, *shape), dtype=dtype)
    places = {plane: z for z, plane in enumerate(stack.slices)}
    for file, planes in groupby(sorted(stack.slices, key=lambda one: (one.path, one.frame or 0)), lambda one: one.path):
        for plane, pixels in _pixels(file, tuple(planes)):
            array[:, places[plane]] = pixels
    if stack.slices[0].modality == "CT" and not stack.slices[0].rescaled and array.min() >= 0:
        what = "is CT without RescaleIntercept: its values are not Hounsfield units"
        raise AutosegError.at(path, what, "export it again with its rescale values")
    return _on_grid(stack, array)


def _on_grid(stack: Stack, array: NDArray[Any]) -> Volume:
    if stack.mending is not None:
        array = mended(stack.mending, lambda number: array[:, number], len(array))
    modalities = (stack.slices[0].modality,) * len(array)
    return Volume(array=array, grid=stack.grid, notes=stack.notes, modalities=modalities)


def _dtype(slices: Sequence[Slice]) -> np.dtype[Any]:
    if any((plane.slope, plane.intercept) != (1.0, 0.0) for plane in slices):
        return np.dtype(np.float32)
    return np.result_type(*{plane.dtype for plane in slices})


# -------------------------------------------------------------------------------------------------- pixels


def _pixels(file: Path, planes: Sequence[Slice]) -> list[tuple[Slice, NDArray[Any]]]:
    """Return the rescaled values of some frames of one file, each (channel, y, x)."""
    from pydicom.pixels.processing import apply_color_lut
    from pydicom.pixels.utils import pixel_array

    dataset = load(file, pixels=True)
    if "PixelData" in dataset:
        refuse_truncated(file, dataset, int(dataset.get("NumberOfFrames", None) or 1), len(dataset.PixelData))
    try:
        with damage_named(file, "cannot be decoded"):
            bits = int(dataset.BitsStored)
            stored = pixel_array(dataset)
            if planes[0].photometric == "PALETTE COLOR":
                stored = apply_color_lut(stored, dataset)[..., : planes[0].channels]
    except AutosegError as error:
        return [(plane, _through_itk(plane, dataset, error)) for plane in planes]
    first = planes[0]
    coloured = first.samples == 3 or first.photometric == "PALETTE COLOR"
    expected = (first.rows, first.columns, *((first.channels,) if coloured else ()))
    frames = stored if planes[0].frame is not None else stored[np.newaxis]
    if frames.shape[1:] != expected:
        what = f"its pixels have shape {frames.shape[1:]}, its header says {expected}"
        raise AutosegError.at(file, what, "copy or export the file again")
    return [(plane, _rescaled(plane, frames[plane.frame or 0], bits)) for plane in planes]


def _rescaled(plane: Slice, stored: NDArray[Any], bits: int) -> NDArray[Any]:
    values = np.moveaxis(stored, -1, 0) if stored.ndim == 3 else stored[np.newaxis]
    if plane.photometric == "MONOCHROME1" and plane.modality in _INVERTED_MODALITIES:
        values = (-1 if values.dtype.kind == "i" else (1 << bits) - 1) - values
    if (plane.slope, plane.intercept) == (1.0, 0.0):
        return values
    return values.astype(np.float64) * plane.slope + plane.intercept


def _through_itk(plane: Slice, dataset: "Dataset", damage: AutosegError) -> NDArray[Any]:
    """Decode through SimpleITK the kinds of JPEG that pydicom has no free decoder for; the values come rescaled."""
    import SimpleITK as sitk  # noqa: N813

    syntax = str(getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", ""))
    kept = plane.frame is None and plane.samples == 1 and plane.photometric == "MONOCHROME2"
    if syntax not in _DECODED_BY_ITK or not kept:
        raise damage
    try:
        values = sitk.GetArrayFromImage(sitk.ReadImage(plane.path))
    except RuntimeError:
        raise damage from None
    if values.shape != (1, plane.rows, plane.columns):
        raise damage
    return values
