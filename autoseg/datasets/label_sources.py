"""Labels of cases without their images, as predictions and references lie on disk: found, named, and read on one grid.

A case is a label map in any format, a DICOM SEG or RTSTRUCT file, or a folder with one file for each structure.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from autoseg.core.errors import AutosegError
from autoseg.core.isolation import isolated
from autoseg.datasets.load import load_label, same_place
from autoseg.imaging.dicom_labels import LabelFile, describe_labels, read_structure, structure_reference
from autoseg.imaging.dicom_scan import is_dicom, load
from autoseg.imaging.dicom_seg import grid_of_frames
from autoseg.imaging.geometry import check_same_grid
from autoseg.imaging.read import ending_of, read_header, read_label
from autoseg.imaging.scoring import values_in
from autoseg.imaging.volume import Grid
from planners.fingerprint import Label

Integers = NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """A named structure of a case: its file, or `FILE#NUMBER` in a DICOM file, and that number (0 for a file)."""

    name: str
    path: Path
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The labels of one case: a label map at `path`, or `structures`, each of which is a mask."""

    name: str
    path: Path
    structures: tuple[Structure, ...] = ()
    kind: str = "map"


# ------------------------------------------------------------------------------------------------------- finding
def find_sources(place: Path, *, folders: bool) -> tuple[Source, ...]:
    """Return the label files directly in a folder, or the one file, sorted by name.

    Args:
        place: folder or file.
        folders: where there are no such files, take folders with one label file for each structure.

    Raises:
        AutosegError: it does not exist, or two files are of one name.

    """
    if not place.exists():
        raise AutosegError.at(place, "does not exist", "check the path")
    paths = [p for p in sorted(place.iterdir()) if not p.name.startswith(".")] if place.is_dir() else [place]
    found = [_map(path) for path in paths if path.is_file() and ending_of(path)]
    found = sorted([*found, *_dicom(paths)], key=lambda source: source.name)
    if not found and folders:
        found = [source for path in paths if path.is_dir() and (source := _folder(path))]
    for before, source in itertools.pairwise(found):
        if before.name == source.name:
            raise AutosegError.at(source.path, f"{before.path.name} is the same case", "keep one label map per case")
    return tuple(found)


def _map(path: Path) -> Source:
    return Source(name=_stem(path), path=path)


def _stem(path: Path) -> str:
    return path.name[: -len(ending_of(path))]


def _dicom(paths: Sequence[Path]) -> list[Source]:
    """Return the SEG and RTSTRUCT files; none where images lie beside them: that is a dataset."""
    files = [p for p in paths if p.is_file() and not ending_of(p) and (p.suffix.lower() == ".dcm" or _bare_dicom(p))]
    found = isolated(files[0].parent, _described, files) if files else []
    if any(label is None for _, label in found):
        return []
    return [_segments(path, label) for path, label in found if label]


def _described(files: list[Path]) -> list[tuple[Path, LabelFile | None]]:
    return [(path, describe_labels(path, load(path, pixels=False))) for path in files]


def _bare_dicom(path: Path) -> bool:
    return not path.suffix and is_dicom(path)


def _segments(path: Path, label: LabelFile) -> Source:
    structures = tuple(
        Structure(name=s.name, path=Path(structure_reference(str(path), [s.number])), number=s.number)
        for s in label.structures
        if s.drawn
    )
    name = path.stem if path.suffix.lower() == ".dcm" else path.name
    return Source(name=name, path=path, structures=structures, kind=label.kind)


def _folder(path: Path) -> Source | None:
    files = [p for p in sorted(path.iterdir()) if p.is_file() and ending_of(p) and not p.name.startswith(".")]
    structures = tuple(Structure(name=_stem(p), path=p, number=0) for p in files)
    return Source(name=path.name, path=path, structures=structures, kind="folder") if structures else None


# ------------------------------------------------------------------------------------------------------ labels
def names_in(sources: Iterable[Source]) -> tuple[str, ...]:
    """Return the names of all structures, each once, in order of appearance; how they are written is no difference."""
    names = {key_of(s.name): s.name for source in reversed(list(sources)) for s in reversed(source.structures)}
    return tuple(reversed(names.values()))


def key_of(name: str) -> str:
    """Return a name as it is compared: letters and digits in lower case.

    >>> key_of("Left Kidney") == key_of("left_kidney")
    True

    """
    return "".join(character for character in name.casefold() if character.isalnum())


def values_of(source: Source) -> tuple[int, ...]:
    """Return the label values of a case: those in its map, or the numbers of its segments."""
    if source.kind == "map":
        return values_in(cast("Integers", read_label(source.path).array))
    return tuple(structure.number for structure in source.structures)


# ------------------------------------------------------------------------------------------------------ reading
def grid_of(sources: Sequence[Source]) -> Grid:
    """Return the grid that all labels of a case lie on: that of a label map, else that of the frames of all SEGs.

    Raises:
        AutosegError: none of them says where it lies.

    """
    for source in sources:
        if source.kind in ("map", "folder"):
            return read_header(source.path if source.kind == "map" else source.structures[0].path).grid
    frames = [source.path for source in sources if source.kind == "SEG"]
    if not frames:
        mend = "give a dataset with its images as references"
        raise AutosegError.at(sources[0].path, "contours alone do not say which voxels the image has", mend)
    return grid_of_frames(frames)


def read_source(source: Source, grid: Grid, labels: Sequence[Label]) -> Integers:
    """Return a case's labels on `grid`: (z, y, x) label values, or (l, z, y, x) a 0/1 mask for each label.

    Structures belong to the label of their name; segments whose names are no labels' go by their numbers.

    Raises:
        AutosegError: a file cannot be read or lies elsewhere, or a structure is no label.

    """
    if source.kind == "map":
        return _placed(source.path, grid)
    positions = {key_of(label.name): position for position, label in enumerate(labels)}
    by_name = [positions.get(key_of(structure.name)) for structure in source.structures]
    if None not in by_name:
        return _by_name(source, [p for p in by_name if p is not None], grid, labels)
    if source.kind == "folder":
        unknown = source.structures[by_name.index(None)]
        what = f"no label is called {unknown.name}"
        raise AutosegError.at(unknown.path, what, f"name files after the labels ({_some(labels)})")
    return _by_number(source, grid, labels)


def _by_name(source: Source, positions: Sequence[int], grid: Grid, labels: Sequence[Label]) -> Integers:
    """Return one map while structures do not overlap, else a mask for each label."""
    together = np.zeros(grid.shape, np.int32)
    single = all(len(label.values) == 1 for label in labels)
    masks: NDArray[np.uint8] | None = None if single else np.zeros((len(labels), *grid.shape), np.uint8)
    for structure, position in zip(source.structures, positions, strict=True):
        mask = _mask(structure, grid)
        if masks is None and together[mask].any():
            masks = np.stack([together == label.values[0] for label in labels]).astype(np.uint8)
        if masks is None:
            together[mask] = labels[position].values[0]
        else:
            masks[position][mask] = 1
    return together if masks is None else masks


def _by_number(source: Source, grid: Grid, labels: Sequence[Label]) -> Integers:
    together = np.zeros(grid.shape, np.int32)
    for structure in source.structures:
        mask = _mask(structure, grid)
        if together[mask].any():
            what = f"{structure.name} overlaps another segment, and its name is no label's"
            raise AutosegError.at(source.path, what, f"name segments after the labels ({_some(labels)})")
        together[mask] = structure.number
    return together


def _mask(structure: Structure, grid: Grid) -> NDArray[np.bool_]:
    found = read_structure(structure.path, grid) if structure.number else _placed(structure.path, grid)
    return np.asarray(found != 0)


def _placed(path: Path, grid: Grid) -> Integers:
    """Return a label map in the order of the grid's voxels; a training label may be a little off, this may not."""
    own = read_header(path).grid
    if grid.dimensions == 3 and not same_place(grid, own):
        check_same_grid(grid, own, path)
    return load_label(path, grid)


def _some(labels: Sequence[Label]) -> str:
    names = [label.name for label in labels]
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
