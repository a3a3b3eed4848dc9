"""A plan edited by hand: each mistake is found and its field named; what the planner makes passes."""

from dataclasses import replace
from pathlib import Path

import pytest

from autoseg.core.records import read_record
from benchmarks.nnunet_figures import GoldenPlans
from planners.cascade import CASCADE_AUGMENTATION
from planners.check import Problem, check_plan
from planners.plan import Configuration, Normalization, Plan
from planners.planner import make_plan
from planners.recipe import RECIPES, Budget
from tests.planners.fingerprints import fingerprint, picture

GOLDEN = sorted((Path(__file__).parents[1] / "golden" / "nnunet_plans").glob("*.json"))
FIRST = "configurations[0]"


def a_plan() -> Plan:
    return make_plan(fingerprint(), RECIPES["auto"], Budget(steps=100))


def with_first(**changes: object) -> Plan:
    plan = a_plan()
    first: Configuration = replace(plan.configurations[0], **changes)  # type: ignore[arg-type]
    return replace(plan, configurations=(first, *plan.configurations[1:]))


def with_stage(index: int, **changes: object) -> Plan:
    stages = list(a_plan().configurations[0].stages)
    stages[index] = replace(stages[index], **changes)  # type: ignore[arg-type]
    return with_first(stages=tuple(stages))


def with_schedule(**changes: object) -> Plan:
    return with_first(schedule=replace(a_plan().configurations[0].schedule, **changes))  # type: ignore[arg-type]


def with_augmentation(**changes: object) -> Plan:
    return with_first(augmentation=replace(a_plan().configurations[0].augmentation, **changes))  # type: ignore[arg-type]


def with_normalization(**changes: object) -> Plan:
    return with_first(normalizations=(replace(Normalization(channel="image", scheme="window"), **changes),))  # type: ignore[arg-type]


def problems(plan: Plan) -> list[str]:
    return [f"{problem.field}: {problem.what}" for problem in check_plan(plan)]


@pytest.mark.parametrize("file", GOLDEN, ids=lambda path: path.stem)
def test_every_plan_that_is_made_passes(file: Path) -> None:
    given = read_record(file, GoldenPlans).fingerprint
    for recipe in RECIPES.values():
        assert check_plan(make_plan(given, recipe, Budget())) == ()


def test_plans_of_pictures_pass() -> None:
    pictures = replace(fingerprint(), cases=(picture("a", (40, 300)),))
    assert check_plan(make_plan(pictures, RECIPES["auto"], Budget(seconds=600.0))) == ()


def test_plan_wide_mistakes_are_named() -> None:
    plan = a_plan()
    assert problems(replace(plan, transpose=(0, 1, 1))) == ["transpose: (0, 1, 1) is not an order of the axes 0, 1, 2"]
    assert problems(replace(plan, configurations=())) == ["configurations: there is none"]
    assert problems(replace(plan, labels=())) == ["labels: 0 structures to segment, not 1 to 4096"]
    assert problems(replace(plan, labels=plan.labels * 4097)) == ["labels: 4097 structures to segment, not 1 to 4096"]
    channels = replace(plan, channels=())
    assert problems(channels)[0] == "channels: there is none"
    assert f"{FIRST}.normalizations: 1 of them for 0 channels" in problems(channels)
    twice = replace(plan, configurations=plan.configurations[:1] * 2)
    assert problems(twice) == ["configurations[1].name: 3d_fullres is there twice"]


CONFIGURATION_MISTAKES = (
    ({"previous": "3d_lowres"}, "previous: the plan has no 3d_lowres"),
    ({"batch": 0}, "batch: 0 is not 1 or more"),
    ({"patch": (33, 48, 32)}, "patch: (33, 48, 32) is not divisible by its strides, together (8, 8, 8)"),
    ({"patch": (48, 32)}, "patch: (48, 32) has 2 axes instead of 3"),
    ({"spacing_mm": (1.0, 0.0, 1.0)}, "spacing_mm: (1, 0, 1) has an axis that is not a length above 0"),
    ({"name": "2d"}, "dimensions: 3 does not suit 2d"),
    ({"stages": ()}, "stages: 0 of them, not 1 to 10"),
    ({"deep_supervision_weights": (1.0,)}, "deep_supervision_weights: 1 weights for the 3 outputs of 4 stages"),
    (
        {"deep_supervision_weights": (1.0, -0.5, 0.5)},
        "deep_supervision_weights: (1, -0.5, 0.5) has a weight below 0, or none above",
    ),
)


@pytest.mark.parametrize(("changes", "expected"), CONFIGURATION_MISTAKES)
def test_mistakes_of_a_configuration_are_named(changes: dict[str, object], expected: str) -> None:
    assert f"{FIRST}.{expected}" in problems(with_first(**changes))


CASCADE_MISTAKES = (
    ({"operator_probability": 1.5}, "operator_probability: 1.5 is not 0 to 1"),
    ({"removal_label_probability": -0.5}, "removal_label_probability: -0.5 is not 0 to 1"),
    ({"removal_share_max": 2.0}, "removal_share_max: 2 is not 0 to 1"),
    ({"operator_radius_voxels": (8, 1)}, "operator_radius_voxels: 8 to 1 are not radii of 1 to 32 voxels"),
)


@pytest.mark.parametrize(("changes", "expected"), CASCADE_MISTAKES)
def test_mistakes_of_a_cascades_augmentation_are_named(changes: dict[str, object], expected: str) -> None:
    cascade = with_first(previous="3d_fullres", previous_augmentation=replace(CASCADE_AUGMENTATION, **changes))
    assert problems(cascade) == [f"{FIRST}.previous_augmentation.{expected}"]


def test_only_a_cascade_changes_what_was_predicted_before() -> None:
    found = problems(with_first(previous_augmentation=CASCADE_AUGMENTATION))
    assert found == [f"{FIRST}.previous_augmentation: no stage before it predicts what it would change"]


STAGE_MISTAKES = (
    (1, {"features": 4096}, "features: 4096 is not 1 to 2048"),
    (1, {"convolutions": 0}, "convolutions: 0 is not 1 or more"),
    (1, {"kernel": (3, 2, 3)}, "kernel: (3, 2, 3) is not odd along every axis"),
    (1, {"kernel": (3, 3)}, "kernel: (3, 3) has 2 axes instead of 3"),
    (1, {"stride": (2, 2)}, "stride: (2, 2) has 2 axes instead of 3"),
    (1, {"stride": (2, 0, 2)}, "stride: (2, 0, 2) is not 1 or more along every axis"),
    (0, {"stride": (1, 2, 2)}, "stride: (1, 2, 2) is not 1 along every axis, the full resolution"),
    (0, {"decoder_convolutions": 0}, "decoder_convolutions: 0 is not 1 or more"),
    (3, {"decoder_convolutions": 2}, "decoder_convolutions: 2 is not 0, as in a bottleneck"),
)


@pytest.mark.parametrize(("index", "changes", "expected"), STAGE_MISTAKES)
def test_mistakes_of_a_stage_are_named(index: int, changes: dict[str, object], expected: str) -> None:
    assert f"{FIRST}.stages[{index}].{expected}" in problems(with_stage(index, **changes))


SCHEDULE_MISTAKES = (
    ({"learning_rate": 0.0}, "learning_rate: 0 is not above 0 and at most 1"),
    ({"learning_rate": 3.0}, "learning_rate: 3 is not above 0 and at most 1"),
    ({"weight_decay": -1.0}, "weight_decay: -1 is not 0 to 1"),
    ({"ema_decay": 1.0}, "ema_decay: 1 is not from 0 to below 1"),
    ({"momentum": -0.5}, "momentum: -0.5 is not from 0 to below 1"),
    ({"warmup": 1.5}, "warmup: 1.5 is not 0 to 1"),
    ({"foreground_fraction": 2.0}, "foreground_fraction: 2 is not 0 to 1"),
    ({"decay_power": -1.0}, "decay_power: -1 is not 0 to inf"),
    ({"gradient_clip": 0.0}, "gradient_clip: 0 is not above 0"),
    ({"steps": 0}, "steps: 0 is not 1 or more"),
    ({"steps_per_epoch": 0}, "steps_per_epoch: 0 is not 1 or more"),
)


@pytest.mark.parametrize(("changes", "expected"), SCHEDULE_MISTAKES)
def test_mistakes_of_a_schedule_are_named(changes: dict[str, object], expected: str) -> None:
    assert problems(with_schedule(**changes)) == [f"{FIRST}.schedule.{expected}"]


CONVERGENCE_MISTAKES = (
    ({"warmup_steps": -1}, "warmup_steps: -1 is not 0 or more"),
    ({"steps_min": 0}, "steps_min: 0 is not 1 or more"),
    ({"points_min": 3}, "points_min: 3 is not 4 or more"),
    ({"agreeing": 0}, "agreeing: 0 is not 1 or more"),
    ({"anneal_share": 0.0}, "anneal_share: 0 is not above 0 and at most 1"),
    ({"horizon": 1.0}, "horizon: 1 times the steps is no longer training"),
    ({"noise_min": 0.1}, "noise_min: 0.1 to 0.01 is not a range above 0 and below 1"),
    ({"unlearned": 2.0}, "unlearned: 2 is not 0 to 1"),
)


@pytest.mark.parametrize(("changes", "expected"), CONVERGENCE_MISTAKES)
def test_mistakes_of_the_rule_for_the_end_are_named(changes: dict[str, object], expected: str) -> None:
    rule = RECIPES["auto"].schedule.convergence
    assert rule is not None
    changed = replace(rule, **changes)  # type: ignore[arg-type]
    assert problems(with_schedule(convergence=changed)) == [f"{FIRST}.schedule.convergence.{expected}"]
    assert problems(with_schedule(convergence=rule)) == []


def test_a_training_that_ends_by_its_curve_needs_the_most_steps_it_may_have() -> None:
    rule = RECIPES["auto"].schedule.convergence
    expected = "steps: a training that ends by its validation curve needs the most it may have"
    assert problems(with_schedule(convergence=rule, steps=None)) == [f"{FIRST}.schedule.{expected}"]


AUGMENTATION_MISTAKES = (
    ({"noise_probability": 1.5}, "noise_probability: 1.5 is not 0 to 1"),
    ({"scaling": (1.4, 0.7)}, "scaling: 1.4 to 0.7 is not a range from 0 upwards"),
    ({"elastic_reach": (0.1, 1.5)}, "elastic_reach: 0.1 to 1.5 is not a range from 0 to 1"),
    ({"ghosting_copies": (1, 4)}, "ghosting_copies: 1 to 4 is not a range from 2 upwards"),
    ({"spikes": (0.0, float("inf"))}, "spikes: 0 to inf is not a range from 0 upwards"),
    ({"mirror_axes": (0, 3)}, "mirror_axes: (0, 3) are not different axes below 3"),
    ({"mirror_axes": (1, 1)}, "mirror_axes: (1, 1) are not different axes below 3"),
    (
        {"mirror_axes": (0, 2), "mirror_swap_axis": 1, "mirror_swaps": ((0, 1),)},
        "mirror_swap_axis: 1 is no axis that is mirrored",
    ),
    (
        {"mirror_axes": (2,), "mirror_swap_axis": 2, "mirror_swaps": ((1, 2),)},
        "mirror_swaps: (1, 2) are not different outputs below 2",
    ),
)


@pytest.mark.parametrize(("changes", "expected"), AUGMENTATION_MISTAKES)
def test_mistakes_of_the_augmentation_are_named(changes: dict[str, object], expected: str) -> None:
    assert problems(with_augmentation(**changes)) == [f"{FIRST}.augmentation.{expected}"]


NORMALIZATION_MISTAKES = (
    ({"upper": 1.0}, "lower: a window needs it"),
    ({"lower": 1.0}, "upper: a window needs it"),
    ({"lower": 3.0, "upper": 1.0}, "upper: 1 is below the lower 3"),
    ({"lower": 0.0, "upper": 1.0, "std": -1.0}, "std: -1 is below 0"),
)


@pytest.mark.parametrize(("changes", "expected"), NORMALIZATION_MISTAKES)
def test_mistakes_of_a_normalization_are_named(changes: dict[str, object], expected: str) -> None:
    assert problems(with_normalization(**changes)) == [f"{FIRST}.normalizations[0].{expected}"]


def test_a_problem_is_a_record() -> None:
    assert check_plan(with_first(batch=-1)) == (Problem(field=f"{FIRST}.batch", what="-1 is not 1 or more"),)
