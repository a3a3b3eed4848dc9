"""What is odd about a dataset as a whole: copies, empty references, sides, turned labels, cases unlike the others."""

from collections.abc import Iterator

from autoseg.datasets.dataset import Dataset
from autoseg.datasets.doctor_copies import copies, near_copies
from autoseg.datasets.doctor_outliers import outliers
from autoseg.datasets.doctor_turns import turned_labels
from autoseg.datasets.inspection import Examined, Finding
from autoseg.datasets.understand import Understanding
from planners.sides import other_side


def examine_dataset(understanding: Understanding) -> tuple[Finding, ...]:
    """Return the findings that only all cases together show."""
    dataset = understanding.dataset
    labelled = tuple(zip(dataset.cases, understanding.facts, strict=True))
    tests = tuple(zip(dataset.test_cases, understanding.test_facts, strict=True))
    return (
        *copies(labelled, tests),
        *near_copies(labelled, tests, dataset.stacks),
        *_mixed_dimensions(labelled),
        *_empty(labelled),
        *_constant(labelled),
        *outliers(labelled, dataset.channels),
        *turned_labels(labelled),
        *_sides(dataset),
    )


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


def _sides(dataset: Dataset) -> Iterator[Finding]:
    names = {label.name for label in dataset.labels}
    for name in sorted(names):
        other = other_side(name)
        if other is not None and other in names and name < other:
            what = f"{name} and {other} are the two sides of a body"
            mend = "nothing to do: where patches are mirrored from left to right they change places"
            yield Finding(severity="note", where="labels", what=what, mend=mend)
