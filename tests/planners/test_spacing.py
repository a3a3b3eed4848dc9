"""Target spacing, axis order and shapes, by hand and against NumPy."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planners.recipe import RECIPES
from planners.spacing import median_shape, percentile, resampled_shape, target_spacing, transposition, working_spacing
from tests.planners.fingerprints import case, fingerprint, picture

NNUNET, AUTO = RECIPES["nnunet"], RECIPES["auto"]


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=40), st.sampled_from([0.0, 10.0, 50.0, 99.5, 100.0]))
def test_percentiles_are_numpys_to_the_last_bit(values: list[float], percent: float) -> None:
    assert percentile(values, percent) == np.percentile(values, percent)


def test_target_is_the_median_of_each_axis() -> None:
    cases = tuple(case(str(z), (50, 50, 50), (z, 1.0, 2.0)) for z in (1.0, 2.0, 9.0))
    assert target_spacing(replace(fingerprint(), cases=cases), NNUNET) == (2.0, 1.0, 2.0)


def test_thick_slices_take_a_low_percentile() -> None:
    cases = tuple(case(str(z), (20, 256, 256), (float(z), 1.0, 1.0)) for z in range(2, 13))
    assert target_spacing(replace(fingerprint(), cases=cases), NNUNET) == (3.0, 1.0, 1.0)


def test_slices_never_become_thinner_than_pixels_are_wide() -> None:
    cases = tuple(case(str(z), (20, 256, 256), (z, 1.0, 1.0)) for z in (0.5, 0.5, 5.0, 5.0, 5.0))
    assert target_spacing(replace(fingerprint(), cases=cases), NNUNET) == (1.0 + 1e-5, 1.0, 1.0)


def test_a_given_spacing_is_obeyed() -> None:
    assert target_spacing(fingerprint(), replace(NNUNET, spacing_mm=(3.0, 2.0, 1.0))) == (3.0, 2.0, 1.0)


def test_a_picture_is_one_thick_slice() -> None:
    assert working_spacing(picture("a", (64, 32))) == (999.0, 1.0, 1.0)
    assert target_spacing(replace(fingerprint(), cases=(picture("a", (64, 32)),)), AUTO) == (999.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("rule", "shape", "order"),
    [
        ("worst-axis-first", (100, 100, 20), (2, 0, 1)),
        ("keep", (100, 100, 20), (0, 1, 2)),
        ("slices-first", (100, 100, 20), (2, 0, 1)),
        ("slices-first", (100, 1, 20), (1, 0, 2)),
        ("worst-axis-first", (100, 1, 20), (2, 0, 1)),
    ],
)
def test_the_axis_across_slices_comes_first(rule: str, shape: tuple[int, ...], order: tuple[int, ...]) -> None:
    recipe = replace(NNUNET, transpose=rule)  # type: ignore[arg-type]
    assert transposition((1.0, 1.0, 5.0), shape, recipe) == order


def test_equal_spacings_keep_the_order() -> None:
    assert transposition((1.0, 1.0, 1.0), (9, 9, 9), AUTO) == (0, 1, 2)


def test_half_voxels_are_rounded_to_even() -> None:
    assert resampled_shape(case("a", (5, 7, 100), (1.0, 1.0, 0.01)), (2.0, 2.0, 10.0)) == (2, 4, 1)


def test_the_median_shape_may_be_half_a_voxel() -> None:
    cases = (case("a", (10, 20, 31), (1.0, 1.0, 1.0)), case("b", (11, 20, 30), (1.0, 1.0, 1.0)))
    assert median_shape(replace(fingerprint(), cases=cases), (1.0, 1.0, 1.0)) == (10.5, 20.0, 30.5)
