"""What a benchmark suite is: which data, which cases are judged, and what others reached."""

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from autoseg.datasets.dataset import Dataset
from autoseg.datasets.names import natural_key
from autoseg.datasets.options import Options
from autoseg.suites.record import Published

Split = Literal["hash", "block"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A task with published data.

    Attributes:
        name: as on the command line.
        title: what is segmented, in which images.
        address: where the data are published.
        licence: of the data.
        folders: names that the data folder is likely to have.
        judged: how many cases (of whole groups) are held out.
        split: hash: the cases whose groups' names have the smallest SHA-256; block: the last of a stack, so that no
            judged section lies between two that train.
        part: which of the parts of at least `judged` cases is judged; 0 is the first by `split`. The parts have no case
            in common, so that as many runs as there are parts judge each case once.
        published: means that others reached on other cases of the task.
        per_case: table of published results for each case, beside this file: a column `case`, then VARIANT_LABEL.
        per_case_source: where that table comes from.
        reading: what must be said of the folder because it does not speak for itself; the same goes to
            plan-and-train. Its `images`, `labels`, `merge_instances` and `clean_labels` are given as options.

    """

    name: str
    title: str
    address: str
    licence: str
    folders: tuple[str, ...]
    judged: int
    split: Split = "hash"
    part: int = 0
    published: tuple[Published, ...] = ()
    per_case: str | None = None
    per_case_source: str = ""
    reading: Options = field(default_factory=Options)

    @property
    def words(self) -> tuple[str, ...]:
        """`reading` as options of plan-and-train."""
        said = (("--images", self.reading.images), ("--labels", self.reading.labels))
        named = tuple(word for option, value in said if value is not None for word in (option, value))
        flags = (("--merge-instances", self.reading.merge_instances), ("--clean-labels", self.reading.clean_labels))
        return (*named, *(option for option, wanted in flags if wanted))


def judged_cases(suite: Suite, dataset: Dataset) -> frozenset[str]:
    """Return the names of the cases that are held out: whole groups, the same on every machine."""
    if suite.split == "block":
        ordered = sorted((case.name for case in dataset.cases), key=natural_key)[::-1]
        return frozenset(ordered[suite.part * suite.judged : (suite.part + 1) * suite.judged])
    groups: dict[str, list[str]] = {}
    for case in dataset.cases:
        groups.setdefault(case.group, []).append(case.name)
    parts: list[list[str]] = [[]]
    for group in sorted(groups, key=lambda name: hashlib.sha256(name.encode()).hexdigest()):
        if len(parts[-1]) >= suite.judged:
            parts.append([])
        parts[-1] += groups[group]
    return frozenset(parts[suite.part] if suite.part < len(parts) else ())


def per_case_results(suite: Suite) -> dict[str, dict[str, float]]:
    """Return variant -> case -> mean Dice over labels of the published table; empty when there is none."""
    if suite.per_case is None:
        return {}
    with (Path(__file__).parent / suite.per_case).open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    variants = dict.fromkeys(column.rpartition("_")[0] for column in rows[0] if column != "case")
    return {variant: {row["case"]: _mean_over_labels(row, variant) for row in rows} for variant in variants}


def _mean_over_labels(row: dict[str, str], variant: str) -> float:
    values: Sequence[float] = [float(text) for column, text in row.items() if column.rpartition("_")[0] == variant]
    return sum(values) / len(values)
