"""Temperature and calibration error by hand, and on sets that are off by a known factor."""

import math

import numpy as np
import pytest

from autoseg.core.calibration import (
    MINIMUM_CASES,
    Sampled,
    fit,
    fit_temperature,
    reliability,
    tempered,
)


def sampled(probabilities, truth, weights=None, near=None):
    count = len(truth)
    return Sampled(
        probabilities=np.asarray(probabilities, np.float64),
        truth=np.asarray(truth, np.int64),
        weights=np.ones(count) if weights is None else np.asarray(weights, np.float64),
        near=np.ones(count, np.bool_) if near is None else np.asarray(near),
    )


def overconfident(factor, classes, seed, count=40_000):
    """A case whose truth is drawn from softmax(z), while the network says softmax(factor z)."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1.5, (count, classes))
    powers = np.exp(logits)
    right = powers / powers.sum(axis=1, keepdims=True)
    truth = (right.cumsum(axis=1) < random.random((count, 1))).sum(axis=1)
    said = np.exp(factor * logits)
    return sampled(said / said.sum(axis=1, keepdims=True), truth)


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.5])
@pytest.mark.parametrize("classes", [2, 4])
def test_the_factor_that_a_set_is_off_by_is_found(factor, classes):
    cases = [overconfident(factor, classes, seed) for seed in range(5)]
    assert fit_temperature(cases) == pytest.approx(factor, rel=0.01)


def test_a_temperature_worked_out_by_hand():
    """Said 0.9, right 3 times of 4: the best p is 0.75, so logit(0.9) / T = logit(0.75) and T = ln 9 / ln 3 = 2."""
    case = sampled([[0.9, 0.1]] * 4, [0, 0, 0, 1])
    assert fit_temperature([case]) == pytest.approx(2.0, rel=1e-3)


def test_every_case_counts_the_same_and_every_voxel_by_its_weight():
    few = sampled([[0.9, 0.1]] * 2, [0, 1], weights=[3, 1])  # stands for 3 right, 1 wrong
    many = sampled([[0.9, 0.1]] * 400, [0] * 300 + [1] * 100)
    assert fit_temperature([few, many]) == pytest.approx(2.0, rel=1e-3)


def test_an_expected_calibration_error_worked_out_by_hand():
    """Two voxels at 0.95 of which one is right, two at 0.6 that are both right: (|0.5-0.95| + |1-0.6|) / 2 = 0.425."""
    case = sampled([[0.95, 0.05], [0.95, 0.05], [0.4, 0.6], [0.4, 0.6]], [0, 1, 1, 1])
    found = reliability([case], bins=10)
    assert found.calibration_error == pytest.approx(0.425)
    assert found.log_loss == pytest.approx(-(math.log(0.95) + math.log(0.05) + 2 * math.log(0.6)) / 4)
    assert [(each.lower, each.share, each.accuracy) for each in found.bins] == [(0.6, 0.5, 1.0), (0.9, 0.5, 0.5)]


def test_voxels_far_from_structures_do_not_flatter_the_calibration_error():
    near = [True, True, False, False]
    case = sampled([[0.8, 0.2], [0.8, 0.2], [1, 0], [1, 0]], [0, 1, 0, 0], weights=[1, 1, 500, 500], near=near)
    assert reliability([case]).calibration_error == pytest.approx(0.3)


def test_a_temperature_keeps_the_order_of_classes_and_sums_to_one():
    random = np.random.default_rng(0)
    said = random.dirichlet([0.3] * 5, 200)
    for temperature in (0.3, 1.0, 4.0):
        found = tempered(said, temperature)
        np.testing.assert_allclose(found.sum(axis=1), 1)
        np.testing.assert_array_equal(found.argmax(axis=1), said.argmax(axis=1))
    np.testing.assert_allclose(tempered(said, 1.0), said, atol=1e-12)


def test_calibration_gets_better_on_cases_that_the_temperature_was_not_fitted_on():
    found = fit("", [overconfident(2.0, 3, seed, 4000) for seed in range(10)])
    assert found.temperature == pytest.approx(2.0, rel=0.03)
    assert found.before.calibration_error > 0.1
    assert found.after.calibration_error < 0.02
    assert found.after.log_loss < found.before.log_loss


def test_too_few_cases_give_none():
    found = fit("liver", [overconfident(2.0, 2, seed, 100) for seed in range(MINIMUM_CASES - 1)])
    assert (found.of, found.temperature, found.before, found.after) == ("liver", None, None, None)
    assert found.because == "4 unseen cases are too few (at least 5)"
