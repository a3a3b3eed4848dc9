"""A budget too small for any sensible model, and the smallest that is enough."""

import math

import pytest

from planners.planner import make_plan
from planners.recipe import RECIPES, Budget, Machine
from planners.shortfall import Shortfall, shortfall
from tests.planners.fingerprints import Shape, fingerprint

TWO_CORES = Machine(device="cpu", cores=2, memory_bytes=16 << 30, bf16=True, flops_per_s=3e11, bytes_per_s=1e10)


def found(
    seconds: float | None, shape: Shape = (36, 50, 35), machine: Machine = TWO_CORES, recipe: str = "auto"
) -> Shortfall | None:
    seen, budget = fingerprint(shape), Budget(seconds=seconds)
    return shortfall(make_plan(seen, RECIPES[recipe], budget, machine), seen, budget, machine)


@pytest.mark.parametrize("shape", [(36, 50, 35), (1, 512, 512), (120, 400, 400)])
@pytest.mark.parametrize("speed", [1e10, 3e11, 1e13])
def test_the_smallest_budget_named_is_enough_and_half_of_it_is_not(shape: Shape, speed: float) -> None:
    machine = Machine(device="cpu", cores=2, memory_bytes=16 << 30, bf16=False, flops_per_s=speed, bytes_per_s=1e10)
    short = found(0.01, shape, machine)
    assert short is not None
    assert short.steps < short.steps_needed == RECIPES["auto"].steps_min
    minutes = math.ceil(short.smallest_seconds / 60)
    assert found(60.0 * minutes, shape, machine) is None
    assert found(short.smallest_seconds / 2, shape, machine) is not None


def test_more_time_holds_more_steps() -> None:
    once, twice = found(0.1), found(0.4)
    assert once is not None
    assert twice is not None
    assert 0 < once.steps < twice.steps < twice.steps_needed


def test_an_hour_is_enough_on_two_cores() -> None:
    assert found(3600.0) is None


def test_nothing_is_said_without_a_time_a_measurement_or_a_choice() -> None:
    unmeasured = Machine(device="cpu", cores=2, memory_bytes=16 << 30, bf16=True)
    assert found(0.01, machine=unmeasured) is None
    assert found(None) is None
    assert found(0.01, recipe="nnunet") is None
