"""Which of a cascade's input channels mean what: they follow the image's, one for each label value."""

from collections.abc import Sequence

from planners.plan import Plan


def value_positions(plan: Plan, values: Sequence[int]) -> tuple[int | None, ...]:
    """Return for each output of the plan's networks the position of its label value in `values`, None for others."""
    labels = [label.values for label in plan.labels if label.role == "foreground"]
    positions = [list(values).index(given[0]) if len(given) == 1 else None for given in labels]
    return (None, *positions) if plan.target == "labels" else tuple(positions)
