"""The record of a selection: what predicts, what is done to its label maps, and the evidence for both."""

from dataclasses import dataclass
from typing import ClassVar

from autoseg.core.selection import Choice
from autoseg.imaging.changes import Change


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelPostprocessing:
    """What was tried on one structure, and what was chosen: first which parts go (`change`), then `fill` of holes.

    None: not done. `filling` is the evidence for `fill`; None where there was no time for it, and in older records,
    whose `change` may itself be the filling of holes.
    """

    label: str
    choice: Choice
    change: Change | None
    filling: Choice | None = None
    fill: Change | None = None


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

    @property
    def changes(self) -> tuple[Change, ...]:
        """What is done to every label map, in this order: parts go from all structures, then holes are filled."""
        found = (*(each.change for each in self.postprocessing), *(each.fill for each in self.postprocessing))
        return tuple(change for change in found if change is not None)
