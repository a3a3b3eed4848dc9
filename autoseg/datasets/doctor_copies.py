"""The same image, or nearly the same, under two names: it would train and judge, or count twice."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from autoseg.datasets.dataset import Case
from autoseg.datasets.inspection import CaseFacts, Examined, Finding
from autoseg.datasets.thumbnail import correlations

_FEWEST = 5
_MOST = 4000  # the matrix of likenesses grows with the square
_LIKE = 0.98
_NEARER = 0.2
"""Near-copies correlate above 0.98 and are five times nearer to each other than an image usually is to the one most
like it: views of one organ cropped alike reach 0.89 (hippocampus), photographs of one kind more."""
_LIKE_AMONG_FEW = 0.998


def copies(labelled: Examined, tests: Examined) -> Iterator[Finding]:
    """Yield a warning for each image with the same content as an earlier one."""
    first: dict[str, Case] = {}
    trained = {case.name for case, _ in labelled}
    for case, fact in (*labelled, *tests):
        if fact.digest and fact.digest in first:
            other = first[fact.digest]
            leak = case.name not in trained and other.name in trained
            yield _finding(case, f"the same image as {other.images[0]}", leak=leak)
        first.setdefault(fact.digest, case)


def near_copies(labelled: Examined, tests: Examined, stacks: tuple[tuple[str, ...], ...]) -> Iterator[Finding]:
    """Yield a warning for each image that is all but the same as an earlier one: noise added, grays scaled, re-encoded.

    Images of one group stay in one fold anyway, and slices of one stack are alike by nature; exact copies are told
    apart from these.
    """
    trained = {case.name for case, _ in labelled}
    stacked = {name for stack in stacks for name in stack}
    of_size: dict[int, list[tuple[Case, CaseFacts]]] = defaultdict(list)
    for case, fact in (*labelled, *tests):
        if fact.thumbnail and case.name not in stacked:
            of_size[len(fact.thumbnail)].append((case, fact))
    for found in of_size.values():
        if not 2 <= len(found) <= _MOST:
            continue
        alike = correlations([fact.thumbnail for _, fact in found])
        np.fill_diagonal(alike, -1)
        usual = float(np.median(alike.max(axis=1)))
        least = max(_LIKE, 1 - _NEARER * (1 - usual)) if len(found) >= _FEWEST else _LIKE_AMONG_FEW
        for later, earlier in np.argwhere(np.tril(alike) > least):
            (case, fact), (other, other_fact) = found[later], found[earlier]
            if fact.digest == other_fact.digest or case.group == other.group:
                continue
            leak = case.name not in trained and other.name in trained
            what = f"nearly the same image as {other.images[0]} (correlation {alike[later, earlier]:.4f})"
            yield _finding(case, what, leak=leak)


def _finding(case: Case, what: str, *, leak: bool) -> Finding:
    mend = "take it out of the test images" if leak else "keep one of them, or put both into one group with --groups"
    return Finding(severity="warning", where=case.images[0], what=what + (", which trains" if leak else ""), mend=mend)
