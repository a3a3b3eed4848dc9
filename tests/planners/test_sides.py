"""Which labels are left and right of one structure, and what is planned for mirrored patches."""

from dataclasses import replace

import pytest

from planners.augmentation import augmentation
from planners.check import check_plan
from planners.fingerprint import Fingerprint, Label
from planners.plan import Augmentation
from planners.planner import make_plan
from planners.recipe import RECIPES, Budget
from planners.sides import input_swaps, left_right_axis, one_sided, other_side, side_pairs, with_sides
from tests.planners.fingerprints import channel, fingerprint

NNUNET = RECIPES["nnunet"]
BODY = (
    Label(name="liver", values=(1,)),
    Label(name="kidney_right", values=(2,)),
    Label(name="unclear", values=(9,), role="ignore"),
    Label(name="kidney_left", values=(3,)),
)


def body(labels: tuple[Label, ...] = BODY, axis: int | None = 2, **changes: object) -> Fingerprint:
    plain = fingerprint(shape=(60, 64, 62))
    cases = tuple(replace(case, left_right_axis=axis, label_voxels=(1000,) * len(labels)) for case in plain.cases)
    return replace(plain, labels=labels, cases=cases, **changes)


def planned(found: Fingerprint, patch: tuple[int, ...], transpose: tuple[int, int, int] = (0, 1, 2)) -> Augmentation:
    turns = augmentation(patch, found, NNUNET)
    return with_sides(turns, found, "labels", transpose, len(patch))


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("kidney_left", "kidney_right"),
        ("Right Lung", "Left Lung"),
        ("L-eye", "R-eye"),
        ("LEFT", "RIGHT"),
        ("liver", None),
        ("cleft", None),
        ("bright", None),
    ],
)
def test_the_other_side_of_a_name(name: str, other: str | None) -> None:
    assert other_side(name) == other


def test_pairs_are_outputs_of_the_network() -> None:
    assert side_pairs(BODY, "labels") == ((2, 3),)  # background, liver, right, left; the ignore label is no output
    assert side_pairs(BODY, "regions") == ((1, 2),)


def test_what_has_no_counterpart_is_one_sided() -> None:
    assert one_sided(BODY, overlapping=False) == ()
    assert one_sided((Label(name="left kidney", values=(1,)),), overlapping=False) == ("left kidney",)


def test_regions_without_a_side_must_take_in_both_sides_alike() -> None:
    left, right = Label(name="left lung", values=(1, 3)), Label(name="right lung", values=(2, 3))
    both, vessels = Label(name="lungs", values=(1, 2, 3)), Label(name="vessels", values=(3,))
    odd = Label(name="odd", values=(1, 3))
    assert one_sided((left, right, both, vessels), overlapping=False) == ()
    assert one_sided((left, right, odd), overlapping=False) == ("odd",)
    assert one_sided((left, right, odd), overlapping=True) == ()


@pytest.mark.parametrize(
    ("patch", "transpose", "axis"),
    [((64, 64, 64), (0, 1, 2), 2), ((64, 64, 64), (2, 0, 1), 0), ((64, 64), (0, 1, 2), 1), ((64, 64), (1, 2, 0), 0)],
)
def test_pairs_are_exchanged_along_the_axis_that_is_left_right(
    patch: tuple[int, ...], transpose: tuple[int, int, int], axis: int
) -> None:
    found = planned(body(), patch, transpose)
    assert (found.mirror_swap_axis, found.mirror_swaps) == (axis, ((2, 3),))
    assert found.mirror_axes == tuple(range(len(patch)))


def test_slices_across_the_sides_never_mirror_them() -> None:
    found = planned(body(), (64, 64), (2, 0, 1))
    assert (found.mirror_swap_axis, found.mirror_swaps, found.mirror_axes) == (None, (), (0, 1))


def test_without_a_counterpart_the_sides_are_not_mirrored() -> None:
    found = planned(body((Label(name="left kidney", values=(1,)),)), (64, 64, 64))
    assert (found.mirror_axes, found.mirror_swaps) == ((0, 1), ())


def test_without_a_known_axis_nothing_is_mirrored() -> None:
    assert planned(body(axis=None), (64, 64, 64)).mirror_axes == ()
    one_differs = body()
    turned = replace(one_differs.cases[0], left_right_axis=0)
    assert left_right_axis(replace(one_differs, cases=(turned, *one_differs.cases[1:]))) is None


def test_labels_without_sides_are_mirrored_as_before() -> None:
    found = planned(body((Label(name="liver", values=(1,)),), axis=None), (64, 64, 64))
    assert (found.mirror_axes, found.mirror_swap_axis, found.mirror_swaps) == ((0, 1, 2), None, ())


def test_under_a_microscope_there_is_no_left_and_right() -> None:
    cells = body(channels=(channel(modality="microscopy"),))
    assert left_right_axis(cells) is None
    found = planned(body((Label(name="cell", values=(1,)),), channels=cells.channels), (64, 64, 64))
    assert found.mirror_axes == (0, 1, 2)


def test_the_planner_plans_it_and_says_so() -> None:
    plan = make_plan(body(), NNUNET, Budget(steps=100))
    volume, slices = plan.configurations
    assert (volume.augmentation.mirror_swap_axis, volume.augmentation.mirror_swaps) == (2, ((2, 3),))
    assert (slices.augmentation.mirror_swap_axis, slices.augmentation.mirror_swaps) == (1, ((2, 3),))
    said = [decision.value for decision in plan.decisions if decision.parameter == "augmentation"]
    assert all("left and right labels then exchanged" in text for text in said)
    assert check_plan(plan) == ()


def test_the_planner_says_why_sides_are_not_mirrored() -> None:
    plan = make_plan(body((Label(name="left kidney", values=(1,)),)), NNUNET, Budget(steps=100))
    said = [decision for decision in plan.decisions if decision.parameter == "augmentation"]
    assert "mirrored along 2 axes" in said[0].value
    assert "wrong one" in said[0].because


def test_a_cascade_sees_what_was_predicted_before_on_its_own_side() -> None:
    plan = make_plan(body(), NNUNET, Budget(steps=100))
    volume = plan.configurations[0]
    assert input_swaps(plan, volume) == ()
    cascade = replace(volume, previous="3d_lowres")
    # One channel of the image, then the values 1, 2 (right) and 3 (left) of the label map before.
    assert input_swaps(plan, cascade) == ((2, 3),)
