"""The files of a folder that may be images or labels, found once."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from autoseg.core.errors import AutosegError
from autoseg.core.workspace import existing_folder
from autoseg.datasets.names import natural_key
from autoseg.imaging.dicom_scan import is_dicom
from autoseg.imaging.read import IMAGE_ENDINGS, ending_of, is_image

_MAXIMUM_ITEMS = 2_000_000
_DOCUMENT_ENDINGS = frozenset({".json", ".csv", ".tsv"})
_DICOM_ENDINGS = frozenset({".dcm", ".ima"})
_ASIDE = frozenset({"readme", "license", "licence", "copying", "notice", "changelog", "thumbs"})


@dataclass(frozen=True, slots=True)
class Item:
    """One image or label on disk: a file, or the folder of a DICOM series. `path` is relative to the dataset."""

    path: PurePosixPath
    stem: str

    @property
    def folder(self) -> PurePosixPath:
        """The folder it lies in."""
        return self.path.parent


@dataclass(frozen=True, slots=True)
class Listing:
    """The items of a dataset folder in natural order, and the small files (JSON, CSV, TSV) that may describe them."""

    folder: Path
    items: tuple[Item, ...]
    documents: tuple[PurePosixPath, ...]

    def where(self, keep: Callable[[Item], bool]) -> tuple[Item, ...]:
        """Return the items that `keep` accepts."""
        return tuple(item for item in self.items if keep(item))


def list_folder(folder: Path) -> Listing:
    """List what `folder` holds, without opening image files.

    Raises:
        AutosegError: it does not exist, is no folder, or holds nothing that could be an image.

    """
    existing_folder(folder)
    items: list[Item] = []
    documents: list[PurePosixPath] = []
    for place, folders, files in os.walk(folder):
        arrays = [name for name in folders if is_image(Path(place, name))]
        folders[:] = [name for name in folders if not name.startswith((".", "__")) and name not in arrays]
        relative = PurePosixPath(Path(place).relative_to(folder).as_posix())
        shown = [name for name in files if not name.startswith(".") and Path(name).stem.lower() not in _ASIDE]
        items += [Item(relative / name, name[: len(name) - len(ending_of(Path(name)))]) for name in arrays]
        items += _items(relative, shown) or _series_without_endings(folder, relative, shown)
        notes = (name for name in shown if Path(name).suffix.lower() in _DOCUMENT_ENDINGS)
        documents += [relative / name for name in notes if Path(place, name).is_file()]
        if len(items) > _MAXIMUM_ITEMS:
            raise AutosegError.at(folder, f"more than {_MAXIMUM_ITEMS} images in it", "give the dataset's own folder")
    if not items:
        endings = " ".join(sorted(IMAGE_ENDINGS))
        raise AutosegError.at(folder, "no image in it", f"put images and labels there (known endings: {endings})")
    items.sort(key=lambda item: natural_key(str(item.path)))
    return Listing(folder, tuple(items), tuple(sorted(documents)))


def is_series(folder: Path, item: Item) -> bool:
    """Tell whether an item of a dataset folder is the folder of a DICOM series."""
    return (folder / item.path).is_dir() and not ending_of(Path(item.path.name))


def matches(path: PurePosixPath, pattern: str) -> bool:
    """Tell whether a path is what the user names: a folder at or above it, or a glob pattern of just as many parts."""
    folder = PurePosixPath(pattern)
    return folder in (path, *path.parents) or (len(path.parts) == len(folder.parts) and path.match(pattern))


def _series_without_endings(folder: Path, place: PurePosixPath, names: list[str]) -> list[Item]:
    """Return the folder `place` as a series where its files are DICOM and no name says so; one file is looked at."""
    unknown = sorted(name for name in names if Path(name).suffix.lower() not in _DOCUMENT_ENDINGS)
    files = (folder / place / name for name in unknown if name.upper() != "DICOMDIR")
    first = next((file for file in files if file.is_file()), None)
    return [Item(place, place.name)] if first is not None and is_dicom(first) else []


def _items(folder: PurePosixPath, names: list[str]) -> list[Item]:
    """Return the items among the files of one folder; DICOM files together are one series folder."""
    items = []
    if any(Path(name).suffix.lower() in _DICOM_ENDINGS for name in names):
        items.append(Item(folder, folder.name))
    for name in names:
        ending = ending_of(Path(name))
        if ending in IMAGE_ENDINGS and ending not in _DICOM_ENDINGS:
            items.append(Item(folder / name, name[: len(name) - len(ending)]))
    return items
