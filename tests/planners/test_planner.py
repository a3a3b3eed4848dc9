"""Whole plans of the default recipe, and the sentences that explain them."""

import sys
import time
from dataclasses import replace

import pytest
import torch

from autoseg.core.records import decode, encode, read_record
from autoseg.learning.network import build_network
from benchmarks.nnunet_figures import GoldenPlans, recipe_of
from planners.cascade import CASCADE_AUGMENTATION
from planners.explain import explain
from planners.fingerprint import Fingerprint, Label
from planners.plan import Plan
from planners.planner import make_plan, target_of
from planners.recipe import RECIPES, Budget, Machine
from tests.planners.fingerprints import case, channel, fingerprint, picture
from tests.planners.test_nnunet_plans import GOLDEN

AUTO = RECIPES["auto"]
CPU = Machine(device="cpu", cores=2, memory_bytes=16 << 30, bf16=True, flops_per_s=1.7e11)
EM = replace(
    fingerprint(labels=1, channels=(channel("EM", "microscopy"),)),
    cases=tuple(picture(f"slice_{i:02d}", (512, 512), (60_000,)) for i in range(24)),
    n_training=24,
)
BELLY = fingerprint((482, 512, 512), (1.0, 0.77, 0.77), 20, 4_000_000, 2, (channel("CT", "ct"),))
SARCOMA = fingerprint((91, 512, 512), (3.3, 0.98, 0.98), 20, 60_000, 1, (channel("CT", "ct", measured=False),))


def test_hippocampus_in_fifteen_minutes_on_two_cores() -> None:
    plan = make_plan(fingerprint(labels=2), AUTO, Budget(seconds=900.0), CPU)
    full = plan.configurations[0]
    assert [item.name for item in plan.configurations] == ["3d_fullres", "2d"]
    assert (full.patch, full.batch, full.stages[0].features, len(full.stages)) == ((32, 48, 32), 4, 16, 4)
    assert full.schedule.optimizer == "adamw"
    assert full.schedule.steps is None
    assert full.augmentation.mirror_axes == ()


def test_pictures_get_a_2d_network_alone() -> None:
    plan = make_plan(EM, AUTO, Budget(seconds=900.0), CPU)
    assert [item.name for item in plan.configurations] == ["2d"]
    assert (plan.configurations[0].patch, plan.configurations[0].batch) == ((256, 256), 3)
    assert plan.configurations[0].spacing_mm == (1.0, 1.0)
    assert "999" not in encode(plan).decode()


def test_a_few_slices_are_trained_slice_by_slice() -> None:
    plan = make_plan(fingerprint((2, 256, 256), (8.0, 1.0, 1.0), 20), AUTO, Budget(steps=10))
    assert [item.name for item in plan.configurations] == ["2d", "3d_fullres"]


def test_a_large_case_on_a_small_machine_is_worked_on_coarsely() -> None:
    plan = make_plan(BELLY, AUTO, Budget(seconds=900.0), CPU)
    assert [item.name for item in plan.configurations] == ["3d_lowres", "3d_fullres", "2d", "3d_cascade_fullres"]
    low, full, _, cascade = plan.configurations
    assert cascade == replace(
        full, name="3d_cascade_fullres", previous="3d_lowres", previous_augmentation=CASCADE_AUGMENTATION
    )
    assert all(coarse > fine for coarse, fine in zip(low.spacing_mm, full.spacing_mm, strict=True))


def test_a_plan_for_steps_is_the_same_on_every_machine() -> None:
    assert make_plan(BELLY, AUTO, Budget(steps=100), CPU) == make_plan(BELLY, AUTO, Budget(steps=100))


# Whole bodies, boreholes, spines, and axes whose images differ wildly: shapes of the cases (z, y, x), spacing in mm.
LONG = (
    (((1800, 512, 512),), (1.0, 1.5, 1.5)),
    (((300, 168, 168),), (3.0, 4.0, 4.0)),
    (((96, 1500, 96),), (1.0, 0.2, 1.0)),
    (((120, 120, 4000),), (0.5, 0.5, 0.5)),
    (((40, 512, 512), (2000, 512, 512), (900, 200, 200)), (1.0, 1.0, 1.0)),
    (((64, 60, 900), (64, 900, 60), (64, 500, 500)), (2.0, 1.0, 1.0)),
)


@pytest.mark.parametrize(("shapes", "spacing_mm"), LONG)
def test_a_patch_sees_a_sensible_field_not_the_images_aspect(
    shapes: tuple[tuple[int, int, int], ...], spacing_mm: tuple[float, float, float]
) -> None:
    cases = tuple(case(str(index), shape, spacing_mm, (50_000,)) for index, shape in enumerate(shapes))
    plan = make_plan(replace(fingerprint(cases=len(cases)), cases=cases), AUTO, Budget(steps=10))
    for configuration in plan.configurations:
        pairs = zip(configuration.patch, configuration.spacing_mm, configuration.median_shape, strict=True)
        extents_mm, image_mm = zip(*((edge * mm, voxels * mm) for edge, mm, voxels in pairs), strict=True)
        second, longest = sorted(extents_mm)[-2:]
        assert longest <= 1.1 * AUTO.patch_aspect_max * second
        whole = sum(extent >= 0.8 * image for extent, image in zip(extents_mm, image_mm, strict=True))
        assert min(extents_mm) >= 0.6 * longest or whole > 0  # a cube in millimetres, or cut off where the image ends


def test_overlapping_structures_and_united_values_are_regions() -> None:
    united = replace(fingerprint(), labels=(Label(name="whole", values=(1, 2)),))
    assert target_of(united) == "regions"
    assert target_of(replace(fingerprint(), overlapping=True)) == "regions"
    assert target_of(fingerprint()) == "labels"


def test_a_plan_is_read_back_as_it_was_written() -> None:
    plan = make_plan(BELLY, AUTO, Budget(seconds=900.0), CPU)
    assert decode(encode(plan), Plan, "plan.json") == plan


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "cases", "labels"),
    [
        ((7, 7, 7), (1.0, 1.0, 1.0), 1, 1),
        ((1, 7, 7), (1.0, 1.0, 1.0), 1, 1),
        ((2, 30, 2000), (100.0, 1.0, 1.0), 2, 1),
        ((40, 7, 300), (1.0, 1.0, 100.0), 3, 2),
        ((20, 20, 20), (1.0, 1.0, 1.0), 5, 1000),
    ],
)
def test_the_network_of_an_odd_dataset_trains_a_step(
    shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], cases: int, labels: int
) -> None:
    plan = make_plan(fingerprint(shape, spacing_mm, cases, 50, labels), AUTO, Budget(steps=1))
    for configuration in plan.configurations:
        small = replace(configuration, batch=1)
        network = build_network(small, 1, labels + 1)
        outputs = network(torch.zeros(1, 1, *small.patch))
        first = outputs[0] if isinstance(outputs, list) else outputs
        first.square().mean().backward()
        assert first.shape == (1, labels + 1, *small.patch)


@pytest.mark.skipif(sys.gettrace() is not None, reason="a tracer, such as coverage, makes it slow")
def test_the_largest_golden_case_is_planned_in_time() -> None:
    golden = read_record(GOLDEN / "cremi_em_like.json", GoldenPlans)
    best = float("inf")
    for _ in range(3):
        started = time.process_time()
        make_plan(golden.fingerprint, recipe_of("resenc-m", None), Budget())
        best = min(best, time.process_time() - started)
    assert best < 0.1  # 0.05 on a quiet core


class TestExplanation:
    def test_hippocampus_is_explained_with_its_numbers(self) -> None:
        text = explain(make_plan(fingerprint(labels=2), AUTO, Budget(seconds=900.0), CPU))
        assert text.startswith("test: plan by recipe auto\n")
        assert "3d_fullres (trained first)" in text
        assert "2d (on request)" in text
        assert "660000 labelled voxels justify 13.2 million parameters, which is a width of 32" in text
        assert (
            "1715 steps have to fit into the training time, so a step may take 0.42 s. Rejected: 32, nnU-Net's." in text
        )
        assert "200 cases have the same spacing" in text
        assert "not mirrored" in text

    def test_coarse_work_is_explained(self) -> None:
        text = explain(make_plan(SARCOMA, AUTO, Budget(seconds=900.0), CPU))
        assert "At full resolution a patch would cover 0.34% of the median case and predicting one would take" in text
        assert "leave the smallest structure" in text
        assert "window -160 .. 240 HU" in text
        assert "slices are 3.4 times thicker than pixels are wide" in text
        assert "in the plane only" in text

    def test_coarse_work_for_steps_is_explained_without_seconds(self) -> None:
        uncounted = replace(BELLY, cases=tuple(replace(c, label_voxels=(), label_components=()) for c in BELLY.cases))
        text = explain(make_plan(uncounted, AUTO, Budget(steps=10)))
        assert "3d_lowres (trained first)" in text
        assert "operations" in text
        assert "predicting" not in text
        assert "The labelled voxels were not counted" in text

    def test_pictures_are_explained(self) -> None:
        text = explain(make_plan(EM, AUTO, Budget(), replace(CPU, device="cuda", flops_per_s=5e13)))
        assert "The cases are single slices" in text
        assert "Pictures have no axis across slices" in text
        assert "what it shows has no upright position".capitalize() in text
        assert "a step may take 1 s" not in text

    def test_the_end_without_a_budget_is_explained(self) -> None:
        text = explain(make_plan(fingerprint(), AUTO, Budget(), CPU))
        assert "End of training: when validation rises no more, after 50000 steps at the latest" in text
        assert "a fold without a labelled validation case trains all of the steps".capitalize()[1:] in text
        assert "Rejected: a fixed number of steps" in text
        assert "poly decay over the last 20%" in text
        assert "End of training" not in explain(make_plan(fingerprint(), AUTO, Budget(seconds=900.0), CPU))

    def test_too_few_slices_are_explained(self) -> None:
        text = explain(make_plan(fingerprint((3, 256, 256), (8.0, 1.0, 1.0), 1), AUTO, Budget(), CPU))
        assert "3 slices, too few to learn from across slices" in text
        assert "There is one case" in text
        assert "There is one structure" in text

    def test_turned_axes_masks_and_regions_are_explained(self) -> None:
        cases = (case("a", (100, 100, 20), (1.0, 1.0, 2.0)), case("b", (100, 100, 20), (1.0, 1.0, 5.0)))
        odd: Fingerprint = replace(
            fingerprint(),
            cases=cases,
            labels=(Label(name="whole", values=(1, 2)), Label(name="ignore", values=(3,), role="ignore")),
            median_relative_size_after_crop=0.3,
        )
        text = explain(make_plan(odd, replace(AUTO, spacing_mm=(1.0, 1.0, 4.0)), Budget(steps=10)))
        assert "Transpose: 2 0 1. Axis 2 of the files has the coarsest voxels" in text
        assert "z-score inside the nonzero mask" in text
        assert "30% of the median image is left" in text
        assert "overlap or unite several label values; voxels labelled ignore teach nothing" in text
        assert "It was asked for" in text

    def test_spacings_that_differ_are_explained(self) -> None:
        cases = tuple(case(str(z), (20, 99, 99), (z, 1.0, 1.0)) for z in (2.0, 2.5, 4.0))
        text = explain(make_plan(replace(fingerprint(), cases=cases, n_training=3), AUTO, Budget(steps=10)))
        assert "3 cases have spacings up to 2 times apart" in text

    def test_nothing_smaller_to_try_is_said(self) -> None:
        slow = replace(CPU, flops_per_s=1e6)
        text = explain(make_plan(BELLY, AUTO, Budget(seconds=900.0), slow))
        assert "more than allowed, and there is nothing smaller to try" in text

    def test_nnunets_plans_are_explained(self) -> None:
        text = explain(make_plan(BELLY, RECIPES["nnunet"], Budget()))
        assert "8 GB hold no more by nnU-Net's count" in text
        assert "As 3d_fullres, but it also sees what 3d_lowres predicted." in text
        assert "CT, clipped to -50 .. 300" in text
        named = replace(BELLY, channels=(channel("noNorm", "other"),))
        assert "none. It looks like other" in explain(make_plan(named, RECIPES["nnunet"], Budget()))
