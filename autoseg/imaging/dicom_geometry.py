"""Where the slices of a DICOM series lie: in order on one regular grid, or a verdict that names what is wrong.

Spacing and order come from the positions alone (thickness and "spacing between slices" are often something else). The
verdicts: mixed series, missing slices, duplicate position, variable spacing, gantry tilt, no geometry. Of these missing
slices, variable spacing and tilt can be mended by resampling, when the user allows it; all others are always refused.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autoseg.core.errors import AutosegError
from autoseg.imaging.dicom_mend import MOST_DISTANCES, Mending, plan_mending
from autoseg.imaging.dicom_scan import Slice, scan
from autoseg.imaging.geometry import grid_from_xyz
from autoseg.imaging.itk import LPS_TO_RAS
from autoseg.imaging.raster import pixel_grid
from autoseg.imaging.volume import Grid

POSITION_TOLERANCE_VOXELS = 0.1
"""A slice this close to its place on the regular grid is on it: the same limit as for a label and its image."""

TILT_TOLERANCE_DEGREES = 0.5
"""Below this the drift of the slices is rounding of the header's cosines; a tilted gantry has several degrees."""

_SAME_POSITION = 0.01  # of the median distance
_ORIENTATION_TOLERANCE = 1e-3  # real series round their cosines differently from slice to slice
_SHOWN = 4
_ALLOW = "or give --allow-resample to put it on a regular grid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """The slices of a series in order, and the grid of the volume; `mending` leads from one to the other if need be."""

    slices: tuple[Slice, ...]
    grid: Grid
    mending: Mending | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fault:
    """What is wrong with the places of the slices, and what it becomes when it is mended."""

    what: str
    mend: str
    note: str
    mendable: bool = True


def ordered(path: Path, *, resample: bool) -> Stack:
    """Return the slices of the one series in a folder (or file) in order, and their grid.

    Raises:
        AutosegError: the verdict on a faulty series; with `resample` only for what cannot be mended.

    """
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
        return Stack(slices=tuple(slices), grid=pixel_grid(path, (1, rows, columns), (x, y, 1.0)))
    if not placed or spacing is None:
        lost = next(p for p in slices if p.position is None or p.orientation is None or p.spacing is None)
        what = "no geometry: says neither where its slices lie nor how large its pixels are"
        raise AutosegError.at(lost.path, what, "export the series with ImagePositionPatient and PixelSpacing")
    row, column = _directions(slices[0])
    normal = np.cross(row, column)
    slices.sort(key=lambda plane: float(np.dot(plane.position or (), normal)))
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1], matrix[:3, 2] = row * spacing[1], column * spacing[0], normal
    matrix[:3, 3] = slices[0].position
    if len(slices) == 1:
        grid = grid_from_xyz(path, (1, rows, columns), LPS_TO_RAS @ matrix, dimensions=2)
        return Stack(slices=tuple(slices), grid=grid)
    return _stacked(path, tuple(slices), matrix, resample=resample)


def _stacked(path: Path, slices: tuple[Slice, ...], matrix: NDArray[np.float64], *, resample: bool) -> Stack:
    """Return the stack of several slices; `matrix` takes pixels (x, y) of the first and millimetres along z to LPS."""
    rows, columns = slices[0].rows, slices[0].columns
    positions = np.array([plane.position for plane in slices], dtype=np.float64)
    places_mm = positions @ matrix[:3, 2]
    _refuse_doubled(path, slices, places_mm)
    found = (_unevenness(slices, places_mm), _tilt(positions, matrix[:3, 2]))
    faults = [fault for fault in found if fault is not None]
    for fault in faults:
        if not (resample and fault.mendable):
            raise AutosegError.at(path, fault.what, fault.mend + (f", {_ALLOW}" if fault.mendable else ""))
    if not faults:
        matrix[:3, 2] = (positions[-1] - positions[0]) / (len(slices) - 1)
        grid = grid_from_xyz(path, (len(slices), rows, columns), LPS_TO_RAS @ matrix, dimensions=3)
        return Stack(slices=slices, grid=grid)
    shifts = np.linalg.solve(matrix[:3, :3], (positions - positions[0]).T)[[1, 0]].T  # (row, column) in pixels
    if faults[-1] is not found[1]:
        shifts = np.zeros_like(shifts)  # upright: what is left is rounding
    mending = plan_mending(places_mm, shifts, (rows, columns), _usual_distance(places_mm))
    matrix[:3, 3] += matrix[:3, 0] * mending.origin[1] + matrix[:3, 1] * mending.origin[0]
    matrix[:3, 2] *= mending.step_mm
    grid = grid_from_xyz(path, mending.shape, LPS_TO_RAS @ matrix, dimensions=3)
    return Stack(slices=slices, grid=grid, mending=mending, notes=tuple(fault.note for fault in faults))


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
    # Named by a file, and not by its description: what people type there may be a patient's name.
    names = [f"{s[0].modality} with {len(s)} images ({s[0].path.relative_to(path)})" for s in series.values()]
    shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    mend = "put each series into a folder of its own and give one of them"
    raise AutosegError.at(path, f"mixed series: holds {len(series)} series: {shown}", mend)


def _refuse_mixture(path: Path, slices: Sequence[Slice]) -> None:
    """Refuse slices of different size, pixel size, colour or direction in one series."""
    first = slices[0]
    if first.samples not in (1, 3):
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
            raise AutosegError.at(path, f"mixed series: mixes {what}: {shown} images, for one {example.name}", mend)


def _like_first(first: Slice, plane: Slice) -> tuple[float, ...]:
    """Return the first slice's orientation when this one's is the same but for rounding, else its own, rounded."""
    a, b = np.asarray(first.orientation or 0.0), np.asarray(plane.orientation)
    same = a.shape == b.shape and np.abs(a - b).max() <= _ORIENTATION_TOLERANCE
    return tuple(round(float(v), 3) for v in (a if same else b))


def _refuse_doubled(path: Path, slices: Sequence[Slice], places_mm: NDArray[np.float64]) -> None:
    steps = np.diff(places_mm)
    doubled = np.flatnonzero(steps <= _SAME_POSITION * _usual_distance(places_mm))
    if not len(doubled):
        return
    at, places = int(doubled[0]), len(steps) - len(doubled) + 1
    a, b = slices[at], slices[at + 1]
    if len(slices) % places == 0 and len(slices) // places > 1:
        other = [f"{name} {value} and {dict(b.traits)[name]}" for name, value in a.traits
                 if dict(b.traits).get(name, value) != value]  # fmt: skip
        why = f" (they differ in {', '.join(other[:_SHOWN])})" if other else ""
        what = f"mixed series: holds {len(slices) // places} images at each of {places} positions{why}"
        raise AutosegError.at(path, what, "put each volume into a folder of its own")
    what = f"duplicate position: {a.name} and {b.name} lie at the same position"
    raise AutosegError.at(path, what, "keep one of them")


def _usual_distance(places_mm: NDArray[np.float64]) -> float:
    """Return the median distance in mm of slices that lie apart; infinite if none do."""
    steps = np.diff(places_mm)
    distinct = steps[steps > _SAME_POSITION * max(float(np.median(steps)), 1e-3)]
    return float(np.median(distinct)) if len(distinct) else np.inf


def _unevenness(slices: Sequence[Slice], places_mm: NDArray[np.float64]) -> _Fault | None:
    """Return what is wrong with the distances of slices: missing ones, or variable spacing."""
    steps, usual_mm = np.diff(places_mm), _usual_distance(places_mm)
    regular = np.linspace(places_mm[0], places_mm[-1], len(places_mm))
    if np.abs(places_mm - regular).max() <= POSITION_TOLERANCE_VOXELS * usual_mm:
        return None
    times = steps / usual_mm
    worst = int(np.argmax(np.abs(times - 1)))
    between = f"between {slices[worst].name} and {slices[worst + 1].name}"
    mendable = float(times.max()) <= MOST_DISTANCES + POSITION_TOLERANCE_VOXELS
    if (np.abs(times - np.rint(times)) <= POSITION_TOLERANCE_VOXELS).all():
        lost = int((np.rint(times) - 1).sum())
        of = f"{lost} of {len(slices) + lost} slices"
        return _Fault(
            what=f"missing slices: lacks {of}, {int(np.rint(times[worst])) - 1} of them {between}",
            mend="export the whole series again",
            note=f"missing slices: {of} are interpolated between their neighbours",
            mendable=mendable,
        )
    varies = f"slice distances vary from {steps.min():.3g} to {steps.max():.3g} mm"
    return _Fault(
        what=f"variable spacing: {varies}, most {between}",
        mend="export or reconstruct it with even distances",
        note=f"variable spacing: {varies}; slices are interpolated at even distances",
        mendable=mendable,
    )


def _tilt(positions: NDArray[np.float64], normal: NDArray[np.float64]) -> _Fault | None:
    step = positions[-1] - positions[0]
    along = float(step @ normal)
    degrees = float(np.degrees(np.arctan2(np.linalg.norm(step - along * normal), along)))
    if degrees <= TILT_TOLERANCE_DEGREES:
        return None
    return _Fault(
        what=f"gantry tilt: its slices are tilted by {degrees:.1f} degrees",
        mend="resample it to upright slices with a DICOM tool first",
        note=f"gantry tilt of {degrees:.1f} degrees: slices are shifted to where they lie in space",
    )
