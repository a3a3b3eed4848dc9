"""Resampling against skimage, and the properties that streaming relies on."""

import numpy as np
import pytest
from batchgenerators.augmentations.utils import resize_segmentation
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.transform import resize as skimage_resize

from autoseg.imaging.resampling import (
    CUBIC,
    LINEAR,
    NEAREST,
    Order,
    apply_along,
    apply_rows,
    axis_operator,
    axis_orders,
    new_shape,
    resize,
    resize_labels,
)

LENGTHS = st.integers(1, 70)
ORDERS = st.sampled_from([NEAREST, LINEAR, CUBIC])
SHAPES = [((7, 30, 41), (11, 20, 60)), ((1, 5, 2), (3, 4, 9)), ((40, 41, 20), (20, 70, 41)), ((6, 9, 5), (6, 9, 8))]


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def peer_resize(array: np.ndarray, shape: tuple[int, ...], order: int) -> np.ndarray:
    return skimage_resize(array.astype(np.float64), shape, order, mode="edge", anti_aliasing=False)


@pytest.mark.parametrize("order", [NEAREST, LINEAR, CUBIC])
@pytest.mark.parametrize(("shape", "target"), SHAPES)
def test_resize_equals_skimage(shape: tuple[int, int, int], target: tuple[int, int, int], order: Order) -> None:
    image = noise((2, *shape))
    ours = resize(image, target, order)
    peer = np.stack([peer_resize(channel, target, order) for channel in image])
    assert ours.dtype == np.float32
    assert np.abs(ours - peer).max() < 3e-6 * np.ptp(image)


@given(n_in=LENGTHS, n_out=LENGTHS, order=ORDERS, seed=st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_operator_equals_scipy_zoom(n_in: int, n_out: int, order: Order, seed: int) -> None:
    signal = noise((n_in,), seed)
    peer = ndimage.zoom(signal.astype(np.float64), n_out / n_in, order=order, mode="nearest", grid_mode=True)
    ours = apply_along(signal, 0, axis_operator(n_in, n_out, order))
    assert peer.shape == ours.shape
    certain = (2 * np.arange(n_out) + 1) * n_in % (2 * n_out) > 0 if order == NEAREST else np.full(n_out, True)
    # half-way between two samples the peer's nearest depends on its rounding
    assert np.abs(ours - peer)[certain].max(initial=0) <= 3e-6 * max(1.0, np.ptp(signal))


@given(n_in=LENGTHS, n_out=LENGTHS, order=ORDERS)
@settings(max_examples=80, deadline=None)
def test_a_constant_stays_constant(n_in: int, n_out: int, order: Order) -> None:
    result = apply_along(np.full((n_in, 2), 7, np.float32), 0, axis_operator(n_in, n_out, order))
    assert np.allclose(result, 7, rtol=1e-6)


@given(n_in=LENGTHS, n_out=LENGTHS, order=ORDERS, data=st.data())
@settings(max_examples=120, deadline=None)
def test_rows_ready_never_read_inputs_that_are_not_there(
    n_in: int, n_out: int, order: Order, data: st.DataObject
) -> None:
    operator = axis_operator(n_in, n_out, order)
    there = data.draw(st.integers(0, n_in))
    ready = operator.rows_ready(there)
    signal = noise((n_in, 3))
    whole = apply_along(signal, 0, operator)
    if ready:
        assert operator.columns_for(0, ready)[1] <= there
        part = apply_rows(signal[:there], 0, operator, rows=(0, ready))
        assert np.allclose(part, whole[:ready], atol=1e-6)
    if there == n_in:
        assert ready == n_out
    if ready < n_out:
        assert operator.columns_for(ready, ready + 1)[1] > there


@given(n_in=LENGTHS, n_out=LENGTHS, order=ORDERS, data=st.data())
@settings(max_examples=120, deadline=None)
def test_any_rows_come_from_just_the_columns_they_name(
    n_in: int, n_out: int, order: Order, data: st.DataObject
) -> None:
    operator = axis_operator(n_in, n_out, order)
    start = data.draw(st.integers(0, n_out - 1))
    stop = data.draw(st.integers(start + 1, n_out))
    signal = noise((n_in, 3))
    first, last = operator.columns_for(start, stop)
    part = apply_rows(signal[first:last], 0, operator, rows=(start, stop), offset=first)
    assert np.allclose(part, apply_along(signal, 0, operator)[start:stop], atol=1e-6)
    block = operator.block(start, stop)
    assert np.allclose(block.matrix @ signal[block.column_start : block.column_stop], part, atol=1e-6)


@given(n_in=LENGTHS, n_out=LENGTHS, order=ORDERS, data=st.data())
@settings(max_examples=120, deadline=None)
def test_row_range_covers_every_output_that_reads_the_inputs(
    n_in: int, n_out: int, order: Order, data: st.DataObject
) -> None:
    operator = axis_operator(n_in, n_out, order)
    start = data.draw(st.integers(0, n_in - 1))
    stop = data.draw(st.integers(start + 1, n_in))
    signal = np.zeros((n_in, 1), np.float32)
    signal[start:stop] = noise((stop - start, 1)) + 5
    touched = np.flatnonzero(np.abs(apply_along(signal, 0, operator)) > 0)
    low, high = operator.row_range_for(start, stop)
    assert all(low <= row < high for row in touched)


def test_blocks_are_dense_parts_of_one_matrix() -> None:
    operator = axis_operator(50, 101, CUBIC)
    matrix = np.zeros((101, 50), np.float32)
    for row_start, row_stop, column_start, column_stop, dense in operator.blocks:
        assert dense.dtype == np.float32
        matrix[row_start:row_stop, column_start:column_stop] = dense
    assert np.allclose(matrix, apply_along(np.eye(50, dtype=np.float32), 0, operator), atol=1e-7)


def test_cubic_overshoot_is_clipped_to_the_range_of_the_channel() -> None:
    step = np.zeros((1, 4, 4, 20), np.float32)
    step[..., 10:] = 1
    result = resize(step, (4, 4, 33), CUBIC)
    assert result.min() == 0
    assert result.max() == 1


def test_thick_slices_are_not_mixed_and_each_keeps_its_own_range() -> None:
    image = noise((1, 4, 12, 12))
    image[0, 2] += 100
    result = resize(image, (7, 20, 20), (NEAREST, CUBIC, CUBIC))
    slices = np.stack([peer_resize(s, (20, 20), CUBIC) for s in image[0]])
    coordinates = np.meshgrid((np.arange(7) + 0.5) * 4 / 7 - 0.5, np.arange(20), np.arange(20), indexing="ij")
    peer = ndimage.map_coordinates(slices, coordinates, order=0, mode="nearest")
    assert np.abs(result[0] - peer).max() < 3e-6 * 100


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ((1, 1, 1), (1, 1, 1), (3, 3, 3)),
        ((3, 1, 1), (1, 1, 1), (3, 3, 3)),
        ((3.1, 1, 1), (1, 1, 1), (0, 3, 3)),
        ((1, 1, 1), (1, 5, 1), (3, 0, 3)),
        ((5, 5, 1), (5, 1, 1), (3, 3, 3)),
        ((5, 1, 1), (1, 1, 5), (0, 3, 3)),
        ((1, 4), (1, 1), (3, 0)),
    ],
)
def test_the_axis_with_far_thicker_voxels_takes_the_nearest_slice(old: tuple, new: tuple, expected: tuple) -> None:
    assert axis_orders(old, new, CUBIC) == expected


def test_new_shape_rounds_half_to_even_and_keeps_one_voxel() -> None:
    assert new_shape((5, 7, 1), (1, 1, 1), (2, 2, 9)) == (2, 4, 1)


def brute_force_labels(label: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    values = np.unique(label)
    weights = np.stack([peer_resize(label == v, shape, 1) for v in values])
    nearest = label[np.ix_(*((2 * np.arange(m) + 1) * n // (2 * m) for n, m in zip(label.shape, shape, strict=True)))]
    top = weights >= weights.max(axis=0) - 1e-9
    nearest_is_top = (top & (values[:, None, None, None] == nearest)).any(axis=0)
    return np.where(nearest_is_top, nearest, values[top.argmax(axis=0)])


@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    target=st.tuples(*[st.integers(1, 14)] * 3),
    seed=st.integers(0, 99),
    highest=st.integers(0, 5),
)
@settings(max_examples=300, deadline=None)
def test_labels_equal_the_argmax_of_resized_indicators(shape: tuple, target: tuple, seed: int, highest: int) -> None:
    label = np.random.default_rng(seed).integers(-1, highest + 1, size=shape).astype(np.int16)
    result = resize_labels(label, target)
    assert result.dtype == label.dtype
    assert np.array_equal(result, brute_force_labels(label, target) if target != shape else label)


def test_small_structures_far_apart_resize_as_in_the_whole_volume() -> None:
    label = np.zeros((20, 40, 40), np.uint8)
    label[2:6, 3:9, 3:9], label[15:20, 30:40, 20:22], label[0, 0, 0] = 3, 200, 7
    assert np.array_equal(resize_labels(label, (31, 25, 60)), brute_force_labels(label, (31, 25, 60)))


def test_labels_of_thick_slices_are_taken_from_the_nearest_slice() -> None:
    label = np.zeros((2, 4, 4), np.int16)
    label[1] = 5
    result = resize_labels(label, (5, 8, 8), (NEAREST, LINEAR, LINEAR))
    assert result[:, 0, 0].tolist() == [0, 0, 5, 5, 5]


def test_label_values_may_be_far_apart_and_negative() -> None:
    label = np.where(np.indices((4, 6, 8)).sum(axis=0) > 8, 2_000_000_000, -7)
    label[0, 0, 0] = 5
    assert np.array_equal(resize_labels(label, (7, 9, 5)), brute_force_labels(label, (7, 9, 5)))


def test_a_label_between_the_samples_that_are_kept_vanishes() -> None:
    label = np.array([1, 3, 1, 2, 2], np.int16).reshape(5, 1, 1)
    assert resize_labels(label, (2, 1, 1)).ravel().tolist() == [3, 2]
    label = np.array([1, 1, 9, 2, 2], np.int16).reshape(5, 1, 1)
    assert resize_labels(label, (2, 1, 1)).ravel().tolist() == [1, 2]


def test_labels_equal_nnunets_resampling() -> None:
    for shape, target in [*SHAPES, ((16, 16, 16), (8, 8, 32))]:
        label = np.random.default_rng(1).integers(-1, 5, size=shape).astype(np.int16)
        differ = resize_labels(label, target) != resize_segmentation(label, target, 1)
        assert differ.mean() <= 1e-3  # the peer takes float64's rounding for a lead where three labels meet


@pytest.mark.parametrize("order", [NEAREST, LINEAR, CUBIC])
def test_an_axis_of_equal_length_reads_each_sample_once(order: Order) -> None:
    operator = axis_operator(40, 40, order)
    assert operator.identity
    assert operator.columns_for(7, 9) == (7, 9)
    assert np.array_equal(apply_along(np.eye(40, dtype=np.float32), 0, operator), np.eye(40))


def test_an_empty_axis_or_unknown_order_is_refused(as_in_production: None) -> None:
    with pytest.raises(ValueError, match="axis of 0 to 3"):
        axis_operator(0, 3, CUBIC)
    with pytest.raises(ValueError, match="order 2 is not"):
        axis_operator(4, 3, 2)  # type: ignore[arg-type]
