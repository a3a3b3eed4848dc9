"""Segmentation without learning, on images whose answer is known."""

import numpy as np
import pytest

from autoseg.imaging.classical import grow_region, otsu_threshold, segment_by_otsu, segment_by_watershed, split_touching

UNIT = (1.0, 1.0, 1.0)


def balls(*centres, radius=6, shape=(20, 24, 44)):
    grid = np.indices(shape)
    inside = np.zeros(shape, bool)
    for centre in centres:
        inside |= sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) <= radius**2
    return inside


def test_otsu_finds_a_bright_ball():
    ball = balls((10, 12, 20), radius=9)
    image = np.where(ball, 300, 50) + np.random.default_rng(0).normal(0, 15, ball.shape)
    assert 50 + 3 * 15 < otsu_threshold(image) < 300 - 3 * 15
    assert np.mean(segment_by_otsu(image) != ball) < 1e-3


def test_otsu_finds_nothing_in_a_constant_image():
    assert otsu_threshold(np.ones((2, 2, 2))) is None
    assert not segment_by_otsu(np.ones((2, 2, 2))).any()


def test_a_region_grows_from_its_seed_only():
    both = balls((10, 12, 8), (10, 12, 34))
    grown = grow_region(np.where(both, 100, 0), [(10, 12, 8)], 50, 150)
    assert np.array_equal(grown, balls((10, 12, 8)))
    assert np.array_equal(grow_region(np.where(both, 100, 0), [(10, 12, 8), (10, 12, 34)], 50, 150), both)


def test_a_seed_out_of_range_grows_nothing_and_one_outside_is_refused():
    image = np.zeros((3, 3, 3))
    assert not grow_region(image, [(1, 1, 1)], 50, 150).any()
    with pytest.raises(ValueError, match=r"seed \(3, 0, 0\) is not inside"):
        grow_region(image, [(3, 0, 0)], 50, 150)


def test_touching_balls_are_cut_apart():
    centres = [(10, 12, 8), (10, 12, 19), (10, 12, 30)]
    objects = split_touching(balls(*centres), UNIT, 4.0)
    assert sorted(np.unique(objects)) == [0, 1, 2, 3]
    assert len({objects[centre] for centre in centres}) == 3
    assert np.array_equal(objects > 0, balls(*centres))
    sizes = np.bincount(objects.ravel())[1:]
    assert sizes.min() > 0.8 * sizes.max()


def test_watershed_borders_settle_on_the_edge():
    ball = balls((10, 12, 20))
    markers = np.zeros(ball.shape, np.int32)
    markers[10, 12, 20], markers[0, 0, 0] = 2, 1
    labels = segment_by_watershed(np.where(ball, 100.0, 0.0), markers)
    overlap = ((labels == 2) & ball).sum()
    assert 2 * overlap / ((labels == 2).sum() + ball.sum()) > 0.9
    assert set(np.unique(labels)) == {1, 2}
