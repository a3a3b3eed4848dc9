"""One folder per case: an image (or one file per channel) with a label map, one file per structure or per object."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from autoseg.datasets.arrangement import Arrangement, ambiguous, case_of, image_alone, structure_labels
from autoseg.datasets.dataset import Case, Inference, ReferenceKind
from autoseg.datasets.inspection import Finding
from autoseg.datasets.listing import Item, Listing
from autoseg.datasets.load import LEAST_COVERED, covered_share
from autoseg.datasets.names import IMAGE_WORDS, LABEL_WORDS, has_word, without_common, without_role
from autoseg.datasets.options import Options
from autoseg.imaging.read import read_header
from autoseg.imaging.reading import ReadOptions

_RECURRING = 0.5
"""A structure is found in at least this share of the cases (and twice); names of single objects hardly recur."""

_FOLDERS_LOOKED_AT = 32

_AS_FINE = 1.02
"""Voxels this much larger than the smallest count as equal: headers round."""


@dataclass(frozen=True, slots=True)
class _Folder:
    """The files of one case."""

    path: PurePosixPath
    images: tuple[Item, ...]
    labels: tuple[Item, ...]


def read(listing: Listing, options: Options) -> Arrangement | None:
    """Return the cases of a folder that has a folder for each, or None if it is not laid out so.

    Raises:
        AutosegError: the folders of the cases hold several images and several labels that do not fit each other.

    """
    if options.images or options.labels:
        return None
    folders = [f for f in _folders(listing) if f.images]
    labelled = [f for f in folders if f.labels]
    if len(folders) < 2 or len(labelled) * 2 < len(folders) or len({f.path.parent for f in folders}) > 1:
        return None
    channels = _channels(folders)
    if channels is None:
        return None
    kind, structures = _references(labelled)
    said = _said(kind, structures, max(len(f.labels) for f in labelled))
    if len(channels) > 1 and set(structures) & set(channels):
        channels = _reference_first(listing, labelled, channels, structures, options.reading)
        kind, structures = "map", channels[:1]
        said = (_said_of_reference(labelled[0], channels),)
    cases, findings = _cases(folders, channels, structures)
    because = f"{labelled[0].path} and {len(folders) - 1} more hold images and labels"
    return Arrangement(
        layout="case folders",
        cases=cases,
        channels=channels if len(channels) > 1 else None,
        labels=structure_labels(structures) if kind == "structures" else None,
        reference_kind=kind,
        inferences=(Inference(what="layout", value="one folder per case", because=because), *said),
        findings=findings,
    )


def _reference_first(
    listing: Listing,
    folders: Sequence[_Folder],
    channels: tuple[str, ...],
    labelled: tuple[str, ...],
    reading: ReadOptions,
) -> tuple[str, ...]:
    """Return the channels with the reference first: the one that all others cover, of several the finest.

    Each channel has a label; the others are resampled to the reference, and where they do not reach nothing would be
    known of them. Some of the folders speak for all; a case that differs is found when it is read.

    Raises:
        AutosegError: the labels are not those of the channels, or the channels are not of one place.

    """
    if set(labelled) != set(channels):
        what = "each case has several images and several labels"
        raise ambiguous(listing.folder, what, sorted({*channels, *labelled}), _options(folders[0]))
    least = dict.fromkeys(channels, 1.0)
    voxel_mm3 = dict.fromkeys(channels, 0.0)
    for folder in folders[:: -(-len(folders) // _FOLDERS_LOOKED_AT)]:
        of_channel = dict(zip(_channel_names(folder), folder.images, strict=True))
        present = [(one, listing.folder / of_channel[one].path) for one in channels if one in of_channel]
        grids = {one: read_header(path, reading).grid for one, path in present}
        for one, grid in grids.items():
            least[one] = min(least[one], *(covered_share(grid, other) for other in grids.values()))
            voxel_mm3[one] = max(voxel_mm3[one], math.prod(grid.spacing_mm))
    if max(least.values()) < LEAST_COVERED:
        shares = ", ".join(f"{least[one]:.0%} of {one}" for one in channels)
        what = f"each case has several images that show different places (the others cover {shares})"
        raise ambiguous(listing.folder, what, sorted(channels), _options(folders[0]))
    covered = [one for one in channels if least[one] >= LEAST_COVERED]
    smallest = min(voxel_mm3[one] for one in covered)
    reference = next(one for one in covered if voxel_mm3[one] <= smallest * _AS_FINE)
    return (reference, *(name for name in channels if name != reference))


def _said_of_reference(folder: _Folder, channels: tuple[str, ...]) -> Inference:
    others = ", ".join(channels[1:])
    because = f"{others} cover it; the labels of {others} are left aside. To segment one alone: "
    return Inference(what="labels", value=f"those of {channels[0]}", because=because + _options(folder))


def _options(folder: _Folder) -> str:
    """Return the options that would choose the first image and its label in every case folder."""
    label = next((i for i in folder.labels if without_role(i.stem) == without_role(folder.images[0].stem)), None)
    shown_image, shown_label = (
        str(item.path).replace(f"{folder.path.name}/", "*/") for item in (folder.images[0], label or folder.labels[0])
    )
    return f"--images '{shown_image}' --labels '{shown_label}'"


def _folders(listing: Listing) -> list[_Folder]:
    of_case: dict[PurePosixPath, tuple[list[Item], list[Item]]] = {}
    for item in listing.items:
        folder = item.folder
        inside = has_word(folder.name, LABEL_WORDS | IMAGE_WORDS) and len(folder.parts) > 1
        images, labels = of_case.setdefault(folder.parent if inside else folder, ([], []))
        is_label = has_word(item.stem, LABEL_WORDS) or (inside and has_word(folder.name, LABEL_WORDS))
        (labels if is_label else images).append(item)
    return [_Folder(path, tuple(images), tuple(labels)) for path, (images, labels) in of_case.items()]


def _channels(folders: Sequence[_Folder]) -> tuple[str, ...] | None:
    """Return the names of the channels that most cases have, None when the folders hold unrelated images."""
    names = Counter(name for folder in folders for name in _channel_names(folder))
    if max(len(f.images) for f in folders) == 1:
        return ("image",)
    usual = tuple(name for name, count in names.items() if count * 2 > len(folders))
    return tuple(sorted(usual)) if usual else None


def _channel_names(folder: _Folder) -> tuple[str, ...]:
    stems = [item.stem.removeprefix(folder.path.name).strip("_-. ") for item in folder.images]
    names = tuple(without_role(stem) or stem for stem in stems)
    return names if len(set(names)) == len(names) else without_common(stems)


def _references(folders: Sequence[_Folder]) -> tuple[ReferenceKind, tuple[str, ...]]:
    """Return what several label files per case are: structures, which recur by name, or single objects."""
    if max(len(f.labels) for f in folders) == 1:
        return "map", ()
    names = Counter(_structure(item, f) for f in folders for item in f.labels)
    recurring = tuple(sorted(name for name, count in names.items() if count >= max(2, _RECURRING * len(folders))))
    if len(recurring) * 2 >= len(names):
        return "structures", tuple(sorted(names))
    return "instances", ()


def _structure(item: Item, folder: _Folder) -> str:
    stem = item.stem.removeprefix(folder.path.name).strip("_-. ")
    return without_role(stem) or stem


def _cases(
    folders: Sequence[_Folder], channels: tuple[str, ...], structures: tuple[str, ...]
) -> tuple[tuple[Case, ...], tuple[Finding, ...]]:
    cases: list[Case] = []
    findings: list[Finding] = []
    for folder in folders:
        of_channel = dict(zip(_channel_names(folder), folder.images, strict=True))
        images = folder.images if len(channels) == 1 else tuple(of_channel[c] for c in channels if c in of_channel)
        missing = [c for c in channels if c not in of_channel] if len(channels) > 1 else []
        if missing:
            what = f"channel {missing[0]} is missing"
            findings.append(Finding(severity="error", where=str(folder.path), what=what, mend="add its file"))
        elif not folder.labels:
            findings.append(image_alone(folder.images[0], f"{folder.path}/label"))
        else:
            files = {_structure(item, folder): item.path for item in folder.labels}
            given = (item.path for item in folder.labels)
            references = tuple(files.get(name) for name in structures) if structures else tuple(given)
            cases.append(case_of(folder.path.name, tuple(i.path for i in images), references))
    return tuple(cases), tuple(findings)


def _said(kind: ReferenceKind, structures: tuple[str, ...], per_case: int) -> tuple[Inference, ...]:
    if kind == "map":
        return ()
    if kind == "structures":
        because = "the same label files lie in most case folders"
        return (Inference(what="structures", value=", ".join(structures), because=because),)
    because = f"up to {per_case} label files a case, whose names do not recur: single objects"
    return (Inference(what="labels", value="all objects are one label", because=because),)
