"""Images in one folder, label maps in another: `images/` and `labels/`, under any of their usual names."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from autoseg.datasets.arrangement import (
    Arrangement,
    ambiguous,
    case_of,
    image_alone,
    numbered_channels,
    shown,
    structure_labels,
)
from autoseg.datasets.dataset import Case, Inference
from autoseg.datasets.inspection import Finding
from autoseg.datasets.listing import Item, Listing, is_series
from autoseg.datasets.names import (
    IMAGE_WORDS,
    LABEL_WORDS,
    TEST_WORDS,
    TRAIN_WORDS,
    VALIDATION_WORDS,
    has_word,
    natural_key,
)
from autoseg.datasets.options import Options
from autoseg.datasets.pairing import lone_findings, pair, unlabelled_cases
from autoseg.datasets.structure_folders import read_structures, structure_folders

_FIRST_OBSERVER = frozenset({"1", "1st", "first"})
_OTHER_OBSERVER = frozenset({"2", "2nd", "second", "3", "3rd", "third"})
_DRAWN = frozenset({"manual", "gt", "groundtruth", "annotation", "annotations", "reference", "references"})
_FIELD_OF_VIEW = frozenset({"mask", "masks", "fov"})
_SPLITS = TRAIN_WORDS | VALIDATION_WORDS | TEST_WORDS
"""Several folders that each hold images and labels are splits if named so, else one folder per case."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder with a folder of images and a folder of labels in it."""

    path: PurePosixPath
    images: PurePosixPath
    labels: PurePosixPath
    why: tuple[Inference, ...]


@dataclass(frozen=True, slots=True)
class _Found:
    """The cases of one place."""

    cases: tuple[Case, ...]
    structures: tuple[str, ...]
    findings: tuple[Finding, ...]
    inferences: tuple[Inference, ...]


def read(listing: Listing, options: Options) -> Arrangement | None:
    """Return the cases of image and label folders, or None if the folder is not laid out so."""
    if options.images or options.labels:
        return None
    places = find_places(listing)
    if not places or (len(places) > 1 and not all(has_word(place.path.name, _SPLITS) for place in places)):
        return None
    training = [p for p in places if not has_word(str(p.path), TEST_WORDS)] or places
    found = [_read_place(listing, place) for place in training]
    tests = [_read_place(listing, place) for place in places if place not in training]
    structures = {f.structures for f in found}
    if len(structures) > 1:
        text = [f"{p.labels}: {shown(f.structures) or 'one map'}" for p, f in zip(training, found, strict=True)]
        raise ambiguous(listing.folder, "the label folders hold different structures", text, "--labels")
    cases = _unique(found)
    test_cases = (*_unique(tests), *_unlabelled_tests(listing, places))
    names = next(iter(structures))
    return Arrangement(
        layout="folders",
        cases=cases,
        test_cases=test_cases,
        channels=numbered_channels(cases),
        labels=None if not names else structure_labels(names),
        reference_kind="structures" if names else "map",
        inferences=tuple(i for f in found for i in f.inferences),
        findings=tuple(i for f in found for i in f.findings),
    )


def find_places(listing: Listing) -> list[Place]:
    """Return the outermost folders that have a folder of images and one of labels in them.

    Raises:
        AutosegError: a folder has several of a kind and no rule decides.

    """
    holding = {parent for item in listing.items for parent in item.path.parents}
    holding |= {item.path for item in listing.items if is_series(listing.folder, item)}
    places: list[Place] = []
    for folder in sorted(holding, key=lambda p: (len(p.parts), natural_key(str(p)))):
        if any(_inside(folder, kind) for place in places for kind in (place.images, place.labels)):
            continue
        children = sorted((p for p in holding if p.parent == folder and p != folder), key=lambda p: natural_key(p.name))
        labels = [p for p in children if has_word(p.name, LABEL_WORDS)]
        images = [p for p in children if has_word(p.name, IMAGE_WORDS) and p not in labels]
        if images and labels:
            places.append(_place(listing, folder, images, labels))
    return places


def _inside(path: PurePosixPath, folder: PurePosixPath) -> bool:
    return path == folder or folder in path.parents


def _place(listing: Listing, folder: PurePosixPath, images: list[PurePosixPath], labels: list[PurePosixPath]) -> Place:
    why: list[Inference] = []
    if len(images) > 1:
        images = [p for p in images if not has_word(p.name, TEST_WORDS)] or images
    if len(labels) > 1:
        labels = [p for p in labels if not has_word(p.name, TEST_WORDS)] or labels
        labels = _decide_labels(labels, why)
    if len(images) > 1:
        raise ambiguous(listing.folder / folder, "several folders of images", [p.name for p in images], "--images")
    if len(labels) > 1:
        raise ambiguous(listing.folder / folder, "several folders of labels", [p.name for p in labels], "--labels")
    pairing = f"images in {images[0]}, labels in {labels[0]}"
    why.insert(0, Inference(what="layout", value=pairing, because="the names of the folders"))
    return Place(folder, images[0], labels[0], tuple(why))


def _decide_labels(labels: list[PurePosixPath], why: list[Inference]) -> list[PurePosixPath]:
    """Choose the first of several observers, and what people drew over masks of the field of view."""
    first = [p for p in labels if has_word(p.name, _FIRST_OBSERVER)]
    others = [p for p in labels if has_word(p.name, _OTHER_OBSERVER)]
    if len(first) == 1 and others:
        left = ", ".join(p.name for p in others)
        why.append(Inference(what="labels", value=first[0].name, because=f"first observer; {left} left aside"))
        labels = [p for p in labels if p not in others]
    drawn = [p for p in labels if has_word(p.name, _DRAWN)]
    masks = [p for p in labels if has_word(p.name, _FIELD_OF_VIEW) and p not in drawn]
    if len(drawn) == 1 and masks and len(drawn) + len(masks) == len(labels):
        left = ", ".join(p.name for p in masks)
        because = f"its name says drawn by a person; {left} (field of view) left aside"
        why.append(Inference(what="labels", value=drawn[0].name, because=because))
        labels = drawn
    return labels


def _read_place(listing: Listing, place: Place) -> _Found:
    images = listing.where(lambda item: _inside(item.path, place.images))
    labels = listing.where(lambda item: _inside(item.path, place.labels))
    structures = structure_folders(images, labels, place.labels)
    if structures:
        found = read_structures(images, place.labels, structures)
        return _Found(found.cases, found.names, found.findings, (*place.why, *found.inferences))
    cases: list[Case] = []
    findings: list[Finding] = []
    because: set[str] = set()
    for prefix, some_images, some_labels in _subfolders(images, labels, place):
        if not some_labels:
            findings += [image_alone(i, f"{place.labels}/{prefix}{i.path.name}") for i in some_images]
            continue
        pairing = pair(some_images, some_labels, str(listing.folder / place.path))
        because.add(pairing.because)
        names = prefix.replace("/", "_")
        cases += [case_of(names + p.name, tuple(i.path for i in p.images), (p.labels[0].path,)) for p in pairing.pairs]
        findings += lone_findings(pairing, str(place.labels))
    inference = Inference(what="pairing", value=f"{len(cases)} cases", because="; ".join(sorted(because)))
    return _Found(tuple(cases), (), tuple(findings), (*place.why, inference))


def _subfolders(
    images: tuple[Item, ...], labels: tuple[Item, ...], place: Place
) -> list[tuple[str, list[Item], list[Item]]]:
    """Return (prefix, images, labels) per subfolder where both sides have the same ones, else all together."""
    of_image: dict[str, list[Item]] = {}
    of_label: dict[str, list[Item]] = {}
    for item in images:
        of_image.setdefault(_below(item, place.images), []).append(item)
    for item in labels:
        of_label.setdefault(_below(item, place.labels), []).append(item)
    stems = Counter(item.stem for item in images)
    if len(of_image) == 1 or (max(stems.values()) == 1 and set(of_image) != set(of_label)):
        return [("", list(images), list(labels))]
    unique = max(stems.values()) == 1
    return [("" if key == "." or unique else f"{key}/", some, of_label.get(key, [])) for key, some in of_image.items()]


def _below(item: Item, root: PurePosixPath) -> str:
    return "." if item.path == root else str(item.folder.relative_to(root))


def _unique(found: list[_Found]) -> tuple[Case, ...]:
    """Return the cases of all places; where two have one name, the folder's name goes before it."""
    cases = [case for f in found for case in f.cases]
    count = Counter(case.name for case in cases)
    return tuple(c if count[c.name] == 1 else replace(c, name=_with_folder(c), group=_with_folder(c)) for c in cases)


def _with_folder(case: Case) -> str:
    return "_".join((*PurePosixPath(case.images[0]).parent.parts, case.name))


def _unlabelled_tests(listing: Listing, places: list[Place]) -> tuple[Case, ...]:
    """Return the cases of folders such as imagesTs or test/images that have no labels beside them."""
    used = [path for place in places for path in (place.images, place.labels)]
    items = listing.where(
        lambda item: (
            not any(_inside(item.path, path) for path in used)
            and any(has_word(part, TEST_WORDS) for part in item.folder.parts)
            and not any(has_word(part, LABEL_WORDS) for part in item.folder.parts)
        )
    )
    return unlabelled_cases(items)
