"""New images to predict: files, folders of files, DICOM series, or a whole dataset folder -> cases."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from autoseg.core.errors import AutosegError
from autoseg.core.isolation import isolated
from autoseg.datasets.layouts import arrange
from autoseg.datasets.listing import Item, list_folder
from autoseg.datasets.names import channel_number, natural_key, without_channel
from autoseg.datasets.options import Options
from autoseg.imaging.dicom_scan import dicom_files
from autoseg.imaging.read import ending_of, is_image, series_folders


@dataclass(frozen=True, slots=True, kw_only=True)
class InputCase:
    """One case to predict: one file per channel, or one file or DICOM series folder with all channels."""

    name: str
    images: tuple[Path, ...]


def find_inputs(places: Sequence[Path], channels: int) -> tuple[InputCase, ...]:
    """Return the cases at `places`, in natural order of each place, with distinct names.

    A file is a case. A folder is: a DICOM series; or the images directly in it; or, where they lie deeper, a dataset,
    of which the test cases are taken if there are any, else all. Files whose names end in channel numbers `_0000` up to
    the model's number of channels are put together.

    Args:
        places: files and folders.
        channels: how many channels the model takes.

    Raises:
        AutosegError: a place does not exist or holds no image, or two cases have one name.

    """
    cases = tuple(case for place in places for case in _cases_at(place, channels))
    seen: dict[str, InputCase] = {}
    for case in cases:
        other = seen.setdefault(case.name.lower(), case)
        if other is not case:
            raise AutosegError.at(
                case.images[0], f"has the same name as {other.images[0]}", "predict them into different folders"
            )
    return cases


def _cases_at(place: Path, channels: int) -> tuple[InputCase, ...]:
    if place.is_file() or is_image(place):
        return (_case_of_file(place, channels),)
    if not place.is_dir():
        raise AutosegError.at(place, "does not exist", "check the path")
    series = _series_in(place)
    if place in series or (len(series) == 1 and not _has_images(place)):
        return (InputCase(name=place.resolve().name, images=series[:1]),)
    if series and not _has_images(place):
        names = _distinct([folder.relative_to(place).as_posix() for folder in series])
        return tuple(InputCase(name=n, images=(folder,)) for n, folder in zip(names, series, strict=True))
    listing = list_folder(place)
    direct = listing.where(lambda item: item.folder == PurePosixPath())
    if direct:
        return _group(place, direct, channels)
    try:
        arrangement = arrange(listing, Options())
    except AutosegError:  # no labels in it: every image is a case
        return _group(place, listing.items, channels)
    chosen = arrangement.test_cases or arrangement.cases
    found = (InputCase(name=case.name, images=tuple(place / image for image in case.images)) for case in chosen)
    return tuple(found)


def _series_in(place: Path) -> tuple[Path, ...]:
    """Return the folders with DICOM series; a place without any DICOM file needs no child process to say so."""
    if next(dicom_files(place), None) is None:
        return ()
    return isolated(place, series_folders, place)


def _case_of_file(path: Path, channels: int) -> InputCase:
    """Return the case of one file, with the other channels that lie beside the first."""
    ending = ending_of(path)
    stem = path.name[: len(path.name) - len(ending)] if ending else path.stem
    if channel_number(stem) != 0:
        return InputCase(name=stem, images=(path,))
    base, written = without_channel(stem), path.name[len(stem) :]
    siblings = [path.with_name(f"{base}_{number:04d}{written}") for number in range(channels)]
    return InputCase(name=base, images=tuple(file for file in siblings if file.is_file()))


def _group(folder: Path, items: Iterable[Item], channels: int) -> tuple[InputCase, ...]:
    """Return a case per item, or per base name where all names end in channel numbers that the model has."""
    listed = tuple(items)
    numbers = [channel_number(item.stem) for item in listed]
    numbered = all(number is not None and number < channels for number in numbers)
    of_case: dict[str, list[Item]] = {}
    for item in sorted(listed, key=lambda item: natural_key(str(item.path))):
        key = without_channel(item.stem) if numbered else item.stem
        of_case.setdefault(str(item.folder / key), []).append(item)
    names = _distinct(list(of_case))
    return tuple(
        InputCase(name=name, images=tuple(folder / item.path for item in found))
        for name, found in zip(names, of_case.values(), strict=True)
    )


def _distinct(paths: Sequence[str]) -> list[str]:
    """Return the last parts of the paths; all parts, joined, where the last ones repeat."""
    names = [path.rpartition("/")[2] for path in paths]
    return names if len(set(names)) == len(names) else [path.replace("/", "_") for path in paths]


def _has_images(folder: Path) -> bool:
    return any(is_image(path) for path in folder.rglob("*"))
