"""Images spoilt on purpose, weaker to stronger, as scanners and people spoil them; the reference goes along."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Image = NDArray[np.float32]
Labels = NDArray[Any]
Spoilt = tuple[Image, Labels]

STRENGTHS = 6
"""Each twice as bad as the one before; the first that costs more than 0.1 Dice is taken."""


def _noise(image: Image, labels: Labels, strength: int, random: np.random.Generator) -> Spoilt:
    spread = 0.25 * 2.0**strength * image.std()
    return image + random.normal(0, spread, image.shape).astype(np.float32), labels


def _blur(image: Image, labels: Labels, strength: int, random: np.random.Generator) -> Spoilt:
    del random
    return ndimage.gaussian_filter(image, 0.7 * 1.5**strength), labels


def _crop(image: Image, labels: Labels, strength: int, random: np.random.Generator) -> Spoilt:
    """Blacken one end: a field of view that stops within the structure."""
    axis, keep = int(random.integers(3)), 1 - 0.1 * (strength + 2)
    length = round(keep * image.shape[axis])
    result = image.copy()
    gone = slice(length, None) if random.integers(2) else slice(0, image.shape[axis] - length)
    np.moveaxis(result, axis, 0)[gone] = 0
    return result, labels


def _bias(image: Image, labels: Labels, strength: int, random: np.random.Generator) -> Spoilt:
    """Multiply by a smooth field, as a surface coil would."""
    coarse = random.normal(0, 0.4 * 1.7**strength, (3, 3, 3))
    field = ndimage.zoom(coarse, [n / 3 for n in image.shape], order=2, mode="nearest", grid_mode=True)
    return (image * np.exp(field)).astype(np.float32), labels


def _other_modality(image: Image, labels: Labels, strength: int, random: np.random.Generator) -> Spoilt:
    """Turn the grey values around, wholly or in part: dark becomes bright as between T1 and T2."""
    del random
    low, high = np.quantile(image, (0.01, 0.99))
    scaled = np.clip((image - low) / max(float(high - low), 1e-6), 0, 1)
    peak = 1 - strength / (STRENGTHS - 1)
    folded = np.where(scaled < peak, scaled / max(peak, 1e-6), (1 - scaled) / max(1 - peak, 1e-6))
    return folded.astype(np.float32), labels


def _axes_swapped(image: Image, labels: Labels, strength: int, random: np.random.Generator) -> Spoilt:
    """Exchange or turn axes, as a lost header does."""
    del random
    orders = ((0, 2, 1), (1, 0, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1), (0, 1, 2))
    order = orders[strength]
    if order == (0, 1, 2):
        return np.ascontiguousarray(image[:, ::-1, ::-1]), labels[:, ::-1, ::-1]
    return np.ascontiguousarray(image.transpose(order)), labels.transpose(order)


CORRUPTIONS: Mapping[str, Callable[[Image, Labels, int, np.random.Generator], Spoilt]] = MappingProxyType(
    {
        "noise": _noise,
        "blur": _blur,
        "crop": _crop,
        "bias": _bias,
        "wrong modality": _other_modality,
        "axes swapped": _axes_swapped,
    }
)
