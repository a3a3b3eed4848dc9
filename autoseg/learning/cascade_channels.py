"""Which of a cascade's input channels mean what: they follow the image's, one for each label value."""

from collections.abc import Sequence

from autoseg.learning.model_files import label_values
from planners.plan import Configuration, Plan


def input_swaps(plan: Plan, configuration: Configuration) -> tuple[tuple[int, int], ...]:
    """Return the pairs of a network's input channels that change places with the sides of a mirrored view."""
    if configuration.previous is None:
        return ()
    outputs, first = value_positions(plan, label_values(plan)), len(plan.channels)
    pairs = [(outputs[one], outputs[other]) for one, other in configuration.augmentation.mirror_swaps]
    return tuple((first + a, first + b) for a, b in pairs if a is not None and b is not None)


def value_positions(plan: Plan, values: Sequence[int]) -> tuple[int | None, ...]:
    """Return for each output of the plan's networks the position of its label value in `values`, None for others."""
    labels = [label.values for label in plan.labels if label.role == "foreground"]
    positions = [list(values).index(given[0]) if len(given) == 1 else None for given in labels]
    return (None, *positions) if plan.target == "labels" else tuple(positions)
