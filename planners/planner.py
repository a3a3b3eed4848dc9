"""The planner: every rule in its order, from a dataset's fingerprint to the plan that training and prediction obey."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from planners.augmentation import augmentation
from planners.cascade import CASCADE_AUGMENTATION
from planners.coarse import Coarse, coarse
from planners.decisions import Findings, decisions
from planners.fingerprint import Fingerprint
from planners.fit import Fit, allowance, fitted_sizes
from planners.memory import training_bytes
from planners.normalization import normalization
from planners.patch import Sizes, Space, Task, lowres_space, reference_sizes
from planners.plan import Configuration, ConfigurationName, Plan, Target
from planners.recipe import Budget, Machine, Recipe, Sizing
from planners.schedule import schedule, supervision_weights
from planners.sides import with_sides
from planners.spacing import median_shape, permuted, target_spacing, transposition

# A volume with fewer slices is trained slice by slice by default: a patch has less than nnU-Net's smallest feature map
# (4 voxels) and one voxel of context across slices.
SLICES_MIN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Inputs:
    """What make_plan was given, and the task that follows from it."""

    fingerprint: Fingerprint
    recipe: Recipe
    budget: Budget
    machine: Machine | None
    task: Task
    transpose: tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
    """The configurations, the one to train first, and for `auto` what each was fitted to."""

    configurations: tuple[Configuration, ...]
    fits: tuple[Fit, ...] = ()
    coarse: Coarse | None = None


def make_plan(fingerprint: Fingerprint, recipe: Recipe, budget: Budget, machine: Machine | None = None) -> Plan:
    """Return the plan for a dataset.

    The first configuration is the one to train when only one is; the others are there on request. Under a budget of
    steps the plan does not depend on `machine`; otherwise its memory and measured speed limit the sizes.
    """
    spacing_mm = target_spacing(fingerprint, recipe)
    shape = median_shape(fingerprint, spacing_mm)
    order = transposition(spacing_mm, shape, recipe)
    volume = Space(
        spacing_mm=permuted(spacing_mm, order),
        median_shape=permuted(shape, order),
        dataset_voxels=math.prod(permuted(shape, order)) * fingerprint.n_training,
    )
    inputs = _Inputs(
        fingerprint=fingerprint,
        recipe=recipe,
        budget=budget,
        machine=machine,
        task=describe_task(fingerprint),
        transpose=order,
    )
    planned = _PLAN[recipe.sizing](volume, inputs)
    findings = Findings(
        fingerprint=fingerprint,
        recipe=recipe,
        budget=budget,
        task=inputs.task,
        volume=volume,
        transpose=order,
        configurations=planned.configurations,
        fits=planned.fits,
        coarse=planned.coarse,
    )
    return Plan(
        dataset=fingerprint.dataset,
        recipe=recipe.name,
        channels=tuple(channel.name for channel in fingerprint.channels),
        labels=fingerprint.labels,
        target=target_of(fingerprint),
        transpose=order,
        configurations=planned.configurations,
        decisions=decisions(findings),
    )


def target_of(fingerprint: Fingerprint) -> Target:
    """Return "regions" (a sigmoid each) when structures overlap or unite values, else "labels" (one softmax)."""
    united = any(len(label.values) > 1 for label in fingerprint.labels)
    return "regions" if united or fingerprint.overlapping else "labels"


def describe_task(fingerprint: Fingerprint) -> Task:
    """Return what a network for this dataset reads and writes."""
    foreground = [index for index, label in enumerate(fingerprint.labels) if label.role == "foreground"]
    counted = sum(case.label_voxels[i] for case in fingerprint.cases for i in foreground if i < len(case.label_voxels))
    return Task(
        channels=len(fingerprint.channels),
        outputs=len(foreground) + (target_of(fingerprint) == "labels"),
        label_entries=len(fingerprint.labels) + 1,
        n_training=fingerprint.n_training,
        foreground_voxels=counted * fingerprint.n_training / len(fingerprint.cases) if counted else None,
    )


def _plane(volume: Space) -> Space:
    """Return the slices of a volume."""
    return replace(volume, spacing_mm=volume.spacing_mm[1:], median_shape=volume.median_shape[1:])


def _by_reference_memory(volume: Space, inputs: _Inputs) -> _Planned:
    """Plan as nnU-Net does: every configuration that makes sense, each as large as the reference memory allows."""
    recipe, task = inputs.recipe, inputs.task
    plane = _plane(volume)
    slices = _configuration("2d", plane, reference_sizes(plane, task, recipe), inputs)
    if volume.median_shape[0] == 1:
        return _Planned(configurations=(slices,))
    sizes = reference_sizes(volume, task, recipe)
    full = _configuration("3d_fullres", volume, sizes, inputs)
    low = lowres_space(volume, sizes.network.patch, task, recipe)
    if low is None:
        return _Planned(configurations=(full, slices))
    full = replace(full, batch_dice=True)
    cascade = _after(full)
    return _Planned(configurations=(full, slices, _configuration("3d_lowres", *low, inputs), cascade))


def _after(full: Configuration) -> Configuration:
    """Return the network that goes over the image at full resolution once more, after the coarse one."""
    return replace(full, name="3d_cascade_fullres", previous="3d_lowres", previous_augmentation=CASCADE_AUGMENTATION)


def _within_budget(volume: Space, inputs: _Inputs) -> _Planned:
    """Plan what trains well within time, memory and data; the configuration to train comes first."""
    recipe, task = inputs.recipe, inputs.task
    allowed = allowance(inputs.budget, inputs.machine, recipe)
    plane = _plane(volume)
    slices = fitted_sizes(plane, task, recipe, allowed)
    found = [(_configuration("2d", plane, slices.sizes, inputs), slices)]
    if volume.median_shape[0] == 1:
        return _Planned(configurations=(found[0][0],), fits=(slices,))
    full = fitted_sizes(volume, task, recipe, allowed)
    thin = volume.median_shape[0] < SLICES_MIN
    found.insert(int(thin), (_configuration("3d_fullres", volume, full.sizes, inputs), full))
    low = None if thin else coarse(volume, full, inputs.fingerprint, task, recipe)
    if low is not None:
        found.append((_after(found[0][0]), full))
        found.insert(0, (_configuration("3d_lowres", low.space, low.fit.sizes, inputs), low.fit))
    return _Planned(
        configurations=tuple(configuration for configuration, _ in found),
        fits=tuple(fit for _, fit in found),
        coarse=low,
    )


def _configuration(name: ConfigurationName, space: Space, sizes: Sizes, inputs: _Inputs) -> Configuration:
    """Return the configuration of the given sizes with everything that follows from them."""
    recipe, stages, fingerprint = inputs.recipe, sizes.network.stages, inputs.fingerprint
    turns = augmentation(sizes.network.patch, fingerprint, recipe)
    measured = inputs.machine is not None and inputs.budget.steps is None and inputs.machine.bf16
    configuration = Configuration(
        name=name,
        architecture=recipe.architecture,
        dimensions=3 if len(space.spacing_mm) == 3 else 2,
        spacing_mm=space.spacing_mm,
        median_shape=space.median_shape,
        patch=sizes.network.patch,
        batch=sizes.batch,
        stages=stages,
        deep_supervision_weights=supervision_weights(len(stages), recipe.coarsest_output_weight),
        batch_dice=name == "2d",
        normalizations=tuple(normalization(channel, fingerprint, recipe) for channel in fingerprint.channels),
        augmentation=with_sides(turns, fingerprint, target_of(fingerprint), inputs.transpose, len(sizes.network.patch)),
        schedule=schedule(inputs.budget, recipe),
        feature_map_estimate=sizes.elements,
        estimated_bytes=0,
    )
    return replace(
        configuration,
        estimated_bytes=training_bytes(configuration, inputs.task.channels, inputs.task.outputs, bf16=measured),
    )


_PLAN: Mapping[Sizing, Callable[[Space, _Inputs], _Planned]] = MappingProxyType(
    {"reference-memory": _by_reference_memory, "budget": _within_budget}
)
