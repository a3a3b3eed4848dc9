"""Labels as hospitals keep them: what a DICOM SEG or RTSTRUCT file holds, and one structure of it as a mask.

A structure is named by a reference `FILE#NUMBER`, or `FILE#1+4` where several segments together are one structure.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from autoseg.core.errors import AutosegError
from autoseg.imaging import dicom_seg, rtstruct
from autoseg.imaging.dicom_geometry import Stack
from autoseg.imaging.dicom_places import Places, on_grid, places_of
from autoseg.imaging.dicom_scan import damage_named, load
from autoseg.imaging.volume import Grid

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_READERS: Mapping[str, Callable[[Path, frozenset[int], Places], NDArray[np.uint8]]] = MappingProxyType(
    {"RTSTRUCT": rtstruct.read_regions, "SEG": dicom_seg.read_segments}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """One segment or region of interest. `drawn` is False for one that is declared but has no contour or frame."""

    number: int
    name: str
    drawn: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFile:
    """What a SEG or RTSTRUCT file says of itself. `series` and `instances` are the UIDs of the images it refers to."""

    path: Path
    kind: str
    series: tuple[str, ...]
    instances: frozenset[str]
    frame_of_reference: str
    structures: tuple[Structure, ...]
    fractional: bool


def describe_labels(path: Path, dataset: "Dataset") -> LabelFile | None:
    """Return what a DICOM file (header read) holds of labels, None if it is no SEG and no RTSTRUCT.

    Raises:
        AutosegError: its header is damaged.

    """
    with damage_named(path, "its header is damaged"):
        modality = str(dataset.get("Modality", ""))
        if modality not in ("SEG", "RTSTRUCT"):
            return None
        found = dicom_seg.segments(dataset) if modality == "SEG" else rtstruct.regions(dataset)
        frames = [str(item.FrameOfReferenceUID) for item in dataset.get("ReferencedFrameOfReferenceSequence") or ()]
        return LabelFile(
            path=path,
            kind=modality,
            series=tuple(sorted(set(_values(dataset, "SeriesInstanceUID")))),
            instances=frozenset(_values(dataset, "ReferencedSOPInstanceUID")),
            frame_of_reference=next(iter(frames), str(dataset.get("FrameOfReferenceUID", ""))),
            structures=tuple(Structure(number=number, name=name, drawn=drawn) for number, name, drawn in found),
            fractional=str(dataset.get("SegmentationType", "")) == "FRACTIONAL",
        )


def structure_reference(path: str, numbers: list[int]) -> str:
    """Return the reference to a structure of a file.

    >>> structure_reference("a/RS.dcm", [4, 1])
    'a/RS.dcm#1+4'

    """
    return f"{path}#{'+'.join(map(str, sorted(numbers)))}"


def file_of(reference: Path) -> Path:
    """Return the file of a reference to a structure; any other path as it is.

    >>> file_of(Path("a/RS.dcm#1+4")).as_posix(), file_of(Path("a#1/b.nii")).as_posix()
    ('a/RS.dcm', 'a#1/b.nii')

    """
    return reference.with_name(reference.name.rpartition("#")[0]) if is_structure(reference) else reference


def is_structure(reference: Path) -> bool:
    """Tell whether a path is a reference to a structure of a DICOM file."""
    name, mark, numbers = reference.name.rpartition("#")
    return bool(name and mark) and all(part.isdecimal() for part in numbers.split("+")) and not reference.exists()


def read_structure(reference: Path, grid: Grid, mended: Stack | None = None) -> NDArray[np.uint8]:
    """Return one structure of a SEG or RTSTRUCT file as 0/1 mask (z, y, x) on the grid of its image.

    Args:
        reference: `FILE#NUMBER`.
        grid: of the image.
        mended: the series, if it was resampled to that grid. What was drawn on its slices follows them; what was drawn
            on the grid itself stays where it is.

    Raises:
        AutosegError: the file is missing, damaged or no label; the structure does not lie on the image's slices.
        ResourceError: it does not fit the machine's memory.

    """
    path = file_of(reference)
    if not path.is_file():
        raise AutosegError.at(path, "does not exist", "check the path")
    numbers = frozenset(int(number) for number in reference.name.rpartition("#")[2].split("+"))
    kind = str(load(path, pixels=False).get("Modality", ""))
    if kind not in _READERS:
        what = f"is DICOM of kind {kind or 'unknown'}, no SEG and no RTSTRUCT"
        raise AutosegError.at(path, what, "give a label file")
    own = Places(grid=grid, shape=grid.shape)
    if mended is None or mended.mending is None:
        return _READERS[kind](path, numbers, own)
    planes = places_of(grid, mended.mending, (mended.slices[0].rows, mended.slices[0].columns))
    try:
        return on_grid(planes, _READERS[kind](path, numbers, planes))
    except AutosegError:
        with contextlib.suppress(AutosegError):
            return _READERS[kind](path, numbers, own)
        raise


def _values(dataset: "Dataset", keyword: str) -> Iterator[str]:
    """Return the values of a UID in all sequences below the top of a header."""
    for element in dataset:
        if element.VR != "SQ":
            continue
        for item in element.value or ():
            if value := item.get(keyword):
                yield str(value)
            yield from _values(item, keyword)
