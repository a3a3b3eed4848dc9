"""Patch and batch by a reference memory, and the low-resolution spacing that follows: nnU-Net's rules."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from planners.memory import feature_map_elements
from planners.recipe import Recipe, Width
from planners.topology import Network, Topology, build_stages, topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """What a configuration works on: spacing in mm and median shape in voxels, transposed, and all voxels together."""

    spacing_mm: tuple[float, ...]
    median_shape: tuple[float, ...]
    dataset_voxels: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a network has to read and write, and how much there is to learn from.

    `label_entries` counts background, foreground and ignore. `foreground_voxels` is the sum over all training cases,
    None where it was not counted.
    """

    channels: int
    outputs: int
    label_entries: int
    n_training: int
    foreground_voxels: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The size of a network and of its training batch."""

    network: Network
    divisor: tuple[int, ...]
    batch: int
    elements: int


def limits_of(recipe: Recipe, dimensions: int) -> Width:
    """Return the recipe's sizes for volumes or slices."""
    return recipe.volume if dimensions == 3 else recipe.slice


def start_patch(space: Space, edge: float) -> tuple[float, ...]:
    """Return the patch of equal millimetres an axis and `edge` to the power of dimensions voxels, within the image."""
    density = [1 / s for s in space.spacing_mm]
    scale = (edge ** len(density) / math.prod(density)) ** (1 / len(density))
    return tuple(min(round(d * scale), n) for d, n in zip(density, space.median_shape, strict=True))


def reference_sizes(space: Space, task: Task, recipe: Recipe) -> Sizes:
    """Return the largest patch whose network fits the memory target, and the batch that then fits.

    The patch starts with equal millimetres an axis, clipped to the median image, and loses one divisor at a time from
    the axis that is longest relative to the image. Source: nnU-Net, ExperimentPlanner.get_plans_for_configuration.
    """
    limits = limits_of(recipe, len(space.spacing_mm))
    allowed = limits.reference_elements * (recipe.memory_target_gb / recipe.reference_memory_gb)
    shape = topology(space.spacing_mm, start_patch(space, limits.start_edge), recipe.feature_map_edge_min)
    while True:
        network = reference_network(shape, task, recipe)
        elements = feature_map_elements(network, task.label_entries)
        if elements / limits.reference_batch * limits.patch_batch <= allowed:
            break
        smaller = shrink(space, shape, recipe.feature_map_edge_min)
        if smaller.patch == shape.patch:
            break
        shape = smaller
    by_memory = round(allowed / elements * limits.reference_batch)
    by_data = round(space.dataset_voxels * recipe.batch_share / math.prod(shape.patch))
    batch = max(min(by_memory, by_data), recipe.batch_min)
    return Sizes(network=network, divisor=shape.divisor, batch=batch, elements=elements)


def reference_network(shape: Topology, task: Task, recipe: Recipe) -> Network:
    """Return the recipe's network of full width for a topology."""
    return Network(
        architecture=recipe.architecture,
        patch=shape.patch,
        stages=build_stages(shape, recipe, recipe.features_first),
        channels=task.channels,
        outputs=task.outputs,
    )


def shrink(space: Space, shape: Topology, edge_min: int) -> Topology:
    """Return the topology of the patch made one divisor shorter along the axis longest relative to the image.

    The divisor is that of the shorter patch, which may be poolable less often; the last of equal axes gives way.
    Returns the same patch when that axis cannot get shorter.
    """
    patch = list(shape.patch)
    axis = max(range(len(patch)), key=lambda a: (patch[a] / space.median_shape[a], a))
    tentative = list(patch)
    tentative[axis] = max(1, patch[axis] - shape.divisor[axis])
    shorter = topology(space.spacing_mm, tentative, edge_min)
    if shorter.divisor[axis] == shape.divisor[axis]:
        return shorter
    patch[axis] = max(1, patch[axis] - shorter.divisor[axis])
    return topology(space.spacing_mm, patch, edge_min)


def coarsened(spacing_mm: tuple[float, ...], factor: float) -> tuple[float, ...]:
    """Return the spacing made `factor` coarser along axes finer than half the coarsest, along all if there is none."""
    coarsest = max(spacing_mm)
    fine = [coarsest / s > 2 for s in spacing_mm]
    return tuple(s * factor if is_fine or not any(fine) else s for s, is_fine in zip(spacing_mm, fine, strict=True))


def lowres_space(full: Space, patch: Sequence[int], task: Task, recipe: Recipe) -> tuple[Space, Sizes] | None:
    """Return spacing and sizes of the low-resolution network, or None where the patch covers enough without.

    Spacing grows a little at a time, first along axes finer than half the coarsest, until a patch covers enough of
    the median case. Source: nnU-Net, ExperimentPlanner.plan_experiment.
    """
    full_voxels = math.prod(full.median_shape)
    spacing, voxels, patch_voxels = full.spacing_mm, full_voxels, math.prod(patch)
    found = None
    while patch_voxels / voxels < recipe.lowres_coverage:
        spacing = coarsened(spacing, recipe.lowres_factor)
        exact = [f / s * n for f, s, n in zip(full.spacing_mm, spacing, full.median_shape, strict=True)]
        voxels = math.prod(exact)
        space = Space(
            spacing_mm=spacing,
            median_shape=tuple(max(1.0, float(round(n))) for n in exact),
            dataset_voxels=voxels * task.n_training,
        )
        found = (space, reference_sizes(space, task, recipe))
        patch_voxels = math.prod(found[1].network.patch)
    if found is None or full_voxels / voxels < recipe.lowres_gain_min:
        return None
    return found
