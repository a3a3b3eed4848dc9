"""One complete read of a case: everything that an inspection wants to know of it."""

import glob
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoseg.core.errors import AutosegError
from autoseg.datasets.alignment import turn_gains
from autoseg.datasets.dataset import Case, ReferenceKind
from autoseg.datasets.inspection import CaseFacts, ChannelFacts, Finding, ValueCount
from autoseg.datasets.load import load_channels, load_placed_label
from autoseg.datasets.preview import preview_png
from autoseg.datasets.thumbnail import thumbnail
from autoseg.imaging.content import content_digest, place_digest
from autoseg.imaging.dicom_labels import file_of
from autoseg.imaging.geometry import (
    MAX_CORNER_DISPLACEMENT_VOXELS,
    MOST_CORNER_DISPLACEMENT_VOXELS,
    corner_displacement_voxels,
    displacement_text,
    orientation_code,
    orthonormal,
)
from autoseg.imaging.read import ending_of
from autoseg.imaging.reading import STRICT, ReadOptions
from autoseg.imaging.volume import Grid

_SAMPLED_VOXELS = 1 << 14
_PERCENTILES = (0.05, 0.95)
_TABLE = 1 << 16
_DETACHED = frozenset({".mhd", ".nhdr"})
"""Headers whose voxels lie in another file of the same name."""
_MOST_VALUES = 1024
"""More distinct values than this are no labels; the most frequent are kept for the message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What to examine: a case of the folder, what its references are, and whether a picture of it is wanted."""

    folder: Path
    case: Case
    reference_kind: ReferenceKind
    stamp: str
    preview: bool = False
    reading: ReadOptions = STRICT


def stamp_of(folder: Path, case: Case, reference_kind: ReferenceKind, reading: ReadOptions = STRICT) -> str:
    """Return what changes when a file of the case, or how it is read, does: names, sizes and times, digested."""
    digest = hashlib.sha256(f"{reference_kind}{'' if reading == STRICT else reading}".encode())
    for name in (*case.images, *case.references):
        for path in files_of(file_of(folder / name)):
            stat = path.stat()
            digest.update(f"{path.name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        digest.update(f"{name}\n".encode())
    return digest.hexdigest()[:32]


def files_of(path: Path) -> list[Path]:
    """Return the files that hold an image or a label: those of a folder, and the data that a header names."""
    if path.is_dir():
        entries = path.rglob("*") if ending_of(path) else path.iterdir()
        return sorted(entry for entry in entries if entry.is_file())
    if path.suffix.lower() in _DETACHED:
        return sorted(path.parent.glob(f"{glob.escape(path.stem)}.*"))
    return [path] if path.exists() else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a read of a case taught, and a picture of it (PNG; empty where none was wanted or nothing could be read)."""

    facts: CaseFacts
    preview: bytes


def examine(task: Examination) -> Reading:
    """Read a case completely; what is wrong with its files becomes findings, not errors."""
    try:
        channels = load_channels(task.folder, task.case.images, task.reading)
    except AutosegError as error:
        return unreadable(task, error)
    image = channels.volume
    labels = _read_labels(task, image.grid)
    findings = [_moved(name, task.case.images[0]) for name in channels.resampled]
    findings += _skewed(image.grid, task.case.images[0])
    findings += [_mended(task.case.images[0], note) for note in image.notes]
    digest = content_digest(image.array)
    facts = CaseFacts(
        name=task.case.name,
        stamp=task.stamp,
        digest=digest,
        dimensions=image.grid.dimensions,
        shape=image.grid.shape,
        spacing_mm=image.grid.spacing_mm,
        orientation=orientation_code(image.grid) if image.grid.dimensions == 3 else "",
        channel_names=image.channel_names,
        channels=tuple(_channel(channel) for channel in image.array),
        values=labels.values,
        overlapping=labels.overlapping,
        thumbnail=thumbnail(image),
        turns=() if labels.together is None else turn_gains(image.array[0], labels.together),
        findings=(*findings, *labels.findings),
        content=_content(digest, image.grid, labels),
    )
    picture = preview_png(image.array, labels.together, image.grid) if task.preview else b""
    return Reading(facts=facts, preview=picture)


def unreadable(task: Examination, error: AutosegError) -> Reading:
    """Return the reading of a case that cannot be read: one finding that says why."""
    return Reading(facts=_unreadable(task, _finding(task.folder, error)), preview=b"")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Labels:
    """The reference files of a case: values of each, and all of them as one map, the later ones over the earlier."""

    values: tuple[tuple[ValueCount, ...], ...]
    together: NDArray[np.integer[Any]] | None
    overlapping: bool
    findings: tuple[Finding, ...]
    contents: tuple[str, ...] = ()


def _read_labels(task: Examination, grid: Grid) -> _Labels:
    values: list[tuple[ValueCount, ...]] = []
    findings: list[Finding] = []
    together: NDArray[np.integer[Any]] | None = None
    overlapping = False
    contents: list[str] = []
    for number, name in enumerate(task.case.references, start=1):
        if not name:
            values.append(())
            continue
        try:
            placed = load_placed_label(task.folder / name, grid, task.reading, task.folder / task.case.images[0])
        except AutosegError as error:
            findings.append(_finding(task.folder, error))
            values.append(())
            continue
        findings += _displaced(grid, placed.grid, name)
        contents.append(f"{number} {content_digest(placed.array)}")
        values.append(count_values(placed.array))
        if task.reference_kind == "map":
            together = placed.array
            continue
        clear = _clear(placed.array)
        together = np.zeros(grid.shape, np.uint16) if together is None else together
        overlapping = overlapping or bool((together[clear] > 0).any())
        together[clear] = number
    structures = task.reference_kind == "structures"
    return _Labels(
        values=tuple(values),
        together=together,
        overlapping=overlapping and structures,
        findings=tuple(findings),
        contents=tuple(contents),
    )


def _unreadable(task: Examination, finding: Finding) -> CaseFacts:
    return CaseFacts(
        name=task.case.name,
        stamp=task.stamp,
        digest="",
        dimensions=3,
        shape=(1, 1, 1),
        spacing_mm=(1.0, 1.0, 1.0),
        orientation="",
        channel_names=(),
        channels=(),
        values=(),
        overlapping=False,
        thumbnail="",
        turns=(),
        findings=(finding,),
    )


def _mended(name: str, note: str) -> Finding:
    mend = "nothing to do if that is what you allowed; the source may have the image without this fault"
    return Finding(severity="warning", where=name, what=note, mend=mend)


def _displaced(image: Grid, label: Grid, name: str) -> list[Finding]:
    """Return a warning for a label that lies within half a voxel of its image but not on it."""
    if corner_displacement_voxels(image, label) <= MAX_CORNER_DISPLACEMENT_VOXELS:
        return []
    what = f"the label lies {displacement_text(image, label)} away from its image"
    mend = "it is taken voxel by voxel; --fix gives it the geometry of its image"
    return [Finding(severity="warning", where=name, what=what, mend=mend)]


def _skewed(grid: Grid, name: str) -> list[Finding]:
    """Return a finding for axes that are not at right angles."""
    straight = orthonormal(grid)
    voxels = corner_displacement_voxels(straight, grid)
    if voxels <= MAX_CORNER_DISPLACEMENT_VOXELS:
        return []
    what = f"its axes are not at right angles: corners lie {displacement_text(straight, grid)} off a box"
    if voxels <= MOST_CORNER_DISPLACEMENT_VOXELS:
        return [Finding(severity="warning", where=name, what=what, mend="--fix writes it with straight axes")]
    mend = "resample it to a grid with straight axes (a tilted gantry makes such images)"
    return [Finding(severity="error", where=name, what=what, mend=mend)]


def _moved(name: str, reference: str) -> Finding:
    what = f"lies on another grid than {reference} and is resampled to it"
    return Finding(severity="note", where=name, what=what, mend="nothing to do if that is the channel to segment on")


def _finding(folder: Path, error: AutosegError) -> Finding:
    where = error.where
    if where and Path(where).is_relative_to(folder):
        where = str(Path(where).relative_to(folder))
    return Finding(severity="error", where=where or str(folder), what=error.what or str(error), mend=error.mend)


def count_values(label: NDArray[np.integer[Any]]) -> tuple[ValueCount, ...]:
    """Return every value of a label array with its number of voxels, ascending."""
    low, high = int(label.min()), int(label.max())
    if low >= 0 and high < _TABLE:
        counts = np.zeros(high + 1, np.int64)
        for plane in label:
            counts += np.bincount(plane.ravel(), minlength=high + 1)
        found: Sequence[tuple[int, int]] = [(int(v), int(counts[v])) for v in np.flatnonzero(counts)]
    else:
        values, numbers = np.unique(label, return_counts=True)
        found = [(int(v), int(n)) for v, n in zip(values, numbers, strict=True)]
    if len(found) > _MOST_VALUES:
        found = sorted(sorted(found, key=lambda pair: -pair[1])[:_MOST_VALUES])
    return tuple(ValueCount(value=value, voxels=voxels) for value, voxels in found)


def _clear(label: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Return where a mask is clearly set: above half its maximum, so that smoothed edges do not count as overlap."""
    clear: NDArray[np.bool_] = label > max(0, int(label.max())) / 2
    return clear


def _channel(channel: NDArray[Any]) -> ChannelFacts:
    mean = float(channel.mean(dtype=np.float64))
    sample = channel.reshape(-1)[:: max(1, channel.size // _SAMPLED_VOXELS)]
    places = [round((len(sample) - 1) * share) for share in _PERCENTILES]
    low, high = (float(v) for v in np.partition(sample, places)[places])
    return ChannelFacts(minimum=float(channel.min()), maximum=float(channel.max()), mean=mean, low=low, high=high)


def _content(digest: str, grid: Grid, labels: _Labels) -> str:
    """Return a digest of a case: the voxels of image and labels, and where they lie."""
    parts = (digest, place_digest(grid), *labels.contents)
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:32]
