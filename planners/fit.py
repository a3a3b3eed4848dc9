"""The size of an `auto` network: as large as data, memory and time allow, given up in the order that hurts least."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from planners.capacity import Capacity, capacity, network
from planners.memory import BFLOAT16, FLOAT32, feature_map_elements, training_network_bytes
from planners.patch import Sizes, Space, Task, limits_of
from planners.recipe import Budget, Machine, Recipe
from planners.schedule import FORWARD_AND_BACKWARD, forward_operations, network_seconds, training_seconds, wanted_steps
from planners.topology import Topology

_GB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What one training step may cost: bytes, and seconds on a machine or, without one, operations.

    `steps` is how many of them should fit into the training time and `case_seconds` what predicting one case may take,
    both None without a time budget.
    """

    memory_bytes: float
    operations: float
    seconds: float | None
    steps: int | None
    case_seconds: float | None
    machine: Machine | None

    @property
    def element_bytes(self) -> int:
        """Bytes of a number in the precision of training."""
        return BFLOAT16 if self.machine is not None and self.machine.bf16 else FLOAT32


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One size that a network could have."""

    shape: Topology
    width: int
    batch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A candidate, what a step of it costs, and the limits it was held against."""

    candidate: Candidate
    capacity: Capacity
    allowance: Allowance
    sizes: Sizes
    operations: float
    seconds: float | None
    memory_bytes: int

    @property
    def slow(self) -> bool:
        """Whether a step takes longer than allowed."""
        if self.seconds is not None and self.allowance.seconds is not None:
            return self.seconds > self.allowance.seconds
        return self.operations > self.allowance.operations

    @property
    def fits(self) -> bool:
        """Whether time and memory suffice."""
        return not self.slow and self.memory_bytes <= self.allowance.memory_bytes


def allowance(budget: Budget, machine: Machine | None, recipe: Recipe) -> Allowance:
    """Return what a training step may cost.

    With a time budget and a measured machine: the training share of the time over the steps that learning needs.
    With a budget of steps, or nothing measured, a fixed number of operations, so that the plan is the same everywhere.
    """
    if machine is None or budget.steps is not None or machine.flops_per_s is None:
        return Allowance(
            memory_bytes=recipe.memory_target_gb * _GB,
            operations=recipe.operations_per_step,
            seconds=None,
            steps=None,
            case_seconds=None,
            machine=None,
        )
    train_seconds = training_seconds(budget, recipe)
    steps = None if train_seconds is None else wanted_steps(train_seconds, recipe)
    seconds = recipe.step_seconds_max if train_seconds is None or steps is None else train_seconds / steps
    share = None if budget.seconds is None else budget.seconds * recipe.prediction_share
    return Allowance(
        memory_bytes=machine.memory_bytes * recipe.memory_share,
        operations=seconds * machine.flops_per_s,
        seconds=seconds,
        steps=steps,
        case_seconds=None if share is None else share / recipe.predicted_cases,
        machine=machine,
    )


def fitted_sizes(space: Space, task: Task, recipe: Recipe, allowed: Allowance) -> Fit:
    """Return the first of the candidates, best first, that memory and time allow, else the cheapest of them."""
    by_data = capacity(space, task, recipe)
    every = candidates(by_data, recipe)
    found = _cost(next(every), by_data, task, recipe, allowed)
    for candidate in every:
        if found.fits:
            break
        found = _cost(candidate, by_data, task, recipe, allowed)
    return found


def candidates(by_data: Capacity, recipe: Recipe) -> Iterator[Candidate]:
    """Yield sizes in the order in which they are given up.

    Width first, down to the narrowest that learns well; then patch, down to a comfortable one; then batch; then patch
    again; and a still narrower network as the last resort.
    """
    shapes, batch = by_data.shapes, by_data.batch
    limits = limits_of(recipe, len(shapes[0].patch))
    *liked, narrowest = recipe.feature_choices
    widths = [width for width in liked if width <= by_data.width]
    comfortable = [shape for shape in shapes if math.prod(shape.patch) >= limits.patch_voxels_comfortable] or shapes[:1]
    for width in widths:
        yield Candidate(shape=shapes[0], width=width, batch=batch)
    for shape in comfortable[1:]:
        yield Candidate(shape=shape, width=widths[-1], batch=batch)
    while batch > recipe.batch_min:
        batch -= 1
        yield Candidate(shape=comfortable[-1], width=widths[-1], batch=batch)
    for shape in shapes[len(comfortable) :]:
        yield Candidate(shape=shape, width=widths[-1], batch=batch)
    yield Candidate(shape=shapes[-1], width=narrowest, batch=batch)


def _cost(candidate: Candidate, by_data: Capacity, task: Task, recipe: Recipe, allowed: Allowance) -> Fit:
    made = network(candidate.shape, candidate.width, task, recipe)
    return Fit(
        candidate=candidate,
        capacity=by_data,
        allowance=allowed,
        sizes=Sizes(
            network=made,
            divisor=candidate.shape.divisor,
            batch=candidate.batch,
            elements=feature_map_elements(made, task.label_entries),
        ),
        operations=FORWARD_AND_BACKWARD * candidate.batch * forward_operations(made),
        seconds=None if allowed.machine is None else network_seconds(made, candidate.batch, allowed.machine),
        memory_bytes=training_network_bytes(made, candidate.batch, recipe.schedule.optimizer, allowed.element_bytes),
    )
