"""Synthetic abdominal CT: organs and a lesion as overlapping smooth shapes, for the demo and the end-to-end tests.

Not a simulation of physics: smooth random shapes, anisotropic spacing, partial volume, correlated noise and intensities
in Hounsfield units, so that every step of the pipeline has something real to do within minutes.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int16, UInt8
from scipy import ndimage

from autoseg.imaging.volume import Grid, Volume

ORGANS = ("liver", "kidney", "vertebra", "lesion")
"""Label names; label value = position + 1. The lesion lies inside the liver."""

SPACING_MM = (4.0, 2.0, 2.0)
_NOISE_HU = 18.0  # an abdominal scan at standard dose
_AIR_HU, _FAT_HU, _MUSCLE_HU = -1000.0, -95.0, 45.0
_BODY_AXES_MM = (400.0, 52.0, 66.0)
_FAT_MM = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Organ:
    """An ellipsoid: centre and half axes (z, y, x) in mm from the middle of the body, intensity, label value."""

    centre_mm: tuple[float, float, float]
    axes_mm: tuple[float, float, float]
    hu: float
    value: int


_LIVER = _Organ(centre_mm=(4, -8, -28), axes_mm=(30, 28, 26), hu=110, value=1)
_ANATOMY = (
    _LIVER,
    _Organ(centre_mm=(-12, 20, 34), axes_mm=(20, 11, 11), hu=165, value=2),
    _Organ(centre_mm=(-8, 20, -34), axes_mm=(20, 11, 11), hu=165, value=2),
    _Organ(centre_mm=(0, 30, 0), axes_mm=(400, 12, 13), hu=320, value=3),
)
_LESION_HU, _LESION_VALUE = 30.0, 4
_LESION_RADIUS_MM = (11.0, 15.0)


def phantom_case(
    seed: int, slices: tuple[int, int] = (20, 24), edge: tuple[int, int] = (60, 68)
) -> tuple[Volume, Volume]:
    """Return the image (int16, HU) and label map (uint8) of the case called `seed`; the same seed gives the same case.

    `slices` and `edge` are the ranges (first, last) of voxels along z and along y and x.
    """
    random = np.random.default_rng(seed)
    shape = (
        int(random.integers(slices[0], slices[1] + 1)),
        *(int(n) for n in random.integers(edge[0], edge[1] + 1, 2)),
    )
    axes = (np.arange(n, dtype=np.float32) - (n - 1) / 2 for n in shape)
    z, y, x = np.meshgrid(*(axis * s for axis, s in zip(axes, SPACING_MM, strict=True)), indexing="ij", sparse=True)
    place = (z, y, x)
    size = random.uniform(0.92, 1.08)
    image = np.full(shape, _AIR_HU, np.float32)
    body = _radius(place, (0, 0, 0), tuple(a * size for a in _BODY_AXES_MM), random, 0.03)
    image[body < 1] = _FAT_HU
    image[body < 1 - _FAT_MM / _BODY_AXES_MM[1]] = _MUSCLE_HU
    label = np.zeros(shape, np.uint8)
    for organ in _ANATOMY:
        moved = tuple(c * size + random.normal(0, 2) for c in organ.centre_mm)
        stretched = tuple(a * size * random.uniform(0.9, 1.1) for a in organ.axes_mm)
        inside = _radius(place, moved, stretched, random, 0.10) < 1
        image[inside], label[inside] = organ.hu + random.normal(0, 6), organ.value
        if organ is _LIVER:
            radius = random.uniform(*_LESION_RADIUS_MM)
            spot = tuple(m + random.uniform(-0.4, 0.4) * a for m, a in zip(moved, stretched, strict=True))
            lesion = (_radius(place, spot, (radius,) * 3, random, 0.12) < 1) & inside
            image[lesion], label[lesion] = _LESION_HU + random.normal(0, 5), _LESION_VALUE
    return _volume(_scanned(image, random)[None]), _volume(label[None])


def _radius(
    place: tuple[Float32[np.ndarray, "..."], ...],
    centre_mm: tuple[float, ...],
    axes_mm: tuple[float, ...],
    random: np.random.Generator,
    bumps: float,
) -> Float32[np.ndarray, "z y x"]:
    """Return the distance from the centre in units of the surface (inside: below 1), bent by waves of share `bumps`."""
    parts = [(p - c) / a for p, c, a in zip(place, centre_mm, axes_mm, strict=True)]
    wave = sum(np.sin(random.uniform(1.5, 3.0) * part + random.uniform(0, 2 * np.pi)) for part in parts)
    radius: Float32[np.ndarray, "z y x"] = np.sqrt(sum(part**2 for part in parts)) + bumps * wave
    return radius


def _scanned(image: Float32[np.ndarray, "z y x"], random: np.random.Generator) -> Int16[np.ndarray, "z y x"]:
    """Blur within the slice (partial volume), add correlated noise, round to whole HU."""
    noise = ndimage.gaussian_filter(random.standard_normal(image.shape, dtype=np.float32), (0, 0.6, 0.6))
    blurred = ndimage.gaussian_filter(image, (0.3, 0.6, 0.6)) + noise * (_NOISE_HU / float(noise.std()))
    rounded: Int16[np.ndarray, "z y x"] = np.clip(np.rint(blurred), -1024, 3071).astype(np.int16)
    return rounded


def _volume(array: Int16[np.ndarray, "c z y x"] | UInt8[np.ndarray, "c z y x"]) -> Volume:
    sz, sy, sx = SPACING_MM
    nz, ny, nx = array.shape[1:]
    affine = (
        (0.0, 0.0, -sx, sx * nx / 2),
        (0.0, -sy, 0.0, sy * ny / 2),
        (sz, 0.0, 0.0, -sz * nz / 2),
        (0.0, 0.0, 0.0, 1.0),
    )
    return Volume(array=array, grid=Grid(shape=(nz, ny, nx), affine=affine))
