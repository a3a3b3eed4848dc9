"""What is right and wrong with a dataset folder, as records."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from autoseg.core.errors import AutosegError
from autoseg.datasets.dataset import Case, Inference

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
    """Intensities of one channel of one case, over all its voxels; `low` and `high` are its percentiles 5 and 95."""

    minimum: float
    maximum: float
    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnGain:
    """How much more edge of the image a label's boundary would meet after a turn (a logarithm; see `alignment`)."""

    turn: str
    gain: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFacts:
    """What one complete read of a case taught. `values` is empty for an unlabelled case.

    `digest` identifies the image's content; `stamp` its files' names, sizes and times, so that nothing unchanged is
    read twice. `orientation` says where x, y and z point (RAS), "" for a 2D image. `values` has one entry per
    reference file. `thumbnail` is a very small view in gray levels as hexadecimal, by which slices of one stack and
    near-copies are recognised. `turns` says how much better the label would lie if it were turned. Where the image
    could not be read, `channels` is empty and the findings say why.
    """

    name: str
    stamp: str
    digest: str
    dimensions: Literal[2, 3]
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    orientation: str
    channel_names: tuple[str, ...]
    channels: tuple[ChannelFacts, ...]
    values: tuple[tuple[ValueCount, ...], ...]
    overlapping: bool
    thumbnail: str
    turns: tuple[TurnGain, ...]
    findings: tuple[Finding, ...]
    content: str = ""


Examined = Sequence[tuple[Case, CaseFacts]]
"""Cases with what a read of each taught."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """The folder at a glance: how it was understood, what each case holds, and every finding."""

    schema: ClassVar[str] = "autoseg.inspection/2"

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A picture of a case: PNG in base64. `stamp` is that of its facts."""

    stamp: str
    png: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Previews:
    """Pictures of the cases, kept so that unchanged cases need not be read again."""

    schema: ClassVar[str] = "autoseg.previews/1"

    pictures: tuple[Preview, ...]


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
