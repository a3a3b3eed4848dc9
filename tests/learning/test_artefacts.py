"""What imitates scanners, each against its definition written in NumPy and SciPy, or batchgenerators' namesake."""

import random
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from numpy.polynomial import polynomial
from numpy.typing import NDArray
from scipy import ndimage

from autoseg.learning.artefacts import (
    AnisotropicBlur,
    ArtefactDraw,
    BiasField,
    Ghosting,
    Motion,
    Spike,
    ThickSlices,
    add_bias_field,
    add_ghosts,
    add_spike,
    apply_artefacts,
    bias_powers,
    blur_unevenly,
    draw_artefacts,
    move,
    thicken_slices,
)
from autoseg.learning.sampling import draw_batch, step_generator
from tests.builders import NO_AUGMENTATION, ArraySource, configuration

KINDS = {"motion", "bias_field", "ghosting", "spikes", "thick_slices", "anisotropic_blur"}
EVERY_ARTEFACT = replace(NO_AUGMENTATION, **{f"{kind}_probability": 1.0 for kind in KINDS})  # type: ignore[arg-type]


@pytest.fixture
def image() -> NDArray[np.float32]:
    noise = np.random.default_rng(0).standard_normal((12, 15, 14))
    return ndimage.gaussian_filter(noise, 1.0).astype(np.float32)


def both_channels(image: NDArray[np.float32]) -> torch.Tensor:
    """The image and another one, so that channels cannot be mixed up unseen."""
    return torch.from_numpy(np.stack([image, 3 + 2 * image[::-1]]))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("copies", [2, 5])
def test_ghosts_are_weakened_lines_of_k_space(image: NDArray[np.float32], axis: int, copies: int) -> None:
    frequency = np.round(np.fft.fftfreq(image.shape[axis]) * image.shape[axis]).astype(int)
    weak = (frequency % copies == 0) & (frequency != 0)
    weights = np.where(weak, 0.4, 1.0).reshape([-1 if a == axis else 1 for a in range(3)])
    ours = add_ghosts(both_channels(image), Ghosting(axis=axis, copies=copies, strength=0.6))
    expected = np.fft.ifftn(np.fft.fftn(image) * weights).real
    assert np.abs(ours[0].numpy() - expected).max() < 1e-6
    assert ours[1].mean().item() == pytest.approx(both_channels(image)[1].mean().item(), abs=1e-5)


def test_a_spike_is_a_bright_point_of_k_space(image: NDArray[np.float32]) -> None:
    periods, phase, amplitude = (2, -3, 1), 0.7, 0.4
    spectrum = np.fft.fftn(image.astype(np.float64))
    peak = 0.5 * amplitude * image.std() * image.size * np.exp(1j * phase)
    spectrum[periods] += peak
    spectrum[tuple(-v for v in periods)] += np.conj(peak)
    ours = add_spike(both_channels(image), Spike(periods=periods, phase_rad=phase, amplitude=amplitude))
    assert np.abs(ours[0].numpy() - np.fft.ifftn(spectrum).real).max() < 1e-5


@pytest.mark.parametrize("axis", [0, 2])
def test_motion_puts_lines_of_several_positions_together(image: NDArray[np.float32], axis: int) -> None:
    starts, shifts = (0.2, 0.7), ((1.5, -0.5, 2.0), (-1.0, 0.25, 0.0))
    lines = image.shape[axis]
    # In the order of acquisition: the first fifth lies at 0, the middle (and frequency 0) at the first shift.
    segment = (np.arange(lines) >= 0.2 * lines).astype(int) + (np.arange(lines) >= 0.7 * lines)
    places = [np.subtract((0, 0, 0), shifts[0]), np.zeros(3), np.subtract(shifts[1], shifts[0])]
    spectrum = np.fft.fftn(image)
    expected = np.zeros_like(spectrum)
    for number, place in enumerate(places):
        taken = np.fft.ifftshift(segment == number).reshape([-1 if a == axis else 1 for a in range(3)])
        expected += np.where(taken, ndimage.fourier_shift(spectrum, place), 0)
    ours = move(both_channels(image), Motion(axis=axis, starts=starts, shifts_voxels=shifts))
    assert np.abs(ours[0].numpy() - np.fft.ifftn(expected).real).max() < 1e-5
    assert not np.allclose(ours[0].numpy(), image, atol=0.05)


def test_who_lies_still_is_not_moved(image: NDArray[np.float32]) -> None:
    still = Motion(axis=1, starts=(0.0,), shifts_voxels=((2.0, 1.0, 3.0),))
    assert np.abs(move(both_channels(image), still)[0].numpy() - image).max() < 1e-5


def test_a_bias_field_is_the_exponential_of_a_polynomial(image: NDArray[np.float32]) -> None:
    generator = np.random.default_rng(1)
    powers = bias_powers(3)
    assert len(powers) == 19  # monomials of degree up to 3 in three variables, less the constant
    table = np.zeros((4, 4, 4))
    for power in powers:
        table[power] = generator.uniform(-0.5, 0.5)
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in image.shape), indexing="ij")
    expected = (image - image.min()) * np.exp(polynomial.polyval3d(*grid, table)) + image.min()
    bias = BiasField(coefficients=tuple(float(table[power]) for power in powers))
    assert np.abs(add_bias_field(both_channels(image), bias)[0].numpy() - expected).max() < 1e-5


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_thick_slices_agree_with_batchgenerators(image: NDArray[np.float32], axis: int) -> None:
    from batchgenerators.augmentations.resample_augmentations import augment_linear_downsampling_scipy

    image = image[:12, :12, :12]
    share = 1 / 3  # at which no voxel lies exactly between two
    theirs = augment_linear_downsampling_scipy(
        image[None].astype(np.float64),
        (share, share),
        order_downsample=0,
        order_upsample=1,
        ignore_axes=tuple(a for a in range(3) if a != axis),
    )[0]
    ours = thicken_slices(both_channels(image), ThickSlices(axis=axis, share=share))[0].numpy()
    assert np.abs(ours - theirs).max() < 1e-5


def test_anisotropic_blur_agrees_with_batchgenerators_away_from_the_edges() -> None:
    from batchgenerators.augmentations.noise_augmentations import augment_gaussian_blur

    image = np.random.default_rng(0).standard_normal((24, 25, 26)).astype(np.float32)
    random.seed(3)  # which batchgenerators draws the widths from
    theirs = augment_gaussian_blur(image[None].copy(), (0.5, 1.5), per_channel=False, different_sigma_per_axis=True)
    random.seed(3)
    sigmas = tuple(random.uniform(0.5, 1.5) for _ in range(3))
    ours = blur_unevenly(both_channels(image), AnisotropicBlur(sigmas_voxels=sigmas))[0].numpy()
    inside = (slice(6, -6),) * 3
    assert np.abs(ours[inside] - theirs[0][inside]).max() < 2e-3 * np.ptp(theirs)


@pytest.mark.parametrize("shape", [(6, 8, 7), (9, 8), (1, 6, 6), (2, 2, 2)])
def test_every_artefact_is_drawn_and_leaves_finite_images_that_the_seed_repeats(shape: tuple[int, ...]) -> None:
    images = torch.randn(3, 2, *shape)
    drawn = [draw_artefacts(EVERY_ARTEFACT, 3, shape, np.random.default_rng(7)) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == 3 * len(KINDS)
    first, second = (apply_artefacts(images.clone(), draw) for draw in drawn)
    assert torch.equal(first, second)
    assert bool(torch.isfinite(first).all())
    assert not torch.equal(first, images)


def test_thick_slices_of_the_data_are_changed_in_plane_only() -> None:
    flat = replace(EVERY_ARTEFACT, in_plane_only=True, bias_field_probability=0.0)  # which counts from the minimum
    images = torch.randn(4, 1, 5, 8, 8)
    other = images.clone()
    other[:, :, 2] += 1  # a slice that is brighter throughout changes no other slice
    drawn = draw_artefacts(replace(flat, spikes_probability=0.0), 4, (5, 8, 8), np.random.default_rng(0))
    first, second = apply_artefacts(images, drawn), apply_artefacts(other, drawn)
    kept = [0, 1, 3, 4]
    assert torch.allclose(first[:, :, kept], second[:, :, kept], atol=1e-5)
    assert not torch.allclose(first[:, :, 2], second[:, :, 2], atol=1e-2)


def test_only_the_drawn_sample_changes() -> None:
    images = torch.randn(3, 1, 6, 6, 6)
    one = (ArtefactDraw(row=1, artefact=Ghosting(axis=0, copies=2, strength=0.5)),)
    changed = apply_artefacts(images.clone(), one)
    assert torch.equal(changed[[0, 2]], images[[0, 2]])
    assert not torch.equal(changed[1], images[1])


def test_they_are_off_by_default_and_switching_one_on_leaves_the_other_draws_alone() -> None:
    off = {f.name: getattr(NO_AUGMENTATION, f.name) for f in fields(NO_AUGMENTATION)}
    assert all(off[f"{kind}_probability"] == 0 for kind in KINDS)
    source, planned = ArraySource(), configuration(3)
    plain = draw_batch(source, ("case_0",), planned, 1, step_generator(0, 0, 0))
    ghostly = replace(planned, augmentation=replace(NO_AUGMENTATION, ghosting_probability=1.0))
    other = draw_batch(source, ("case_0",), ghostly, 1, step_generator(0, 0, 0))
    assert plain.artefacts == ()
    assert len(other.artefacts) == planned.batch
    assert plain.samples == other.samples
    assert plain.intensity.noise_seed == other.intensity.noise_seed
