"""Intensities as the network sees them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoseg.core.errors import AutosegError
from autoseg.imaging.intensity import WINDOWS, moments, normalize
from planners.plan import Normalization

EVERYWHERE = np.ones((2, 3, 4), bool)


def channel(seed=0):
    return np.random.default_rng(seed).normal(100, 20, size=(1, 2, 3, 4)).astype(np.float32)


def rule(scheme, **numbers):
    return (Normalization(channel="image", scheme=scheme, **numbers),)


def test_zscore_gives_mean_0_and_std_1_and_leaves_the_input_alone():
    image = channel()
    before = image.copy()
    result = normalize(image, rule("zscore"), EVERYWHERE)
    assert result.mean() == pytest.approx(0, abs=1e-6)
    assert result.std() == pytest.approx(1, abs=1e-6)
    assert np.array_equal(image, before)


def test_masked_zscore_looks_only_inside_and_changes_nothing_outside():
    image, mask = channel(), np.zeros((2, 3, 4), bool)
    mask[1] = True
    image[0, 0] = 0
    result = normalize(image, rule("zscore", use_mask=True), mask)
    assert (result[0, 0] == 0).all()
    assert result[0, 1].mean() == pytest.approx(0, abs=1e-6)
    assert result[0, 1].std() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("scheme", ["zscore", "rescale-0-1"])
def test_a_constant_channel_becomes_zeros(scheme):
    image = np.full((1, 2, 3, 4), 0.1, np.float32)
    assert (normalize(image, rule(scheme), EVERYWHERE) == 0).all()


def test_ct_clips_then_standardises_with_the_planned_numbers():
    image = np.array([-2000.0, 50, 3000]).reshape(1, 1, 1, 3)
    result = normalize(image, rule("ct", lower=-100.0, upper=200.0, mean=50.0, std=50.0), np.ones((1, 1, 3), bool))
    assert result.ravel().tolist() == [-3, 0, 3]


def test_a_window_maps_its_range_to_0_1():
    lung = WINDOWS["lung"]
    image = np.array([-1350.0, -600, 150, 1000]).reshape(1, 1, 1, 4)
    result = normalize(image, rule("window", lower=lung.lower_hu, upper=lung.upper_hu), np.ones((1, 1, 4), bool))
    assert result.ravel().tolist() == [0, 0.5, 1, 1]


def test_rgb_is_divided_by_255_and_other_ranges_are_refused():
    mask = np.ones((1, 1, 2), bool)
    image = np.array([0, 255]).reshape(1, 1, 1, 2)
    assert normalize(image, rule("rgb-0-1"), mask).ravel().tolist() == [0, 1]
    with pytest.raises(AutosegError, match=r"channel image: values 0..510 are not 0..255"):
        normalize(image * 2, rule("rgb-0-1"), mask)


def test_each_channel_has_its_own_rule():
    rules = (Normalization(channel="ct", scheme="none"), Normalization(channel="pet", scheme="rescale-0-1"))
    image = np.concatenate([channel(1), channel(2)])
    result = normalize(image, rules, EVERYWHERE)
    assert np.array_equal(result[0], image[0])
    assert (result[1].min(), result[1].max()) == (0, 1)


def test_a_plan_that_lacks_a_number_is_our_own_error():
    with pytest.raises(ValueError, match="lacks a number"):
        normalize(channel(), rule("ct", lower=0.0, upper=1.0), EVERYWHERE)


@given(seed=st.integers(0, 99), offset=st.floats(-1e4, 1e4), masked=st.booleans())
@settings(max_examples=40, deadline=None)
def test_moments_equal_numpy_in_double_precision(seed, offset, masked):
    values = (np.random.default_rng(seed).normal(size=(3, 4, 5)) + offset).astype(np.float32)
    mask = values > offset if masked else None
    chosen = values[mask] if masked else values
    found = moments(values, mask)
    assert found.mean == pytest.approx(chosen.mean(dtype=np.float64), rel=1e-12, abs=1e-12)
    assert found.std == pytest.approx(chosen.std(dtype=np.float64), rel=1e-9)


def test_moments_of_nothing_are_zero():
    assert moments(np.ones((1, 2, 2), np.float32), np.zeros((1, 2, 2), bool)).mean == 0
