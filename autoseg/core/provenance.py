"""Which steps are done with which inputs, so that a second call makes only what changed."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from autoseg.core.files import locked
from autoseg.core.records import read_record, write_record
from autoseg.core.runtime import digest_bytes
from autoseg.core.seals import content_digest_of


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDone:
    """A finished step and the SHA-256 of everything it depended on."""

    step: str
    inputs: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """The finished steps of a workspace."""

    schema: ClassVar[str] = "autoseg.provenance/1"

    steps: tuple[StepDone, ...]


def inputs_digest(*inputs: Path | str) -> str:
    """Return one SHA-256 for files and texts, in their order.

    Files count by their bytes, without a record's seal; `absent` when there is none.
    """
    parts = [_input_digest(item) if isinstance(item, Path) else digest_bytes(item.encode()) for item in inputs]
    return digest_bytes("\n".join(parts).encode())


def _input_digest(path: Path) -> str:
    return content_digest_of(path) if path.is_file() else "absent"


def is_done(record: Path, step: str, inputs: str) -> bool:
    """Whether the provenance at `record` says that `step` was finished with these inputs."""
    return record.exists() and StepDone(step=step, inputs=inputs) in read_record(record, Provenance).steps


def mark_done(record: Path, step: str, inputs: str) -> None:
    """Write into the provenance at `record` that `step` was finished with these inputs."""
    with locked(record.parent / ".locks" / "provenance"):  # other folds are marked by other processes
        others = read_record(record, Provenance).steps if record.exists() else ()
        kept = tuple(done for done in others if done.step != step)
        write_record(record, Provenance(steps=(*kept, StepDone(step=step, inputs=inputs))))
