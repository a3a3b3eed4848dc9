"""How many processes may read cases at once."""

from collections.abc import Sequence
from pathlib import Path

from autoseg.core.runtime import cores, memory_bytes
from autoseg.datasets.dataset import Case
from autoseg.imaging.dicom_labels import file_of
from autoseg.imaging.read import ending_of

_BYTES_IN_MEMORY = 16
"""Bytes at work for each byte on disk: gzip makes a third of 16-bit scans, which are read, masked and sorted."""
_MEMORY_SHARE = 0.5


def bytes_on_disk(folder: Path, case: Case) -> int:
    """Return the size of a case's files; a DICOM series counts all of its folder's files."""
    paths = [file_of(folder / name) for name in (*case.images, *case.references) if name]
    return sum(_size(path) for path in paths)


def workers_for(sizes_bytes: Sequence[int], *, worth_bytes: int) -> int:
    """Return one process per core if there is enough to read, fewer if the largest cases would fill the memory."""
    if sum(sizes_bytes) <= worth_bytes:
        return 1
    fitting = int(memory_bytes() * _MEMORY_SHARE / (_BYTES_IN_MEMORY * max(sizes_bytes)))
    return max(1, min(cores(), fitting))


def _size(path: Path) -> int:
    if path.is_dir():
        entries = path.rglob("*") if ending_of(path) else path.iterdir()
        return sum(entry.stat().st_size for entry in entries if entry.is_file())
    return path.stat().st_size if path.is_file() else 0
