"""Counts and surface scores against hand computations, brute force and numbers that other programs publish."""

from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from autoseg.core.labels import IGNORE, OUTSIDE
from autoseg.imaging.distances import (
    average_symmetric,
    hausdorff,
    hausdorff_95,
    hausdorff_95_pooled,
    mean_average,
    surface_dice,
    surface_distances,
    surface_voxels,
    surfel_areas,
    surfel_distances,
)
from autoseg.imaging.metrics import confusion_counts, diagonal_mm, dice, iou, nsd, surface_scores

UNIT = (1.0, 1.0, 1.0)


def cuboid(shape, *bounds):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(low, high) for low, high in bounds)] = True
    return mask


def ball(shape, centre, radius, spacing=UNIT):
    grid = np.indices(shape).T * spacing - np.asarray(centre) * spacing
    return ((grid**2).sum(axis=-1) <= radius**2).T


# ---------------------------------------------------------------------------------------------------- counts
def test_counts_of_a_hand_computed_case():
    reference = np.array([[0, 1, 1, 2], [0, 2, 2, 0]])
    prediction = np.array([[0, 1, 2, 2], [1, 0, 2, 0]])
    tp, fp, fn = confusion_counts(prediction, reference, 3)
    assert tp.tolist() == [2, 1, 2]
    assert fp.tolist() == [1, 1, 1]
    assert fn.tolist() == [1, 1, 1]


def test_ignored_voxels_take_no_part_and_outside_is_background():
    reference = np.array([IGNORE, IGNORE, OUTSIDE, OUTSIDE, 1], np.int16)
    prediction = np.array([1, 0, 1, 0, 1], np.uint8)
    tp, fp, fn = confusion_counts(prediction, reference, 2)
    assert (tp.tolist(), fp.tolist(), fn.tolist()) == ([1, 1], [0, 1], [1, 0])


def test_a_class_that_does_not_exist_and_unequal_shapes_are_refused():
    with pytest.raises(ValueError, match="class index 3 is not below 3"):
        confusion_counts(np.array([3]), np.array([0]), 3)
    with pytest.raises(ValueError, match="differ in shape"):
        confusion_counts(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8), 3)


@given(shape=st.tuples(*[st.integers(1, 6)] * 3), classes=st.integers(1, 5), seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_counts_equal_brute_force(shape, classes, seed):
    generator = np.random.default_rng(seed)
    prediction, reference = generator.integers(0, classes, size=(2, *shape)).astype(np.uint16)
    tp, fp, fn = confusion_counts(prediction, reference, classes)
    for index in range(classes):
        p, r = prediction == index, reference == index
        assert (tp[index], fp[index], fn[index]) == ((p & r).sum(), (p & ~r).sum(), (r & ~p).sum())


def test_counts_of_more_voxels_than_one_part_are_complete():
    many = np.arange((1 << 20) + 7) % 3
    tp, fp, fn = confusion_counts(many, many, 3)
    assert tp.sum() == many.size
    assert fp.sum() == fn.sum() == 0


def test_dice_and_iou_are_none_when_nothing_is_there():
    assert dice(0, 0, 0) is None
    assert iou(0, 0, 0) is None
    assert (dice(0, 3, 0), iou(0, 0, 2)) == (0, 0)
    assert (dice(2, 1, 1), iou(2, 1, 1)) == (pytest.approx(2 / 3), 0.5)


# ------------------------------------------------------------------------------------------ cubes, brute force
CUBE = (40, 40, 40)
SMALL = cuboid(CUBE, (10, 20), (10, 20), (10, 20))
LARGE = cuboid(CUBE, (10, 30), (10, 30), (10, 30))


def with_stray():
    stray = LARGE.copy()
    stray[2, 2, 2] = True
    return stray


@pytest.mark.parametrize(
    ("prediction", "reference", "spacing", "expected"),
    [
        (cuboid(CUBE, (10, 22), (10, 20), (10, 20)), SMALL, UNIT, (2, None, 0.320611, 0.313173, 0.870229)),
        (cuboid(CUBE, (10, 22), (10, 20), (10, 20)), SMALL, (5.0, 1.0, 1.0), (10, None, 1.240458, 1.176522, 0.835878)),
        (with_stray(), LARGE, UNIT, (13.856406, 0, 0.003195, None, None)),
        (cuboid(CUBE, (13, 23), (10, 20), (10, 20)), SMALL, UNIT, (3, None, 1.073770, 1.073770, 0.647541)),
        (
            cuboid(CUBE, (10, 20), (10, 20), (10, 20)),
            cuboid(CUBE, (8, 22), (8, 22), (8, 22)),
            UNIT,
            (3.464102, 2.828427, 2.134686, 2.099689, 0),
        ),
    ],
    ids=["two layers more", "thick slices", "stray voxel", "shift of 3", "cube in cube"],
)
def test_cubes_have_the_distances_that_brute_force_gives(prediction, reference, spacing, expected):
    found = surface_distances(prediction, reference, spacing)
    values = (
        hausdorff(found),
        hausdorff_95(found),
        average_symmetric(found),
        mean_average(found),
        surface_dice(found, 1.0),
    )
    for value, wanted in zip(values, expected, strict=True):
        assert wanted is None or value == pytest.approx(wanted, abs=1e-6)


def test_a_cube_has_as_many_surface_voxels_as_its_shell():
    assert surface_voxels(SMALL).sum() == 488
    assert surface_voxels(LARGE).sum() == 2168
    assert surface_voxels(np.ones((4, 4, 4), bool)).sum() == 64 - 8  # the image's edge is surface


# ------------------------------------------------------- numbers published by MetricsReloaded, MONAI, DeepMind
@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        # published rounded: HD 1.41, MASD 1.07 and 1.04, ASSD 1.10 and 1.05, NSD 0.75 and 0.875
        ((6, 8), (2**0.5, (1 + (8 + 4 * 2**0.5) / 12) / 2, (12 + 4 * 2**0.5) / 16, 0.75)),
        ((4, 10), (2**0.5, (1 + (16 + 4 * 2**0.5) / 20) / 2, (28 + 4 * 2**0.5) / 32, 0.875)),
    ],
)
def test_metrics_reloaded_square_in_square(prediction, expected):
    reference = cuboid((1, 14, 14), (0, 1), (5, 9), (5, 9))
    found = surface_distances(cuboid((1, 14, 14), (0, 1), prediction, prediction), reference, UNIT)
    values = (hausdorff(found), mean_average(found), average_symmetric(found), surface_dice(found, 1.0))
    assert values == pytest.approx(expected)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (((20, 20, 20), 20), ((19, 19, 19), 20), 1.7320508),
        (((33, 33, 33), 33), ((33, 33, 34), 33), 1.0),
        (((20, 33, 22), 20), ((20, 33, 22), 40), 20.2237484),
    ],
)
def test_monai_spheres(first, second, expected):
    found = surface_distances(ball((99, 99, 99), *first), ball((99, 99, 99), *second), UNIT)
    assert hausdorff(found) == pytest.approx(expected, abs=1e-5)


def test_deepmind_two_voxels_two_apart():
    first, second = np.zeros((2, 100, 100, 100), bool)
    first[50, 60, 70], second[50, 60, 72] = True, True
    spacing = (3.0, 2.0, 1.0)
    assert hausdorff(surface_distances(first, second, spacing)) == 2
    assert surface_dice(surfel_distances(first, second, spacing), 1.0) == pytest.approx(0.5)


def test_deepmind_half_spaces():
    first, second = np.zeros((2, 100, 100, 100), bool)
    first[:50], second[:51] = True, True
    found = surfel_distances(first, second, (2.0, 1.0, 1.0))
    assert hausdorff(found) == 2
    assert surface_dice(found, 1.0) == pytest.approx(0.836, abs=5e-4)
    one_way = [
        np.average(found.to_reference, weights=found.prediction_weights),
        np.average(found.to_prediction, weights=found.reference_weights),
    ]
    assert one_way == pytest.approx([0.322, 0.339], abs=1e-3)


def test_deepmind_two_pixels_two_apart():
    first, second = np.zeros((2, 1, 10, 10), bool)
    first[0, 5, 4], second[0, 5, 6] = True, True
    found = surfel_distances(first, second, (9.0, 2.0, 1.0))
    assert found.prediction_weights == pytest.approx([5**0.5 / 2] * 4)
    assert sorted(found.to_reference) == [1, 1, 2, 2]


def test_surface_dice_of_random_masks_equals_deepminds():
    deepmind = (0.45814838264839314, 0.7117343398959357, 0.8967789741874237)  # surface-distance 0.1 on these masks
    generator = np.random.default_rng(0)
    prediction, reference = (blobs(generator, threshold) for threshold in (0.0, 0.1))
    found = surfel_distances(prediction, reference, (2.0, 1.0, 0.7))
    assert [surface_dice(found, tau) for tau in (0.5, 1.0, 2.0)] == pytest.approx(deepmind, abs=1e-9)


def blobs(generator, threshold):
    field = generator.normal(size=(12, 16, 14))
    for axis in range(3):
        for _ in range(3):
            field = field + np.roll(field, 1, axis) + np.roll(field, -1, axis)
    return field > threshold * field.std()


# ---------------------------------------------------------------------------------------------- surfel areas
def test_surfel_areas_of_known_cells():
    areas = surfel_areas((3.0, 2.0, 1.0))
    assert (areas[0], areas[255]) == (0, 0)
    assert areas[0b00001111] == pytest.approx(2.0)  # a wall across z: 2 mm by 1 mm
    assert areas[0b00110011] == pytest.approx(3.0)  # across y: 3 by 1
    assert areas[0b01010101] == pytest.approx(6.0)  # across x: 3 by 2
    corner = np.linalg.norm(np.cross([-1.5, 1, 0], [-1.5, 0, 0.5])) / 2
    assert areas[1] == pytest.approx(corner)


def test_a_surface_has_one_area_seen_from_either_side():
    areas = surfel_areas((5.0, 0.7, 0.9))
    assert np.array_equal(areas, areas[::-1])


@pytest.mark.parametrize("spacing", [2.0, 1.0, 0.5])
def test_the_surfels_of_a_ball_cover_its_surface(spacing):
    n = int(30 / spacing)
    mask = ball((n, n, n), (n / 2, n / 2, n / 2), 10, (spacing,) * 3)
    area = surfel_distances(mask, mask, (spacing,) * 3).prediction_weights.sum()
    # half-way surfaces of a binary ball are terraced, some 10 % larger than the ball at any spacing
    assert area == pytest.approx(4 * np.pi * 100, rel=0.15)


@pytest.mark.parametrize("spacing", [2.0, 1.0, 0.5])
def test_concentric_balls_are_as_far_apart_as_their_radii_up_to_the_grid(spacing):
    n = int(48 / spacing)
    centre, steps = (n / 2,) * 3, (spacing,) * 3
    inner, outer = ball((n, n, n), centre, 20, steps), ball((n, n, n), centre, 22, steps)
    found = surface_distances(inner, outer, steps)
    assert average_symmetric(found) == pytest.approx(2, abs=0.1 if spacing <= 1 else 0.3)
    assert hausdorff(found) == pytest.approx(2, abs=0.87 * spacing)
    assert surface_dice(found, 2 - 0.87 * spacing) == 0 or spacing == 2.0
    assert surface_dice(found, 2 + 0.87 * spacing) == 1


# ------------------------------------------------------------------------------------------------ empty, all
def test_empty_masks_are_undefined_or_zero_and_never_infinite():
    nothing, something = np.zeros((3, 3, 3), bool), np.ones((3, 3, 3), bool)
    assert astuple(surface_scores(nothing, nothing, UNIT, 1.0)) == (None,) * 6
    assert nsd(nothing, nothing, UNIT, 1.0) is None
    for pair in ((something, nothing), (nothing, something)):
        assert astuple(surface_scores(*pair, UNIT, 1.0)) == (None,) * 5 + (0,)
        assert nsd(*pair, UNIT, 1.0) == 0


def test_equal_masks_are_at_distance_zero():
    assert astuple(surface_scores(SMALL, SMALL, UNIT, 0.5)) == (0, 0, 0, 0, 0, 1)
    assert nsd(SMALL, SMALL, UNIT, 0.5) == 1


def test_masks_of_unequal_shape_are_refused(as_in_production):
    with pytest.raises(ValueError, match="differ in shape"):
        surface_distances(np.ones((2, 2, 2), bool), np.ones((2, 2, 3), bool), UNIT)


def test_the_diagonal_is_that_of_the_image_in_mm():
    assert diagonal_mm((3, 4, 1), (1.0, 1.0, 1e-9)) == pytest.approx(5)


# ------------------------------------------------------------------------------------------------ properties
@st.composite
def pairs(draw):
    shape = draw(st.tuples(*[st.integers(2, 7)] * 3))
    generator = np.random.default_rng(draw(st.integers(0, 10_000)))
    density = draw(st.floats(0.05, 0.9))
    masks = generator.random((2, *shape)) < density
    masks[:, 0, 0, 0] = True
    spacing = draw(st.tuples(*[st.floats(0.3, 5)] * 3))
    return masks[0], masks[1], spacing


@given(pair=pairs())
@settings(max_examples=40, deadline=None)
def test_distances_equal_brute_force_over_all_pairs(pair):
    prediction, reference, spacing = pair
    found = surface_distances(prediction, reference, spacing)
    points = [np.argwhere(surface_voxels(mask)) * spacing for mask in (prediction, reference)]
    table = cdist(*points)
    assert np.allclose(np.sort(found.to_reference), np.sort(table.min(axis=1)))
    assert np.allclose(np.sort(found.to_prediction), np.sort(table.min(axis=0)))
    pooled = np.percentile(np.concatenate([table.min(axis=0), table.min(axis=1)]), 95)
    assert hausdorff_95_pooled(found) == pytest.approx(pooled)


def summary(prediction, reference, spacing):
    s = surface_scores(prediction, reference, spacing, 1.0)
    return np.array([s.hd_mm, s.hd95_mm, s.assd_mm, s.masd_mm, nsd(prediction, reference, spacing, 1.0)])


@given(pair=pairs(), axes=st.permutations([0, 1, 2]), flip=st.integers(0, 2), pad=st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_scores_do_not_depend_on_order_axes_flips_or_margins(pair, axes, flip, pad):
    prediction, reference, spacing = pair
    expected = summary(prediction, reference, spacing)
    assert np.allclose(summary(reference, prediction, spacing), expected)
    turned = summary(prediction.transpose(axes), reference.transpose(axes), tuple(spacing[a] for a in axes))
    assert np.allclose(turned[:4], expected[:4])  # marching cubes splits a few cells by its own axis order
    assert turned[4] == pytest.approx(expected[4], abs=0.05)
    assert np.allclose(summary(np.flip(prediction, flip), np.flip(reference, flip), spacing)[:4], expected[:4])
    assert np.allclose(summary(np.pad(prediction, pad), np.pad(reference, pad), spacing), expected)


@given(pair=pairs(), factor=st.floats(0.2, 5))
@settings(max_examples=40, deadline=None)
def test_distances_scale_with_spacing_and_keep_their_order(pair, factor):
    prediction, reference, spacing = pair
    scores = surface_scores(prediction, reference, spacing, 1.0)
    scaled = surface_scores(prediction, reference, tuple(s * factor for s in spacing), factor * (1 + 1e-9))
    assert scaled.hd_mm == pytest.approx(scores.hd_mm * factor)
    assert scaled.assd_mm == pytest.approx(scores.assd_mm * factor)
    assert 0 <= scores.hd95_mm <= scores.hd_mm
    found = surfel_distances(prediction, reference, spacing)
    curve = [surface_dice(found, tau) for tau in (0, 0.5, 1, 2, 100)]
    assert curve == sorted(curve)
    assert curve[-1] == 1
