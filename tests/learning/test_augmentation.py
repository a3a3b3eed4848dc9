"""Each intensity transform against its namesake in batchgenerators, and the draw against its seed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage, stats

from autoseg.learning.augmentation import (
    Change,
    apply_intensity,
    change_contrast,
    change_gamma,
    draw_intensity,
    gaussian_blur,
    lower_resolution,
)
from tests.builders import EVERY_AUGMENTATION, NO_AUGMENTATION


@pytest.fixture
def image() -> NDArray[np.float32]:
    random = np.random.default_rng(0)
    return ndimage.gaussian_filter(random.standard_normal((20, 24, 22)), 1.0).astype(np.float32)


@pytest.mark.parametrize("exponent", [1.1, 1.5])
def test_gamma_agrees_with_batchgenerators(image: NDArray[np.float32], exponent: float) -> None:
    from batchgenerators.augmentations.color_augmentations import augment_gamma

    theirs = augment_gamma(image[None].copy(), (exponent, exponent), retain_stats=True)[0]
    ours = change_gamma(torch.from_numpy(image), exponent).numpy()
    assert np.abs(ours - theirs).max() < 1e-4 * np.ptp(image)


@pytest.mark.parametrize("factor", [1.1, 1.25])
def test_contrast_agrees_with_batchgenerators(image: NDArray[np.float32], factor: float) -> None:
    from batchgenerators.augmentations.color_augmentations import augment_contrast

    theirs = augment_contrast(image[None].copy(), (factor, factor), preserve_range=True)[0]
    assert np.abs(change_contrast(torch.from_numpy(image), factor).numpy() - theirs).max() < 1e-5


@pytest.mark.parametrize("sigma", [0.5, 0.8, 1.0])
def test_blur_agrees_with_scipy(image: NDArray[np.float32], sigma: float) -> None:
    theirs = ndimage.gaussian_filter(image, sigma, mode="mirror")
    assert np.abs(gaussian_blur(torch.from_numpy(image), sigma).numpy() - theirs).max() < 5e-3 * np.ptp(image)


@pytest.mark.parametrize("sigma", [0.5, 1.0])
def test_blur_agrees_with_batchgenerators_away_from_the_edges(image: NDArray[np.float32], sigma: float) -> None:
    from batchgenerators.augmentations.noise_augmentations import augment_gaussian_blur

    theirs = augment_gaussian_blur(image[None].copy(), (sigma, sigma))[0]
    ours = gaussian_blur(torch.from_numpy(image), sigma).numpy()
    inside = (slice(4, -4),) * 3  # they repeat the last voxel where they reflect, we do not
    assert np.abs(ours - theirs)[inside].max() < 2e-3 * np.ptp(image)


def test_inverted_gamma_agrees_with_batchgenerators(image: NDArray[np.float32]) -> None:
    from batchgenerators.augmentations.color_augmentations import augment_gamma

    theirs = augment_gamma(image[None].copy(), (1.4, 1.4), invert_image=True, retain_stats=True)[0]
    only = Change(rows=np.array([0]), values=np.array([[1.4]], np.float32))
    draw = replace(draw_intensity(NO_AUGMENTATION, 1, 1, np.random.default_rng(0)), gamma_inverted=only)
    ours = apply_intensity(torch.from_numpy(image[None, None].copy()), draw, in_plane_only=False)[0, 0].numpy()
    assert np.abs(ours - theirs).max() < 1e-4 * np.ptp(image)


def test_brightness_agrees_with_batchgenerators(image: NDArray[np.float32]) -> None:
    from batchgenerators.augmentations.color_augmentations import augment_brightness_multiplicative

    theirs = augment_brightness_multiplicative(image[None].copy(), (1.2, 1.2))[0]
    only = Change(rows=np.array([0]), values=np.array([[1.2]], np.float32))
    draw = replace(draw_intensity(NO_AUGMENTATION, 1, 1, np.random.default_rng(0)), brightness=only)
    ours = apply_intensity(torch.from_numpy(image[None, None].copy()), draw, in_plane_only=False)[0, 0].numpy()
    assert np.abs(ours - theirs).max() < 1e-6


def test_noise_is_distributed_as_batchgenerators() -> None:
    from batchgenerators.augmentations.noise_augmentations import augment_gaussian_noise

    np.random.seed(0)  # noqa: NPY002 (batchgenerators draws from NumPy's global state)
    theirs = augment_gaussian_noise(np.zeros((1, 30, 30, 30)), (0.07, 0.07))[0]  # "variance" is a deviation there
    only = Change(rows=np.array([0]), values=np.array([[0.07]], np.float32))
    draw = replace(draw_intensity(NO_AUGMENTATION, 1, 1, np.random.default_rng(0)), noise=only)
    ours = apply_intensity(torch.zeros(1, 1, 30, 30, 30), draw, in_plane_only=False)[0, 0].numpy()
    # 27 000 values each: the largest distance of two such distributions is below 0.0166 in 99.9 % of draws
    assert stats.ks_2samp(ours.ravel(), theirs.ravel()).statistic < 0.0166


def test_low_resolution_agrees_with_batchgenerators(image: NDArray[np.float32]) -> None:
    from batchgenerators.augmentations.resample_augmentations import augment_linear_downsampling_scipy

    image = image[:, :21, :21][:18]
    scale = 2 / 3  # at which no voxel lies exactly between two
    theirs = augment_linear_downsampling_scipy(
        image[None].astype(np.float64), (scale, scale), order_downsample=0, order_upsample=1
    )[0]
    ours = lower_resolution(torch.from_numpy(image), scale, in_plane_only=False).numpy()
    assert np.abs(ours - theirs).max() < 1e-5


def test_low_resolution_keeps_thick_slices_apart() -> None:
    planes = torch.arange(6.0)[:, None, None].expand(6, 8, 8).contiguous()
    assert torch.equal(lower_resolution(planes, 0.5, in_plane_only=True), planes)
    assert not torch.equal(lower_resolution(planes, 0.5, in_plane_only=False), planes)


def test_noise_has_the_drawn_standard_deviation() -> None:
    draw = draw_intensity(EVERY_AUGMENTATION, 1, 1, np.random.default_rng(0))
    only_noise = draw_intensity(NO_AUGMENTATION, 1, 1, np.random.default_rng(0))
    changed = apply_intensity(torch.zeros(1, 1, 30, 30, 30), replace(only_noise, noise=draw.noise), in_plane_only=False)
    assert changed.std().item() == pytest.approx(float(draw.noise.values[0, 0]), rel=0.02)


def test_no_probability_changes_nothing() -> None:
    images = torch.randn(3, 2, 6, 7, 8)
    draw = draw_intensity(NO_AUGMENTATION, 3, 2, np.random.default_rng(1))
    assert torch.equal(apply_intensity(images.clone(), draw, in_plane_only=False), images)


@pytest.mark.parametrize("shape", [(5, 6, 7), (9, 8), (1, 6, 6), (2, 2, 2)])
def test_the_same_seed_gives_the_same_finite_images(shape: tuple[int, ...]) -> None:
    images = torch.randn(4, 2, *shape)
    first, second = (
        apply_intensity(
            images.clone(), draw_intensity(EVERY_AUGMENTATION, 4, 2, np.random.default_rng(7)), in_plane_only=False
        )
        for _ in range(2)
    )
    assert torch.equal(first, second)
    assert bool(torch.isfinite(first).all())
    assert not torch.equal(first, images)


def test_a_constant_image_survives_every_change() -> None:
    draw = draw_intensity(EVERY_AUGMENTATION, 1, 1, np.random.default_rng(3))
    assert bool(torch.isfinite(apply_intensity(torch.zeros(1, 1, 6, 6, 6), draw, in_plane_only=False)).all())


def test_factors_around_one_go_both_ways_equally_often() -> None:
    draw = draw_intensity(EVERY_AUGMENTATION, 4000, 1, np.random.default_rng(0))
    values = draw.gamma.values
    assert 0.46 < (values < 1).mean() < 0.54
    assert values.min() >= 0.7
    assert values.max() <= 1.5
