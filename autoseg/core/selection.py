"""Choosing between candidates by their out-of-fold scores, knowing the noise: the simplest within one standard error.

Source: the one-standard-error rule of Breiman et al., Classification and Regression Trees, 1984, section 3.4.3; here
the error is that of the paired difference to the best candidate, over patients, because all were scored on the same
cases.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

JOINED = "+"
"""Between the configurations of an ensemble, in its name and in that of its folder."""
PATIENTS_MIN = 3
"""Under this many, a standard error says nothing, and the simplest is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Something to choose; `scores` has one per case and label (None: neither the reference nor it holds the label).

    Of equal `cost`, the first one is simpler.
    """

    name: str
    cost: int
    scores: tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """A candidate's evidence: mean over the cases that count, its distance from the best, and that one's error.

    What it rightly left empty counts as 1 where another candidate made something up.
    """

    name: str
    cost: int
    mean: float
    behind_best: float
    standard_error: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What was chosen and why; `n_cases` are those on which any candidate has a score, of `n_patients` patients.

    `n_left_out` are the others: no reference and no candidate holds a label there. Older records lack it.
    """

    chosen: str
    because: str
    n_cases: int
    n_patients: int
    candidates: tuple[Weighed, ...]
    n_left_out: int = 0


def choose_simplest(candidates: Sequence[Candidate], patients: Sequence[str]) -> Choice:
    """Return the cheapest candidate whose mean is within one standard error of the best candidate's.

    A label that neither the reference nor a candidate holds scores 1 where another candidate made it up: whoever is
    rightly silent is no worse than undefined, and reported metrics are another matter. So all candidates are averaged
    over the same labels of the same cases; what is undefined for all of them is left out.

    Args:
        candidates: at least one, all scored on the same labels of the same cases in the same order; higher is better.
        patients: of each case; cases of one patient count as one.

    >>> a = Candidate(name="a", cost=1, scores=((0.80,), (0.90,), (0.70,)))
    >>> b = Candidate(name="b", cost=2, scores=((0.90,), (0.91,), (0.71,)))
    >>> choose_simplest([a, b], ["1", "2", "3"]).chosen
    'b'

    """
    order = sorted(range(len(candidates)), key=lambda index: candidates[index].cost)
    scores, counted = _comparable(candidates)
    voices = [patient for patient, counts in zip(patients, counted, strict=True) if counts]
    named = sorted(set(voices))
    cases = _Cases(n_cases=len(voices), n_patients=len(named), n_left_out=len(counted) - len(voices))
    simplest = candidates[order[0]]
    if len(candidates) == 1 or not named:
        why = "the only candidate" if len(candidates) == 1 else "no case on which a candidate has a score"
        return _choice(simplest.name, why, cases, ())
    patient = np.array([named.index(voice) for voice in voices])
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
        few = "one patient is" if len(named) == 1 else f"{len(named)} patients are"
        why = f"the simplest: {few} too few to tell candidates apart"
        return _choice(simplest.name, why, cases, weighed)
    chosen = next(weighed[i] for i in order if weighed[i].behind_best <= (weighed[i].standard_error or 0.0))
    return _choice(chosen.name, _why(chosen, weighed[order[best]]), cases, weighed)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cases:
    """How many cases count, of how many patients, and how many do not."""

    n_cases: int
    n_patients: int
    n_left_out: int


def _comparable(candidates: Sequence[Candidate]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the mean over labels of each case that counts (case, candidate), and which cases count (case)."""
    table = np.array([candidate.scores for candidate in candidates], dtype=np.float64)  # None becomes NaN
    table = table.reshape(len(candidates), len(candidates[0].scores), -1)
    absent = np.isnan(table)
    defined: NDArray[np.bool_] = ~np.logical_and.reduce(absent, axis=0)
    counted: NDArray[np.bool_] = np.logical_or.reduce(defined, axis=1)
    filled = np.where(defined, np.where(absent, 1.0, table), 0.0)[:, counted]
    means: NDArray[np.float64] = (filled.sum(axis=2) / defined[counted].sum(axis=1)).T
    return means, counted


def _choice(name: str, why: str, cases: _Cases, weighed: tuple[Weighed, ...]) -> Choice:
    return Choice(
        chosen=name,
        because=why,
        n_cases=cases.n_cases,
        n_patients=cases.n_patients,
        candidates=weighed,
        n_left_out=cases.n_left_out,
    )


def _why(chosen: Weighed, best: Weighed) -> str:
    if chosen.name == best.name:
        return f"the best, mean {best.mean:.4f}, and nothing simpler comes within one standard error of it"
    return (
        f"the simplest within one standard error of the best: {chosen.behind_best:.4f} below {best.name}"
        f" ({best.mean:.4f}), standard error {chosen.standard_error:.4f}"
    )
