"""What both sides are given: logits like those of a trained network, label maps, and a CT-like body with organs."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from autoseg.imaging.volume import Grid, Volume

Shape = tuple[int, int, int]
SURE = 8.0
"""Logit well inside a structure; further out than a few voxels it is minus this."""
NOISE_HU = 15.0
ORGANS = 24
_AIR_HU, _FAT_HU, _MUSCLE_HU = -1000.0, -95.0, 45.0
_ORGANS_HU = (-60.0, 1000.0)


def structured_logits(classes: int, shape: Shape, seed: int) -> NDArray[np.float16]:
    """Return logits (k, z, y, x) as of a trained network: ellipsoids with soft borders, background, a little noise."""
    random = np.random.default_rng(seed)
    result = np.zeros((classes, *shape), np.float16)
    for index in range(1, classes):
        radius = _radius(shape, random.uniform(0.1, 0.9, 3), random.uniform(0.06, 0.2, 3))
        result[index] = (SURE * np.tanh(3 * (1 - radius)) + _field(shape, random, 8)).astype(np.float16)
    return result


def unstructured_logits(classes: int, shape: Shape, seed: int) -> NDArray[np.float16]:
    """Return logits (k, z, y, x) that are smooth random fields, as no network gives: no class is far below anywhere."""
    random = np.random.default_rng(seed)
    return np.stack([_field(shape, random, 8).astype(np.float16) for _ in range(classes)])


def label_map(labels: int, shape: Shape, seed: int) -> NDArray[np.uint8]:
    """Return a label map (z, y, x) of `labels` ellipsoids, the later over the earlier; all occur."""
    random = np.random.default_rng(seed)
    result = np.zeros(shape, np.uint8)
    for index in range(1, labels + 1):
        result[_radius(shape, random.uniform(0.1, 0.9, 3), random.uniform(0.06, 0.2, 3)) < 1] = index
    for index in range(1, labels + 1):
        result[tuple(random.integers(2, n - 2) for n in shape)] = index
    return result


def image(shape: Shape, seed: int) -> NDArray[np.float32]:
    """Return an image (z, y, x): structures at several scales."""
    random = np.random.default_rng(seed)
    return _field(shape, random, 16) + 0.5 * _field(shape, random, 4) + 0.2 * _field(shape, random, 2)


def body(
    shape: Shape, spacing_mm: tuple[float, float, float], seed: int, noise_hu: float = NOISE_HU
) -> tuple[Volume, NDArray[np.uint8]]:
    """Return a CT-like volume (int16, HU) with ORGANS organs, and their label map: the same place at any spacing."""
    random = np.random.default_rng(seed)
    extent = np.array(shape) * spacing_mm
    values = np.full(shape, _AIR_HU, np.float32)
    trunk = _radius(shape, (0.5, 0.5, 0.5), (9.0, 0.33, 0.42))
    values[trunk < 1] = _FAT_HU
    values[trunk < 0.92] = _MUSCLE_HU
    del trunk
    label = np.zeros(shape, np.uint8)
    intensities = np.linspace(*_ORGANS_HU, ORGANS)
    for index in range(1, ORGANS + 1):
        centre = (random.uniform(0.08, 0.92), random.uniform(0.3, 0.7), random.uniform(0.22, 0.78))
        half_mm = random.uniform(18, 45, 3)
        lower = [max(0, int((c - h / e) * n)) for c, h, e, n in zip(centre, half_mm, extent, shape, strict=True)]
        upper = [min(n, int((c + h / e) * n) + 2) for c, h, e, n in zip(centre, half_mm, extent, shape, strict=True)]
        box = tuple(slice(a, b) for a, b in zip(lower, upper, strict=True))
        inside = _radius(shape, centre, half_mm / extent, box) < 1
        values[box][inside], label[box][inside] = intensities[index - 1], index
    if noise_hu:
        values += noise_hu * random.standard_normal(shape, dtype=np.float32)
    z, y, x = spacing_mm
    rows = ((0.0, 0.0, -x, 0.0), (0.0, -y, 0.0, 0.0), (z, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    array = np.rint(values, out=values).astype(np.int16)
    return Volume(array=array[None], grid=Grid(shape=shape, affine=rows)), label


def _radius(
    shape: Shape,
    centre: NDArray[np.float64] | tuple[float, ...],
    half: NDArray[np.float64] | tuple[float, ...],
    box: tuple[slice, ...] = (slice(None),) * 3,
) -> NDArray[np.float32]:
    """Return the distance from an ellipsoid's centre, 1 on its surface; centre and half axes are shares of `shape`."""
    axes = [((np.arange(n) + 0.5) / n)[part] for n, part in zip(shape, box, strict=True)]
    z, y, x = (((a - c) / h).astype(np.float32) ** 2 for a, c, h in zip(axes, centre, half, strict=True))
    radius: NDArray[np.float32] = np.sqrt(z[:, None, None] + y[:, None] + x)
    return radius


def _field(shape: Shape, random: np.random.Generator, scale: int) -> NDArray[np.float32]:
    """Return a smooth random field of standard deviation about 1 that changes over `scale` voxels."""
    coarse = random.standard_normal([-(-n // scale) + 3 for n in shape], dtype=np.float32)
    fine = ndimage.zoom(coarse, scale, order=1)
    return np.ascontiguousarray(fine[tuple(slice(scale, scale + n) for n in shape)])
