"""Whether a time budget is too small for any sensible model, and the smallest that is not, by the time model."""

from dataclasses import dataclass

from planners.fingerprint import Fingerprint
from planners.plan import Plan
from planners.planner import describe_task, make_plan
from planners.recipe import RECIPES, Budget, Machine
from planners.schedule import seconds_per_step, training_seconds

# A budget named as enough is this much more than the time model says, so that rounding does not undo it.
_MARGIN = 1.001
# Another budget may change which configuration comes first, and with it what is needed.
_TRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortfall:
    """How many steps of the planned network fit, how many learning needs at least, and the budget that holds them."""

    steps: int
    steps_needed: int
    smallest_seconds: float


def shortfall(plan: Plan, fingerprint: Fingerprint, budget: Budget, machine: Machine) -> Shortfall | None:
    """Return by how much `budget` (of one network) is too small for the plan made within it, None if it is not.

    A planner short of time chooses the cheapest network there is, so that no other would do with less. None also
    where nothing was measured, without a time budget, and for recipes that size networks whatever the time.
    """
    recipe = RECIPES[plan.recipe]
    step, train = _step_seconds(plan, fingerprint, machine), training_seconds(budget, recipe)
    if step is None or train is None or recipe.sizing != "budget" or train >= recipe.steps_min * step:
        return None
    smallest, needed = 0.0, step
    for _ in range(_TRIES):
        enough = recipe.steps_min * needed / recipe.training_share * _MARGIN
        if enough <= smallest * _MARGIN:
            break
        smallest = enough
        planned = make_plan(fingerprint, recipe, Budget(seconds=smallest), machine)
        needed = _step_seconds(planned, fingerprint, machine) or needed
    return Shortfall(steps=int(train / step), steps_needed=recipe.steps_min, smallest_seconds=smallest)


def _step_seconds(plan: Plan, fingerprint: Fingerprint, machine: Machine) -> float | None:
    """Return the expected seconds of a step of the plan's first network, None if the machine was not measured."""
    task = describe_task(fingerprint)
    return seconds_per_step(plan.configurations[0], task.channels, task.outputs, machine)
