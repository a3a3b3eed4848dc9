"""Write a mended copy of a dataset: what can be mended without a guess is, the rest is left out, everything is told."""

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from autoseg.core.errors import AutosegError, FullDiskError
from autoseg.core.files import copy_file, write_bytes
from autoseg.core.records import encode, write_record
from autoseg.core.runtime import progress
from autoseg.datasets.dataset import Case, Dataset
from autoseg.datasets.declaration import DECLARATION, propose
from autoseg.datasets.inspection import CaseFacts
from autoseg.datasets.load import load_placed_label
from autoseg.datasets.options import Options
from autoseg.datasets.understand import study
from autoseg.imaging.dicom_labels import file_of, is_structure
from autoseg.imaging.geometry import (
    MAX_CORNER_DISPLACEMENT_VOXELS,
    MOST_CORNER_DISPLACEMENT_VOXELS,
    corner_displacement_voxels,
    displacement_text,
    orthonormal,
)
from autoseg.imaging.read import ending_of, read_image_as_stored
from autoseg.imaging.volume import Grid, Volume
from autoseg.imaging.write import label_ending, write_image, write_label

LOG = "mended.json"
_SHOWN = 20
_LISTS = frozenset({"dataset.json", DECLARATION, LOG})
"""Lists of files or labels of the original; the copy's own autoseg.json takes their place."""
_NOTES = frozenset({".md", ".txt", ".json", ".csv", ".tsv", ""})


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that the copy has otherwise than the original. `where` is relative to the original."""

    where: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mended:
    """The log of a mended copy: cases in it, what was changed, and what was left out and why."""

    schema: ClassVar[str] = "autoseg.mended/1"

    source: str
    cases: int
    test_cases: int
    changed: tuple[Change, ...]
    left_out: tuple[Change, ...]


@dataclass(slots=True)
class _Copy:
    """A copy while it is written."""

    dataset: Dataset
    output: Path
    changed: list[Change]
    left_out: list[Change]
    written: list[Path]


def mend(folder: Path, output: Path, options: Options, known: Mapping[str, CaseFacts]) -> Mended:
    """Write a mended copy of the dataset in `folder` to `output`, with its log `mended.json` and an `autoseg.json`.

    Mended are: labels up to half a voxel off their image (they get its geometry), axes not quite at right angles, NaN
    and infinite voxels of images (the channel's minimum), gray levels and stray values of labels (label values). Left
    out are copies of other images, unlabelled training images, and cases that cannot be read or are askew. Files that
    need no mending are copied byte for byte; the original is never touched.

    Args:
        folder: the dataset.
        output: a new or empty folder outside the dataset.
        options: what the user says about the dataset.
        known: facts of an earlier inspection, by stamp.

    Raises:
        AutosegError: the dataset is not understood, or `output` is not a new or empty folder outside it.

    """
    _refuse_output(folder, output)
    understanding = study(folder, replace(options, clean_labels=True), known)
    dataset = understanding.dataset
    copy = _Copy(dataset=dataset, output=output, changed=[], left_out=[], written=[])
    first: dict[str, str] = {}
    of_case = dict(zip((c.name for c in dataset.cases), understanding.facts, strict=True))
    of_test = dict(zip((c.name for c in dataset.test_cases), understanding.test_facts, strict=True))
    everything = (*((c, of_case[c.name]) for c in dataset.cases), *((c, of_test[c.name]) for c in dataset.test_cases))
    kept: dict[str, Case] = {}
    for case, fact in progress(everything, what="mend", total=len(everything)):
        if fact.digest and fact.digest in first:
            what = f"the same image as {first[fact.digest]}"
            copy.left_out.append(Change(where=case.images[0], what=what))
            continue
        first.setdefault(fact.digest, case.images[0])
        copy.written.clear()
        changes = len(copy.changed)
        try:
            kept[case.name] = _mended_case(copy, case)
        except FullDiskError:  # not the case's fault
            raise
        except AutosegError as error:
            _taken_back(copy, changes)
            copy.left_out.append(Change(where=case.images[0], what=error.what or str(error)))
    for finding in understanding.findings:
        if finding.what == "image without label":
            copy.left_out.append(Change(where=finding.where, what=finding.what))
    return _finish(copy, kept)


def describe(log: Mended, output: Path) -> str:
    """Return what a mended copy has otherwise than its original, in a few lines."""
    lines = [f"mended: {output} ({log.cases} labelled cases, {log.test_cases} unlabelled)"]
    lines += [f"  {change.where}: {change.what}" for change in log.changed[:_SHOWN]]
    lines += [f"  left out {change.where}: {change.what}" for change in log.left_out[:_SHOWN]]
    more = max(0, len(log.changed) - _SHOWN) + max(0, len(log.left_out) - _SHOWN)
    return "\n".join([*lines, f"  and {more} more in {LOG}"] if more else lines)


def _refuse_output(folder: Path, output: Path) -> None:
    if output.resolve().is_relative_to(folder.resolve()):
        raise AutosegError.at(output, "lies inside the dataset", "give --fix a place outside it")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise AutosegError.at(output, "exists and is not empty", "give --fix a new folder")


def _finish(copy: _Copy, kept: Mapping[str, Case]) -> Mended:
    """Copy notes, write the copy's own declaration and the log."""
    dataset, output = copy.dataset, copy.output
    output.mkdir(parents=True, exist_ok=True)
    for path in _notes(Path(dataset.folder)):
        target = output / path
        target.parent.mkdir(parents=True, exist_ok=True)
        copy_file(Path(dataset.folder) / path, target)
    cases = tuple(kept[case.name] for case in dataset.cases if case.name in kept)
    tests = tuple(kept[case.name] for case in dataset.test_cases if case.name in kept)
    values = {label: label for _, label in dataset.value_map}
    mended = replace(dataset, cases=cases, test_cases=tests, value_map=tuple(values.items()), inferences=())
    if cases:
        write_bytes(output / DECLARATION, encode(propose(mended)))
    log = Mended(
        source=dataset.folder,
        cases=len(cases),
        test_cases=len(tests),
        changed=tuple(copy.changed),
        left_out=tuple(copy.left_out),
    )
    write_record(output / LOG, log)
    return log


def _notes(folder: Path) -> Iterator[Path]:
    """Yield the small text files of a dataset that describe it, relative to it, without lists of its files."""
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(place) / name
            if path.suffix.lower() in _NOTES and name not in _LISTS and not ending_of(path) and _is_text(path):
                yield path.relative_to(folder)


def _is_text(path: Path) -> bool:
    with path.open("rb") as handle:
        return b"\0" not in handle.read(1024)


# -------------------------------------------------------------------------------------------------------- one case
def _mended_case(copy: _Copy, case: Case) -> Case:
    folder = Path(copy.dataset.folder)
    images: list[str] = []
    first: Volume | None = None
    for name in case.images:
        volume = read_image_as_stored(folder / name, copy.dataset.reading)
        mended, whats = _mended_image(name, volume)
        first = mended if first is None else first
        if whats:
            target = _with_ending(name, ".nii.gz")
            write_image(_place(copy, target), mended)
            copy.changed += [Change(where=name, what=what) for what in whats]
        else:
            target = name
            _copied(copy, name)
        images.append(target)
    if first is None:
        return case
    references = tuple(_mended_label(copy, name, first.grid) if name else "" for name in case.references)
    return replace(case, images=tuple(images), references=references)


def _mended_image(name: str, volume: Volume) -> tuple[Volume, list[str]]:
    """Return the image with finite voxels and straight axes, and what was done to it.

    Raises:
        AutosegError: its axes are so askew that it must be resampled.

    """
    whats = []
    array, grid = volume.array, volume.grid
    bad = ~np.isfinite(array) if array.dtype.kind == "f" else np.zeros(0, bool)
    if bad.any():
        array = array.copy()
        for channel, wrong in zip(array, bad, strict=True):
            channel[wrong] = channel[~wrong].min() if not wrong.all() else 0
        whats.append(f"{int(bad.sum())} NaN or infinite voxels are the channel's minimum")
    straight = orthonormal(grid)
    off = corner_displacement_voxels(straight, grid)
    if off > MOST_CORNER_DISPLACEMENT_VOXELS:
        what = f"axes not at right angles, corners {displacement_text(straight, grid)} off a box"
        raise AutosegError.at(name, what, "resample it")
    if off > MAX_CORNER_DISPLACEMENT_VOXELS:
        whats.append(f"axes set at right angles; corners moved by {displacement_text(straight, grid)}")
        grid = straight
    return replace(volume, array=array, grid=grid), whats


def _mended_label(copy: _Copy, name: str, grid: Grid) -> str:
    source = Path(copy.dataset.folder) / name
    if is_structure(source):
        _copied(copy, str(file_of(Path(name))))
        return name
    placed = load_placed_label(source, grid, copy.dataset.reading)
    whats = []
    if corner_displacement_voxels(grid, placed.grid) > MAX_CORNER_DISPLACEMENT_VOXELS:
        whats.append(f"given the geometry of its image, {displacement_text(grid, placed.grid)} away")
    array, moved = _with_label_values(placed.array, copy.dataset.value_map)
    if moved:
        whats.append(moved)
    if not whats:
        _copied(copy, name)
        return name
    target = _with_ending(name, label_ending(source))
    kind = np.uint8 if int(array.max()) <= np.iinfo(np.uint8).max else np.uint16
    like = Volume(array=array[np.newaxis], grid=grid)
    write_label(_place(copy, target), array.astype(kind), like)
    copy.changed += [Change(where=name, what=what) for what in whats]
    return target


def _with_label_values(
    array: NDArray[np.integer[Any]], value_map: tuple[tuple[int, int], ...]
) -> tuple[NDArray[np.integer[Any]], str]:
    """Return the array in label values, and how many voxels changed from what to what."""
    mapped = array.copy()
    told = []
    for value, label in value_map:
        voxels = int(np.count_nonzero(array == value))
        if voxels:
            mapped[array == value] = label
            told.append(f"{value} is {label} in {voxels} voxels")
    return mapped, ", ".join(told)


def _with_ending(name: str, ending: str) -> str:
    path = PurePosixPath(name)
    own = ending_of(Path(name))
    stem = path.name[: len(path.name) - len(own)] if path.name.lower().endswith(own) else path.name
    return name if own == ending else str(path.with_name(stem + ending))


def _copied(copy: _Copy, name: str) -> None:
    """Copy a file, or the folder of an image, as it is."""
    source = Path(copy.dataset.folder) / name
    if source.is_dir():
        shutil.copytree(source, _place(copy, name), dirs_exist_ok=True, copy_function=copy_file)
    else:
        copy_file(source, _place(copy, name))


def _place(copy: _Copy, name: str) -> Path:
    """Return where a file of the copy goes, in a folder that exists."""
    path = copy.output / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():  # what another case shares stays
        copy.written.append(path)
    return path


def _taken_back(copy: _Copy, changes: int) -> None:
    """Remove what was written of a case that turned out not to be mendable."""
    del copy.changed[changes:]
    for path in copy.written:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
