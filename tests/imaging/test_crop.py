"""The nonzero part of an image."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from autoseg.imaging.crop import nonzero_box
from autoseg.imaging.runs import bounding_boxes, fill_holes, find_runs, keep_largest


def test_the_box_is_where_any_channel_is_nonzero():
    image = np.zeros((2, 5, 6, 7), np.int16)
    image[0, 1, 2, 3], image[1, 3, 2, 5] = -1, 4
    box = nonzero_box(image)
    assert (box.lower, box.upper) == ((1, 2, 3), (4, 3, 6))
    assert np.argwhere(box.mask).tolist() == [[0, 0, 0], [2, 0, 2]]
    assert image[0][box.slices].shape == box.mask.shape


def test_an_image_of_zeros_is_kept_whole():
    box = nonzero_box(np.zeros((1, 2, 3, 4), np.float32))
    assert (box.lower, box.upper) == ((0, 0, 0), (2, 3, 4))
    assert box.mask.all()


def test_the_hole_of_a_2d_ring_is_filled():
    image = np.zeros((1, 1, 9, 9), np.uint8)
    image[0, 0, 2:7, 2:7] = 1
    image[0, 0, 4, 4] = 0
    assert nonzero_box(image).mask.all()


def test_a_tube_open_to_the_first_slice_is_no_hole():
    mask = np.ones((3, 5, 5), bool)
    mask[:, 2, 2] = False
    assert not fill_holes(mask)[1, 2, 2]
    mask[0, 2, 2] = mask[2, 2, 2] = True
    assert fill_holes(mask)[1, 2, 2]


def test_a_gap_in_a_line_of_voxels_is_no_hole_of_a_solid_image():
    image = np.zeros((1, 3, 5, 3), bool)
    image[0, 1, [1, 3], 1] = True
    assert nonzero_box(image).mask.ravel().tolist() == [True, False, True]


def test_an_image_of_one_voxel_is_kept():
    assert nonzero_box(np.ones((1, 1, 1, 1), np.float32)).mask.all()


@given(shape=st.tuples(*[st.integers(2, 8)] * 3), seed=st.integers(0, 999), density=st.floats(0.3, 0.95))
@settings(max_examples=80, deadline=None)
def test_holes_equal_those_of_scipy_in_the_whole_image(shape, seed, density):
    image = np.random.default_rng(seed).random((1, *shape)) < density
    box = nonzero_box(image)
    assert np.array_equal(box.mask, ndimage.binary_fill_holes(image[0])[box.slices] if image.any() else box.mask)


def test_runs_end_where_the_mask_does_and_at_the_end_of_a_row():
    runs = find_runs(np.array([[True, True, False], [False, False, True], [True, True, True]]))
    assert runs.start.tolist() == [0, 5, 6]
    assert runs.stop.tolist() == [2, 6, 9]


@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=3), seed=st.integers(0, 999), density=st.floats(0.2, 0.95)
)
@settings(max_examples=80, deadline=None)
def test_holes_equal_those_of_scipy_in_any_number_of_axes(shape, seed, density):
    mask = np.random.default_rng(seed).random(shape) < density
    assert np.array_equal(fill_holes(mask), ndimage.binary_fill_holes(mask))


def test_a_winding_way_out_is_followed_to_its_end():
    mask = np.ones((9, 9), bool)
    mask[1, 1:8] = mask[1:8, 7] = mask[7, 1:8] = mask[3:8, 1] = mask[3, 1:6] = mask[3:6, 5] = mask[5, 3:6] = False
    assert fill_holes(mask).all()
    mask[0, 1] = False
    assert np.array_equal(fill_holes(mask), mask)


@given(shape=st.tuples(*[st.integers(1, 9)] * 3), seed=st.integers(0, 999), density=st.floats(0.05, 0.4))
@settings(max_examples=80, deadline=None)
def test_the_largest_part_is_that_of_scipy(shape, seed, density):
    label_map = (np.random.default_rng(seed).random(shape) < density) * np.uint8(3)
    parts, count = ndimage.label(label_map, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    largest = np.isin(parts, np.flatnonzero(sizes == sizes.max(initial=0)) + 1)
    assert np.array_equal(keep_largest(label_map, [3]), label_map * largest)


def test_values_of_one_structure_are_one_part():
    label_map = np.array([[[1, 2, 0, 1, 0, 7]]], np.uint16)
    assert keep_largest(label_map, [1, 2]).tolist() == [[[1, 2, 0, 0, 0, 7]]]
    assert keep_largest(label_map, [5]) is label_map


@given(shape=st.lists(st.integers(1, 9), min_size=1, max_size=3), seed=st.integers(0, 999), far=st.booleans())
@settings(max_examples=80, deadline=None)
def test_boxes_are_those_of_scipy(shape, seed, far):
    codes = np.random.default_rng(seed).integers(0, 5, shape)
    values = np.array([-7, 0, 2, 90_000 if far else 3, 2_000_000_000 if far else 4])
    boxes = bounding_boxes(values[codes])
    peer = zip(values.tolist(), ndimage.find_objects(codes + 1, 5), strict=True)
    assert boxes == {value: box for value, box in peer if box is not None}
    assert list(boxes) == sorted(boxes)
