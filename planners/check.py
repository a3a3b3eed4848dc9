"""What must hold of a plan whatever wrote it: each rule that a plan edited by hand may break names its field."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

from planners.plan import Augmentation, Configuration, Convergence, Normalization, Plan, Schedule, Stage

# nnU-Net halves an axis while both halves keep 4 voxels: 2048 pixels, its largest start, make nine stages and a
# bottleneck. Deeper networks see nothing more.
STAGES_MAX = 10
# nnU-Net ends at 512; four times that still fits a GPU.
FEATURES_MAX = 2048
# A network with more outputs than this fits no memory at a useful patch; label maps on disk hold 65535 values.
CLASSES_MAX = 4096
# nnU-Net's rate for SGD is 0.01; above 1 every optimiser diverges.
LEARNING_RATE_MAX = 1.0
# A curve of three numbers and its noise need a point each.
POINTS_MIN = 4
# nnU-Net's largest ball has a radius of 8 voxels; four times that fills a patch.
RADIUS_MAX = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A value that no network can be trained with: the field's place in the plan, and what is wrong with it."""

    field: str
    what: str


def check_plan(plan: Plan) -> tuple[Problem, ...]:
    """Return everything that is wrong with `plan`; empty for every plan that the planner makes."""
    return tuple(_plan(plan))


def _plan(plan: Plan) -> Iterator[Problem]:
    if sorted(plan.transpose) != [0, 1, 2]:
        yield Problem(field="transpose", what=f"{_text(plan.transpose)} is not an order of the axes 0, 1, 2")
    if not plan.channels:
        yield Problem(field="channels", what="there is none")
    foreground = sum(label.role == "foreground" for label in plan.labels)
    if not 1 <= foreground <= CLASSES_MAX:
        yield Problem(field="labels", what=f"{foreground} structures to segment, not 1 to {CLASSES_MAX}")
    names = [configuration.name for configuration in plan.configurations]
    if not names:
        yield Problem(field="configurations", what="there is none")
    for index, configuration in enumerate(plan.configurations):
        place = f"configurations[{index}]"
        if configuration.name in names[:index]:
            yield Problem(field=f"{place}.name", what=f"{configuration.name} is there twice")
        if configuration.previous is not None and configuration.previous not in names:
            yield Problem(field=f"{place}.previous", what=f"the plan has no {configuration.previous}")
        if len(configuration.normalizations) != len(plan.channels):
            what = f"{len(configuration.normalizations)} of them for {len(plan.channels)} channels"
            yield Problem(field=f"{place}.normalizations", what=what)
        swapped = [output for pair in configuration.augmentation.mirror_swaps for output in pair]
        outputs = range(foreground + (plan.target == "labels"))
        if len(set(swapped)) != len(swapped) or not set(swapped) <= set(outputs):
            what = f"{_text(swapped)} are not different outputs below {len(outputs)}"
            yield Problem(field=f"{place}.augmentation.mirror_swaps", what=what)
        for problem in _configuration(configuration):
            yield Problem(field=f"{place}.{problem.field}", what=problem.what)


def _configuration(configuration: Configuration) -> Iterator[Problem]:
    if (configuration.dimensions == 2) != (configuration.name == "2d"):
        yield Problem(field="dimensions", what=f"{configuration.dimensions} does not suit {configuration.name}")
    yield from _axes(configuration)
    yield from _at_least("batch", configuration.batch, 1)
    if not 1 <= len(configuration.stages) <= STAGES_MAX:
        yield Problem(field="stages", what=f"{len(configuration.stages)} of them, not 1 to {STAGES_MAX}")
        return
    for index, stage in enumerate(configuration.stages):
        for problem in _stage(stage, configuration.dimensions, first=index == 0):
            yield Problem(field=f"stages[{index}].{problem.field}", what=problem.what)
        bottleneck = index == len(configuration.stages) - 1
        if bottleneck != (stage.decoder_convolutions == 0) or stage.decoder_convolutions < 0:
            what = f"{stage.decoder_convolutions} is not {'0, as in a bottleneck' if bottleneck else '1 or more'}"
            yield Problem(field=f"stages[{index}].decoder_convolutions", what=what)
    yield from _divisible(configuration)
    yield from _weights(configuration)
    for index, normalization in enumerate(configuration.normalizations):
        for problem in _normalization(normalization):
            yield Problem(field=f"normalizations[{index}].{problem.field}", what=problem.what)
    for problem in _augmentation(configuration.augmentation, configuration.dimensions):
        yield Problem(field=f"augmentation.{problem.field}", what=problem.what)
    yield from _previous(configuration)
    for problem in _schedule(configuration.schedule):
        yield Problem(field=f"schedule.{problem.field}", what=problem.what)


def _axes(configuration: Configuration) -> Iterator[Problem]:
    """Check what has one number per axis."""
    rows = (
        ("spacing_mm", configuration.spacing_mm, "a length"),
        ("median_shape", configuration.median_shape, "a number of voxels"),
        ("patch", configuration.patch, "a number of voxels"),
    )
    for field, values, kind in rows:
        if len(values) != configuration.dimensions:
            yield _count(field, values, configuration.dimensions)
        elif not all(0 < value < math.inf for value in values):
            yield Problem(field=field, what=f"{_text(values)} has an axis that is not {kind} above 0")


def _stage(stage: Stage, dimensions: int, *, first: bool) -> Iterator[Problem]:
    if not 1 <= stage.features <= FEATURES_MAX:
        yield Problem(field="features", what=f"{stage.features} is not 1 to {FEATURES_MAX}")
    yield from _at_least("convolutions", stage.convolutions, 1)
    if len(stage.kernel) != dimensions:
        yield _count("kernel", stage.kernel, dimensions)
    elif not all(size > 0 and size % 2 for size in stage.kernel):
        yield Problem(field="kernel", what=f"{_text(stage.kernel)} is not odd along every axis")
    if len(stage.stride) != dimensions:
        yield _count("stride", stage.stride, dimensions)
    elif min(stage.stride) < 1 or (first and max(stage.stride) > 1):
        what = "1 along every axis, the full resolution" if first else "1 or more along every axis"
        yield Problem(field="stride", what=f"{_text(stage.stride)} is not {what}")


def _divisible(configuration: Configuration) -> Iterator[Problem]:
    dimensions, strides = configuration.dimensions, [stage.stride for stage in configuration.stages]
    if len(configuration.patch) != dimensions or any(len(s) != dimensions or min(s) < 1 for s in strides):
        return  # said already
    divisor = [math.prod(axis) for axis in zip(*strides, strict=True)]
    if any(edge % divide for edge, divide in zip(configuration.patch, divisor, strict=True)):
        what = f"{_text(configuration.patch)} is not divisible by its strides, together {_text(divisor)}"
        yield Problem(field="patch", what=what)


def _weights(configuration: Configuration) -> Iterator[Problem]:
    weights, outputs = configuration.deep_supervision_weights, len(configuration.stages) - 1
    if weights is None:
        return
    if len(weights) != outputs:
        what = f"{len(weights)} weights for the {outputs} outputs of {outputs + 1} stages"
        yield Problem(field="deep_supervision_weights", what=what)
    elif not all(0 <= weight < math.inf for weight in weights) or sum(weights) <= 0:
        what = f"{_text(weights)} has a weight below 0, or none above"
        yield Problem(field="deep_supervision_weights", what=what)


def _normalization(normalization: Normalization) -> Iterator[Problem]:
    lower, upper = normalization.lower, normalization.upper
    if normalization.scheme == "window" and (lower is None or upper is None):
        yield Problem(field="lower" if lower is None else "upper", what="a window needs it")
    if lower is not None and upper is not None and lower > upper:
        yield Problem(field="upper", what=f"{upper:g} is below the lower {lower:g}")
    if normalization.std is not None and normalization.std < 0:
        yield Problem(field="std", what=f"{normalization.std:g} is below 0")


_ANY, _SHARE = (0.0, math.inf), (0.0, 1.0)
_RANGES = {
    **dict.fromkeys(("scaling", "noise_std", "blur_sigma_voxels", "brightness", "contrast", "low_resolution"), _ANY),
    **dict.fromkeys(("gamma", "motion_voxels", "bias_field", "spikes", "anisotropic_blur_sigma_voxels"), _ANY),
    **dict.fromkeys(("elastic_reach", "elastic_smoothness", "ghosting", "thick_slices"), _SHARE),
    "ghosting_copies": (2.0, math.inf),
}
"""Bounds of the ranges from which an augmentation draws."""


def _augmentation(augmentation: Augmentation, dimensions: int) -> Iterator[Problem]:
    for field in fields(augmentation):
        value = getattr(augmentation, field.name)
        if field.name.endswith("probability"):
            yield from _between(field.name, value, 0.0, 1.0)
    for name, (least, most) in _RANGES.items():
        low, high = getattr(augmentation, name)
        if not least <= low <= high <= most or math.isinf(high):
            upwards = "upwards" if math.isinf(most) else f"to {most:g}"
            yield Problem(field=name, what=f"{low:g} to {high:g} is not a range from {least:g} {upwards}")
    axes = augmentation.mirror_axes
    if len(set(axes)) != len(axes) or not set(axes) <= set(range(dimensions)):
        yield Problem(field="mirror_axes", what=f"{_text(axes)} are not different axes below {dimensions}")
    if augmentation.mirror_swaps and augmentation.mirror_swap_axis not in axes:
        yield Problem(field="mirror_swap_axis", what=f"{augmentation.mirror_swap_axis} is no axis that is mirrored")


def _previous(configuration: Configuration) -> Iterator[Problem]:
    given = configuration.previous_augmentation
    if given is None:
        return
    if configuration.previous is None:
        yield Problem(field="previous_augmentation", what="no stage before it predicts what it would change")
    for name in ("operator", "removal"):
        for part in ("probability", "label_probability"):
            yield from _between(f"previous_augmentation.{name}_{part}", getattr(given, f"{name}_{part}"), 0.0, 1.0)
    yield from _between("previous_augmentation.removal_share_max", given.removal_share_max, 0.0, 1.0)
    low, high = given.operator_radius_voxels
    if not 1 <= low <= high <= RADIUS_MAX:
        what = f"{low} to {high} are not radii of 1 to {RADIUS_MAX} voxels"
        yield Problem(field="previous_augmentation.operator_radius_voxels", what=what)


def _schedule(schedule: Schedule) -> Iterator[Problem]:
    if not 0 < schedule.learning_rate <= LEARNING_RATE_MAX:
        what = f"{schedule.learning_rate:g} is not above 0 and at most {LEARNING_RATE_MAX:g}"
        yield Problem(field="learning_rate", what=what)
    yield from _between("weight_decay", schedule.weight_decay, 0.0, 1.0)
    for name in ("momentum", "ema_decay"):
        value = getattr(schedule, name)
        if value is not None and not 0 <= value < 1:
            yield Problem(field=name, what=f"{value:g} is not from 0 to below 1")
    yield from _between("warmup", schedule.warmup, 0.0, 1.0)
    yield from _between("foreground_fraction", schedule.foreground_fraction, 0.0, 1.0)
    yield from _between("decay_power", schedule.decay_power, 0.0, math.inf)
    if schedule.gradient_clip <= 0:
        yield Problem(field="gradient_clip", what=f"{schedule.gradient_clip:g} is not above 0")
    yield from _at_least("steps_per_epoch", schedule.steps_per_epoch, 1)
    if schedule.steps is not None:
        yield from _at_least("steps", schedule.steps, 1)
    if schedule.convergence is not None:
        if schedule.steps is None:
            yield Problem(field="steps", what="a training that ends by its validation curve needs the most it may have")
        for problem in _convergence(schedule.convergence):
            yield Problem(field=f"convergence.{problem.field}", what=problem.what)


def _convergence(rule: Convergence) -> Iterator[Problem]:
    for name, least in (("warmup_steps", 0), ("steps_min", 1), ("points_min", POINTS_MIN), ("agreeing", 1)):
        yield from _at_least(name, getattr(rule, name), least)
    if not 0 < rule.anneal_share <= 1:
        yield Problem(field="anneal_share", what=f"{rule.anneal_share:g} is not above 0 and at most 1")
    if not 1 < rule.horizon < math.inf:
        yield Problem(field="horizon", what=f"{rule.horizon:g} times the steps is no longer training")
    if not 0 < rule.noise_min <= rule.noise_max < 1:
        what = f"{rule.noise_min:g} to {rule.noise_max:g} is not a range above 0 and below 1"
        yield Problem(field="noise_min", what=what)
    yield from _between("unlearned", rule.unlearned, 0.0, 1.0)


def _between(field: str, value: float, low: float, high: float) -> Iterator[Problem]:
    if not low <= value <= high:
        yield Problem(field=field, what=f"{value:g} is not {low:g} to {high:g}")


def _at_least(field: str, value: int, least: int) -> Iterator[Problem]:
    if value < least:
        yield Problem(field=field, what=f"{value} is not {least} or more")


def _count(field: str, values: Sequence[float], dimensions: int) -> Problem:
    return Problem(field=field, what=f"{_text(values)} has {len(values)} axes instead of {dimensions}")


def _text(values: Sequence[float]) -> str:
    return f"({', '.join(f'{value:g}' for value in values)})"
