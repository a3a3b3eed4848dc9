"""A labelled folder, understood: which files form a case, what the channels and labels are called, and why."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import ClassVar, Literal

from autoseg.core.files import is_inside
from autoseg.imaging.reading import STRICT, ReadOptions
from planners.fingerprint import Label

ReferenceKind = Literal["map", "structures", "instances"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case. Paths are relative to `Dataset.folder` with `/`; `references` is empty for an unlabelled case.

    `images` holds one file (or DICOM series folder) per channel, or one file with all channels.
    `references` holds what `Dataset.reference_kind` says: one label map; one file per structure in the order of
    `Dataset.labels` ("" where the case lacks one); or one file per object, all of the one label.
    `group` is the patient: cases of one group stay in one fold.
    """

    name: str
    images: tuple[str, ...]
    references: tuple[str, ...]
    group: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inference:
    """One thing that was concluded from the folder, and from what."""

    what: str
    value: str
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A folder of cases.

    `value_map` holds (value in the file, label value) pairs where they differ, e.g. (255, 1).
    `overlapping`: structures share voxels, so no single map can hold them.
    `merge_instances`: every value above 0 is one object of the one label.
    `stacks`: names of cases that are consecutive slices of one volume, in their order.
    `reading`: what the readers were allowed.
    """

    schema: ClassVar[str] = "autoseg.dataset/1"

    name: str
    folder: str
    layout: str
    channels: tuple[str, ...]
    labels: tuple[Label, ...]
    value_map: tuple[tuple[int, int], ...]
    overlapping: bool
    cases: tuple[Case, ...]
    test_cases: tuple[Case, ...]
    inferences: tuple[Inference, ...]
    reference_kind: ReferenceKind = "map"
    merge_instances: bool = False
    stacks: tuple[tuple[str, ...], ...] = ()
    reading: ReadOptions = STRICT

    def __post_init__(self) -> None:
        """Refuse cases that would be read outside the folder or written outside the workspace."""
        for case in (*self.cases, *self.test_cases):
            if PurePosixPath(case.name).name != case.name or case.name in ("", "..") or "\0" in case.name:
                msg = f"{case.name!a} is no name of a case"
                raise ValueError(msg)
            for name in (*case.images, *case.references):
                if not is_inside(name):
                    msg = f"{name!a} of case {case.name} lies outside the dataset"
                    raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """Names of the cases to train on and to validate on."""

    train: tuple[str, ...]
    validation: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Folds:
    """The splits of a dataset, with the rule that made them."""

    schema: ClassVar[str] = "autoseg.folds/1"

    because: str
    folds: tuple[Fold, ...]
