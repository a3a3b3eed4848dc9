"""The sizes of `auto` networks: what data justify, and what is given up first when time or memory is short."""

import math
from dataclasses import replace

import pytest

from planners.capacity import capacity, patches
from planners.coarse import coarse, smallest_structure_voxels
from planners.fit import Allowance, Fit, allowance, fitted_sizes
from planners.patch import Space, Task
from planners.recipe import RECIPES, Budget, Machine
from tests.planners.fingerprints import case, fingerprint

AUTO = RECIPES["auto"]
TASK = Task(channels=1, outputs=3, label_entries=3, n_training=200, foreground_voxels=660_000.0)
UNLIMITED = Allowance(
    memory_bytes=math.inf, operations=math.inf, seconds=None, steps=None, case_seconds=None, machine=None
)
CPU = Machine(device="cpu", cores=2, memory_bytes=16 << 30, bf16=True, flops_per_s=1.7e11)


def space(shape: tuple[float, ...], spacing_mm: tuple[float, ...], cases: int = 200) -> Space:
    return Space(spacing_mm=spacing_mm, median_shape=shape, dataset_voxels=math.prod(shape) * cases)


HIPPOCAMPUS = space((36.0, 50.0, 35.0), (1.0, 1.0, 1.0))
BELLY = space((482.0, 512.0, 512.0), (1.0, 0.77, 0.77))


def sizes(fit: Fit) -> tuple[tuple[int, ...], int, int]:
    return fit.sizes.network.patch, fit.sizes.network.stages[0].features, fit.sizes.batch


def test_hippocampus_gets_nearly_the_whole_image_and_a_modest_batch() -> None:
    assert sizes(fitted_sizes(HIPPOCAMPUS, TASK, AUTO, UNLIMITED)) == ((32, 48, 32), 32, 4)


def test_width_is_given_up_before_batch_and_batch_before_patch() -> None:
    found = [
        sizes(fitted_sizes(HIPPOCAMPUS, TASK, AUTO, replace(UNLIMITED, operations=x * 1e9))) for x in range(470, 0, -5)
    ]
    order = list(dict.fromkeys(found))
    assert order[:5] == [
        ((32, 48, 32), 32, 4),
        ((32, 48, 32), 24, 4),
        ((32, 48, 32), 16, 4),
        ((32, 48, 32), 16, 3),
        ((32, 48, 32), 16, 2),
    ]
    assert all(batch == 2 for _, _, batch in order[5:])
    assert order[-1][1] == 8


def test_nothing_smaller_than_the_smallest_is_made() -> None:
    found = fitted_sizes(BELLY, TASK, AUTO, replace(UNLIMITED, operations=1.0))
    assert not found.fits
    assert sizes(found) == ((28, 40, 40), 8, 2)


def test_memory_limits_as_time_does() -> None:
    found = fitted_sizes(BELLY, TASK, AUTO, replace(UNLIMITED, memory_bytes=2.0 * 2**30))
    assert found.fits
    assert found.memory_bytes <= 2 * 2**30
    assert math.prod(found.sizes.network.patch) < 128**3


def test_few_labelled_voxels_justify_a_narrow_shallow_network() -> None:
    widths = {
        voxels: capacity(HIPPOCAMPUS, replace(TASK, foreground_voxels=voxels), AUTO).width
        for voxels in (None, 660_000.0, 200_000.0, 10.0)
    }
    assert widths == {None: 32, 660_000.0: 32, 200_000.0: 24, 10.0: 16}
    shallow = capacity(BELLY, replace(TASK, foreground_voxels=10.0), AUTO)
    assert len(shallow.shapes[0].strides) == 4
    assert shallow.parameters_allowed == 200.0


def test_few_cases_justify_a_small_batch() -> None:
    assert capacity(HIPPOCAMPUS, replace(TASK, n_training=3), AUTO).batch == 3
    assert capacity(HIPPOCAMPUS, replace(TASK, n_training=1), AUTO).batch == 2


def test_patches_are_cubes_in_millimetres_where_the_image_allows() -> None:
    for shape in patches(space((200.0, 512.0, 512.0), (2.0, 1.0, 1.0)), AUTO, 6):
        extent_mm = (shape.patch[0] * 2.0, shape.patch[1], shape.patch[2])
        assert max(extent_mm) <= 1.5 * min(extent_mm)


def test_a_borehole_is_seen_in_pieces_of_a_sensible_cross_section() -> None:
    largest = patches(space((96.0, 1500.0, 96.0), (1.0, 0.2, 1.0)), AUTO, 6)[0].patch
    assert largest[1] * 0.2 <= 4 * largest[0]
    assert min(largest[0], largest[2]) >= 64


def test_tiny_images_are_padded_until_a_network_can_halve_twice() -> None:
    found = patches(space((7.0, 7.0, 7.0), (1.0, 1.0, 1.0)), AUTO, 6)
    assert [shape.patch for shape in found] == [(16, 16, 16)]
    assert len(found[0].strides) == 3


def test_a_minimal_padded_patch_is_taken_where_all_are_too_large() -> None:
    tight = replace(AUTO, volume=replace(AUTO.volume, patch_voxels_max=100, patch_voxels_min=50))
    assert patches(space((7.0, 7.0, 7.0), (1.0, 1.0, 1.0)), tight, 6)[0].patch == (16, 16, 16)


def test_a_time_budget_is_divided_among_the_steps_that_learning_needs() -> None:
    found = allowance(Budget(seconds=900.0), CPU, AUTO)
    assert found.steps == 1715
    assert found.seconds == pytest.approx(900 * AUTO.training_share / 1715)
    assert found.case_seconds == pytest.approx(18.0)
    assert found.element_bytes == 2


def test_a_budget_of_steps_does_not_look_at_the_machine() -> None:
    assert allowance(Budget(steps=10), CPU, AUTO) == allowance(Budget(steps=10), None, AUTO)
    assert allowance(Budget(steps=10), CPU, AUTO).element_bytes == 4


def test_without_any_budget_a_step_has_a_longest_time() -> None:
    found = allowance(Budget(), CPU, AUTO)
    assert (found.seconds, found.steps, found.case_seconds) == (AUTO.step_seconds_max, None, None)


def test_a_fit_by_the_clock_keeps_to_it() -> None:
    found = fitted_sizes(BELLY, TASK, AUTO, allowance(Budget(seconds=900.0), CPU, AUTO))
    assert found.seconds is not None
    assert found.allowance.seconds is not None
    assert found.seconds <= found.allowance.seconds
    assert not found.slow


def test_a_small_patch_in_a_large_case_makes_voxels_larger() -> None:
    allowed = allowance(Budget(steps=10), None, AUTO)
    fit = fitted_sizes(BELLY, TASK, AUTO, allowed)
    found = coarse(BELLY, fit, fingerprint((482, 512, 512), (1.0, 0.77, 0.77), 3, 4_000_000), TASK, AUTO)
    assert found is not None
    assert found.coverage < 1 / 64
    assert math.prod(found.fit.sizes.network.patch) / math.prod(found.space.median_shape) > 0.9 / 64
    assert found.reduction == pytest.approx(
        math.prod(BELLY.median_shape) / math.prod(found.space.median_shape), rel=0.02
    )


def test_a_small_structure_keeps_its_voxels() -> None:
    fit = fitted_sizes(BELLY, TASK, AUTO, allowance(Budget(steps=10), None, AUTO))
    assert coarse(BELLY, fit, fingerprint((482, 512, 512), (1.0, 0.77, 0.77), 3, 100), TASK, AUTO) is None


def test_slow_prediction_makes_voxels_larger() -> None:
    data = fingerprint((91, 512, 512), (3.3, 0.98, 0.98), 20, 60_000)
    volume = space((91.0, 512.0, 512.0), (3.3, 0.98, 0.98), 20)
    fit = fitted_sizes(volume, TASK, AUTO, allowance(Budget(seconds=900.0), CPU, AUTO))
    found = coarse(volume, fit, data, TASK, AUTO)
    assert found is not None
    assert found.prediction_seconds is not None
    assert found.prediction_seconds > 18.0


def test_hippocampus_stays_at_full_resolution() -> None:
    fit = fitted_sizes(HIPPOCAMPUS, TASK, AUTO, allowance(Budget(seconds=900.0), CPU, AUTO))
    assert coarse(HIPPOCAMPUS, fit, fingerprint(), TASK, AUTO) is None


def test_the_smallest_structure_is_the_typical_part_of_the_label_with_the_smallest_parts() -> None:
    data = fingerprint(labels=3)
    cases = tuple(
        replace(case(str(i), (9, 9, 9), (2.0, 1.0, 1.0), (800, voxels, 1)), label_components=(2, 1, 1))
        for i, voxels in enumerate((90, 100, 5000))
    )
    ignored = (data.labels[0], data.labels[1], replace(data.labels[2], role="ignore"))
    data = replace(data, cases=cases, labels=ignored)
    assert smallest_structure_voxels(data, (1.0, 1.0, 1.0)) == 200.0
    uncounted = replace(data, cases=(case("a", (9, 9, 9), (1.0, 1.0, 1.0), ()),))
    assert smallest_structure_voxels(uncounted, (1.0, 1.0, 1.0)) is None


def test_a_patch_ends_inside_an_image_that_it_would_barely_overhang() -> None:
    found = fitted_sizes(replace(HIPPOCAMPUS, median_shape=(36.0, 50.0, 44.0)), TASK, AUTO, UNLIMITED)
    # 44 loses 9 % as 40; 36 loses 11 % as 32; 50 loses 4 % as 48.
    assert found.sizes.network.patch == (32, 48, 40)
    # 38 would lose 16 % as 32: it is padded.
    padded = fitted_sizes(replace(HIPPOCAMPUS, median_shape=(38.0, 50.0, 35.0)), TASK, AUTO, UNLIMITED)
    assert padded.sizes.network.patch == (40, 48, 32)
