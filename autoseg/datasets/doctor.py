"""What is odd about a dataset as a whole: copies, empty references, sides, unusual spacings."""

import re
from collections.abc import Iterator, Sequence

import numpy as np

from autoseg.datasets.dataset import Case, Dataset
from autoseg.datasets.inspection import CaseFacts, Finding
from autoseg.datasets.understand import Understanding

_SPACING_FACTOR = 3.0
"""A spacing this many times the usual one, or its inverse, is worth a look: scanners of one study differ by less."""
_FEWEST_FOR_OUTLIERS = 5
_SIDES = re.compile(r"(?:^|(?<=[^a-z]))(left|right|l|r)(?=$|[^a-z])", re.IGNORECASE)


def examine_dataset(understanding: Understanding) -> tuple[Finding, ...]:
    """Return the findings that only all cases together show."""
    dataset = understanding.dataset
    labelled = tuple(zip(dataset.cases, understanding.facts, strict=True))
    tests = tuple(zip(dataset.test_cases, understanding.test_facts, strict=True))
    return (
        *_copies(labelled, tests),
        *_mixed_dimensions(labelled),
        *_empty(labelled),
        *_constant(labelled),
        *_spacings(labelled),
        *_sides(dataset),
    )


Examined = Sequence[tuple[Case, CaseFacts]]


def _copies(labelled: Examined, tests: Examined) -> Iterator[Finding]:
    """Images with the same content under two names."""
    first: dict[str, Case] = {}
    trained = {case.name for case, _ in labelled}
    for case, fact in (*labelled, *tests):
        if fact.digest and fact.digest in first:
            other = first[fact.digest]
            leak = case.name not in trained and other.name in trained
            mend = "take it out of the test images" if leak else "keep one of them"
            what = f"the same image as {other.images[0]}" + (", which trains" if leak else "")
            yield Finding(severity="warning", where=case.images[0], what=what, mend=mend)
        first.setdefault(fact.digest, case)


def _mixed_dimensions(labelled: Examined) -> Iterator[Finding]:
    read = [(case, fact) for case, fact in labelled if fact.channels]
    flat = [case for case, fact in read if fact.dimensions == 2]
    if flat and len(flat) < len(read):
        rare = flat if 2 * len(flat) <= len(read) else [case for case, fact in read if fact.dimensions == 3]
        what = f"{len(flat)} images are 2D and {len(read) - len(flat)} are 3D"
        yield Finding(severity="error", where=rare[0].images[0], what=what, mend="train on one kind at a time")


def _empty(labelled: Examined) -> Iterator[Finding]:
    for case, fact in labelled:
        if any(fact.values) and not any(count.value for file in fact.values for count in file):
            mend = "check that this case has none of the structures"
            yield Finding(severity="warning", where=case.references[0] or case.name, what="empty label", mend=mend)


def _constant(labelled: Examined) -> Iterator[Finding]:
    for case, fact in labelled:
        for index, channel in enumerate(fact.channels):
            if channel.minimum == channel.maximum:
                where = case.images[min(index, len(case.images) - 1)]
                what, mend = f"every voxel is {channel.minimum:g}", "export the image again or leave the case out"
                yield Finding(severity="warning", where=where, what=what, mend=mend)


def _spacings(labelled: Examined) -> Iterator[Finding]:
    read = [(case, fact) for case, fact in labelled if fact.channels]
    if len(read) < _FEWEST_FOR_OUTLIERS:
        return
    spacings = np.sort([fact.spacing_mm for _, fact in read], axis=1)  # whatever the order of the axes
    usual = np.median(spacings, axis=0)
    for (case, fact), own in zip(read, spacings, strict=True):
        if (np.maximum(own / usual, usual / own) > _SPACING_FACTOR).any():
            text = " x ".join(f"{s:.3g}" for s in fact.spacing_mm)
            what = f"voxels of {text} mm (z, y, x) where {' x '.join(f'{s:.3g}' for s in usual)} mm are usual"
            mend = "check the voxel size in the file's header"
            yield Finding(severity="warning", where=case.images[0], what=what, mend=mend)


def _sides(dataset: Dataset) -> Iterator[Finding]:
    names = {label.name for label in dataset.labels}
    for name in sorted(names):
        other = _SIDES.sub(lambda match: _mirrored(match.group()), name)
        if other != name and other in names and name < other:
            what = f"{name} and {other} are the two sides of a body"
            mend = "mirrored augmentation would confuse them; nothing to do if planning says it is off"
            yield Finding(severity="note", where="labels", what=what, mend=mend)


def _mirrored(side: str) -> str:
    swapped = {"left": "right", "right": "left", "l": "r", "r": "l"}[side.lower()]
    return swapped.upper() if side.isupper() else swapped.capitalize() if side[0].isupper() else swapped
