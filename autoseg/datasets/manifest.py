"""What a dataset is, whatever its files are called and however they are compressed; and what a model has seen."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from autoseg.core.records import read_record
from autoseg.datasets.inspection import CaseFacts, Inspection

TRAINING_CASES = "training_cases.json"
"""In a model folder: the images that it was trained on, as digests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestCase:
    """A case and the digest of its voxels, their place and its labels; "" where it cannot be read."""

    name: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The cases of a dataset by what they hold.

    `identity` is the same for two folders with the same cases, whatever the format, compression and names of the files.
    """

    schema: ClassVar[str] = "autoseg.manifest/1"

    dataset: str
    identity: str
    cases: tuple[ManifestCase, ...]
    test_cases: tuple[ManifestCase, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingCases:
    """Digests of the voxels of the images that a model was trained and validated on, sorted: they name nobody."""

    schema: ClassVar[str] = "autoseg.training-cases/1"

    images: tuple[str, ...]


def make_manifest(dataset: str, cases: Sequence[CaseFacts], test_cases: Sequence[CaseFacts]) -> Manifest:
    """Return the manifest of a dataset by what a read of each case taught."""
    parts = (tuple(ManifestCase(name=f.name, content=f.content) for f in facts) for facts in (cases, test_cases))
    labelled, tests = parts
    lines = [f"{kind} {case.content}" for kind, some in (("case", labelled), ("test", tests)) for case in some]
    identity = hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
    return Manifest(dataset=dataset, identity=identity, cases=labelled, test_cases=tests)


def training_cases_of(findings: Path) -> TrainingCases | None:
    """Return what a model has seen, by the record of the inspection at `findings`; None where there is none."""
    if not findings.is_file():
        return None
    digests = {fact.digest for fact in read_record(findings, Inspection).cases if fact.digest}
    return TrainingCases(images=tuple(sorted(digests)))


def read_training_cases(model: Path) -> frozenset[str]:
    """Return the digests of what a model has seen; empty for a model that does not say it."""
    path = model / TRAINING_CASES
    return frozenset(read_record(path, TrainingCases).images) if path.is_file() else frozenset()
