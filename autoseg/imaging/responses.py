"""What a voxel looks like to classical methods: its intensity, its place, and the responses of a few filters."""

import numpy as np
from jaxtyping import Float32
from scipy import ndimage

Image = Float32[np.ndarray, " z y x"]
Features = Float32[np.ndarray, "z y x f"]

_PERCENTILES = (0.5, 99.5)
_SAMPLED_VOXELS = 1 << 20
SCALES_VOXELS = (1.0, 2.0, 4.0)
"""From the width of an edge to that of a small structure, doubling, as in ilastik and Weka's trainable segmentation."""


def normalised(image: Float32[np.ndarray, "c z y x"]) -> Float32[np.ndarray, "c z y x"]:
    """Return the image with percentiles 0.5 and 99.5 of each channel at 0 and 1, and nothing beyond them.

    Scanners and cameras differ in scale: without this a threshold would hold for one image alone.
    """
    result = np.empty_like(image)
    for channel, values in zip(result, image, strict=True):
        low, high = np.percentile(values.reshape(-1)[:: max(1, values.size // _SAMPLED_VOXELS)], _PERCENTILES)
        np.clip((values - low) / max(float(high - low), 1e-6), 0, 1, out=channel)
    return result


def smoothed(image: Image, sigma_voxels: float, relative_spacing: tuple[float, float, float]) -> Image:
    """Return the image after a Gaussian of `sigma_voxels` of the finest axis; 0 leaves it as it is.

    `relative_spacing` is the spacing of each axis in units of the finest; an axis of one voxel is not smoothed.
    """
    if not sigma_voxels:
        return image
    smooth: Image = ndimage.gaussian_filter(image, _sigmas(image, sigma_voxels, relative_spacing))
    return smooth


def filter_responses(image: Float32[np.ndarray, "c z y x"], relative_spacing: tuple[float, float, float]) -> Features:
    """Return for each voxel its place and, of each channel, intensity, smoothed intensity, edges and blobs.

    Edges are gradient magnitudes and blobs Laplacians of Gaussians, at SCALES_VOXELS; the place is from 0 to 1 along
    each axis that has more than one voxel.
    """
    columns: list[Image] = []
    for channel in image:
        columns.append(channel)
        for scale in SCALES_VOXELS:
            sigmas = _sigmas(channel, scale, relative_spacing)
            columns.append(ndimage.gaussian_filter(channel, sigmas))
            columns.append(ndimage.gaussian_gradient_magnitude(channel, sigmas))
            columns.append(ndimage.gaussian_laplace(channel, sigmas))
    shape = image.shape[1:]
    columns += [np.broadcast_to(axis, shape) for axis, size in zip(places(shape), shape, strict=True) if size > 1]
    return np.stack([np.asarray(column, np.float32) for column in columns], axis=-1)


def places(shape: tuple[int, ...]) -> tuple[Float32[np.ndarray, "_z _y _x"], ...]:
    """Return for each axis where its voxels lie, from 0 to 1, in a shape that broadcasts to the image's."""
    axes = [(np.arange(size, dtype=np.float32) + 0.5) / size for size in shape]
    return tuple(axis.reshape([-1 if i == n else 1 for i in range(len(shape))]) for n, axis in enumerate(axes))


def _sigmas(image: Image, sigma_voxels: float, relative_spacing: tuple[float, float, float]) -> list[float]:
    pairs = zip(image.shape, relative_spacing, strict=True)
    return [0.0 if size == 1 else sigma_voxels / relative for size, relative in pairs]
