"""What a layout says of a folder before any pixel is read."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from autoseg.core.errors import AutosegError
from autoseg.datasets.dataset import Case, Inference, ReferenceKind
from autoseg.datasets.inspection import Finding
from autoseg.datasets.listing import Item
from autoseg.datasets.names import group_of
from planners.fingerprint import Label


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrangement:
    """Files put together to cases. `channels` and `labels` are None where the folder does not name them."""

    layout: str
    cases: tuple[Case, ...]
    test_cases: tuple[Case, ...] = ()
    channels: tuple[str, ...] | None = None
    labels: tuple[Label, ...] | None = None
    reference_kind: ReferenceKind = "map"
    inferences: tuple[Inference, ...] = ()
    findings: tuple[Finding, ...] = field(default=())


def case_of(name: str, images: tuple[PurePosixPath, ...], references: tuple[PurePosixPath | None, ...] = ()) -> Case:
    """Return a case; its group is the patient that its name speaks of, if any, else the case itself."""
    return Case(
        name=name,
        images=tuple(str(path) for path in images),
        references=tuple("" if path is None else str(path) for path in references),
        group=group_of(name) or name,
    )


def image_alone(item: Item, expected: str) -> Finding:
    """Return the finding for an image that has no label; `expected` says where it would lie."""
    return Finding(
        severity="error",
        where=str(item.path),
        what="image without label",
        mend=f"add its label ({expected}) or move the image out of the training images",
    )


def label_alone(item: Item) -> Finding:
    """Return the finding for a label that has no image."""
    return Finding(
        severity="warning",
        where=str(item.path),
        what="label without image, left aside",
        mend="add its image or remove the label",
    )


def shown(paths: list[str] | tuple[str, ...], limit: int = 4) -> str:
    """Return the first names of a list for a message: `a, b, c, d and 12 more`."""
    text = ", ".join(paths[:limit])
    return text if len(paths) <= limit else f"{text} and {len(paths) - limit} more"


def ambiguous(where: object, what: str, candidates: list[str], option: str) -> AutosegError:
    """Return the error for a folder that can be read in several ways: the candidates and the option that decides."""
    return AutosegError.at(str(where), f"{what}: {shown(candidates, 8)}", f"say which with {option}")


def structure_labels(names: Sequence[str]) -> tuple[Label, ...]:
    """Return the labels of structures that lie in files of their own: values 1, 2, ... in the order given."""
    return tuple(Label(name=name, values=(value,)) for value, name in enumerate(names, start=1))


def numbered_channels(cases: Sequence[Case]) -> tuple[str, ...] | None:
    """Return names for the channels of cases with one file per channel, None for one file a case."""
    count = max((len(case.images) for case in cases), default=1)
    return tuple(f"channel_{number}" for number in range(1, count + 1)) if count > 1 else None
