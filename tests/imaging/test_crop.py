"""The nonzero part of an image."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from autoseg.imaging.crop import fill_holes, nonzero_box


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
