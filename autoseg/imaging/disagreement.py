"""How a prediction and a reference disagree, and whether a shift or an exchange of two labels would explain it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Bool

Mask = Bool[np.ndarray, "_z _y _x"]

MOST_SHIFT = 4
"""Voxels along one axis: larger shifts agree so badly that they need no explaining."""
MOST_PAIRS_OF = 12
"""Structures among which pairs are tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A change of the reference with which it agrees better, and the mean Dice that this gains, 0 without any."""

    gain: float
    words: str


NOTHING = Explanation(gain=0.0, words="")


def explain(references: Sequence[Mask], predictions: Sequence[Mask], names: Sequence[str]) -> Explanation:
    """Return the change of the references that would agree best: a shift along an axis, or two labels exchanged.

    The masks (z, y, x) are of the structures `names`, in this order.
    """
    present = [index for index, mask in enumerate(references) if mask.any() and predictions[index].any()]
    found = NOTHING
    if present:
        kept = [_cropped(references[index], predictions[index]) for index in present]
        found = max((found, *_shifts(kept)), key=lambda each: each.gain)
    if len(names) <= MOST_PAIRS_OF:
        for a, b in combinations(range(len(names)), 2):
            now = (_dice(references[a], predictions[a]) + _dice(references[b], predictions[b])) / 2
            then = (_dice(references[a], predictions[b]) + _dice(references[b], predictions[a])) / 2
            if then - now > found.gain:
                found = Explanation(gain=then - now, words=f"{names[a]} and {names[b]} exchanged")
    return found


def _shifts(pairs: Sequence[tuple[Mask, Mask]]) -> list[Explanation]:
    now = sum(_dice(*pair) for pair in pairs) / len(pairs)
    found = []
    for axis in range(3):
        for voxels in (*range(-MOST_SHIFT, 0), *range(1, MOST_SHIFT + 1)):
            then = sum(_dice_shifted(*pair, axis, voxels) for pair in pairs) / len(pairs)
            words = f"shifted by {abs(voxels)} voxel{'s' if abs(voxels) > 1 else ''} along {'zyx'[axis]}"
            found.append(Explanation(gain=then - now, words=words))
    return found


def _dice(reference: Mask, prediction: Mask) -> float:
    total = int(np.count_nonzero(reference)) + int(np.count_nonzero(prediction))
    return 2 * int(np.count_nonzero(reference & prediction)) / total if total else 1.0


def _dice_shifted(reference: Mask, prediction: Mask, axis: int, voxels: int) -> float:
    """Return Dice with the reference moved back by `voxels`."""
    total = int(np.count_nonzero(reference)) + int(np.count_nonzero(prediction))
    own, other = np.moveaxis(reference, axis, 0), np.moveaxis(prediction, axis, 0)
    both = own[voxels:] & other[:-voxels] if voxels > 0 else own[:voxels] & other[-voxels:]
    return 2 * int(np.count_nonzero(both)) / total


def _cropped(reference: Mask, prediction: Mask) -> tuple[Mask, Mask]:
    """Return both within the box that holds them: nothing that counts lies outside, wherever one is moved."""
    either = reference | prediction
    box = []
    for axis in range(3):
        inside = np.flatnonzero(either.any(axis=tuple(other for other in range(3) if other != axis)))
        box.append(slice(int(inside[0]), int(inside[-1]) + 1))
    z, y, x = box
    return reference[z, y, x], prediction[z, y, x]
