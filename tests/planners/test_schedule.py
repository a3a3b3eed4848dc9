"""Steps, operations, seconds and loss weights."""

from dataclasses import replace

import pytest

from planners.recipe import RECIPES, Budget, Machine
from planners.schedule import (
    operations_per_step,
    schedule,
    seconds_per_step,
    supervision_weights,
    training_seconds,
    wanted_steps,
)
from tests.builders import configuration

AUTO = RECIPES["auto"]
MACHINE = Machine(device="cpu", cores=2, memory_bytes=1 << 30, bf16=False, flops_per_s=1e9)


def test_operations_of_one_stage_by_hand() -> None:
    planned = configuration(2, count=1, edge=8, batch=2)
    multiply_adds = 64 * (9 * 1 * 4 + 9 * 4 * 4 + 4 * 2)
    assert operations_per_step(planned, 1, 2) == 3 * 2 * 2 * multiply_adds


def test_on_a_cpu_norms_cost_operations() -> None:
    planned = configuration(2, count=1, edge=8, batch=2)
    elements = 2 * 2 * 4 * 64  # two samples, two convolutions, four features
    expected = (0.40 * operations_per_step(planned, 1, 2) + 1170 * elements) / 1e9
    assert seconds_per_step(planned, 1, 2, MACHINE) == pytest.approx(expected)


def test_on_a_cpu_convolutions_of_24_features_cost_those_of_32_and_of_8_their_own() -> None:
    def convolutions(features: int) -> float:
        planned = configuration(2, count=1, edge=8, batch=2)
        planned = replace(planned, stages=(replace(planned.stages[0], features=features),))
        elements = 2 * 2 * features * 64  # two samples, two convolutions
        return (seconds_per_step(planned, 16, 16, MACHINE) or 0.0) - 1170 * elements / 1e9

    assert convolutions(24) == pytest.approx(convolutions(32))
    assert convolutions(16) < convolutions(17) == pytest.approx(convolutions(32))
    per_feature = 3 * 2 * 2 * 64 * 0.40 / 1e9
    assert convolutions(8) == pytest.approx(per_feature * (9 * 16 * 8 + 9 * 8 * 8 + 8 * 16))


def test_on_a_gpu_norms_move_bytes() -> None:
    planned = configuration(2, count=1, edge=8, batch=2)
    gpu = replace(MACHINE, device="cuda")
    elements = 2 * 2 * 4 * 64
    assert seconds_per_step(planned, 1, 2, gpu) == pytest.approx(operations_per_step(planned, 1, 2) / 1e9)
    moving = seconds_per_step(planned, 1, 2, replace(gpu, bytes_per_s=1e9, bf16=True))
    assert moving == pytest.approx(operations_per_step(planned, 1, 2) / 1e9 + elements * 2 * 10 / 1e9)


def test_an_unmeasured_machine_has_no_seconds() -> None:
    assert seconds_per_step(configuration(2), 1, 2, replace(MACHINE, flops_per_s=None)) is None


def test_four_times_the_time_wants_twice_the_steps() -> None:
    assert wanted_steps(AUTO.steps_reference_seconds, AUTO) == AUTO.steps_wanted
    assert wanted_steps(4 * AUTO.steps_reference_seconds, AUTO) == 2 * AUTO.steps_wanted
    assert wanted_steps(1.0, AUTO) == AUTO.steps_min


def test_training_gets_its_share_of_the_time() -> None:
    assert training_seconds(Budget(seconds=1000.0), AUTO) == pytest.approx(1000 * AUTO.training_share)
    assert training_seconds(Budget(), AUTO) is None


def test_the_schedule_follows_the_budget() -> None:
    assert schedule(Budget(seconds=60.0), AUTO).steps is None
    assert schedule(Budget(), AUTO).steps == AUTO.steps_without_budget
    assert schedule(Budget(), AUTO).convergence is not None
    assert schedule(Budget(seconds=60.0), AUTO).convergence is schedule(Budget(steps=25), AUTO).convergence is None
    short = schedule(Budget(steps=25), AUTO)
    assert (short.steps, short.steps_per_epoch) == (25, 2)


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name != "auto"])
def test_nnunets_recipes_keep_its_steps_without_a_budget(recipe: str) -> None:
    made = schedule(Budget(), RECIPES[recipe])
    assert (made.steps, made.convergence) == (250_000, None)


def test_loss_weights_halve_and_the_coarsest_is_zero() -> None:
    assert supervision_weights(4, 0.0) == (2 / 3, 1 / 3, 0.0)
    assert supervision_weights(6, 0.0) == pytest.approx((8 / 15, 4 / 15, 2 / 15, 1 / 15, 0.0))


@pytest.mark.parametrize("stages", [1, 2])
def test_a_single_output_has_no_weights(stages: int) -> None:
    assert supervision_weights(stages, 0.0) is None
