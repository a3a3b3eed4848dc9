"""Small records and cases for tests; every number can be replaced."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from planners.plan import Augmentation, Configuration, Normalization, Schedule, Stage

NO_AUGMENTATION = Augmentation(
    rotation_probability=0.0,
    rotation_deg=(-30.0, 30.0),
    scaling_probability=0.0,
    scaling=(0.7, 1.4),
    noise_probability=0.0,
    noise_std=(0.0, 0.1),
    blur_probability=0.0,
    blur_sigma_voxels=(0.5, 1.0),
    brightness_probability=0.0,
    brightness=(0.75, 1.25),
    contrast_probability=0.0,
    contrast=(0.75, 1.25),
    low_resolution_probability=0.0,
    low_resolution=(0.5, 1.0),
    gamma_inverted_probability=0.0,
    gamma_probability=0.0,
    gamma=(0.7, 1.5),
    mirror_axes=(),
    in_plane_only=False,
)
EVERY_AUGMENTATION = replace(
    NO_AUGMENTATION,
    rotation_probability=1.0,
    scaling_probability=1.0,
    noise_probability=1.0,
    blur_probability=1.0,
    brightness_probability=1.0,
    contrast_probability=1.0,
    low_resolution_probability=1.0,
    gamma_inverted_probability=1.0,
    gamma_probability=1.0,
)
SHORT_SCHEDULE = Schedule(
    optimizer="adamw",
    learning_rate=2e-3,
    weight_decay=0.01,
    momentum=None,
    warmup=0.1,
    decay="poly",
    decay_power=0.9,
    gradient_clip=12.0,
    ema_decay=0.9,
    loss="dice-ce",
    foreground_fraction=0.5,
    steps=6,
    steps_per_epoch=3,
)


def stages(dimensions: int, count: int, features: int = 4) -> tuple[Stage, ...]:
    """Stages that halve every axis, with doubling features."""
    return tuple(
        Stage(
            features=features * 2**index,
            kernel=(3,) * dimensions,
            stride=(1 if index == 0 else 2,) * dimensions,
            convolutions=2,
            decoder_convolutions=0 if index == count - 1 else 2,
        )
        for index in range(count)
    )


def configuration(dimensions: int = 3, *, count: int = 3, edge: int = 8, batch: int = 2) -> Configuration:
    """A small configuration with `count` stages and a cubic patch."""
    return Configuration(
        name="3d_fullres" if dimensions == 3 else "2d",
        architecture="plain-unet",
        dimensions=3 if dimensions == 3 else 2,
        spacing_mm=(1.0,) * dimensions,
        median_shape=(float(edge),) * dimensions,
        patch=(edge,) * dimensions,
        batch=batch,
        stages=stages(dimensions, count),
        deep_supervision_weights=(2 / 3, 1 / 3) if count == 3 else None,
        batch_dice=False,
        normalizations=(Normalization(channel="image", scheme="zscore"),),
        augmentation=NO_AUGMENTATION,
        schedule=SHORT_SCHEDULE,
        feature_map_estimate=0,
        estimated_bytes=0,
    )


class ArraySource:
    """Cases in memory: a bright ball (class 1) in noise, a different place in each case."""

    def __init__(self, count: int = 3, shape: tuple[int, int, int] = (10, 12, 9), seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self._images: dict[str, NDArray[np.float32]] = {}
        self._labels: dict[str, NDArray[np.int16]] = {}
        for index in range(count):
            centre = [random.uniform(0.35, 0.65) * n for n in shape]
            axes = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
            distance = sum((axis - c) ** 2 for axis, c in zip(axes, centre, strict=True))
            label = (distance <= (min(shape) / 3.5) ** 2).astype(np.int16)
            image = label + 0.3 * random.standard_normal(shape)
            self._images[f"case_{index}"] = image[None].astype(np.float32)
            self._labels[f"case_{index}"] = label[None]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._images)

    def shape(self, name: str) -> tuple[int, int, int]:
        z, y, x = self._images[name].shape[1:]
        return z, y, x

    def read_image(self, name: str, lower: tuple[int, ...], upper: tuple[int, ...]) -> NDArray[np.float32]:
        return self._images[name][(slice(None), *map(slice, lower, upper))]

    def read_label(self, name: str, lower: tuple[int, ...], upper: tuple[int, ...]) -> NDArray[np.int16]:
        return self._labels[name][(slice(None), *map(slice, lower, upper))]

    def locations(self, name: str) -> tuple[NDArray[np.int32], ...]:
        return (np.argwhere(self._labels[name][0] == 1).astype(np.int32),)
