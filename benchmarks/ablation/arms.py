"""The arms: each changes one thing of the planned configuration; what costs more per step trains fewer steps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from planners.plan import Augmentation, Configuration, Schedule
from planners.recipe import Machine
from planners.schedule import seconds_per_step

BASELINE = "default"
BASE_STEPS = 900
"""About five minutes of two cores for the default arm."""

MACHINE = Machine(device="cpu", cores=2, memory_bytes=24 << 30, bf16=True, flops_per_s=1.8e11, bytes_per_s=1e10)
"""A fixed machine, so that every run of the benchmark plans the same network."""

Change = Callable[[Configuration], Configuration]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One thing done otherwise, in words and as a change of the configuration."""

    what: str
    change: Change


def steps_of(
    arm: Configuration, default: Configuration, channels: int, outputs: int, base_steps: int = BASE_STEPS
) -> int:
    """Return the steps that cost as much as `base_steps` of the default, by the planner's model of time.

    Without a difference of network, patch or batch these are `base_steps`.
    """
    base = seconds_per_step(default, channels, outputs, MACHINE)
    own = seconds_per_step(arm, channels, outputs, MACHINE)
    if base is None or own is None:
        msg = "the fixed machine has a speed"
        raise ValueError(msg)
    return round(base_steps * base / own)


def _schedule(**changes: object) -> Change:
    def change(configuration: Configuration) -> Configuration:
        schedule: Schedule = replace(configuration.schedule, **changes)  # type: ignore[arg-type]
        return replace(configuration, schedule=schedule)

    return change


def _augmentation(make: Callable[[Augmentation], Augmentation]) -> Change:
    return lambda configuration: replace(configuration, augmentation=make(configuration.augmentation))


def _intensity(factor: float) -> Callable[[Augmentation], Augmentation]:
    """Return the change that multiplies the probabilities of everything that alters intensities."""

    def make(augmentation: Augmentation) -> Augmentation:
        return replace(
            augmentation,
            noise_probability=factor * augmentation.noise_probability,
            blur_probability=factor * augmentation.blur_probability,
            brightness_probability=factor * augmentation.brightness_probability,
            contrast_probability=factor * augmentation.contrast_probability,
            low_resolution_probability=factor * augmentation.low_resolution_probability,
            gamma_probability=factor * augmentation.gamma_probability,
            gamma_inverted_probability=factor * augmentation.gamma_inverted_probability,
        )

    return make


def _space(probability: float, degrees: float, scaling: tuple[float, float]) -> Callable[[Augmentation], Augmentation]:
    """Return the change that sets how often and how far patches are turned and zoomed."""

    def make(augmentation: Augmentation) -> Augmentation:
        return replace(
            augmentation,
            rotation_probability=probability,
            rotation_deg=(-degrees, degrees),
            scaling_probability=probability,
            scaling=scaling,
        )

    return make


def _mirrored(augmentation: Augmentation) -> Augmentation:
    return replace(augmentation, mirror_axes=(0, 1, 2))


def _scanner(augmentation: Augmentation) -> Augmentation:
    return replace(
        augmentation,
        bias_field_probability=0.1,
        motion_probability=0.1,
        ghosting_probability=0.1,
        anisotropic_blur_probability=0.1,
    )


def _width(factor: float) -> Change:
    def change(configuration: Configuration) -> Configuration:
        stages = tuple(replace(stage, features=round(factor * stage.features)) for stage in configuration.stages)
        return replace(configuration, stages=stages)

    return change


def _one_decoder_convolution(configuration: Configuration) -> Configuration:
    stages = tuple(
        replace(stage, decoder_convolutions=min(1, stage.decoder_convolutions)) for stage in configuration.stages
    )
    return replace(configuration, stages=stages)


def _batch(size: int) -> Change:
    return lambda configuration: replace(configuration, batch=size)


ARMS: Mapping[str, Arm] = MappingProxyType(
    {
        BASELINE: Arm(what="what the planner plans", change=lambda configuration: configuration),
        "mirror": Arm(what="mirrored along every axis, also when predicting", change=_augmentation(_mirrored)),
        "space-strong": Arm(
            what="turned and zoomed in half of the samples each, 0.7 to 1.4",
            change=_augmentation(_space(0.5, 30.0, (0.7, 1.4))),
        ),
        "intensity-none": Arm(what="intensities never changed", change=_augmentation(_intensity(0.0))),
        "decoder-1": Arm(what="one decoder convolution a level", change=_one_decoder_convolution),
        "rate-4e-3": Arm(what="learning rate 4e-3", change=_schedule(learning_rate=4e-3)),
        "foreground-0.33": Arm(
            what="a third of the samples about foreground", change=_schedule(foreground_fraction=0.33)
        ),
        "width-2": Arm(what="twice the features", change=_width(2.0)),
        "batch-2": Arm(what="batch 2", change=_batch(2)),
        "weight-decay-0.1": Arm(what="weight decay 0.1", change=_schedule(weight_decay=0.1)),
        "average-0.998": Arm(what="weights averaged over 500 steps, not 200", change=_schedule(ema_decay=0.998)),
        "elastic": Arm(
            what="a fifth of the samples deformed elastically",
            change=_augmentation(lambda augmentation: replace(augmentation, elastic_probability=0.2)),
        ),
        "scanner": Arm(
            what="a tenth of the samples each with bias field, motion, ghosting, uneven blur",
            change=_augmentation(_scanner),
        ),
        "cosine": Arm(what="cosine decay", change=_schedule(decay="cosine")),
        "rate-1e-3": Arm(what="learning rate 1e-3", change=_schedule(learning_rate=1e-3)),
        "foreground-0.67": Arm(what="two thirds about foreground", change=_schedule(foreground_fraction=0.67)),
        "intensity-half": Arm(what="intensities changed half as often", change=_augmentation(_intensity(0.5))),
        "loss-ce": Arm(what="cross-entropy alone", change=_schedule(loss="ce")),
        "loss-topk": Arm(what="Dice and the hardest tenth of cross-entropy", change=_schedule(loss="dice-topk")),
        "batch-1": Arm(what="batch 1", change=_batch(1)),
        "batch-2-width-2": Arm(what="batch 2 and twice the features", change=lambda plan: _batch(2)(_width(2.0)(plan))),
        "batch-8": Arm(what="batch 8", change=_batch(8)),
        "width-0.5": Arm(what="half the features", change=_width(0.5)),
        "space-none": Arm(what="never turned or zoomed", change=_augmentation(_space(0.0, 0.0, (1.0, 1.0)))),
        "sgd": Arm(
            what="nnU-Net's optimiser: SGD 0.01, momentum 0.99",
            change=_schedule(optimizer="sgd", learning_rate=0.01, momentum=0.99, weight_decay=3e-5, gradient_clip=12.0),
        ),
    }
)
