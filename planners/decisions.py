"""Why each number of a plan is what it is: one Decision a parameter, in plain sentences with the numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from planners.fingerprint import Fingerprint
from planners.fit import Fit
from planners.patch import Space
from planners.plan import Configuration, Decision
from planners.recipe import Budget, Machine, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Everything that the rules found, for telling why."""

    fingerprint: Fingerprint
    recipe: Recipe
    budget: Budget
    machine: Machine | None
    volume: Space
    transpose: tuple[int, int, int]
    configurations: tuple[Configuration, ...]
    fits: tuple[Fit, ...]


def decisions(findings: Findings) -> tuple[Decision, ...]:
    """Return the decisions of a plan, those about the dataset first, then those of each configuration."""
    return (*_about_dataset(findings),)


def times(values: Sequence[float]) -> str:
    """Return `40x56x40`."""
    return "x".join(f"{value:g}" for value in values)


def _about_dataset(findings: Findings) -> Iterator[Decision]:
    yield Decision(
        configuration=None,
        parameter="spacing",
        value=f"{times([round(s, 4) for s in findings.volume.spacing_mm])} mm",
        rule="median of the cases",
        because=f"{len(findings.fingerprint.cases)} cases",
    )
