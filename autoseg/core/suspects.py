"""Training cases whose labels disagree with what networks that had not seen them foresee: is the label wrong?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

SUSPECTS_NAME = "suspects.json"
"""In a workspace."""
MINIMUM_CASES = 5
"""Fewer cases do not show what agreement is usual."""
WORST_STRUCTURES = 2
"""Of a case, over which what is missing is averaged: a slip concerns one structure or exchanges two."""
_SUSPECT_DEVIATIONS = 5.0
_MAD_TO_DEVIATION = 1.4826
_LEAST_SPREAD = 0.01
"""Of the score, in Dice: nobody wants to look at labels for less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Dice of a structure's label with the prediction of a network that had not seen it, and what was foreseen.

    `foreseen` is from the other cases and from how sure the network is here (the median of all cases where there are
    too few to foresee). None: undefined, neither holds the structure.
    """

    label: str
    dice: float | None
    foreseen: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """One training case. `score` is the Dice that is missing from what was foreseen, plus what `explanation` gains.

    Missing is the mean over the two worst structures. `explanation` is the change of the label (a shift, two structures
    exchanged) with which it agrees best, `gain` the mean Dice that it gains; "" and 0 where none helps.
    """

    case: str
    configuration: str
    fold: int
    score: float
    structures: tuple[Agreement, ...]
    explanation: str
    gain: float
    suspect: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspects:
    """All out-of-fold cases, the most suspect first. `because` says why there are none, if there are none."""

    schema: ClassVar[str] = "autoseg.suspects/1"

    cases: tuple[Suspect, ...]
    because: str = ""


def score_of(structures: Sequence[Agreement], gain: float) -> float:
    """Return the score of a case.

    >>> pair = [Agreement(label="a", dice=0.5, foreseen=0.9), Agreement(label="b", dice=0.8, foreseen=0.9)]
    >>> round(score_of(pair, 0.1), 6)
    0.35

    """
    missing = sorted(
        (each.foreseen - each.dice for each in structures if each.dice is not None and each.foreseen is not None),
        reverse=True,
    )[:WORST_STRUCTURES]
    return (sum(missing) / len(missing) if missing else 0.0) + gain


def rank(cases: Sequence[Suspect]) -> Suspects:
    """Return the cases, highest score first; those far above what is usual are marked."""
    if len(cases) < MINIMUM_CASES:
        return Suspects(cases=(), because=f"{len(cases)} unseen cases are too few (at least {MINIMUM_CASES})")
    scores = np.array([case.score for case in cases])
    usual = float(np.median(scores))
    spread = max(_MAD_TO_DEVIATION * float(np.median(np.abs(scores - usual))), _LEAST_SPREAD)
    ordered = sorted(cases, key=lambda case: (-case.score, case.case))
    return Suspects(cases=tuple(_marked(case, case.score > usual + _SUSPECT_DEVIATIONS * spread) for case in ordered))


def _marked(case: Suspect, suspect: bool) -> Suspect:
    return Suspect(
        case=case.case,
        configuration=case.configuration,
        fold=case.fold,
        score=case.score,
        structures=case.structures,
        explanation=case.explanation,
        gain=case.gain,
        suspect=suspect,
    )
