"""Foreseen Dice: coverage by simulation, weights that only lower it, and silence where too little is known."""

import dataclasses

import numpy as np
import pytest

from autoseg.core.observation import CaseObservation, StructureObservation
from autoseg.core.quality import (
    FALSE_ALARMS,
    MINIMUM_CASES,
    Quality,
    estimate,
    fit_quality,
    numbers_of,
    robust_fit,
    shape_of,
    typical,
)
from autoseg.core.records import decode, encode


def structure(label="liver", sure=0.9, voxels=1000, **changes):
    """A structure whose network expects a Dice of `sure`."""
    found = StructureObservation(
        label=label,
        voxels=voxels,
        mass=float(voxels),
        inside=sure * voxels,
        entropy=(1 - sure) * voxels,
        disagreement=0.0,
        volume_mm3=float(voxels),
        components=1,
        largest_voxels=voxels,
        surface_voxels=int(6 * voxels ** (2 / 3)),
        centre=(0.5, 0.5, 0.5),
    )
    return dataclasses.replace(found, **changes)


def simulated(count, seed):
    """Cases whose Dice follows what the network expects, with errors that grow as it falls, and a few outliers."""
    random = np.random.default_rng(seed)
    cases, dice = [], []
    for index in range(count):
        sure = float(random.uniform(0.7, 0.97))
        bad = np.log((1 - sure) / sure) + 0.3 + random.normal(0, 0.3) + (random.random() < 0.03) * 1.5
        cases.append(
            CaseObservation(
                case=f"case_{index}",
                model_digest="",
                structures=(structure(sure=sure, voxels=int(random.uniform(800, 1200))),),
                image=tuple(random.normal(0, 1, 4).tolist()),
            )
        )
        dice.append((float(1 / (1 + np.exp(bad))),))
    return cases, dice


def fitted(cases, dice):
    return fit_quality(cases, dice, ("3d_fullres",), ("a" * 64,))


def test_the_interval_covers_new_cases_as_often_as_it_says():
    inside, asked = 0, 0
    for seed in range(6):
        quality = fitted(*simulated(60, seed))
        for case, (truth,) in zip(*simulated(100, 100 + seed), strict=True):
            found = estimate(quality, case).structures[0]
            inside += found.lower <= truth <= found.upper
            asked += 1
    assert inside / asked == pytest.approx(0.9, abs=0.04)


def test_what_is_foreseen_follows_what_the_network_expects():
    quality = fitted(*simulated(80, 0))
    cases, dice = simulated(100, 1)
    foreseen = [estimate(quality, case).worst for case in cases]
    assert np.corrcoef(foreseen, np.ravel(dice))[0, 1] > 0.7


def test_a_case_unlike_all_known_ones_is_flagged_and_known_ones_seldom_are():
    cases, dice = simulated(100, 0)
    quality = fitted(cases, dice)
    assert sum(value > quality.flag_above for value in quality.oddness) <= FALSE_ALARMS * len(cases)
    broken = dataclasses.replace(cases[0], structures=(structure(sure=0.3, components=40, largest_voxels=100),))
    found = estimate(quality, broken)
    assert found.flagged
    assert found.as_odd <= 2 / 101  # the known ones hold outliers, too
    assert not estimate(quality, dataclasses.replace(cases[0], structures=(structure(sure=0.95),))).flagged


def test_nothing_odd_ever_raises_the_estimate():
    cases, dice = simulated(60, 3)
    quality = fitted(cases, dice)
    plain = dataclasses.replace(cases[0], structures=(structure(),), image=(0.0,) * 4)
    best = estimate(quality, plain).worst
    for odd in (
        dataclasses.replace(plain, structures=(structure(entropy=500.0),)),
        dataclasses.replace(plain, structures=(structure(components=9, largest_voxels=300),)),
        dataclasses.replace(plain, structures=(structure(centre=(0.1, 0.9, 0.1)),)),
        dataclasses.replace(plain, image=(9.0,) * 4),
    ):
        assert estimate(quality, odd).worst <= best


def test_too_few_cases_say_that_they_do_not_know():
    quality = fitted(*simulated(MINIMUM_CASES - 1, 0))
    found = estimate(quality, simulated(1, 9)[0][0])
    assert found.structures[0].dice is None
    assert (
        found.structures[0].because
        == "19 unseen cases are too few to tell (at least 20; with --folds 5 every training case is one)"
    )
    assert (found.worst, found.as_odd, found.flagged) == (None, None, None)


def test_cases_without_a_defined_dice_are_left_out_of_the_fit():
    cases, dice = simulated(30, 0)
    partly = [(None,) if index < 15 else row for index, row in enumerate(dice)]
    assert (
        fitted(cases, partly).structures[0].because
        == "15 unseen cases are too few to tell (at least 20; with --folds 5 every training case is one)"
    )


def test_the_record_comes_back_from_disk():
    quality = fitted(*simulated(25, 0))
    assert decode(encode(quality), Quality, "test") == quality


def test_an_outlier_hardly_moves_the_fit():
    random = np.random.default_rng(0)
    numbers = random.uniform(0, 3, (100, 2))
    target = 1.5 * numbers[:, 0] + 0.2 + random.normal(0, 0.05, 100)
    weights, intercept = robust_fit(numbers, target)
    np.testing.assert_allclose(weights, [1.5, 0], atol=0.05)
    assert intercept == pytest.approx(0.2, abs=0.1)
    target[:5] += 20
    np.testing.assert_allclose(robust_fit(numbers, target)[0], weights, atol=0.1)


def test_the_numbers_by_hand():
    one = structure(sure=0.8, voxels=1000, components=2, largest_voxels=900)
    shape, image = typical([shape_of(one)] * 3), typical([(0.0,), (1.0,), (2.0,)])
    assert image.centre == (1.0,)
    assert image.spread == (1.4826,)
    found = numbers_of(one, (1 + 2 * 1.4826,), shape, image)
    np.testing.assert_allclose(found, [np.log(0.2 / 0.8), np.log1p(0.2), 0, 0.1, np.log(2), 0, 2], atol=1e-9)
