"""Filters to try before segmenting: noise reduction and histogram matching. Images are float32 (c, z, y, x)."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32
from scipy import ndimage
from skimage import exposure, restoration

_MAD_OF_NORMAL = 0.6745
"""Median absolute deviation of a standard normal distribution."""


def match_histogram(
    image: Float32[np.ndarray, "c z y x"], reference: Float32[np.ndarray, "_c _z _y _x"]
) -> Float32[np.ndarray, "c z y x"]:
    """Return the image (c, z, y, x) with each channel's distribution of intensities made that of the reference's.

    Ranks stay, values change: each voxel takes the reference's value of equal quantile. The shapes may differ, the
    number of channels not. Source: Nyul et al., New variants of a method of MRI scale standardization (IEEE TMI 2000).
    """
    if len(image) != len(reference):
        msg = f"image has {len(image)} channels, reference {len(reference)}"
        raise ValueError(msg)
    pairs = zip(image, reference, strict=True)
    return np.stack([exposure.match_histograms(one, other) for one, other in pairs]).astype(np.float32)


def reduce_noise_median(image: Float32[np.ndarray, "c z y x"], radius_voxels: int) -> Float32[np.ndarray, "c z y x"]:
    """Return the image (c, z, y, x) with each voxel the median of the box around it; single points vanish, edges stay.

    Axes of length one are left out of the box.
    """
    box = (1, *(1 if n == 1 else 2 * radius_voxels + 1 for n in image.shape[1:]))
    return np.asarray(ndimage.median_filter(image, size=box, mode="nearest"), dtype=np.float32)


def reduce_noise_gaussian(
    image: Float32[np.ndarray, "c z y x"], sigma_mm: float, spacing_mm: tuple[float, float, float]
) -> Float32[np.ndarray, "c z y x"]:
    """Return the image (c, z, y, x) smoothed by a Gaussian of `sigma_mm` along every axis longer than one."""
    sigmas = (0.0, *(0.0 if n == 1 else sigma_mm / s for n, s in zip(image.shape[1:], spacing_mm, strict=True)))
    return np.asarray(ndimage.gaussian_filter(image, sigmas, mode="nearest"), dtype=np.float32)


def reduce_noise_total_variation(
    image: Float32[np.ndarray, "c z y x"], weight: float
) -> Float32[np.ndarray, "c z y x"]:
    """Return the image (c, z, y, x) with flat areas flattened and edges kept.

    `weight` is relative to the channel's range. Source: Chambolle, An algorithm for total variation minimization
    (JMIV 2004).
    """
    return _by_channel(image, lambda channel: restoration.denoise_tv_chambolle(channel, weight=weight))


def reduce_noise_non_local_means(
    image: Float32[np.ndarray, "c z y x"], strength: float = 0.8
) -> Float32[np.ndarray, "c z y x"]:
    """Return the image (c, z, y, x) with each voxel averaged over places that look alike.

    `strength` is in units of the noise, which is estimated. Source: Buades et al., A non-local algorithm for image
    denoising (CVPR 2005).
    """

    def denoise(channel: Float32[np.ndarray, "*axes"]) -> Float32[np.ndarray, "*axes"]:
        sigma = noise_level(channel)
        if not sigma > 0:
            return channel
        options = {"patch_size": 3, "patch_distance": 4, "h": strength * sigma, "sigma": sigma, "fast_mode": True}
        return np.asarray(restoration.denoise_nl_means(channel, **options), dtype=np.float32)

    return _by_channel(image, denoise)


def noise_level(values: Float32[np.ndarray, "..."]) -> float:
    """Return the standard deviation of the noise in an array, from its second differences along the last axis.

    Their median is used, so that edges count little. 0 when the axis has fewer than three samples.
    """
    if values.shape[-1] < 3:
        return 0.0
    differences = np.abs(values[..., :-2] - 2 * values[..., 1:-1] + values[..., 2:])
    return float(np.median(differences)) / (_MAD_OF_NORMAL * 6**0.5)


def _by_channel(
    image: Float32[np.ndarray, "c z y x"],
    function: Callable[[Float32[np.ndarray, "*axes"]], Float32[np.ndarray, "*axes"]],
) -> Float32[np.ndarray, "c z y x"]:
    """Apply a function of flat or solid arrays to each channel scaled to 0..1, and scale back."""
    result = np.empty_like(image, dtype=np.float32)
    for index, channel in enumerate(image):
        lower, spread = float(channel.min()), float(channel.max() - channel.min())
        if spread > 0:
            scaled = ((channel - lower) / spread).astype(np.float32).squeeze()
            result[index] = (function(scaled) * spread + lower).reshape(channel.shape)
        else:
            result[index] = channel
    return result
