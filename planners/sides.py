"""Labels that are the left and the right of one structure: what becomes of them in a mirrored patch."""

from collections.abc import Sequence
from dataclasses import replace

from planners.fingerprint import Fingerprint, Label, Modality
from planners.plan import Augmentation, Configuration, Plan, Target

Pair = tuple[int, int]

# Their files say where left and right are; a photograph, a slide or a projection does not.
_WITH_SIDES: frozenset[Modality] = frozenset({"ct", "mr", "pet"})
_OTHER = {"left": "right", "right": "left", "l": "r", "r": "l"}
_VOLUME = 3


def other_side(name: str) -> str | None:
    """Return the name of the same structure on the other side, None when `name` says no side.

    >>> other_side("Kidney_Left")
    'Kidney_Right'
    >>> other_side("liver") is None
    True

    """
    parts = _words(name)
    others = [_opposite(part) if part.lower() in _OTHER else part for part in parts]
    return None if others == parts else "".join(others)


def _words(name: str) -> list[str]:
    """Return the stretches of letters, and of what lies between them, in their order."""
    parts: list[str] = []
    for character in name:
        if parts and _is_letter(parts[-1][-1]) == _is_letter(character):
            parts[-1] += character
        else:
            parts.append(character)
    return parts


def _is_letter(character: str) -> bool:
    return character.isascii() and character.isalpha()


def _opposite(side: str) -> str:
    other = _OTHER[side.lower()]
    return other.upper() if side.isupper() else other.capitalize() if side[0].isupper() else other


def side_pairs(labels: Sequence[Label], target: Target) -> tuple[Pair, ...]:
    """Return the pairs of a network's outputs that are two sides of one structure, the lower index first.

    Outputs are the foreground labels in their order, under softmax ("labels") after background.
    """
    names = _names(labels)
    first = 1 if target == "labels" else 0
    found = []
    for index, name in enumerate(names):
        other = other_side(name)
        if other in names[index + 1 :]:
            found.append((index + first, names.index(other, index + 1) + first))
    return tuple(found)


def one_sided(labels: Sequence[Label], *, overlapping: bool) -> tuple[str, ...]:
    """Return the labels that a mirrored patch would hold on the wrong side: there is nothing to exchange them with.

    They name a side whose other side is no label, or are regions without a side that take in a value of one side of a
    pair and not what answers to it. Structures that overlap have masks of their own, and their values say nothing.
    """
    foreground = [label for label in labels if label.role == "foreground"]
    names = _names(labels)
    lone = [name for name in names if other_side(name) not in {None, *names}]
    if not overlapping:
        values = [frozenset(label.values) for label in foreground]
        pairs = [(values[a], values[b]) for a, b in side_pairs(labels, "regions")]
        lone += [
            name
            for name, inside in zip(names, values, strict=True)
            if other_side(name) is None and any(bool(inside & (a - b)) != bool(inside & (b - a)) for a, b in pairs)
        ]
    return tuple(lone)


def left_right_axis(fingerprint: Fingerprint) -> int | None:
    """Return the axis of the stored arrays (z, y, x) along which left and right lie, None where none is known."""
    axes = {case.left_right_axis for case in fingerprint.cases}
    known = all(channel.modality in _WITH_SIDES for channel in fingerprint.channels)
    return axes.pop() if known and len(axes) == 1 else None


def with_sides(
    augmentation: Augmentation, fingerprint: Fingerprint, target: Target, transpose: tuple[int, int, int], axes: int
) -> Augmentation:
    """Return the augmentation of a patch of `axes` axes with what mirroring does to labels that have a side.

    Pairs change places along the axis that is left-right. Where that axis is not known, nothing is mirrored while
    there are labels with a side; where a label has no counterpart, all other axes still are.
    """
    pairs = side_pairs(fingerprint.labels, target)
    lone = one_sided(fingerprint.labels, overlapping=fingerprint.overlapping)
    if not augmentation.mirror_axes or not (pairs or lone):
        return augmentation
    native = left_right_axis(fingerprint)
    if native is None:
        return replace(augmentation, mirror_axes=())
    axis = transpose.index(native) - (_VOLUME - axes)
    if lone:
        return replace(augmentation, mirror_axes=tuple(a for a in augmentation.mirror_axes if a != axis))
    if axis not in augmentation.mirror_axes:
        return augmentation
    return replace(augmentation, mirror_swap_axis=axis, mirror_swaps=pairs)


def input_swaps(plan: Plan, configuration: Configuration) -> tuple[Pair, ...]:
    """Return the pairs of input channels that change places with the sides of a mirrored view.

    Only a cascade has any: after the image's channels it sees one for each value of the label map of the stage before.
    """
    if configuration.previous is None:
        return ()
    own = [label.values for label in plan.labels if label.role == "foreground"]
    values = sorted({value for each in own for value in each})
    first = 1 if plan.target == "labels" else 0
    pairs = [(own[a - first], own[b - first]) for a, b in configuration.augmentation.mirror_swaps]
    places = {value: len(plan.channels) + index for index, value in enumerate(values)}
    return tuple((places[a[0]], places[b[0]]) for a, b in pairs if len(a) == len(b) == 1)


def _names(labels: Sequence[Label]) -> list[str]:
    return [label.name for label in labels if label.role == "foreground"]
