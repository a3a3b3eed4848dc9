"""Components, and what is read off a segmentation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist
from skimage.measure import label as skimage_label

from autoseg.imaging.components import connected_components, largest_component, remove_small_components
from autoseg.imaging.measurements import largest_diameter_mm, measure
from autoseg.imaging.runs import keep_largest
from autoseg.imaging.volume import Grid
from planners.fingerprint import Label

LABELS = (
    Label(name="liver", values=(1, 2)),
    Label(name="tumour", values=(2,)),
    Label(name="unseen", values=(700,)),
    Label(name="ignore", values=(9,), role="ignore"),
)


def grid(shape, spacing, dimensions=3):
    z, y, x = spacing
    affine = ((0.0, 0.0, x, 0.0), (0.0, y, 0.0, 0.0), (z, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    return Grid(shape=shape, affine=affine, dimensions=dimensions)


# ------------------------------------------------------------------------------------------------ components
def test_voxels_that_share_a_corner_are_one_component():
    mask = np.zeros((3, 3, 3), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    assert connected_components(mask).count == 1
    mask[1, 1, 1], mask[2, 2, 2] = False, True
    assert connected_components(mask).sizes_voxels.tolist() == [1, 1]


@given(shape=st.tuples(*[st.integers(1, 8)] * 3), seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_components_equal_those_of_skimage(shape, seed):
    mask = np.random.default_rng(seed).random(shape) < 0.2
    found = connected_components(mask)
    assert np.array_equal(found.labels, skimage_label(mask, connectivity=3))
    assert found.sizes_voxels.sum() == mask.sum()


def test_only_the_largest_component_stays_and_equals_stay_together():
    mask = np.array([[[1, 1, 0, 1, 0, 1, 1]]], bool)
    assert largest_component(mask)[0, 0].astype(int).tolist() == [1, 1, 0, 0, 0, 1, 1]
    assert not largest_component(np.zeros((1, 2, 2), bool)).any()


def test_of_several_values_together_the_largest_component_is_kept():
    row = np.array([[[1, 2, 0, 2, 2, 3, 0, 1]]], dtype=np.uint8)
    assert keep_largest(row, (1, 2))[0, 0].tolist() == [1, 2, 0, 2, 2, 3, 0, 0]  # two parts of two voxels are a tie
    assert keep_largest(row, (1, 2, 3))[0, 0].tolist() == [0, 0, 0, 2, 2, 3, 0, 0]
    assert keep_largest(row, (3,)) is row
    assert row[0, 0].tolist() == [1, 2, 0, 2, 2, 3, 0, 1]


def test_small_components_are_removed():
    mask = np.array([[[1, 1, 0, 1, 0, 1, 1, 1]]], bool)
    assert remove_small_components(mask, 3)[0, 0].astype(int).tolist() == [0, 0, 0, 0, 0, 1, 1, 1]


# ---------------------------------------------------------------------------------------------- measurements
def test_a_hand_computed_case():
    label_map = np.zeros((4, 5, 6), np.uint16)
    label_map[1, 2, 1:5] = [1, 1, 2, 1]
    label_map[3, 4, 5] = 2
    image = np.arange(2 * label_map.size, dtype=np.float32).reshape(2, 4, 5, 6)
    liver, tumour, unseen = measure(label_map, grid((4, 5, 6), (5.0, 2.0, 1.0)), LABELS, image)
    assert liver.label == "liver"
    assert (liver.voxels, liver.components) == (5, 2)
    assert liver.volume_ml == pytest.approx(5 * 10 / 1000)
    assert liver.area_mm2 is None
    expected = image[:, (label_map == 1) | (label_map == 2)].mean(axis=1)
    assert liver.mean_intensities == pytest.approx(expected)
    assert (tumour.voxels, tumour.components) == (2, 2)
    assert (unseen.voxels, unseen.volume_ml, unseen.components) == (0, 0, 0)
    assert unseen.largest_diameter_mm is None
    assert unseen.mean_intensities == (None, None)


def test_a_2d_image_is_measured_in_the_plane():
    label_map = np.zeros((1, 8, 8), np.uint8)
    label_map[0, 2, 1:6] = 1
    (found,) = measure(label_map, grid((1, 8, 8), (1.0, 2.0, 3.0), 2), LABELS[:1])
    assert found.volume_ml is None
    assert found.area_mm2 == 30
    assert found.largest_diameter_mm == pytest.approx(15)
    assert found.mean_intensities == ()
    empty = measure(np.zeros((1, 8, 8), np.uint8), grid((1, 8, 8), (1.0, 2.0, 3.0), 2), LABELS[:1])[0]
    assert (empty.volume_ml, empty.area_mm2) == (None, 0)


def test_a_row_of_voxels_is_as_long_as_its_voxels():
    mask = np.zeros((3, 3, 9), bool)
    mask[1, 1, 2:7] = True
    assert largest_diameter_mm(mask, (1.0, 1.0, 2.0)) == pytest.approx(10)
    assert largest_diameter_mm(mask.transpose(2, 0, 1), (2.0, 1.0, 1.0)) == pytest.approx(10)


def test_a_ball_is_as_wide_as_twice_its_radius():
    z, y, x = np.indices((41, 41, 41)) - 20
    diameter = largest_diameter_mm(z**2 + y**2 + x**2 <= 15**2, (1.0, 1.0, 1.0))
    assert 30 < diameter < 31.5


@given(shape=st.tuples(*[st.integers(1, 6)] * 3), seed=st.integers(0, 999), spacing=st.tuples(*[st.floats(0.3, 5)] * 3))
@settings(max_examples=60, deadline=None)
def test_the_largest_diameter_equals_brute_force_over_all_faces(shape, seed, spacing):
    mask = np.random.default_rng(seed).random(shape) < 0.3
    if not mask.any():
        assert largest_diameter_mm(mask, spacing) is None
        return
    offsets = np.concatenate([np.eye(3), -np.eye(3)]) / 2
    points = ((np.argwhere(mask)[:, None] + offsets) * spacing).reshape(-1, 3)
    assert largest_diameter_mm(mask, spacing) == pytest.approx(pdist(points).max())
