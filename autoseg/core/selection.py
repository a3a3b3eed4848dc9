"""Choosing between candidates by their out-of-fold scores, knowing the noise: the simplest within one standard error.

Source: the one-standard-error rule of Breiman et al., Classification and Regression Trees, 1984, section 3.4.3; here
the error is that of the paired difference to the best candidate, over patients, because all were scored on the same
cases.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

JOINED = "+"
"""Between the configurations of an ensemble, in its name and in that of its folder."""
PATIENTS_MIN = 3
"""Under this many, a standard error says nothing, and the simplest is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Something to choose; `scores` has one per case (None: undefined). Of equal `cost`, the first one is simpler."""

    name: str
    cost: int
    scores: tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """A candidate's evidence: mean over the cases that all have, its distance from the best, and that one's error."""

    name: str
    cost: int
    mean: float
    behind_best: float
    standard_error: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What was chosen and why; `n_cases` are those on which every candidate is defined, of `n_patients` patients."""

    chosen: str
    because: str
    n_cases: int
    n_patients: int
    candidates: tuple[Weighed, ...]


def choose_simplest(candidates: Sequence[Candidate], patients: Sequence[str]) -> Choice:
    """Return the cheapest candidate whose mean is within one standard error of the best candidate's.

    Args:
        candidates: at least one, all scored on the same cases in the same order; higher is better.
        patients: of each case; cases of one patient count as one.

    >>> a = Candidate(name="a", cost=1, scores=(0.80, 0.90, 0.70))
    >>> b = Candidate(name="b", cost=2, scores=(0.90, 0.91, 0.71))
    >>> choose_simplest([a, b], ["1", "2", "3"]).chosen
    'b'

    """
    order = sorted(range(len(candidates)), key=lambda index: candidates[index].cost)
    together = [row for row in zip(patients, *(c.scores for c in candidates), strict=True) if None not in row[1:]]
    simplest = candidates[order[0]]
    named = sorted({str(row[0]) for row in together})
    if len(candidates) == 1 or not named:
        why = "the only candidate" if len(candidates) == 1 else "no case on which all candidates have a score"
        return _choice(simplest.name, why, together, ())
    scores = np.array([row[1:] for row in together], dtype=np.float64)
    patient = np.array([named.index(str(row[0])) for row in together])
    by_patient = np.stack([scores[patient == index].mean(axis=0) for index in range(len(named))])
    best = int(np.argmax(by_patient.mean(axis=0)[order]))
    behind = by_patient[:, order[best]][:, None] - by_patient
    errors = behind.std(axis=0, ddof=1) / math.sqrt(len(named)) if len(named) >= PATIENTS_MIN else None
    weighed = tuple(
        Weighed(
            name=candidate.name,
            cost=candidate.cost,
            mean=float(by_patient[:, index].mean()),
            behind_best=float(behind[:, index].mean()),
            standard_error=None if errors is None else float(errors[index]),
        )
        for index, candidate in enumerate(candidates)
    )
    if errors is None:
        why = f"the simplest: {len(named)} patients are too few to tell candidates apart"
        return _choice(simplest.name, why, together, weighed)
    chosen = next(weighed[i] for i in order if weighed[i].behind_best <= (weighed[i].standard_error or 0.0))
    return _choice(chosen.name, _why(chosen, weighed[order[best]]), together, weighed)


def _choice(name: str, why: str, rows: Sequence[tuple[object, ...]], weighed: tuple[Weighed, ...]) -> Choice:
    patients = len({row[0] for row in rows})
    return Choice(chosen=name, because=why, n_cases=len(rows), n_patients=patients, candidates=weighed)


def _why(chosen: Weighed, best: Weighed) -> str:
    if chosen.name == best.name:
        return f"the best, mean {best.mean:.4f}, and nothing simpler comes within one standard error of it"
    return (
        f"the simplest within one standard error of the best: {chosen.behind_best:.4f} below {best.name}"
        f" ({best.mean:.4f}), standard error {chosen.standard_error:.4f}"
    )
