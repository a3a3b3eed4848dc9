"""The size of an `auto` network: as large as data, memory and time allow, given up in the order that hurts least."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from planners.memory import BFLOAT16, FLOAT32, feature_map_elements, parameter_count, training_network_bytes
from planners.patch import Sizes, Space, Task, limits_of
from planners.recipe import Budget, Machine, Recipe
from planners.schedule import FORWARD_AND_BACKWARD, forward_operations, network_seconds, training_seconds, wanted_steps
from planners.topology import Network, Topology, build_stages, topology

# A patch shrinks by at most this factor of voxels from one try to the next.
_SHRINK = 0.85
_GB = 2**30
# A U-Net with fewer resolutions sees too little around a voxel.
_STAGES_MIN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What one training step may cost: bytes, and seconds on a machine or operations without one."""

    memory_bytes: float
    operations: float
    seconds: float | None
    machine: Machine | None
    bf16: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One size that a network could have."""

    shape: Topology
    width: int
    batch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A candidate and what a step of it costs."""

    candidate: Candidate
    sizes: Sizes
    step_operations: float
    step_seconds: float | None
    step_bytes: int
    fits: bool


def allowance(budget: Budget, machine: Machine | None, recipe: Recipe) -> Allowance:
    """Return what a training step may cost.

    With a time budget and a measured machine: the training share of the time over the steps that learning needs.
    With a budget of steps, or nothing measured, a fixed number of operations, so that the plan is the same everywhere.
    """
    memory = recipe.memory_target_gb * _GB
    if machine is None or budget.steps is not None or machine.flops_per_s is None:
        return Allowance(
            memory_bytes=memory, operations=recipe.operations_per_step, seconds=None, machine=None, bf16=False
        )
    seconds = recipe.step_seconds_max
    train = training_seconds(budget, recipe)
    if train is not None:
        seconds = train / wanted_steps(budget, recipe)
    return Allowance(
        memory_bytes=machine.memory_bytes * recipe.memory_share,
        operations=seconds * machine.flops_per_s,
        seconds=seconds,
        machine=machine,
        bf16=machine.bf16,
    )


def fitted_sizes(space: Space, task: Task, recipe: Recipe, allowed: Allowance) -> Fit:
    """Return the first of the candidates, best first, that memory and time allow, else the cheapest of them."""
    shapes = patches(space, recipe)
    width_by_data = data_width(shapes[0], task, recipe)
    batch_by_data = data_batch(space, task, recipe, shapes[0])
    found = None
    for candidate in candidates(shapes, width_by_data, batch_by_data, recipe):
        found = _cost(candidate, task, recipe, allowed)
        if found.fits:
            break
    assert found is not None  # candidates always yields  # noqa: S101
    return found


def data_width(shape: Topology, task: Task, recipe: Recipe) -> int:
    """Return the widest first stage whose network has few enough parameters for the labelled voxels."""
    *widths, floor, _ = recipe.feature_choices
    if task.foreground_voxels is None:
        return recipe.feature_choices[0]
    allowed = recipe.parameters_per_foreground_voxel * task.foreground_voxels
    wide = (width for width in widths if parameter_count(_network(shape, width, task, recipe)) <= allowed)
    return next(wide, floor)


def data_batch(space: Space, task: Task, recipe: Recipe, shape: Topology) -> int:
    """Return the recipe's batch, at most the cases and its share of their voxels, at least its smallest."""
    by_data = round(space.dataset_voxels * recipe.batch_share / math.prod(shape.patch))
    preferred = limits_of(recipe, len(shape.patch)).batch_preferred
    return max(recipe.batch_min, min(preferred, by_data, task.n_training))


def patches(space: Space, recipe: Recipe) -> tuple[Topology, ...]:
    """Return the patches to choose from, largest first: cubes in millimetres, cut off where the image ends.

    The longest edge is at most a few times the second longest, whatever the image's shape, so that a spine or a
    borehole is seen in pieces of a sensible cross-section.
    """
    limits = limits_of(recipe, len(space.spacing_mm))
    extents = sorted(s * n for s, n in zip(space.spacing_mm, space.median_shape, strict=True))
    reach_mm = min(extents[-1], recipe.patch_aspect_max * extents[-2])
    found: list[Topology] = []
    while True:
        edges = [
            max(1, min(math.ceil(n), round(reach_mm / s)))
            for s, n in zip(space.spacing_mm, space.median_shape, strict=True)
        ]
        if math.prod(edges) <= limits.patch_voxels_max:
            shape = _deep_enough(space.spacing_mm, edges, recipe)
            if not found or math.prod(shape.patch) < math.prod(found[-1].patch):
                found.append(shape)
        if math.prod(edges) <= limits.patch_voxels_min:
            break
        reach_mm *= _SHRINK ** (1 / len(edges))
    within = [shape for shape in found if math.prod(shape.patch) <= limits.patch_voxels_max]
    return tuple(within or found[-1:])


def _deep_enough(spacing_mm: Sequence[float], edges: Sequence[int], recipe: Recipe) -> Topology:
    """Return the topology of a patch; a tiny one is padded along its fine axes until it can be halved twice."""
    shape = topology(spacing_mm, edges, recipe.feature_map_edge_min)
    if len(shape.strides) > _STAGES_MIN - 1:
        return shape
    finest = min(spacing_mm)
    least = recipe.feature_map_edge_min * 2 ** (_STAGES_MIN - 1)
    padded = [max(n, least) if s / finest < 2 else n for s, n in zip(spacing_mm, edges, strict=True)]
    return topology(spacing_mm, padded, recipe.feature_map_edge_min)


def candidates(shapes: Sequence[Topology], width: int, batch: int, recipe: Recipe) -> Iterator[Candidate]:
    """Yield sizes in the order in which they are given up.

    Width first, down to the narrowest that learns well; then patch, down to a comfortable one; then batch; then patch
    again; and a still narrower network as the last resort.
    """
    limits = limits_of(recipe, len(shapes[0].patch))
    *liked, narrowest = recipe.feature_choices
    widths = [w for w in liked if w <= width]
    comfortable = [s for s in shapes if math.prod(s.patch) >= limits.patch_voxels_comfortable] or list(shapes[:1])
    for w in widths:
        yield Candidate(shape=shapes[0], width=w, batch=batch)
    for shape in comfortable[1:]:
        yield Candidate(shape=shape, width=widths[-1], batch=batch)
    while batch > recipe.batch_min:
        batch -= 1
        yield Candidate(shape=comfortable[-1], width=widths[-1], batch=batch)
    for shape in shapes[len(comfortable) :]:
        yield Candidate(shape=shape, width=widths[-1], batch=batch)
    yield Candidate(shape=shapes[-1], width=narrowest, batch=batch)


def _network(shape: Topology, width: int, task: Task, recipe: Recipe) -> Network:
    return Network(
        architecture=recipe.architecture,
        patch=shape.patch,
        stages=build_stages(shape, recipe, width),
        channels=task.channels,
        outputs=task.outputs,
    )


def _cost(candidate: Candidate, task: Task, recipe: Recipe, allowed: Allowance) -> Fit:
    network = _network(candidate.shape, candidate.width, task, recipe)
    operations = FORWARD_AND_BACKWARD * candidate.batch * forward_operations(network)
    seconds = None if allowed.machine is None else network_seconds(network, candidate.batch, allowed.machine)
    element_bytes = BFLOAT16 if allowed.bf16 else FLOAT32
    step_bytes = training_network_bytes(network, candidate.batch, recipe.schedule.optimizer, element_bytes)
    quick = (
        operations <= allowed.operations if seconds is None or allowed.seconds is None else seconds <= allowed.seconds
    )
    return Fit(
        candidate=candidate,
        sizes=Sizes(
            network=network,
            divisor=candidate.shape.divisor,
            batch=candidate.batch,
            elements=feature_map_elements(network, task.label_entries),
        ),
        step_operations=operations,
        step_seconds=seconds,
        step_bytes=step_bytes,
        fits=quick and step_bytes <= allowed.memory_bytes,
    )
