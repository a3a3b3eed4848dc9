"""What is right and wrong with a dataset folder, as records."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from autoseg.core.errors import AutosegError
from autoseg.datasets.dataset import Inference

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing a user should know: where it is, what it is, and how to mend it."""

    severity: Severity
    where: str
    what: str
    mend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueCount:
    """How many voxels of a label file hold a value."""

    value: int
    voxels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelFacts:
    """Intensities of one channel of one case, over all its voxels."""

    minimum: float
    maximum: float
    mean: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFacts:
    """What one complete read of a case taught. `values` is empty for an unlabelled case.

    `digest` identifies the image's content; `stamp` its files' names, sizes and times, so that nothing unchanged is
    read twice. `values` has one entry per reference file. `thumbnail` is a small view of a 2D image, 16 x 16 gray
    levels in hexadecimal, by which slices of one stack are recognised; "" for 3D. Where the image could not be read,
    `channels` is empty and the findings say why.
    """

    name: str
    stamp: str
    digest: str
    dimensions: Literal[2, 3]
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    channel_names: tuple[str, ...]
    channels: tuple[ChannelFacts, ...]
    values: tuple[tuple[ValueCount, ...], ...]
    overlapping: bool
    thumbnail: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """The folder at a glance: how it was understood, what each case holds, and every finding."""

    schema: ClassVar[str] = "autoseg.inspection/1"

    dataset: str
    folder: str
    layout: str
    n_cases: int
    n_test_cases: int
    channels: tuple[str, ...]
    labels: tuple[str, ...]
    inferences: tuple[Inference, ...]
    cases: tuple[CaseFacts, ...]
    test_cases: tuple[CaseFacts, ...]
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that would spoil training."""
        return tuple(f for f in self.findings if f.severity == "error")


def refuse_errors(inspection: Inspection) -> None:
    """Raise the first error of an inspection as the one line a user sees; do nothing when there is none.

    Raises:
        AutosegError: the folder cannot be trained on as it is.

    """
    errors = inspection.errors
    if not errors:
        return
    first = errors[0]
    more = f" ({len(errors) - 1} more: run autoseg inspect)" if len(errors) > 1 else ""
    raise AutosegError.at(first.where, first.what, first.mend + more)
