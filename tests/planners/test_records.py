"""Fingerprints are checked where they are born; plans name what they lack."""

from dataclasses import replace

import pytest

from planners.fingerprint import Label
from planners.planner import make_plan
from planners.recipe import RECIPES, Budget
from tests.planners.fingerprints import case, fingerprint


def test_a_label_has_a_name() -> None:
    with pytest.raises(ValueError, match="a label needs a name"):
        Label(name="", values=(1,))


@pytest.mark.parametrize("values", [(), (0,), (1, 1)])
def test_a_label_has_distinct_values_that_are_not_background(values: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must be distinct, at least one, and not 0"):
        Label(name="organ", values=values)


def test_a_case_has_no_empty_axis() -> None:
    with pytest.raises(ValueError, match="has an empty axis"):
        case("a", (0, 5, 5), (1.0, 1.0, 1.0))


@pytest.mark.parametrize("spacing", [0.0, -1.0, float("nan"), float("inf")])
def test_a_case_has_positive_spacing(spacing: float) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        case("a", (5, 5, 5), (1.0, spacing, 1.0))


def test_a_fingerprint_has_cases() -> None:
    with pytest.raises(ValueError, match="at least one case and one channel"):
        replace(fingerprint(), cases=())


def test_a_plan_names_its_configurations() -> None:
    plan = make_plan(fingerprint(), RECIPES["auto"], Budget(steps=1))
    assert plan.configuration("2d").name == "2d"
    with pytest.raises(KeyError, match="the plan has 3d_fullres, 2d"):
        plan.configuration("3d_lowres")
