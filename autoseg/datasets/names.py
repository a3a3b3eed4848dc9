"""Words in file and folder names: which mean image, which mean label, and what remains as the name of a case."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

IMAGE_WORDS = frozenset({"image", "images", "img", "imgs", "im", "scan", "scans", "volume", "volumes", "raw"})
LABEL_WORDS = frozenset(
    {
        *("label", "labels", "lbl", "lab", "mask", "masks", "msk", "seg", "segs", "segmentation", "segmentations"),
        *("annotation", "annotations", "manual", "gt", "groundtruth", "truth", "reference", "references", "target"),
        *("targets", "contour", "contours"),
    }
)
TRAIN_WORDS = frozenset({"train", "training", "tr"})
VALIDATION_WORDS = frozenset({"val", "valid", "validation"})
TEST_WORDS = frozenset({"test", "testing", "ts"})
_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_NUMBER = re.compile(r"(\d+)")
_CHANNEL = re.compile(r"^(.+)_(\d{4})$")
_GROUP_WORD = r"(?:sub|subject|patient|pat|pt|case|id)[-_]?[A-Za-z]*\d+"
_REPEAT_WORD = r"(?:slice|sl|frame|fr|ses|session|scan|visit|time|tp|t|z|acq|run|part|left|right|sample)"
_GROUPS = (
    re.compile(rf"^(?P<group>(?:.*[-_])?{_GROUP_WORD})[-_ ].+$", re.IGNORECASE),
    re.compile(rf"^(?P<group>.+?)[-_ ]{_REPEAT_WORD}[-_]?\d*(?:[-_ ].*)?$", re.IGNORECASE),
)


@dataclass(frozen=True, slots=True)
class Word:
    """A stretch of letters or digits in a name."""

    text: str
    start: int
    end: int


def words(name: str) -> tuple[Word, ...]:
    """Return the words of `name`: `labelsTr_01` holds labels, Tr and 01."""
    return tuple(Word(match.group(), match.start(), match.end()) for match in _PART.finditer(name))


def has_word(name: str, vocabulary: frozenset[str]) -> bool:
    """Whether one of the words of `name` is in `vocabulary`."""
    return any(word.text.lower() in vocabulary for word in words(name))


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which `slice_10` follows `slice_9`."""
    parts = _NUMBER.split(name)
    return tuple((0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts)


def without_words(name: str, unwanted: Iterable[int]) -> str:
    """Return `name` without its words at the given places and without separators left at its ends or doubled."""
    drop = set(unwanted)
    found = words(name)
    kept, position = [], 0
    for index, word in enumerate(found):
        separator = name[position : word.start]
        if index not in drop:
            kept.append((separator, word.text))
        elif kept and separator == "":
            kept.append(("", ""))
        position = word.end
    if not kept:
        return ""
    tail = name[position:].strip("_-. ")
    text = kept[0][1] + "".join(separator + word for separator, word in kept[1:])
    return (text + tail).strip("_-. ")


def without_role(name: str) -> str:
    """Return `name` without the words that say image or label: `brain1_image` is `brain1`."""
    roles = IMAGE_WORDS | LABEL_WORDS
    return without_words(name, (i for i, word in enumerate(words(name)) if word.text.lower() in roles))


def without_channel(name: str) -> str:
    """Return `name` without a trailing four-digit channel number: `case_07_0001` is `case_07`."""
    match = _CHANNEL.match(name)
    return match.group(1) if match else name


def channel_number(name: str) -> int | None:
    """Return the trailing four-digit channel number of `name`, or None."""
    match = _CHANNEL.match(name)
    return int(match.group(2)) if match else None


def without_common(names: Sequence[str]) -> tuple[str, ...]:
    """Return each name without the words that all of them share at the same place from the front or from the back.

    `21_manual1, 22_manual1` are `21, 22`. A single name is returned as it is.
    """
    texts = [[word.text for word in words(name)] for name in names]
    if len(names) < 2:
        return tuple(names)
    shortest = min(map(len, texts))
    front = 0
    while front < shortest and len({t[front] for t in texts}) == 1:
        front += 1
    back = 0
    while back < shortest - front and len({t[-1 - back] for t in texts}) == 1:
        back += 1
    if front + back >= shortest:
        return tuple(names)
    return tuple(
        without_words(name, (*range(front), *range(len(text) - back, len(text))))
        for name, text in zip(names, texts, strict=True)
    )


def group_of(name: str) -> str | None:
    """Return the patient that the name of a case speaks of (`sub-03_ses-1` of `sub-03`), or None."""
    for pattern in _GROUPS:
        match = pattern.match(name)
        if match:
            return match.group("group")
    return None
