"""Which images are read in a child process of limited memory, and reading them there.

NIfTI, NPY and Zarr are parsed by code of ours that compares every size with the bytes on disk before anything is
allocated; they are read in this process, which costs nothing. Everything else goes through larger decoders.
"""

from pathlib import Path

from autoseg.core.errors import AutosegError
from autoseg.core.isolation import isolated
from autoseg.datasets.examine import Examination, Reading, examine, unreadable
from autoseg.datasets.load import load_image
from autoseg.imaging.read import CHECKED_BY_US, IMAGE_ENDINGS, ending_of
from autoseg.imaging.reading import STRICT, ReadOptions
from autoseg.imaging.volume import Volume


def examine_apart(task: Examination) -> Reading:
    """Read a case as `examine` does, in the child where a file needs it; a death of the child becomes a finding."""
    if not any(_needs_child(name) for name in (*task.case.images, *task.case.references) if name):
        return examine(task)
    try:
        return isolated(task.folder / task.case.images[0], examine, task)
    except AutosegError as error:
        return unreadable(task, error)


def load_image_apart(folder: Path, images: tuple[str, ...], options: ReadOptions = STRICT) -> Volume:
    """Return the channels of a case as `load_image` does, read in the child where a file needs it."""
    if not any(map(_needs_child, images)):
        return load_image(folder, images, options)
    return isolated(folder / images[0], load_image, folder, images, options)


def _needs_child(name: str) -> bool:
    return IMAGE_ENDINGS.get(ending_of(Path(name))) not in CHECKED_BY_US
