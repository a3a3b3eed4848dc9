"""Records of datasets for tests; everything that a test does not say has a plain value."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from autoseg.datasets.dataset import Case, Dataset
from planners.fingerprint import Label


def a_dataset(folder: Path, cases: Sequence[Case], labels: Sequence[Label], **changes: object) -> Dataset:
    """Return a dataset of CT images whose labels exclude each other, with `changes` of its fields."""
    plain = Dataset(
        name=folder.name,
        folder=str(folder),
        layout="suffix",
        channels=("ct",),
        labels=tuple(labels),
        value_map=(),
        overlapping=False,
        cases=tuple(cases),
        test_cases=(),
        inferences=(),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]
