"""Which label belongs to which image, by their names."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autoseg.core.errors import AutosegError
from autoseg.datasets.arrangement import case_of, image_alone, label_alone, shown
from autoseg.datasets.dataset import Case
from autoseg.datasets.inspection import Finding
from autoseg.datasets.listing import Item
from autoseg.datasets.names import channel_number, without_channel, without_common, without_role

Keys = tuple[str, ...]
Rule = Callable[[Sequence[str], Sequence[str]], tuple[Keys, Keys]]


@dataclass(frozen=True, slots=True)
class Pair:
    """One case: its name, its images (one, or one per channel in order) and its labels."""

    name: str
    images: tuple[Item, ...]
    labels: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Pairing:
    """Images with their labels, what remained alone, and by which rule.

    `variants` are further labels of an image that has its label, e.g. `seg_fast` beside `seg`.
    """

    pairs: tuple[Pair, ...]
    images_alone: tuple[Pair, ...]
    labels_alone: tuple[Item, ...]
    because: str
    variants: tuple[Item, ...] = ()


def _same(images: Sequence[str], labels: Sequence[str]) -> tuple[Keys, Keys]:
    return tuple(images), tuple(labels)


def _channels(images: Sequence[str], labels: Sequence[str]) -> tuple[Keys, Keys]:
    return tuple(map(without_channel, images)), tuple(labels)


def _roles(images: Sequence[str], labels: Sequence[str]) -> tuple[Keys, Keys]:
    return tuple(map(without_role, images)), tuple(map(without_role, labels))


def _constants(images: Sequence[str], labels: Sequence[str]) -> tuple[Keys, Keys]:
    return without_common(images), without_common(labels)


def _only(images: Sequence[str], labels: Sequence[str]) -> tuple[Keys, Keys]:
    alone = len(images) == len(labels) == 1
    return (tuple(images), tuple(images)) if alone else (("",) * len(images), ("",) * len(labels))


_RULES: tuple[tuple[str, Rule], ...] = (
    ("same file name", _same),
    ("same file name but for the channel number", _channels),
    ("same file name but for words such as image, label and mask", _roles),
    ("same file name but for the words that all of a kind share", _constants),
    ("the only image and the only label", _only),
)


def pair(
    images: Sequence[Item],
    labels: Sequence[Item],
    where: str,
    *,
    several: bool = False,
    in_space: Callable[[], Pairing | None] | None = None,
) -> Pairing:
    """Put images and labels together by the first rule that unites most of them.

    Args:
        images: items with distinct names; files that differ only by a channel number are one case.
        labels: items; `several` allows more than one to a case.
        where: place named in errors.
        several: whether a case may have several labels (one per structure or object).
        in_space: asked for a pairing where the names give none.

    Raises:
        AutosegError: no rule unites an image with a label, or two labels claim one image.

    """
    best: tuple[int, str, Keys, Keys] | None = None
    clash: tuple[str, str] | None = None
    for because, rule in _RULES:
        image_keys, label_keys = rule([item.stem for item in images], [item.stem for item in labels])
        common = (set(image_keys) & set(label_keys)) - {""}
        if not common:
            continue
        doubled = _doubled(images, image_keys, common, channels=True) or (
            None if several else _doubled(labels, label_keys, common, channels=False)
        )
        if doubled:
            clash = clash or doubled
        elif best is None or len(common) > best[0]:
            best = (len(common), because, image_keys, label_keys)
    if best is None and clash:
        raise AutosegError.at(where, f"{clash[0]} and {clash[1]} claim one case", "say which with --images or --labels")
    if best is None and in_space is not None and (found := in_space()) is not None:
        return found
    if best is None:
        raise AutosegError.at(
            where,
            f"no label has the name of an image (images {shown([i.stem for i in images])};"
            f" labels {shown([i.stem for i in labels])})",
            "rename the labels like their images, or list the pairs in a CSV and give it with --cases",
        )
    return _unite(images, labels, best)


def _doubled(items: Sequence[Item], keys: Keys, common: set[str], *, channels: bool) -> tuple[str, str] | None:
    """Return two items with one key, unless they are the numbered channels of one case."""
    first: dict[str, Item] = {}
    for item, key in zip(items, keys, strict=True):
        if key in common and key in first:
            other = first[key]
            if not (channels and channel_number(item.stem) is not None and channel_number(other.stem) is not None):
                return str(other.path), str(item.path)
        first.setdefault(key, item)
    return None


def _unite(images: Sequence[Item], labels: Sequence[Item], best: tuple[int, str, Keys, Keys]) -> Pairing:
    _, because, image_keys, label_keys = best
    of_case: dict[str, list[Item]] = {}
    for item, key in zip(images, image_keys, strict=True):
        of_case.setdefault(key or item.stem, []).append(item)
    of_label: dict[str, list[Item]] = {}
    for item, key in zip(labels, label_keys, strict=True):
        of_label.setdefault(key or item.stem, []).append(item)
    pairs: list[Pair] = []
    alone: list[Pair] = []
    for key, found in of_case.items():
        channels = tuple(sorted(found, key=lambda item: channel_number(item.stem) or 0))
        case = Pair(key, channels, tuple(of_label.get(key, ())))
        (pairs if case.labels else alone).append(case)
    labels_alone = [item for key, items in of_label.items() if key not in of_case for item in items]
    return Pairing(tuple(pairs), tuple(alone), tuple(labels_alone), because)


def lone_findings(pairing: Pairing, labels: str) -> list[Finding]:
    """Return the findings for what a pairing left alone; `labels` is where the missing labels would lie."""
    alone = [image_alone(p.images[0], f"{labels}/{p.name}") for p in pairing.images_alone]
    return [*alone, *map(label_alone, pairing.labels_alone), *map(_variant, pairing.variants)]


def _variant(item: Item) -> Finding:
    what = "a further label of an image that has one of a plainer name, left aside"
    mend = "name the labels to learn with --labels if these are meant"
    return Finding(severity="warning", where=str(item.path), what=what, mend=mend)


def unlabelled_cases(items: Sequence[Item]) -> tuple[Case, ...]:
    """Return the cases of unlabelled images; files that differ only by a channel number are one case."""
    of_case: dict[str, list[Item]] = {}
    numbered = all(channel_number(item.stem) is not None for item in items)
    for item in items:
        key = without_channel(item.stem) if numbered else item.stem
        of_case.setdefault(str(item.folder / key), []).append(item)
    names = [key.rpartition("/")[2] for key in of_case]
    repeated = len(set(names)) < len(names)
    return tuple(
        case_of(key.replace("/", "_") if repeated else key.rpartition("/")[2], tuple(item.path for item in found))
        for key, found in of_case.items()
    )


def by_folder(items: Sequence[Item]) -> tuple[Item, ...]:
    """Return the items under the names of their folders where their own names do not tell them apart."""
    if len({item.stem for item in items}) == len(items):
        return tuple(items)
    names = [item.folder.name for item in items]
    if len(set(names)) < len(names):
        names = [str(item.folder).replace("/", "_") for item in items]
    return tuple(Item(item.path, name) for item, name in zip(items, names, strict=True))
