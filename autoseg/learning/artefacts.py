"""Random changes that imitate scanners: motion, bias field, ghosting, spikes, thick slices, blur along some axes.

As in `autoseg.learning.augmentation`, parameters are drawn first and then applied, to all channels of a sample at once,
on the device it is on. Nothing is drawn from the generator for what has no probability, so that switching one on leaves
other draws as they are. Definitions after Pérez-García et al., TorchIO (Computer Methods and Programs in Biomedicine
2021) with the differences that the functions state; anisotropic blur and thick slices are batchgenerators'.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import product
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autoseg.learning.augmentation import Images, Sample, blur_axis, resample_down_and_up
from planners.plan import Augmentation

BIAS_ORDER = 3
"""Degree of the polynomial of a bias field; TorchIO's value."""
MOTION_SEGMENTS = (2, 4)
"""Positions of the patient during one acquisition, fewest and most; TorchIO's two moves make three."""
SPIKE_FREQUENCY = 0.5
"""Spikes lie below this share of the highest frequency: above, stripes look like noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """The patient lies elsewhere while parts of k-space are taken, line by line along `axis`.

    From line `starts[i]` (0 to 1 of all, lowest frequency in the middle) the image is moved by `shifts_voxels[i]`.
    """

    axis: int
    starts: tuple[float, ...]
    shifts_voxels: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BiasField:
    """Intensity varies smoothly: a coefficient for each of `bias_powers`."""

    coefficients: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ghosting:
    """Every `copies`-th line of k-space along `axis` loses the share `strength`, so that `copies` ghosts appear."""

    axis: int
    copies: int
    strength: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Spike:
    """One point of k-space is too bright: a wave of so many periods per axis, `amplitude` standard deviations high."""

    periods: tuple[int, ...]
    phase_rad: float
    amplitude: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ThickSlices:
    """Along `axis` only this `share` of the samples was measured."""

    axis: int
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AnisotropicBlur:
    """A Gaussian of another width along each axis."""

    sigmas_voxels: tuple[float, ...]


Artefact = Motion | BiasField | Ghosting | Spike | ThickSlices | AnisotropicBlur


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtefactDraw:
    """One artefact of the sample `row` of a batch."""

    row: int
    artefact: Artefact


def draw_artefacts(
    augmentation: Augmentation, batch: int, patch: tuple[int, ...], random: np.random.Generator
) -> tuple[ArtefactDraw, ...]:
    """Draw the artefacts of a batch, in the order in which a scanner makes them."""
    in_plane = augmentation.in_plane_only and len(patch) == 3
    axes = tuple(range(1, 3)) if in_plane else tuple(range(len(patch)))
    drawn = []
    for name, draw in _DRAWING:
        probability = float(getattr(augmentation, f"{name}_probability"))
        if probability > 0:
            rows = np.flatnonzero(random.random(batch) < probability)
            drawn += [ArtefactDraw(row=int(row), artefact=draw(augmentation, patch, axes, random)) for row in rows]
    return tuple(drawn)


def apply_artefacts(images: Images, drawn: tuple[ArtefactDraw, ...]) -> Images:
    """Return `images` (batch, channel, *spatial) float32, changed in place as drawn."""
    for item in drawn:
        images[item.row] = _APPLY[type(item.artefact)](images[item.row], item.artefact)
    return images


def move(image: Sample, motion: Motion) -> Sample:
    """Return the image (c, *spatial) put together from lines of k-space of several positions.

    The position while the lowest frequency was taken counts as the right one, so that labels stay in place. Unlike
    TorchIO's it is moved, not turned.
    """
    shape = image.shape[1:]
    spectrum = torch.fft.fftn(image, dim=_axes(image))
    lines = shape[motion.axis]
    centre = lines // 2
    segment = np.searchsorted(np.asarray(motion.starts), np.arange(lines) / lines, side="right")
    places = np.array([(0.0,) * len(shape), *motion.shifts_voxels])[segment]
    shifts = np.fft.ifftshift(places - places[centre], axes=0)
    phase = torch.zeros(tuple(shape), device=image.device)
    for axis, size in enumerate(shape):
        along = torch.fft.fftfreq(size, device=image.device).view(_along(axis, len(shape)))
        moved = torch.from_numpy(shifts[:, axis].astype(np.float32)).to(image.device)
        phase = phase - 2 * math.pi * along * moved.view(_along(motion.axis, len(shape)))
    moved_image: Tensor = torch.fft.ifftn(spectrum * torch.polar(torch.ones_like(phase), phase), dim=_axes(image)).real
    return moved_image


def bias_powers(axes: int) -> tuple[tuple[int, ...], ...]:
    """Return the powers of the coordinates in the terms of a bias field's polynomial, without the constant."""
    return tuple(p for p in product(range(BIAS_ORDER + 1), repeat=axes) if 0 < sum(p) <= BIAS_ORDER)


def add_bias_field(image: Sample, bias: BiasField) -> Sample:
    """Return the image (c, *spatial), counted from its minimum, times exp of a polynomial over [-1, 1] per axis."""
    shape = image.shape[1:]
    positions = [
        torch.linspace(-1.0, 1.0, n, device=image.device).view(_along(axis, len(shape))) for axis, n in enumerate(shape)
    ]
    exponent = torch.zeros((1,) * len(shape), device=image.device)
    for coefficient, powers in zip(bias.coefficients, bias_powers(len(shape)), strict=True):
        factors = [position**power for position, power in zip(positions, powers, strict=True) if power]
        exponent = exponent + coefficient * reduce(torch.mul, factors)
    low = image.amin(dim=_axes(image), keepdim=True)
    return (image - low) * exponent.exp() + low


def add_ghosts(image: Sample, ghosting: Ghosting) -> Sample:
    """Return the image (c, *spatial) with ghosts along one axis; its mean along that axis is kept."""
    axis = 1 + ghosting.axis
    spectrum = torch.fft.rfft(image, dim=axis)
    kept = torch.ones(spectrum.shape[axis], device=image.device)
    kept[ghosting.copies :: ghosting.copies] = 1 - ghosting.strength
    weakened = spectrum * kept.view(_along(axis, image.ndim))
    ghostly: Tensor = torch.fft.irfft(weakened, n=image.shape[axis], dim=axis)
    return ghostly


def add_spike(image: Sample, spike: Spike) -> Sample:
    """Return the image (c, *spatial) plus the wave of one bright point of k-space and its conjugate."""
    shape = image.shape[1:]
    angle = torch.full((1,) * len(shape), spike.phase_rad, device=image.device)
    for axis, (size, periods) in enumerate(zip(shape, spike.periods, strict=True)):
        positions = torch.arange(size, device=image.device).view(_along(axis, len(shape)))
        angle = angle + 2 * math.pi * periods / size * positions
    return image + spike.amplitude * image.std(dim=_axes(image), correction=0, keepdim=True) * angle.cos()


def thicken_slices(image: Sample, thick: ThickSlices) -> Sample:
    """Return the image (c, *spatial) sampled down (nearest) and up again (linear) along one axis."""
    shape = tuple(image.shape[1:])
    small = tuple(max(1, round(n * thick.share)) if axis == thick.axis else n for axis, n in enumerate(shape))
    return resample_down_and_up(image, small)


def blur_unevenly(image: Sample, blur: AnisotropicBlur) -> Sample:
    """Return the image (c, *spatial) convolved with a Gaussian of another width along each axis, edges reflected."""
    for axis, sigma in enumerate(blur.sigmas_voxels, start=1):
        image = blur_axis(image, axis, sigma)
    return image


def _axes(image: Tensor) -> tuple[int, ...]:
    return tuple(range(1, image.ndim))


def _along(axis: int, axes: int) -> tuple[int, ...]:
    return tuple(-1 if a == axis else 1 for a in range(axes))


def _pick(axes: tuple[int, ...], random: np.random.Generator) -> int:
    return axes[int(random.integers(len(axes)))]


def _signed(bounds: tuple[float, float], random: np.random.Generator) -> float:
    return float(random.uniform(*bounds)) * (1 if random.random() < 0.5 else -1)


_Drawing = Callable[[Augmentation, tuple[int, ...], tuple[int, ...], np.random.Generator], Artefact]


def _draw_motion(
    augmentation: Augmentation, patch: tuple[int, ...], axes: tuple[int, ...], random: np.random.Generator
) -> Motion:
    moves = int(random.integers(*MOTION_SEGMENTS, endpoint=True)) - 1
    starts = tuple(sorted(float(v) for v in random.random(moves)))
    shifts = tuple(
        tuple(_signed(augmentation.motion_voxels, random) if axis in axes else 0.0 for axis in range(len(patch)))
        for _ in starts
    )
    return Motion(axis=_pick(axes, random), starts=starts, shifts_voxels=shifts)


def _draw_bias(
    augmentation: Augmentation, patch: tuple[int, ...], axes: tuple[int, ...], random: np.random.Generator
) -> BiasField:
    largest = random.uniform(*augmentation.bias_field)
    powers = bias_powers(len(patch))
    used = [all(axis in axes or not power for axis, power in enumerate(term)) for term in powers]
    drawn = random.uniform(-largest, largest, size=len(powers))
    return BiasField(coefficients=tuple(float(v) if keep else 0.0 for v, keep in zip(drawn, used, strict=True)))


def _draw_ghosting(
    augmentation: Augmentation, _: tuple[int, ...], axes: tuple[int, ...], random: np.random.Generator
) -> Ghosting:
    copies = int(random.integers(*augmentation.ghosting_copies, endpoint=True))
    return Ghosting(axis=_pick(axes, random), copies=copies, strength=float(random.uniform(*augmentation.ghosting)))


def _draw_spike(
    augmentation: Augmentation, patch: tuple[int, ...], axes: tuple[int, ...], random: np.random.Generator
) -> Spike:
    highest = [int(SPIKE_FREQUENCY * n / 2) if axis in axes else 0 for axis, n in enumerate(patch)]
    periods = tuple(int(random.integers(-n, n, endpoint=True)) for n in highest)
    phase = float(random.uniform(0, 2 * math.pi))
    return Spike(periods=periods, phase_rad=phase, amplitude=float(random.uniform(*augmentation.spikes)))


def _draw_thick_slices(
    augmentation: Augmentation, _: tuple[int, ...], axes: tuple[int, ...], random: np.random.Generator
) -> ThickSlices:
    return ThickSlices(axis=_pick(axes, random), share=float(random.uniform(*augmentation.thick_slices)))


def _draw_blur(
    augmentation: Augmentation, patch: tuple[int, ...], axes: tuple[int, ...], random: np.random.Generator
) -> AnisotropicBlur:
    drawn = random.uniform(*augmentation.anisotropic_blur_sigma_voxels, size=len(patch))
    return AnisotropicBlur(sigmas_voxels=tuple(float(v) if axis in axes else 0.0 for axis, v in enumerate(drawn)))


_DRAWING: tuple[tuple[str, _Drawing], ...] = (
    ("motion", _draw_motion),
    ("bias_field", _draw_bias),
    ("ghosting", _draw_ghosting),
    ("spikes", _draw_spike),
    ("thick_slices", _draw_thick_slices),
    ("anisotropic_blur", _draw_blur),
)
_APPLY: Mapping[type[Artefact], Callable[[Sample, Any], Sample]] = MappingProxyType(
    {
        Motion: move,
        BiasField: add_bias_field,
        Ghosting: add_ghosts,
        Spike: add_spike,
        ThickSlices: thicken_slices,
        AnisotropicBlur: blur_unevenly,
    }
)
