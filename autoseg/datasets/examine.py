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
from autoseg.datasets.dataset import Case, ReferenceKind
from autoseg.datasets.inspection import CaseFacts, ChannelFacts, Finding, ValueCount
from autoseg.datasets.load import load_channels, load_label
from autoseg.imaging.dicom_labels import file_of
from autoseg.imaging.volume import Volume

THUMBNAIL = 16
_TABLE = 1 << 16
_DETACHED = frozenset({".mhd", ".nhdr"})
"""Headers whose voxels lie in another file of the same name."""
_MOST_VALUES = 1024
"""More distinct values than this are no labels; the most frequent are kept for the message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What to examine: a case of the folder, and what its references are."""

    folder: Path
    case: Case
    reference_kind: ReferenceKind
    stamp: str


def stamp_of(folder: Path, case: Case, reference_kind: ReferenceKind) -> str:
    """Return what changes when a file of the case does: names, sizes and modification times, digested."""
    digest = hashlib.sha256(reference_kind.encode())
    for name in (*case.images, *case.references):
        for path in _files(file_of(folder / name)):
            stat = path.stat()
            digest.update(f"{path.name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        digest.update(f"{name}\n".encode())
    return digest.hexdigest()[:32]


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(entry for entry in path.iterdir() if entry.is_file())
    if path.suffix.lower() in _DETACHED:
        return sorted(path.parent.glob(f"{glob.escape(path.stem)}.*"))
    return [path] if path.exists() else []


def examine(task: Examination) -> CaseFacts:
    """Read a case completely; what is wrong with its files becomes findings, not errors."""
    try:
        channels = load_channels(task.folder, task.case.images)
    except AutosegError as error:
        return _unreadable(task, _finding(task.folder, error))
    image = channels.volume
    findings: list[Finding] = [_moved(name, task.case.images[0]) for name in channels.resampled]
    values: list[tuple[ValueCount, ...]] = []
    union: NDArray[np.uint8] | None = None
    for name in task.case.references:
        if not name:
            values.append(())
            continue
        try:
            label = load_label(task.folder / name, image.grid)
        except AutosegError as error:
            findings.append(_finding(task.folder, error))
            values.append(())
            continue
        values.append(count_values(label))
        if task.reference_kind == "structures":
            union = np.zeros(label.shape, np.uint8) if union is None else union
            union += _clear(label)
    return CaseFacts(
        name=task.case.name,
        stamp=task.stamp,
        digest=_digest(image),
        dimensions=image.grid.dimensions,
        shape=image.grid.shape,
        spacing_mm=image.grid.spacing_mm,
        channel_names=image.channel_names,
        channels=tuple(_channel(channel) for channel in image.array),
        values=tuple(values),
        overlapping=union is not None and bool((union > 1).any()),
        thumbnail=thumbnail(image) if image.grid.dimensions == 2 else "",
        findings=tuple(findings),
    )


def _unreadable(task: Examination, finding: Finding) -> CaseFacts:
    return CaseFacts(
        name=task.case.name,
        stamp=task.stamp,
        digest="",
        dimensions=3,
        shape=(1, 1, 1),
        spacing_mm=(1.0, 1.0, 1.0),
        channel_names=(),
        channels=(),
        values=(),
        overlapping=False,
        thumbnail="",
        findings=(finding,),
    )


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


def _clear(label: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
    """Return where a mask is clearly set: above half its maximum, so that smoothed edges do not count as overlap."""
    return (label > max(0, int(label.max())) / 2).astype(np.uint8)


def _channel(channel: NDArray[Any]) -> ChannelFacts:
    mean = float(channel.mean(dtype=np.float64))
    return ChannelFacts(minimum=float(channel.min()), maximum=float(channel.max()), mean=mean)


def _digest(image: Volume) -> str:
    array = np.ascontiguousarray(image.array)
    head = f"{array.dtype.str} {array.shape}".encode()
    return hashlib.blake2b(array.data, digest_size=16, key=hashlib.sha256(head).digest()).hexdigest()


def thumbnail(image: Volume) -> str:
    """Return the mean of the channels of a 2D image, 16 x 16 blocks, as gray levels in hexadecimal; "" if too small."""
    plane = image.array[:, 0].mean(axis=0, dtype=np.float64)
    if min(plane.shape) < THUMBNAIL:
        return ""
    rows, columns = (np.arange(THUMBNAIL) * n // THUMBNAIL for n in plane.shape)
    sums = np.add.reduceat(np.add.reduceat(plane, rows, axis=0), columns, axis=1)
    sizes = np.outer(np.diff([*rows, plane.shape[0]]), np.diff([*columns, plane.shape[1]]))
    means = sums / sizes
    spread = float(np.ptp(means))
    if spread == 0:
        return ""
    levels = np.rint((means - means.min()) / spread * 255).astype(np.uint8)
    return bytes(levels.tobytes()).hex()
