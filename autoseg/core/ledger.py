"""The time contract: how much of a job's budget is spent, over all the calls that worked on it."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from autoseg.core.records import read_record, write_record

TRAINING_MINIMUM_SHARE = 0.1
"""Of the budget: what training gets even when preparation took longer than the budget foresaw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Working time of a job: all of it but training, whose checkpoints know their own.

    `validation_seconds` is what predicting and scoring one network's validation cases took when it last happened.
    """

    schema: ClassVar[str] = "autoseg.budget/1"

    budget_seconds: float | None
    overhead_seconds: float
    validation_seconds: float | None = None


class Ledger:
    """Counts a job's working time and says what is left for training.

    `running_seconds` is how long the job already ran before the ledger was opened (Python's start).
    """

    def __init__(
        self,
        path: Path,
        budget_seconds: float | None,
        running_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the ledger at `path`, going on where an earlier call of the same budget left it.

        With another budget the job starts anew, and `budget_changed` says so.
        """
        self._path = path
        self._clock = clock
        self._opened = clock() - running_seconds
        self._excluded = 0.0
        self._before = Spent(budget_seconds=budget_seconds, overhead_seconds=0.0)
        self.budget_changed = False
        if path.exists():
            found = read_record(path, Spent)
            self.budget_changed = found.budget_seconds != budget_seconds
            if not self.budget_changed:
                self._before = found

    @property
    def overhead_seconds(self) -> float:
        """Working time so far over all calls, without training."""
        return self._before.overhead_seconds + self._clock() - self._opened - self._excluded

    def save(self) -> None:
        """Write what is spent so far."""
        write_record(self._path, replace(self._before, overhead_seconds=round(self.overhead_seconds, 3)))

    @contextlib.contextmanager
    def training(self) -> Iterator[None]:
        """Leave the block out of the overhead."""
        self.save()
        began = self._clock()
        try:
            yield
        finally:
            self._excluded += self._clock() - began
            self.save()

    @contextlib.contextmanager
    def validation(self) -> Iterator[None]:
        """Measure the validation of a network, so that what follows keeps just that in reserve."""
        began = self._clock()
        yield
        self._before = replace(self._before, validation_seconds=round(self._clock() - began, 3))

    @property
    def validation_seconds(self) -> float | None:
        """What the last validation took, None before the first."""
        return self._before.validation_seconds

    def training_seconds(self, *, trained_seconds: float, networks_left: int, after_seconds: float) -> float | None:
        """Return the seconds for the next network, its earlier sessions included; None without a budget.

        `trained_seconds` is what other networks of this job used; `networks_left` counts this one; `after_seconds` is
        the expected time for all that follows the trainings.
        """
        budget = self._before.budget_seconds
        if budget is None:
            return None
        left = budget - self.overhead_seconds - trained_seconds - after_seconds
        return max(left, TRAINING_MINIMUM_SHARE * budget) / networks_left
