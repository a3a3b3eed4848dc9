"""RTSTRUCT: contours drawn on the slices of an image series, rasterised to masks.

A voxel belongs to a region if its centre lies inside or on the contour; contours of one region on one slice are
combined by exclusive or, so that a contour inside another is a hole. This is how treatment planning systems mean them.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from autoseg.core.errors import AutosegError
from autoseg.imaging.dicom_places import Places
from autoseg.imaging.dicom_scan import damage_named, load

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_PLANAR = frozenset({"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"})
_FEWEST_POINTS = 3
_DECIMALS = 5
"""Of a voxel: contours are written in tenths or hundredths of a millimetre, and a voxel centre that lies on a contour
must not be in or out by the noise of the arithmetic."""

_FARTHEST_SLICES = 0.5
"""A contour belongs to the nearest slice; one further away than half a distance was drawn on another stack."""

_FARTHEST_BETWEEN_POINTS = 0.5
"""Points of one contour spread less than this many slices along the normal, else it is not drawn on an image plane."""


def regions(dataset: "Dataset") -> list[tuple[int, str, bool]]:
    """Return number, name and whether it has a closed contour of every region that a structure set declares."""
    drawn = {
        int(roi.ReferencedROINumber)
        for roi in dataset.get("ROIContourSequence") or ()
        if any(str(c.get("ContourGeometricType", "")) in _PLANAR for c in roi.get("ContourSequence") or ())
    }
    return [
        (int(roi.ROINumber), str(roi.get("ROIName", "") or f"ROI {roi.ROINumber}").strip(), int(roi.ROINumber) in drawn)
        for roi in dataset.get("StructureSetROISequence") or ()
    ]


def read_regions(path: Path, numbers: frozenset[int], places: Places) -> NDArray[np.uint8]:
    """Return the union of some regions as 0/1 mask (plane, row, column) on the image that they were drawn on.

    Contours of fewer than three points are left out; parts outside the field of view are cut off.

    Raises:
        AutosegError: the file is damaged, or a contour is not closed and planar, lies between or beyond the slices, or
            only every second slice or fewer were drawn on.

    """
    from skimage.draw import polygon

    together = np.zeros(places.shape, np.uint8)
    with damage_named(path, "its contours are damaged"):
        for roi in load(path, pixels=False).get("ROIContourSequence") or ():
            if int(roi.ReferencedROINumber) not in numbers:
                continue
            mask = np.zeros(places.shape, np.uint8)
            slices = set()
            for contour in roi.get("ContourSequence") or ():
                points_mm = np.asarray(contour.ContourData, np.float64).reshape(-1, 3)
                kind = str(contour.ContourGeometricType)
                if kind not in _PLANAR and len(points_mm) >= _FEWEST_POINTS:
                    what = f"a contour of its region {roi.ReferencedROINumber} is {kind}, not closed and planar"
                    raise AutosegError.at(path, what, "export the region with closed contours")
                if len(points_mm) < _FEWEST_POINTS or kind not in _PLANAR:
                    continue
                place = places.index_of(points_mm).round(_DECIMALS)
                z = _slice_of(path, place[0], places)
                slices.add(z)
                rows, columns = polygon(place[1], place[2], places.shape[1:])
                mask[z, rows, columns] ^= 1
            known = [z for z in range(places.shape[0]) if z in slices or not (places.lost and places.lost[z])]
            _refuse_sparse(path, [number for number, z in enumerate(known) if z in slices])
            together |= mask
    return together


def _slice_of(path: Path, found: NDArray[np.float64], places: Places) -> int:
    """Return the slice that a contour with these z indexes was drawn on."""
    if not np.isfinite(found).all():
        raise AutosegError.at(path, "a contour has points at infinity", "export the structure set again")
    spread = float(found.max() - found.min())
    if spread > _FARTHEST_BETWEEN_POINTS:
        what = f"a contour is not parallel to the slices of the image: it spans {spread:.2g} of them"
        raise AutosegError.at(path, what, "give the series that it was drawn on")
    z = float(found.mean())
    nearest = min(max(round(z), 0), places.shape[0] - 1)
    if abs(z - nearest) > _FARTHEST_SLICES:
        off_mm = abs(z - nearest) * places.grid.spacing_mm[0]
        what = f"a contour lies {off_mm:.3g} mm beyond the image's slices"
        raise AutosegError.at(path, what, "give the series that it was drawn on, with all its slices")
    return nearest


def _refuse_sparse(path: Path, slices: list[int]) -> None:
    """Refuse a region drawn on every n-th slice: the slices between would be background."""
    gaps = np.diff(slices)
    if len(gaps) > 1 and gaps.min() > 1:
        what = f"a region was drawn on every {gaps.min()}. slice of the image only"
        raise AutosegError.at(path, what, "interpolate its contours where they were drawn, or give a label map")
