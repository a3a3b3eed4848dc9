"""Random intensity changes of a batch of patches, on the training device: drawn first, then applied.

Transforms, probabilities and order follow nnU-Net (Isensee et al., Nature Methods 2021); each agrees with its namesake
in batchgenerators, which is the oracle in the tests. What the values are is data in `planners.plan.Augmentation`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int
from torch import Tensor
from torch.nn import functional

from planners.plan import Augmentation

CHANNEL_PROBABILITY = 0.5  # blur and low resolution change each channel of a chosen sample with this probability
_KERNEL_SIGMAS = 3.0  # half width of the blur kernel: 6 sigma + 0.5 rounded to odd covers the Gaussian to 0.3 %
_EPS = 1e-7

Rows = Int[np.ndarray, " chosen"]
Values = Float32[np.ndarray, "chosen channel"]
Image = Float32[Tensor, "*spatial"]
Sample = Float32[Tensor, "channel *spatial"]
Images = Float32[Tensor, "batch channel *spatial"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One transform of a batch: the samples it changes and a value per chosen sample and channel (NaN: untouched)."""

    rows: Rows
    values: Values


@dataclass(frozen=True, slots=True, kw_only=True)
class IntensityDraw:
    """Every intensity change of one batch, as drawn; `noise_seed` seeds the noise itself on the device."""

    noise: Change
    noise_seed: int
    blur: Change
    brightness: Change
    contrast: Change
    low_resolution: Change
    gamma_inverted: Change
    gamma: Change


def draw_intensity(augmentation: Augmentation, batch: int, channels: int, random: np.random.Generator) -> IntensityDraw:
    """Draw the intensity changes of a batch of `batch` samples with `channels` channels."""

    def rows(probability: float) -> Rows:
        return np.flatnonzero(random.random(batch) < probability)

    def uniform(chosen: Rows, bounds: tuple[float, float], *, sparse: bool = False) -> Change:
        values = random.uniform(*bounds, size=(chosen.size, channels)).astype(np.float32)
        if sparse:
            values[random.random(values.shape) >= CHANNEL_PROBABILITY] = np.nan
        return Change(rows=chosen, values=values)

    def around_one(chosen: Rows, bounds: tuple[float, float]) -> Change:
        low, high = bounds
        down = random.uniform(min(low, 1.0), 1.0, size=(chosen.size, channels))
        up = random.uniform(max(low, 1.0), high, size=(chosen.size, channels))
        lower = random.random((chosen.size, channels)) < 0.5
        return Change(rows=chosen, values=np.where(lower, down, up).astype(np.float32))

    noise_rows = rows(augmentation.noise_probability)
    noise_std = random.uniform(*augmentation.noise_std, size=(noise_rows.size, 1)).astype(np.float32)
    return IntensityDraw(
        noise=Change(rows=noise_rows, values=np.repeat(noise_std, channels, axis=1)),
        noise_seed=int(random.integers(2**62)),
        blur=uniform(rows(augmentation.blur_probability), augmentation.blur_sigma_voxels, sparse=True),
        brightness=around_one(rows(augmentation.brightness_probability), augmentation.brightness),
        contrast=around_one(rows(augmentation.contrast_probability), augmentation.contrast),
        low_resolution=uniform(rows(augmentation.low_resolution_probability), augmentation.low_resolution, sparse=True),
        gamma_inverted=around_one(rows(augmentation.gamma_inverted_probability), augmentation.gamma),
        gamma=around_one(rows(augmentation.gamma_probability), augmentation.gamma),
    )


def apply_intensity(images: Images, draw: IntensityDraw, *, in_plane_only: bool) -> Images:
    """Return `images` (batch, channel, *spatial) float32, changed in place as drawn."""
    if draw.noise.rows.size:
        _apply_noise(images, draw.noise, draw.noise_seed)
    for row, channel, sigma in _entries(draw.blur):
        images[row, channel] = gaussian_blur(images[row, channel], sigma)
    for row, channel, factor in _entries(draw.brightness):
        images[row, channel] *= factor
    for row, channel, factor in _entries(draw.contrast):
        images[row, channel] = change_contrast(images[row, channel], factor)
    for row, channel, scale in _entries(draw.low_resolution):
        images[row, channel] = lower_resolution(images[row, channel], scale, in_plane_only=in_plane_only)
    for row, channel, exponent in _entries(draw.gamma_inverted):
        images[row, channel] = -change_gamma(-images[row, channel], exponent)
    for row, channel, exponent in _entries(draw.gamma):
        images[row, channel] = change_gamma(images[row, channel], exponent)
    return images


def _entries(change: Change) -> list[tuple[int, int, float]]:
    return [
        (int(row), channel, float(value))
        for row, values in zip(change.rows, change.values, strict=True)
        for channel, value in enumerate(values)
        if not np.isnan(value)
    ]


def _apply_noise(images: Images, change: Change, seed: int) -> None:
    generator = torch.Generator(device=images.device).manual_seed(seed)
    for row, channel, std in _entries(change):
        noise = torch.empty(images.shape[2:], device=images.device, dtype=images.dtype)
        images[row, channel] += noise.normal_(0.0, std, generator=generator)


def gaussian_blur(image: Image, sigma_voxels: float) -> Image:
    """Return the image (*spatial) convolved with a Gaussian of `sigma_voxels` along each axis, edges reflected."""
    for axis in range(image.ndim):
        image = blur_axis(image, axis, sigma_voxels)
    return image


def blur_axis(image: Image, axis: int, sigma_voxels: float) -> Image:
    """Return the image convolved with a Gaussian along one axis, edges reflected; unchanged where it is too short."""
    radius, size = max(1, round(_KERNEL_SIGMAS * sigma_voxels + 0.25)), image.shape[axis]
    if size <= radius or sigma_voxels <= 0:
        return image
    offsets = torch.arange(-radius, radius + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma_voxels) ** 2)
    moved = image.movedim(axis, -1)
    padded = functional.pad(moved.reshape(-1, 1, size), (radius, radius), mode="reflect")
    blurred = functional.conv1d(padded, (kernel / kernel.sum()).view(1, 1, -1))
    return blurred.reshape(moved.shape).movedim(-1, axis)


def change_contrast(image: Image, factor: float) -> Image:
    """Return the image with its distance from the mean times `factor`, clipped to the range it had."""
    low, high = torch.aminmax(image)
    mean = image.mean()
    return ((image - mean) * factor + mean).clamp(low, high)


def lower_resolution(image: Image, scale: float, *, in_plane_only: bool) -> Image:
    """Return the image (*spatial) sampled down by `scale` (nearest) and up again (linear).

    The first axis keeps its resolution when `in_plane_only`.
    """
    shape = tuple(image.shape)
    keep = in_plane_only and len(shape) == 3
    small = tuple(n if keep and axis == 0 else max(1, round(n * scale)) for axis, n in enumerate(shape))
    return resample_down_and_up(image[None], small)[0]


def resample_down_and_up(image: Sample, small: tuple[int, ...]) -> Sample:
    """Return the image (c, *spatial) sampled down to the shape `small` (nearest) and up again (linear)."""
    mode = "trilinear" if len(small) == 3 else "bilinear"
    down = functional.interpolate(image[None], size=small, mode="nearest-exact")
    up: Tensor = functional.interpolate(down, size=tuple(image.shape[1:]), mode=mode, align_corners=False)
    return up[0]


def change_gamma(image: Image, exponent: float) -> Image:
    """Return the image after x -> x**exponent on its range scaled to [0, 1]; mean and std are restored."""
    low, high = torch.aminmax(image)
    span = high - low
    std, mean = torch.std_mean(image, correction=0)
    curved = ((image - low) / span.clamp_min(_EPS)).pow(exponent) * span + low
    curved_std, curved_mean = torch.std_mean(curved, correction=0)
    return (curved - curved_mean) * (std / curved_std.clamp_min(_EPS)) + mean
