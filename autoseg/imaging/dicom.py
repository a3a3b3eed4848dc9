"""A DICOM series in: one regular stack of parallel slices, or an error that names what is wrong with it.

Spacing and order come from the positions alone (thickness and "spacing between slices" are often something else),
each slice keeps its own rescale slope. A series with a missing or doubled slice, uneven distances, a tilted gantry or
several images at one place is refused: read as a plain stack it would be a wrong volume.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autoseg.core.errors import AutosegError
from autoseg.imaging.checks import refuse_more_than_memory
from autoseg.imaging.dicom_scan import Slice, damage_named, load, scan
from autoseg.imaging.geometry import grid_from_xyz
from autoseg.imaging.header import Header
from autoseg.imaging.itk import LPS_TO_RAS
from autoseg.imaging.raster import pixel_grid
from autoseg.imaging.volume import Grid, Volume

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

POSITION_TOLERANCE_VOXELS = 0.1
"""A slice this close to its place on the regular grid is on it: the same limit as for a label and its image."""

TILT_TOLERANCE_DEGREES = 0.5
"""Below this the drift of the slices is rounding of the header's cosines; a tilted gantry has several degrees."""

_SAME_POSITION = 0.01  # of the median distance
_ORIENTATION_TOLERANCE = 1e-3  # real series round their cosines differently from slice to slice
_INVERTED_MODALITIES = {"CR", "DX", "MG", "RG"}  # projection radiographs: MONOCHROME1 is how they are shown
_DECODED_BY_ITK = {f"1.2.840.10008.1.2.4.{kind}" for kind in (51, 57, 70)}  # JPEG of 12 bits, lossless JPEG
_SHOWN = 4


def read_dicom_header(path: Path) -> Header:
    """Read grid, channels and type of a DICOM series (folder) or a single DICOM file from the headers.

    Raises:
        AutosegError: as `read_dicom`, for all that the headers show.

    """
    slices, grid = _ordered(path)
    return Header(grid=grid, channels=slices[0].samples, dtype=_dtype(slices).name)


def read_dicom(path: Path) -> Volume:
    """Read the one series in a folder (or folders below it), or a single file, which may be an enhanced multi-frame.

    Returns:
        Array (channel, z, y, x) of rescaled values: integers as stored when there is nothing to rescale, else float32.
        Slices run along the normal of the image plane.

    Raises:
        AutosegError: no image, several series, a damaged file, or a stack that is not regular.
        ResourceError: the series does not fit the machine's memory.

    """
    slices, grid = _ordered(path)
    dtype, channels = _dtype(slices), slices[0].samples
    array_bytes = channels * int(np.prod(grid.shape, dtype=object)) * dtype.itemsize
    refuse_more_than_memory(path, array_bytes)
    array = np.empty((channels, *grid.shape), dtype=dtype)
    places = {plane: z for z, plane in enumerate(slices)}
    for file, planes in groupby(sorted(slices, key=lambda plane: (plane.path, plane.frame or 0)), lambda p: p.path):
        for plane, pixels in _pixels(file, tuple(planes)):
            array[:, places[plane]] = pixels
    if slices[0].modality == "CT" and not slices[0].rescaled and array.min() >= 0:
        what = "is CT without RescaleIntercept: its values are not Hounsfield units"
        raise AutosegError.at(path, what, "export it again with its rescale values")
    return Volume(array=array, grid=grid)


def _dtype(slices: Sequence[Slice]) -> np.dtype[Any]:
    if any((plane.slope, plane.intercept) != (1.0, 0.0) for plane in slices):
        return np.dtype(np.float32)
    return np.result_type(*{plane.dtype for plane in slices})


# ------------------------------------------------------------------------------------------------ geometry


def _ordered(path: Path) -> tuple[list[Slice], Grid]:
    """Return the slices of the one series in order, and their grid."""
    slices = _without_copies(scan(path))
    _refuse_several_series(path, slices)
    _refuse_mixture(path, slices)
    rows, columns = slices[0].rows, slices[0].columns
    spacing = slices[0].spacing
    if spacing is not None and (not np.isfinite(spacing).all() or min(spacing) <= 0):
        what = f"PixelSpacing is {spacing[0]:g} x {spacing[1]:g} mm"
        raise AutosegError.at(slices[0].path, what, "export it with its true pixel size")
    placed = all(plane.position is not None and plane.orientation is not None for plane in slices)
    if len(slices) == 1 and (not placed or spacing is None):
        y, x = spacing or (1.0, 1.0)
        return slices, pixel_grid(path, (1, rows, columns), (x, y, 1.0))
    if not placed or spacing is None:
        lost = next(p for p in slices if p.position is None or p.orientation is None or p.spacing is None)
        what = "says neither where its slices lie nor how large its pixels are"
        raise AutosegError.at(lost.path, what, "export the series with ImagePositionPatient and PixelSpacing")
    row, column = _directions(slices[0])
    normal = np.cross(row, column)
    slices.sort(key=lambda plane: float(np.dot(plane.position or (), normal)))
    positions = np.array([plane.position for plane in slices], dtype=np.float64)
    if len(slices) > 1:
        _refuse_irregular(path, slices, positions @ normal)
        _refuse_tilt(path, positions, normal)
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1] = row * spacing[1], column * spacing[0]
    matrix[:3, 2] = (positions[-1] - positions[0]) / (len(slices) - 1) if len(slices) > 1 else normal
    matrix[:3, 3] = positions[0]
    shape = (len(slices), rows, columns)
    return slices, grid_from_xyz(path, shape, LPS_TO_RAS @ matrix, dimensions=3 if len(slices) > 1 else 2)


def _directions(plane: Slice) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the unit vectors along a row and along a column, in LPS."""
    row, column = np.reshape(np.asarray(plane.orientation, dtype=np.float64), (2, 3))
    lengths = float(np.linalg.norm(row)), float(np.linalg.norm(column))
    off = max(abs(lengths[0] - 1), abs(lengths[1] - 1), abs(float(row @ column)))
    if not off <= _ORIENTATION_TOLERANCE:
        what = f"ImageOrientationPatient {plane.orientation} is no pair of perpendicular unit vectors"
        raise AutosegError.at(plane.path, what, "export the series again")
    return row / lengths[0], column / lengths[1]


def _without_copies(slices: Sequence[Slice]) -> list[Slice]:
    """Leave out files that are byte for byte the same as another.

    One SOPInstanceUID for different slices is no fault of the volume: careless anonymisers write it. Two different
    files at one place are refused later, by their position.
    """
    kept: list[Slice] = []
    known: dict[tuple[object, ...], Path] = {}
    for plane in slices:
        path = known.setdefault((plane.instance, plane.frame, plane.position), plane.path)
        if path == plane.path or path.read_bytes() != plane.path.read_bytes():
            kept.append(plane)
    return kept


def _refuse_several_series(path: Path, slices: Sequence[Slice]) -> None:
    series: dict[str, list[Slice]] = {}
    for plane in slices:
        series.setdefault(plane.series, []).append(plane)
    if len(series) == 1:
        return
    names = [f"{s[0].modality} '{s[0].description}' with {len(s)} images" for s in series.values()]
    shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    mend = "put each series into a folder of its own and give one of them"
    raise AutosegError.at(path, f"holds {len(series)} series: {shown}", mend)


def _refuse_mixture(path: Path, slices: Sequence[Slice]) -> None:
    """Refuse slices of different size, pixel size, colour or direction in one series."""
    first = slices[0]
    if first.samples not in (1, 3) or first.photometric == "PALETTE COLOR":
        what = f"has {first.samples} samples a pixel, {first.photometric}"
        raise AutosegError.at(first.path, what, "export it as gray or RGB")
    for what, value in (
        ("sizes (rows, columns)", lambda p: (p.rows, p.columns)),
        ("colour models", lambda p: (p.samples, p.photometric)),
        ("pixel sizes in mm", lambda p: p.spacing and tuple(round(v, 4) for v in p.spacing)),
        ("directions", lambda p: p.orientation and _like_first(first, p)),
    ):
        counts = Counter(value(plane) for plane in slices)
        if len(counts) > 1:
            rare = min(counts, key=lambda key: counts[key])
            example = next(plane for plane in slices if value(plane) == rare)
            shown = ", ".join(f"{count} of {key}" for key, count in list(counts.items())[:_SHOWN])
            mend = "move the images that do not belong to the volume (such as localizers) out of the folder"
            raise AutosegError.at(path, f"mixes {what}: {shown} images, for one {example.name}", mend)


def _like_first(first: Slice, plane: Slice) -> tuple[float, ...]:
    """Return the first slice's orientation when this one's is the same but for rounding, else its own, rounded."""
    a, b = np.asarray(first.orientation or 0.0), np.asarray(plane.orientation)
    same = a.shape == b.shape and np.abs(a - b).max() <= _ORIENTATION_TOLERANCE
    return tuple(round(float(v), 3) for v in (a if same else b))


def _refuse_irregular(path: Path, slices: Sequence[Slice], places_mm: NDArray[np.float64]) -> None:
    """Refuse slices that do not lie at equal distances, and say in which of the three ways."""
    steps = np.diff(places_mm)
    distinct = steps[steps > _SAME_POSITION * max(float(np.median(steps)), 1e-3)]
    typical = float(np.median(distinct)) if len(distinct) else 0.0
    doubled = np.flatnonzero(steps <= _SAME_POSITION * typical) if typical else np.arange(len(steps))
    if len(doubled):
        _refuse_doubled(path, slices, int(doubled[0]), len(steps) - len(doubled) + 1)
    regular = np.linspace(places_mm[0], places_mm[-1], len(places_mm))
    if np.abs(places_mm - regular).max() <= POSITION_TOLERANCE_VOXELS * typical:
        return
    times = steps / typical
    whole = np.abs(times - np.rint(times)) <= POSITION_TOLERANCE_VOXELS
    worst = int(np.argmax(np.abs(times - 1)))
    between = f"between {slices[worst].name} and {slices[worst + 1].name}"
    if whole.all():
        lost = int((np.rint(times) - 1).sum())
        what = f"lacks {lost} of {len(slices) + lost} slices, {int(np.rint(times[worst])) - 1} of them {between}"
        raise AutosegError.at(path, what, "export the whole series again")
    what = f"slice distances vary from {steps.min():.3g} to {steps.max():.3g} mm, most {between}"
    raise AutosegError.at(path, what, "export or reconstruct it with even distances")


def _refuse_doubled(path: Path, slices: Sequence[Slice], at: int, places: int) -> None:
    a, b = slices[at], slices[at + 1]
    if len(slices) % places == 0 and len(slices) // places > 1:
        other = [f"{name} {value} and {dict(b.traits)[name]}" for name, value in a.traits
                 if dict(b.traits).get(name, value) != value]  # fmt: skip
        why = f" (they differ in {', '.join(other[:_SHOWN])})" if other else ""
        what = f"holds {len(slices) // places} images at each of {places} positions{why}"
        raise AutosegError.at(path, what, "put each volume into a folder of its own")
    what = f"{a.name} and {b.name} lie at the same position"
    raise AutosegError.at(path, what, "keep one of them")


def _refuse_tilt(path: Path, positions: NDArray[np.float64], normal: NDArray[np.float64]) -> None:
    step = positions[-1] - positions[0]
    along = float(step @ normal)
    degrees = float(np.degrees(np.arctan2(np.linalg.norm(step - along * normal), along)))
    if degrees > TILT_TOLERANCE_DEGREES:
        what = f"its slices are tilted by {degrees:.1f} degrees (gantry tilt)"
        raise AutosegError.at(path, what, "resample it to upright slices with a DICOM tool first")


# -------------------------------------------------------------------------------------------------- pixels


def _pixels(file: Path, planes: Sequence[Slice]) -> list[tuple[Slice, NDArray[Any]]]:
    """Return the rescaled values of some frames of one file, each (channel, y, x)."""
    from pydicom.pixels.utils import pixel_array

    dataset = load(file, pixels=True)
    try:
        with damage_named(file, "cannot be decoded"):
            bits = int(dataset.BitsStored)
            stored = pixel_array(dataset)
    except AutosegError as error:
        return [(plane, _through_itk(plane, dataset, error)) for plane in planes]
    first = planes[0]
    expected = (first.rows, first.columns, *((3,) if first.samples == 3 else ()))
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
