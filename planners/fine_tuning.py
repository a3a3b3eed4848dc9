"""The plan of a training that begins with another model's weights: its networks, spacing and scaling of intensities.

Weights mean something only for images as they were trained on: voxels of the same size, intensities of the same scale,
convolutions of the same shape. Labels and channels are those of the new data.
"""

from collections.abc import Sequence
from dataclasses import replace

from planners.fingerprint import ChannelFingerprint, Fingerprint
from planners.memory import training_bytes
from planners.normalization import normalization
from planners.plan import Configuration, Decision, Normalization, Plan
from planners.planner import describe_task, target_of
from planners.recipe import RECIPES, Budget, Recipe
from planners.schedule import schedule
from planners.sides import with_sides

RATE_SHARE = 0.5
"""Of the recipe's highest learning rate: less forgets less, more learns new labels sooner. Not measured."""


def plan_after(source: Plan, names: Sequence[str], fingerprint: Fingerprint, budget: Budget) -> Plan:
    """Return the plan for the data of `fingerprint` whose networks begin with those of `source` called `names`.

    Raises:
        ValueError: the networks are of volumes and the data are single slices; the message says so.

    """
    chosen = [configuration for configuration in source.configurations if configuration.name in names]
    flat = all(case.dimensions == 2 for case in fingerprint.cases)
    if flat and any(configuration.dimensions == 3 for configuration in chosen):
        msg = "its networks see volumes, these images are single slices"
        raise ValueError(msg)
    recipe = RECIPES.get(source.recipe, RECIPES["auto"])
    target = target_of(fingerprint)
    sources = matched_channels(source.channels, [channel.name for channel in fingerprint.channels])
    made = tuple(_after(each, source, sources, (fingerprint, recipe, budget)) for each in chosen)
    return Plan(
        dataset=fingerprint.dataset,
        recipe=source.recipe,
        channels=tuple(channel.name for channel in fingerprint.channels),
        labels=fingerprint.labels,
        target=target,
        transpose=source.transpose,
        configurations=made,
        decisions=_decisions(source, made, sources),
    )


def matched_channels(source: Sequence[str], wanted: Sequence[str]) -> tuple[int | None, ...]:
    """Return for each wanted channel the one of `source` that it continues: of that name, None without one.

    Where no name agrees and there are equally many, or one of each, names say nothing and the order decides.

    >>> matched_channels(("T1", "T2"), ("T2", "FLAIR"))
    (1, None)
    >>> matched_channels(("image",), ("CT",))
    (0,)

    """
    known = [name.lower() for name in source]
    found = tuple(known.index(name.lower()) if name.lower() in known else None for name in wanted)
    if all(index is None for index in found) and len(source) == len(wanted):
        return tuple(range(len(wanted)))
    return found


def _after(
    configuration: Configuration,
    source: Plan,
    sources: Sequence[int | None],
    given: tuple[Fingerprint, Recipe, Budget],
) -> Configuration:
    fingerprint, recipe, budget = given
    target, task = target_of(fingerprint), describe_task(fingerprint)
    learned = schedule(budget, recipe)
    turns = replace(configuration.augmentation, mirror_swap_axis=None, mirror_swaps=())
    made = replace(
        configuration,
        normalizations=tuple(
            _scaling(channel, index, configuration, (fingerprint, recipe))
            for channel, index in zip(fingerprint.channels, sources, strict=True)
        ),
        augmentation=with_sides(turns, fingerprint, target, source.transpose, configuration.dimensions),
        schedule=replace(learned, learning_rate=RATE_SHARE * learned.learning_rate),
    )
    return replace(made, estimated_bytes=training_bytes(made, task.channels, task.outputs))


def _scaling(
    channel: ChannelFingerprint,
    index: int | None,
    configuration: Configuration,
    given: tuple[Fingerprint, Recipe],
) -> Normalization:
    """Return how a channel is normalised: as the one that it continues, by that one's own numbers."""
    if index is None:
        return normalization(channel, *given)
    return replace(configuration.normalizations[index], channel=channel.name)


def _decisions(source: Plan, made: Sequence[Configuration], sources: Sequence[int | None]) -> tuple[Decision, ...]:
    kept = sum(index is not None for index in sources)
    return (
        Decision(
            configuration=None,
            parameter="configurations",
            value=", ".join(configuration.name for configuration in made),
            rule="as the model that training begins with",
            because=f"the model of {source.dataset} has networks for them, and weights fit no other network",
            rejected="a plan for these data: its networks would begin from nothing",
        ),
        Decision(
            configuration=None,
            parameter="spacing and normalization",
            value=f"those of {source.dataset} for {kept} of {len(sources)} channels",
            rule="as the model that training begins with",
            because="weights know voxels of that size and intensities of that scale",
        ),
        Decision(
            configuration=None,
            parameter="learning rate",
            value=", ".join(sorted({f"{item.schedule.learning_rate:g}" for item in made})),
            rule=f"{RATE_SHARE:g} of the recipe's",
            because="what was learned before is not to be forgotten in the first steps",
        ),
    )
