"""Recipes are complete, and budgets and machines are checked where they are born."""

import pytest

from planners.normalization import WINDOWS_HU
from planners.recipe import RECIPES, Budget, Machine


def test_recipes_are_known_by_their_names() -> None:
    names = ["auto", "nnunet", "nnunet-resenc", "nnunet-resenc-m", "nnunet-resenc-l", "nnunet-resenc-xl"]
    assert list(RECIPES) == names
    assert [recipe.name for recipe in RECIPES.values()] == names


def test_named_windows_are_level_and_width_of_radiologists() -> None:
    assert {name: ((low + high) / 2, high - low) for name, (low, high) in WINDOWS_HU.items()} == {
        "soft-tissue": (40, 400),
        "lung": (-600, 1500),
        "bone": (400, 1800),
        "brain": (40, 80),
    }


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_a_budget_of_seconds_is_positive(seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds is not positive"):
        Budget(seconds=seconds)


def test_a_budget_of_steps_is_positive() -> None:
    with pytest.raises(ValueError, match="0 steps is not positive"):
        Budget(steps=0)


def test_a_budget_is_of_one_kind() -> None:
    with pytest.raises(ValueError, match="either seconds or steps"):
        Budget(seconds=60.0, steps=10)


def test_a_machine_is_positive() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        Machine(device="cpu", cores=2, memory_bytes=1 << 30, bf16=False, flops_per_s=0.0)
