"""Which hippocampus cases are judged: the 50 with the smallest SHA-256 of their name, the same on every machine."""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autoseg.core.errors import AutosegError

JUDGED = 50
ENDING = ".nii.gz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Case names; nobody sees a judged case before the end."""

    train: tuple[str, ...]
    judged: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arranged:
    """The folders made from the split: the dataset to train on, images to predict, and their references."""

    training: Path
    judged_images: Path
    judged_references: Path


def make_split(names: Sequence[str]) -> Split:
    """Split case names (without ending).

    >>> make_split([f"hippocampus_{i:03d}" for i in range(53)]).train
    ('hippocampus_000', 'hippocampus_016', 'hippocampus_051')

    """
    ordered = sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    return Split(train=tuple(sorted(ordered[JUDGED:])), judged=tuple(sorted(ordered[:JUDGED])))


def case_names(source: Path) -> tuple[str, ...]:
    """Return the names of the labelled cases in `source` (images/NAME.nii.gz and labels/NAME.nii.gz).

    Raises:
        AutosegError: the folder is not the dataset this benchmark is about.

    """
    names = tuple(sorted(path.name.removesuffix(ENDING) for path in (source / "labels").glob(f"*{ENDING}")))
    if len(names) <= JUDGED or not all((source / "images" / f"{name}{ENDING}").is_file() for name in names):
        raise AutosegError.at(source, "is not images/ and labels/ of the hippocampus cases", "see benchmarks/README.md")
    return names


def arrange(source: Path, split: Split, target: Path) -> Arranged:
    """Copy the files of the split into `target`, so that the judged cases lie outside the dataset."""
    arranged = Arranged(
        training=target / "hippocampus",
        judged_images=target / "judged" / "images",
        judged_references=target / "judged" / "references",
    )
    for names, images, labels in (
        (split.train, arranged.training / "images", arranged.training / "labels"),
        (split.judged, arranged.judged_images, arranged.judged_references),
    ):
        images.mkdir(parents=True, exist_ok=True)
        labels.mkdir(parents=True, exist_ok=True)
        for name in names:
            shutil.copyfile(source / "images" / f"{name}{ENDING}", images / f"{name}{ENDING}")
            shutil.copyfile(source / "labels" / f"{name}{ENDING}", labels / f"{name}{ENDING}")
    return arranged
