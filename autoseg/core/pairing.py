"""Which prediction belongs to which reference, by name."""

from collections.abc import Sequence
from dataclasses import dataclass

_ROLES = ("_0000", "_image", "-image", "_img", "_labels", "_label", "-label", "_masks", "_mask", "_seg", "_gt")
"""What people append to the name of a case to say what a file is; only dropped when plain names do not pair."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """Each reference with its prediction or None, in the order of the references; `extra` predictions have none."""

    pairs: tuple[tuple[str, str | None], ...]
    extra: tuple[str, ...]


def pair_names(references: Sequence[str], predictions: Sequence[str]) -> Pairing:
    """Pair equal names; where that leaves a prediction over, names without endings such as `_label` or `_0000`.

    One reference and one prediction are a pair whatever they are called.

    >>> pair_names(["brain_label"], ["brain", "lung"])
    Pairing(pairs=(('brain_label', 'brain'),), extra=('lung',))

    """
    if len(references) == len(predictions) == 1:
        return Pairing(pairs=((references[0], predictions[0]),), extra=())
    if set(predictions) <= set(references):
        return _paired(references, predictions, references, predictions)
    plain = [_plain(name) for name in references], [_plain(name) for name in predictions]
    if any(len(set(names)) < len(names) for names in plain):
        plain = list(references), list(predictions)
    return _paired(references, predictions, *plain)


def _paired(
    references: Sequence[str], predictions: Sequence[str], reference_keys: Sequence[str], keys: Sequence[str]
) -> Pairing:
    by_key = dict(zip(keys, predictions, strict=True))
    return Pairing(
        pairs=tuple((name, by_key.get(key)) for name, key in zip(references, reference_keys, strict=True)),
        extra=tuple(sorted(name for key, name in by_key.items() if key not in set(reference_keys))),
    )


def _plain(name: str) -> str:
    """Drop the longest role ending, unless nothing is left."""
    role = max((role for role in _ROLES if name.lower().endswith(role)), key=len, default="")
    return name[: len(name) - len(role)] or name
