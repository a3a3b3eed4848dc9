"""How large an `auto` network may be by its data: patches to choose from, width, depth and batch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from planners.memory import parameter_count
from planners.patch import Space, Task, limits_of
from planners.recipe import Recipe
from planners.topology import Network, Topology, build_stages, topology

# A patch shrinks by this factor of voxels from one try to the next: fine enough not to miss a multiple of 8.
_SHRINK = 0.85
# A U-Net with fewer resolutions sees too little around a voxel.
STAGES_MIN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """The largest network that the data justify: patches largest first, features of the first stage, batch."""

    shapes: tuple[Topology, ...]
    width: int
    batch: int
    parameters: int
    parameters_allowed: float | None


def capacity(space: Space, task: Task, recipe: Recipe) -> Capacity:
    """Return the widest and then deepest network with few enough parameters for the labelled voxels.

    Where even the narrowest that learns well has too many, the shallowest of that width.
    """
    limits = limits_of(recipe, len(space.spacing_mm))
    *widths, _ = recipe.feature_choices
    allowed = (
        None if task.foreground_voxels is None else recipe.parameters_per_foreground_voxel * task.foreground_voxels
    )
    deepest = patches(space, recipe, limits.stages_max)
    depth = len(deepest[0].strides)
    by_depth = {depth: deepest}
    depths = [depth, *([depth - 1] if depth > STAGES_MIN + 1 else [])]
    choices = [(width, stages) for width in widths for stages in depths]
    choices += [(widths[-1], stages) for stages in range(depths[-1] - 1, STAGES_MIN, -1)]
    for width, stages in choices:
        if stages not in by_depth:
            by_depth[stages] = patches(space, recipe, stages)
        shapes = by_depth[stages]
        parameters = parameter_count(network(shapes[0], width, task, recipe))
        if allowed is None or parameters <= allowed:
            break
    return Capacity(
        shapes=shapes,
        width=width,
        batch=data_batch(space, task, recipe, shapes[0]),
        parameters=parameters,
        parameters_allowed=allowed,
    )


def data_batch(space: Space, task: Task, recipe: Recipe, shape: Topology) -> int:
    """Return the recipe's batch, at most the cases and its share of their voxels, at least its smallest."""
    by_data = round(space.dataset_voxels * recipe.batch_share / math.prod(shape.patch))
    preferred = limits_of(recipe, len(shape.patch)).batch_preferred
    return max(recipe.batch_min, min(preferred, by_data, task.n_training))


def patches(space: Space, recipe: Recipe, stages_max: int | None) -> tuple[Topology, ...]:
    """Return the patches to choose from, largest first: cubes in millimetres, cut off where the image ends.

    The longest edge is at most a few times the second longest, whatever the image's shape, so that a spine or a
    borehole is seen in pieces of a sensible cross-section.
    """
    limits = limits_of(recipe, len(space.spacing_mm))
    pairs = tuple(zip(space.spacing_mm, space.median_shape, strict=True))
    extents_mm = sorted(spacing * edge for spacing, edge in pairs)
    reach_mm = min(extents_mm[-1], recipe.patch_aspect_max * extents_mm[-2])
    found: list[Topology] = []
    while True:
        edges = [max(1, min(math.ceil(edge), round(reach_mm / spacing))) for spacing, edge in pairs]
        if math.prod(edges) <= limits.patch_voxels_max:
            shape = _deep_enough(space.spacing_mm, edges, recipe, stages_max)
            shape = _trimmed(shape, space.median_shape, recipe)
            if not found or math.prod(shape.patch) < math.prod(found[-1].patch):
                found.append(shape)
        if math.prod(edges) <= limits.patch_voxels_min:
            break
        reach_mm *= _SHRINK ** (1 / len(edges))
    within = [shape for shape in found if math.prod(shape.patch) <= limits.patch_voxels_max]
    return tuple(within or found[-1:])


def _deep_enough(spacing_mm: Sequence[float], edges: Sequence[int], recipe: Recipe, stages_max: int | None) -> Topology:
    """Return the topology of a patch; a tiny one is padded along its fine axes until it can be halved twice."""
    shape = topology(spacing_mm, edges, recipe.feature_map_edge_min, stages_max)
    if len(shape.strides) >= STAGES_MIN:
        return shape
    finest = min(spacing_mm)
    least = recipe.feature_map_edge_min * 2 ** (STAGES_MIN - 1)
    padded = [max(edge, least) if s / finest < 2 else edge for s, edge in zip(spacing_mm, edges, strict=True)]
    return topology(spacing_mm, padded, recipe.feature_map_edge_min, stages_max)


def _trimmed(shape: Topology, image: Sequence[float], recipe: Recipe) -> Topology:
    """Return the topology with a patch that ends inside the image where it would reach beyond.

    An axis keeps its padding when it would lose more than the recipe's share of the image, or the depth of its network.
    """
    patch = []
    for edge, size, divisor in zip(shape.patch, image, shape.divisor, strict=True):
        inside = math.floor(size / divisor) * divisor
        deep = inside >= recipe.feature_map_edge_min * divisor
        patch.append(inside if edge > size and deep and inside >= (1 - recipe.patch_trim_max) * size else edge)
    return replace(shape, patch=tuple(patch))


def network(shape: Topology, width: int, task: Task, recipe: Recipe) -> Network:
    """Return the recipe's network of a width for a topology."""
    return Network(
        architecture=recipe.architecture,
        patch=shape.patch,
        stages=build_stages(shape, recipe, width),
        channels=task.channels,
        outputs=task.outputs,
    )
