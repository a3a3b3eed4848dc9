"""A plan with the few numbers that imaging obeys."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import jaxtyping
import pytest

from planners.fingerprint import Label
from planners.plan import Augmentation, Configuration, Normalization, Plan, Schedule, Stage, Target

PlanBuilder = Callable[..., Plan]

_AUGMENTATION = Augmentation(
    rotation_probability=0.0,
    rotation_deg=(0.0, 0.0, 0.0),
    scaling_probability=0.0,
    scaling=(1.0, 1.0),
    noise_probability=0.0,
    noise_std=(0.0, 0.0),
    blur_probability=0.0,
    blur_sigma_voxels=(0.5, 1.0),
    brightness_probability=0.0,
    brightness=(1.0, 1.0),
    contrast_probability=0.0,
    contrast=(1.0, 1.0),
    low_resolution_probability=0.0,
    low_resolution=(1.0, 1.0),
    gamma_inverted_probability=0.0,
    gamma_probability=0.0,
    gamma=(1.0, 1.0),
    mirror_axes=(),
    in_plane_only=False,
)
_SCHEDULE = Schedule(
    optimizer="adamw",
    learning_rate=1e-3,
    weight_decay=0.0,
    momentum=None,
    warmup=0.0,
    decay="poly",
    decay_power=0.9,
    gradient_clip=12.0,
    ema_decay=None,
    loss="dice-ce",
    foreground_fraction=0.33,
    steps=1,
    steps_per_epoch=1,
)


@pytest.fixture
def as_in_production() -> Iterator[None]:
    """Switch the checking of signatures off, for what a function itself refuses although its signature excludes it."""
    jaxtyping.config.update("jaxtyping_disable", value=True)
    yield
    jaxtyping.config.update("jaxtyping_disable", value=False)


@pytest.fixture
def build_plan() -> PlanBuilder:
    """Return a builder of a plan with one configuration of the given spacing."""

    def build(
        spacing_mm: Sequence[float],
        *,
        labels: tuple[Label, ...] = (Label(name="organ", values=(1,)), Label(name="tumour", values=(2,))),
        target: Target = "labels",
        transpose: tuple[int, int, int] = (0, 1, 2),
        normalizations: tuple[Normalization, ...] = (Normalization(channel="image", scheme="none"),),
    ) -> Plan:
        dimensions = len(spacing_mm)
        ones = (1,) * dimensions
        stage = Stage(features=4, kernel=(3,) * dimensions, stride=ones, convolutions=2, decoder_convolutions=0)
        configuration = Configuration(
            name="3d_fullres",
            architecture="plain-unet",
            dimensions=3,
            spacing_mm=tuple(spacing_mm),
            median_shape=(8.0,) * dimensions,
            patch=(8,) * dimensions,
            batch=2,
            stages=(stage,),
            deep_supervision_weights=None,
            batch_dice=False,
            normalizations=normalizations,
            augmentation=_AUGMENTATION,
            schedule=_SCHEDULE,
            feature_map_estimate=1,
            estimated_bytes=1,
        )
        if dimensions == 2:
            configuration = replace(configuration, name="2d", dimensions=2)
        return Plan(
            dataset="toy",
            recipe="auto",
            channels=tuple(n.channel for n in normalizations),
            labels=labels,
            target=target,
            transpose=transpose,
            configurations=(configuration,),
            decisions=(),
        )

    return build
