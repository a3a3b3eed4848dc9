"""Noise reduction and histogram matching do what they are for."""

import numpy as np
import pytest

from autoseg.imaging.filters import (
    match_histogram,
    noise_level,
    reduce_noise_gaussian,
    reduce_noise_median,
    reduce_noise_non_local_means,
    reduce_noise_total_variation,
)


def noisy(shape=(1, 8, 24, 24), sigma=10.0):
    clean = np.zeros(shape, np.float32)
    clean[..., shape[-1] // 2 :] = 200
    return clean, clean + np.random.default_rng(0).normal(0, sigma, size=shape).astype(np.float32)


REDUCERS = {
    "median": lambda image: reduce_noise_median(image, 1),
    "gaussian": lambda image: reduce_noise_gaussian(image, 0.7, (1.0, 1.0, 1.0)),
    "total variation": lambda image: reduce_noise_total_variation(image, 0.1),
    "non-local means": reduce_noise_non_local_means,
}


@pytest.mark.parametrize("name", REDUCERS)
@pytest.mark.parametrize("shape", [(1, 8, 24, 24), (2, 1, 24, 24)])
def test_noise_shrinks_and_the_edge_stays(name, shape):
    clean, image = noisy(shape)
    before = image.copy()
    result = REDUCERS[name](image)
    assert result.dtype == np.float32
    assert result.shape == image.shape
    flat = (slice(None), slice(None), slice(4, -4), slice(4, 8))
    assert (result - clean)[flat].std() < 0.6 * (image - clean)[flat].std()
    assert np.diff(result, axis=-1).mean(axis=(0, 1, 2)).argmax() == shape[-1] // 2 - 1
    assert np.array_equal(image, before)


@pytest.mark.parametrize("name", REDUCERS)
def test_a_constant_image_stays_as_it_is(name):
    image = np.full((1, 3, 5, 5), 7, np.float32)
    assert REDUCERS[name](image) == pytest.approx(image)


def test_a_lone_bright_voxel_vanishes_under_the_median():
    image = np.zeros((1, 5, 5, 5), np.float32)
    image[0, 2, 2, 2] = 9
    assert (reduce_noise_median(image, 1) == 0).all()


def test_gaussian_reach_is_in_mm():
    image = np.zeros((1, 9, 9, 9), np.float32)
    image[0, 4, 4, 4] = 1
    result = reduce_noise_gaussian(image, 1.0, (1.0, 2.0, 100.0))[0]
    assert result[5, 4, 4] == pytest.approx(np.exp(-0.5) * result[4, 4, 4], rel=1e-3)
    assert result[4, 5, 4] == pytest.approx(np.exp(-2) * result[4, 4, 4], rel=1e-3)
    assert result[4, 4, 5] == 0


def test_the_noise_level_is_that_of_the_noise_not_of_the_edges():
    assert noise_level(noisy((1, 20, 50, 50), 10)[1]) == pytest.approx(10, rel=0.1)
    assert noise_level(np.zeros((4, 2), np.float32)) == 0


def test_matched_histograms_have_the_references_distribution_and_keep_ranks():
    generator = np.random.default_rng(0)
    image = generator.normal(0, 1, size=(1, 6, 10, 10)).astype(np.float32)
    reference = generator.gamma(3, 50, size=(1, 8, 9, 11)).astype(np.float32)
    result = match_histogram(image, reference)
    assert np.percentile(result, [5, 50, 95]) == pytest.approx(np.percentile(reference, [5, 50, 95]), rel=0.05)
    assert np.array_equal(image.ravel().argsort(), result.ravel().argsort())


def test_matching_needs_equal_channels():
    with pytest.raises(ValueError, match="image has 1 channels, reference 2"):
        match_histogram(np.ones((1, 2, 2, 2), np.float32), np.ones((2, 2, 2, 2), np.float32))
