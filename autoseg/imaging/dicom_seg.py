"""DICOM SEG: frames of segments, each placed on the slice of the image that it covers.

Frames that are absent are background. A frame is put where its position says, never by its number: writers leave out
empty frames, sort as they like and number segments by their own habit. All kinds are read: BINARY (one bit a pixel),
FRACTIONAL (a share; at least one half is foreground), LABELMAP (the number of the segment).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autoseg.core.errors import AutosegError
from autoseg.imaging.checks import refuse_more_than_memory
from autoseg.imaging.dicom_places import Places
from autoseg.imaging.dicom_scan import damage_named, load
from autoseg.imaging.geometry import MAX_CORNER_DISPLACEMENT_VOXELS
from autoseg.imaging.volume import Grid

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

FRACTIONAL_THRESHOLD = 0.5
"""A voxel that the structure covers by half belongs to it; for a probability this is the likelier class."""

_SAME_SLICE_MM = 1e-3

_COARSER = 1.5
"""Frames this many times further apart than the image's slices were not drawn on that image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    """One frame: the segment that it shows (None: its values are segment numbers) and where it lies, in LPS mm."""

    number: int
    segment: int | None
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    between_mm: float | None
    thickness_mm: float | None


def segments(dataset: "Dataset") -> list[tuple[int, str, bool]]:
    """Return number, label and whether a frame shows it of every segment; a background segment is left out."""
    labelmap = str(dataset.get("SegmentationType", "")) == "LABELMAP"
    shown = {frame.segment for frame in _frames(dataset)}
    return [
        (number, str(item.get("SegmentLabel", "") or f"segment {number}").strip(), labelmap or number in shown)
        for item in dataset.get("SegmentSequence") or ()
        if (number := int(item.SegmentNumber)) != 0
    ]


def read_segments(path: Path, numbers: frozenset[int], places: Places) -> NDArray[np.uint8]:
    """Return the union of some segments as 0/1 mask (plane, row, column) on the image that they were drawn on.

    Raises:
        AutosegError: the file is damaged, or its frames do not lie on the image's voxels.
        ResourceError: it does not fit the machine's memory.

    """
    from pydicom.pixels.utils import pixel_array

    dataset = load(path, pixels=True)
    mask = np.zeros(places.shape, np.uint8)
    with damage_named(path, "cannot be decoded"):
        frames = list(_frames(dataset))
        size = int(dataset.Rows) * int(dataset.Columns) * len(frames)
        refuse_more_than_memory(path, size * max(1, int(dataset.BitsAllocated) // 8))
        pixels = pixel_array(dataset).reshape(len(frames), int(dataset.Rows), int(dataset.Columns))
        threshold = FRACTIONAL_THRESHOLD * float(dataset.get("MaximumFractionalValue", 1))
        fractional = str(dataset.SegmentationType) == "FRACTIONAL"
    for frame in frames:
        if frame.segment is not None and frame.segment not in numbers:
            continue
        stored = pixels[frame.number]
        if frame.segment is None:
            shown = np.isin(stored, list(numbers))
        else:
            shown = stored >= threshold if fractional else stored != 0
        if shown.any():
            _place(path, mask, shown, frame, places)
    return mask


def grid_of_frames(paths: Sequence[Path]) -> Grid:
    """Return the smallest grid that holds the frames of some SEG files of one image, slices ordered along their normal.

    For labels whose image is not at hand: absent slices before the first and after the last frame are not known.

    Raises:
        AutosegError: a file is damaged, its frames do not say where they lie, or they are not of one image.

    """
    frames: list[tuple[_Frame, tuple[int, int]]] = []
    thickness_mm = 1.0
    for path in paths:
        dataset = load(path, pixels=False)
        with damage_named(path, "its header is damaged"):
            size = int(dataset.Rows), int(dataset.Columns)
            found = [frame for frame in _frames(dataset) if frame.position and frame.orientation and frame.spacing]
            thickness_mm = next((f.between_mm or f.thickness_mm or 1.0 for f in found), thickness_mm)
            frames += [(frame, size) for frame in found]
        if not found:
            mend = "give a dataset with its images as references"
            raise AutosegError.at(path, "does not say where its frames lie", mend)
    first, size = frames[0]
    row, column = np.reshape(np.asarray(first.orientation, np.float64), (2, 3))
    normal = np.cross(row, column)
    positions = np.array([frame.position for frame, _ in frames], np.float64)
    depths = np.sort(positions @ normal)
    gaps = np.diff(depths)[np.diff(depths) > _SAME_SLICE_MM]
    # What the header calls the spacing is often not that of the frames; neighbouring slices of a structure are.
    step_mm = float(gaps.min()) if gaps.size else thickness_mm
    alike = all(same == size and frame.spacing == first.spacing for frame, same in frames)
    if not alike or np.ptp((positions - np.outer(positions @ normal, normal)), axis=0).max() > _SAME_SLICE_MM:
        mend = "give a dataset with its images as references"
        raise AutosegError.at(paths[-1], "its frames are not slices of one image", mend)
    flip = np.array([-1.0, -1.0, 1.0])  # LPS to RAS
    between_rows, between_columns = first.spacing or (1.0, 1.0)
    columns = (normal * step_mm, column * between_rows, row * between_columns, positions[(positions @ normal).argmin()])
    affine = np.vstack([np.stack([vector * flip for vector in columns], axis=1), (0.0, 0.0, 0.0, 1.0)])
    rows = [[float(value) for value in line] for line in affine]
    slices = round(float(np.ptp(depths)) / step_mm) + 1
    return Grid(shape=(slices, *size), affine=tuple((a, b, c, d) for a, b, c, d in rows))


def _place(path: Path, mask: NDArray[np.uint8], shown: NDArray[np.bool_], frame: _Frame, places: Places) -> None:
    """Set the voxels of the mask that a frame covers."""
    if frame.position is None or frame.orientation is None or frame.spacing is None:
        if places.shape == (1, *shown.shape):  # a picture: there is one place only
            mask[0] |= shown
            return
        raise AutosegError.at(path, "does not say where its frames lie", "export the segmentation with positions")
    start, down, right = _index_vectors(frame, places)
    rows, columns = shown.shape
    steps = [np.rint(vector).astype(int) for vector in (start, down, right)]
    off = max(
        float(np.abs(start + r * down + c * right - (steps[0] + r * steps[1] + c * steps[2])).max())
        for r in (0, rows - 1)
        for c in (0, columns - 1)
    )
    across_slices = places.mending is not None and (steps[1][0] != 0 or steps[2][0] != 0)
    if off > MAX_CORNER_DISPLACEMENT_VOXELS or not (steps[1].any() and steps[2].any()) or across_slices:
        what = f"its frames do not lie on the voxels of the image (off by {off:.2g} voxels)"
        raise AutosegError.at(path, what, "give the series that it was drawn on, or resample it to that image")
    across = int(np.argmin(np.abs(steps[1]) + np.abs(steps[2])))
    slices_mm = places.grid.spacing_mm[across]
    if frame.between_mm is not None and places.shape[across] > 1 and frame.between_mm > _COARSER * slices_mm:
        what = f"its frames are {frame.between_mm:.3g} mm apart, the image's slices {slices_mm:.3g} mm"
        raise AutosegError.at(path, what, "give the series that it was drawn on, or resample it to that image")
    row, column = np.nonzero(shown)
    voxels = steps[0][:, np.newaxis] + np.outer(steps[1], row) + np.outer(steps[2], column)
    if (voxels < 0).any() or (voxels >= np.asarray(places.shape)[:, np.newaxis]).any():
        raise AutosegError.at(path, "a segment reaches out of its image", "give the whole series that it was drawn on")
    mask[tuple(voxels)] = 1


def _index_vectors(frame: _Frame, places: Places) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return in indexes of the image: the frame's first pixel, and the steps to the next row and to the next column."""
    along_row, along_column = np.reshape(np.asarray(frame.orientation, np.float64), (2, 3))
    between_rows, between_columns = frame.spacing or (1.0, 1.0)
    first = np.asarray(frame.position, np.float64)
    points = np.stack([first, first + along_column * between_rows, first + along_row * between_columns])
    start, below, beside = places.index_of(points).T
    return start, below - start, beside - start


def _frames(dataset: "Dataset") -> Iterator[_Frame]:
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or []
    labelmap = str(dataset.get("SegmentationType", "")) == "LABELMAP"
    for number, group in enumerate(groups):

        def first(sequence: str, keyword: str, group: Any = group) -> Any:
            for place in (group, shared):
                items = None if place is None else place.get(sequence)
                if items and items[0].get(keyword) is not None:
                    return items[0].get(keyword)
            return None

        segment = None if labelmap else int(first("SegmentIdentificationSequence", "ReferencedSegmentNumber"))
        between_mm = first("PixelMeasuresSequence", "SpacingBetweenSlices")
        thickness_mm = first("PixelMeasuresSequence", "SliceThickness")
        yield _Frame(
            number=number,
            segment=segment,
            position=_numbers(first("PlanePositionSequence", "ImagePositionPatient"), 3),
            orientation=_numbers(first("PlaneOrientationSequence", "ImageOrientationPatient"), 6),
            spacing=_numbers(first("PixelMeasuresSequence", "PixelSpacing"), 2),
            between_mm=None if between_mm in (None, "") else abs(float(between_mm)),
            thickness_mm=None if thickness_mm in (None, "") else abs(float(thickness_mm)),
        )


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:
    if value is None or isinstance(value, str) or not hasattr(value, "__len__") or len(value) != count:
        return None
    return tuple(float(v) for v in value)
