"""The record of a selection: what predicts, what is done to its label maps, and the evidence for both."""

from dataclasses import dataclass
from typing import ClassVar

from autoseg.core.selection import Choice
from autoseg.imaging.changes import Change


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelPostprocessing:
    """What was tried on one structure, and what was chosen; `change` is None where it stays as it is."""

    label: str
    choice: Choice
    change: Change | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What predicts, what is done after it, and the evidence: mean Dice of each candidate out of fold.

    `left_out` names candidates that there was no time to try, or to train in all folds.
    """

    schema: ClassVar[str] = "autoseg.selection/1"

    folds: tuple[int, ...]
    configurations: tuple[str, ...]
    choice: Choice
    postprocessing: tuple[LabelPostprocessing, ...]
    left_out: tuple[str, ...]
