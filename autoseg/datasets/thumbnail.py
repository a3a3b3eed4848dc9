"""A very small view of an image, by which slices of one stack and near-copies are recognised."""

import numpy as np
from numpy.typing import NDArray

from autoseg.datasets.alignment import sampling_steps
from autoseg.imaging.geometry import canonical_axes
from autoseg.imaging.volume import Volume

THUMBNAIL = 16
"""Blocks along each axis of a 2D image."""
_SOLID = 12


def thumbnail(image: Volume) -> str:
    """Return the mean of the channels in blocks, as gray levels in hexadecimal; "" if the image is too small or plain.

    A 2D image has 16 x 16 blocks, a 3D image 12 x 12 x 12 with its axes running as in the patient (superior, anterior,
    right), so that a copy with other axes looks the same.
    """
    array = image.array[(slice(None), *(slice(None, None, s) for s in sampling_steps(image.grid.shape)))]
    small = array.mean(axis=0, dtype=np.float32 if image.grid.dimensions == 3 else np.float64)
    if image.grid.dimensions == 3:
        order, flips = canonical_axes(image.grid)
        small = np.flip(small.transpose(order), tuple(axis for axis, flip in enumerate(flips) if flip))
        means = _block_means(small, min(_SOLID, *small.shape))
    else:
        if min(small.shape[1:]) < THUMBNAIL:
            return ""
        means = _block_means(small[0], THUMBNAIL)
    spread = float(np.ptp(means))
    if spread == 0 or (image.grid.dimensions == 3 and len(means) < _SOLID):
        return ""
    levels = np.rint((means - means.min()) / spread * 255).astype(np.uint8)
    return bytes(levels.tobytes()).hex()


def _block_means(array: NDArray[np.floating], blocks: int) -> NDArray[np.floating]:
    """Return the means of `blocks` nearly equal parts along each axis."""
    means = array
    for axis, size in enumerate(array.shape):
        starts = np.arange(blocks) * size // blocks
        sizes = np.diff([*starts, size]).reshape([-1 if a == axis else 1 for a in range(array.ndim)])
        means = np.add.reduceat(means, starts, axis=axis) / sizes
    return means


def correlations(thumbnails: list[str] | tuple[str, ...]) -> NDArray[np.float64]:
    """Return the Pearson correlation of every two thumbnails of one size, (n, n)."""
    levels = np.frombuffer(b"".join(map(bytes.fromhex, thumbnails)), np.uint8)
    vectors = levels.reshape(len(thumbnails), -1).astype(np.float64)
    vectors -= vectors.mean(axis=1, keepdims=True)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    alike: NDArray[np.float64] = vectors @ vectors.T
    return alike
