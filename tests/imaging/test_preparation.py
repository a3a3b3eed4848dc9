"""The way to the network's grid and back."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.transform import resize

from autoseg.core.labels import IGNORE, OUTSIDE
from autoseg.core.records import decode, encode
from autoseg.imaging.preparation import (
    MOST_LOCATIONS,
    GridMapping,
    foreground_locations,
    prepare_image,
    prepare_label,
)
from planners.fingerprint import Label
from planners.plan import Normalization

EDEMA, CORE = Label(name="edema", values=(1, 2)), Label(name="core", values=(2,))
IGNORED = Label(name="ignore", values=(9,), role="ignore")


def image_with_border(shape=(6, 10, 12)):
    image = np.zeros((1, *shape), np.float32)
    image[0, 1:5, 2:8, 3:11] = np.random.default_rng(0).uniform(1, 2, size=(4, 6, 8))
    return image


def mapping_for(shape, transpose, lower, upper):
    cropped = tuple(u - low for low, u in zip(lower, upper, strict=True))
    return GridMapping(
        native_shape=shape,
        native_spacing_mm=(3.0, 2.0, 1.0),
        transpose=transpose,
        crop_lower=lower,
        crop_upper=upper,
        network_shape=cropped,
        network_spacing_mm=tuple((3.0, 2.0, 1.0)[axis] for axis in transpose),
    )


@given(data=st.data(), shape=st.tuples(*[st.integers(1, 8)] * 3), transpose=st.permutations([0, 1, 2]))
@settings(max_examples=80, deadline=None)
def test_there_and_back_keeps_every_voxel_of_the_crop(data, shape, transpose):
    turned = [shape[axis] for axis in transpose]
    lower = tuple(data.draw(st.integers(0, n - 1)) for n in turned)
    upper = tuple(data.draw(st.integers(low + 1, n)) for low, n in zip(lower, turned, strict=True))
    mapping = mapping_for(shape, tuple(transpose), lower, upper)
    native = np.random.default_rng(0).integers(1, 9, size=shape).astype(np.uint8)
    back = mapping.crop_to_native(mapping.crop(native))
    assert back.dtype == native.dtype
    assert back.shape == shape
    kept = back != 0
    assert np.array_equal(back[kept], native[kept])
    assert kept.sum() == np.prod(mapping.cropped_shape)


def test_a_mapping_survives_being_written_and_read():
    mapping = mapping_for((4, 5, 6), (2, 0, 1), (1, 0, 0), (6, 4, 5))
    assert decode(encode(mapping), GridMapping, "test") == mapping


def test_a_mapping_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="do not fit"):
        mapping_for((4, 5, 6), (2, 0, 1), (0, 0, 0), (6, 5, 4))


def test_operators_to_native_lead_from_the_network_to_the_crop():
    mapping = GridMapping(
        native_shape=(10, 20, 20),
        native_spacing_mm=(4.0, 1.0, 1.0),
        transpose=(0, 1, 2),
        crop_lower=(0, 0, 0),
        crop_upper=(10, 20, 18),
        network_shape=(8, 10, 9),
        network_spacing_mm=(5.0, 2.0, 2.0),
    )
    operators = mapping.operators_to_native()
    assert [(o.n_in, o.n_out, o.order) for o in operators] == [(8, 10, 0), (10, 20, 1), (9, 18, 1)]


def test_image_and_label_take_the_same_way_to_the_network():
    mapping = GridMapping(
        native_shape=(6, 12, 10),
        native_spacing_mm=(1.0, 1.0, 1.0),
        transpose=(1, 0, 2),
        crop_lower=(2, 1, 0),
        crop_upper=(10, 5, 10),
        network_shape=(16, 8, 20),
        network_spacing_mm=(0.5, 0.5, 0.5),
    )
    label = np.zeros((6, 12, 10), np.int16)
    label[2:4, 4:8, 3:7] = 1
    image = mapping.to_network(label[None].astype(np.float32))[0]
    assert image.shape == mapping.network_shape
    assert np.array_equal(mapping.label_to_network(label), image > 0.5)


@pytest.mark.parametrize("change", [{"network_shape": (0, 1, 1)}, {"network_spacing_mm": (1.0, 0.0, 1.0)}])
def test_a_mapping_to_nowhere_is_refused(change):
    with pytest.raises(ValueError, match="not positive"):
        replace(mapping_for((4, 5, 6), (0, 1, 2), (0, 0, 0), (4, 5, 6)), **change)


def test_only_the_crop_itself_can_be_pasted_back():
    with pytest.raises(ValueError, match="is not the crop"):
        mapping_for((4, 5, 6), (0, 1, 2), (1, 0, 0), (4, 5, 6)).crop_to_native(np.zeros((4, 5, 6)))


def test_an_image_is_cropped_and_resampled_to_the_planned_spacing(build_plan):
    plan = build_plan((2, 1, 2))
    prepared = prepare_image(image_with_border(), (1.0, 1.0, 1.0), plan, plan.configurations[0])
    assert prepared.mapping.crop_lower == (1, 2, 3)
    assert prepared.mapping.crop_upper == (5, 8, 11)
    assert prepared.image.shape == (1, 2, 6, 4)
    assert prepared.image.dtype == np.float32
    assert prepared.image.flags.c_contiguous
    assert prepared.mapping.network_shape == (2, 6, 4)
    assert prepared.mask.shape == (4, 6, 8)


def test_an_integer_image_is_prepared_as_its_float_twin_and_stays_untouched(build_plan):
    plan = build_plan((1, 1, 1.5), normalizations=(Normalization(channel="image", scheme="zscore"),))
    image = np.random.default_rng(0).integers(-1000, 1000, size=(1, 5, 6, 7)).astype(np.int16)
    before = image.copy()
    whole = prepare_image(image, (1.0, 1.0, 1.0), plan, plan.configurations[0])
    twin = prepare_image(image.astype(np.float32), (1.0, 1.0, 1.0), plan, plan.configurations[0])
    assert np.array_equal(whole.image, twin.image)
    assert np.array_equal(image, before)


def test_transposition_moves_spacing_with_the_axes(build_plan):
    plan = build_plan((4, 1, 1), transpose=(2, 0, 1))
    prepared = prepare_image(image_with_border(), (1.0, 1.0, 4.0), plan, plan.configurations[0])
    assert prepared.mapping.cropped_spacing_mm == (4.0, 1.0, 1.0)
    assert prepared.image.shape == (1, 8, 4, 6)
    assert np.array_equal(prepared.image[0], image_with_border()[0, 1:5, 2:8, 3:11].transpose(2, 0, 1))


def test_a_2d_configuration_leaves_slices_where_they_are(build_plan):
    plan = build_plan((0.5, 0.5))
    prepared = prepare_image(image_with_border(), (7.0, 1.0, 1.0), plan, plan.configurations[0])
    assert prepared.image.shape == (1, 4, 12, 16)
    assert prepared.mapping.network_spacing_mm == (7.0, 0.5, 0.5)


def test_normalization_comes_before_resampling(build_plan):
    plan = build_plan((1, 1, 3), normalizations=(Normalization(channel="image", scheme="rescale-0-1"),))
    image = np.zeros((1, 1, 1, 9), np.float32)
    image[0, 0, 0] = [1, 1, 1, 1, 9, 1, 1, 1, 1]
    prepared = prepare_image(image, (1.0, 1.0, 1.0), plan, plan.configurations[0])
    assert prepared.image.ravel() == pytest.approx([0, 1, 0])


@pytest.mark.parametrize(("spacing", "order_z"), [((2.0, 1.0, 1.0), 3), ((4.0, 1.0, 1.0), 0)])
def test_preparation_equals_nnunets_steps_in_double_precision(build_plan, spacing, order_z):
    plan = build_plan((1.5, 1.3, 0.8), normalizations=(Normalization(channel="image", scheme="zscore"),))
    image = image_with_border((9, 16, 20))
    prepared = prepare_image(image, spacing, plan, plan.configurations[0])
    crop = image[0, 1:5, 2:8, 3:11].astype(np.float64)
    crop = (crop - crop.mean()) / crop.std()
    z, y, x = (round(n * old / new) for n, old, new in zip(crop.shape, spacing, (1.5, 1.3, 0.8), strict=True))
    options = {"order": 3, "mode": "edge", "anti_aliasing": False}
    if order_z == 3:
        peer = resize(crop, (z, y, x), **options)
    else:
        planes = np.stack([resize(plane, (y, x), **options) for plane in crop])
        peer = resize(planes, (z, y, x), order=0, mode="edge", anti_aliasing=False)
    assert prepared.image.shape == (1, z, y, x)
    assert np.abs(prepared.image[0] - peer).max() < 3e-6 * np.ptp(crop)


def test_a_reference_becomes_class_indexes_with_outside_and_ignored_voxels(build_plan):
    labels = (Label(name="liver", values=(5,)), Label(name="vessel", values=(3, 4)), IGNORED)
    plan = build_plan((1, 1, 1), labels=labels)
    prepared = prepare_image(image_with_border(), (1.0, 1.0, 1.0), plan, plan.configurations[0])
    mask = prepared.mask.copy()
    mask[0, 0, :2] = False
    label = np.zeros((6, 10, 12), np.uint8)
    label[1, 2, 3:9] = [5, 0, 3, 4, 9, 0]
    result = prepare_label(label, prepared.mapping, plan, mask)
    assert result.dtype == np.int16
    assert result.shape == (1, 4, 6, 8)
    assert result[0, 0, 0].tolist() == [1, OUTSIDE, 2, 2, IGNORE, 0, 0, 0]


def test_a_label_map_becomes_one_map_per_region(build_plan):
    plan = build_plan((1, 1, 1), labels=(EDEMA, CORE, IGNORED), target="regions")
    mapping = mapping_for((1, 1, 5), (0, 1, 2), (0, 0, 0), (1, 1, 5))
    label = np.array([[[0, 0, 1, 2, 9]]], np.uint8)
    result = prepare_label(label, mapping, plan, np.array([[[True, False, True, True, True]]]))
    assert result[:, 0, 0].tolist() == [[0, OUTSIDE, 1, 1, IGNORE], [0, OUTSIDE, 0, 1, IGNORE]]


def test_overlapping_masks_stay_one_map_each(build_plan):
    plan = build_plan((1, 1, 1), target="regions")
    mapping = mapping_for((1, 1, 3), (0, 1, 2), (0, 0, 0), (1, 1, 3))
    masks = np.array([[[[0, 1, 1]]], [[[0, 1, 0]]]], np.uint8)
    result = prepare_label(masks, mapping, plan, np.array([[[False, True, True]]]))
    assert result[:, 0, 0].tolist() == [[OUTSIDE, 1, 1], [OUTSIDE, 1, 0]]


@pytest.mark.parametrize("value", [7, 70000, -4])
def test_an_undeclared_label_value_is_refused(build_plan, value):
    plan = build_plan((1, 1, 1))
    mapping = mapping_for((1, 1, 3), (0, 1, 2), (0, 0, 0), (1, 1, 3))
    with pytest.raises(ValueError, match=rf"label values \[{value}\] are not declared; the plan has \[1, 2\]"):
        prepare_label(np.array([[[0, 1, value]]]), mapping, plan, np.ones((1, 1, 3), bool))


def test_reference_and_image_meet_on_one_grid(build_plan):
    plan = build_plan((1.7, 1.3, 0.7), transpose=(1, 2, 0))
    prepared = prepare_image(image_with_border(), (1.0, 1.0, 1.0), plan, plan.configurations[0])
    label = np.zeros((6, 10, 12), np.int16)
    label[2:4, 3:6, 4:8] = 1
    result = prepare_label(label, prepared.mapping, plan, prepared.mask)
    assert result.shape[1:] == prepared.image.shape[1:]
    voxels = (result == 1).sum() * 1.7 * 1.3 * 0.7
    assert voxels == pytest.approx(24, rel=0.35)


def test_locations_are_voxels_of_their_label_and_capped():
    label = np.zeros((1, 30, 40, 50), np.int16)
    label[0, :20], label[0, 25, 3, 4] = 1, 2
    first, second, third = foreground_locations(label, 3, np.random.default_rng(0))
    assert first.shape == (MOST_LOCATIONS, 3)
    assert first.dtype == np.int32
    assert len(np.unique(first, axis=0)) == MOST_LOCATIONS
    assert (label[0][tuple(first.T)] == 1).all()
    assert second.tolist() == [[25, 3, 4]]
    assert third.shape == (0, 3)


def test_locations_of_overlapping_labels_come_from_their_own_maps():
    label = np.zeros((2, 1, 2, 2), np.int16)
    label[0, 0, 0], label[1, 0, :, 0], label[1, 0, 1, 1] = 1, 1, OUTSIDE
    first, second = foreground_locations(label, 2, np.random.default_rng(0))
    assert first.tolist() == [[0, 0, 0], [0, 0, 1]]
    assert second.tolist() == [[0, 0, 0], [0, 1, 0]]


def test_a_cascade_sees_background_outside_the_image_as_a_label_of_its_own(build_plan):
    """Of eight voxels that become one, 3 have label 1, 1 has 2, 2 are background in the image, 2 outside it.

    Background has more than label 1 only when both kinds are counted together, which nnU-Net does not.
    """
    image = np.ones((1, 2, 2, 2), dtype=np.float32)
    image[0, 0, 0] = 0
    plan = build_plan((2, 2, 2))
    prepared = prepare_image(image, (1.0, 1.0, 1.0), plan, plan.configurations[0])
    label = np.array([[[0, 0], [0, 1]], [[1, 2], [1, 0]]], dtype=np.uint8)
    assert prepared.mapping.network_shape == (1, 1, 1)
    assert prepared.label_to_network(label).item() == 1
    assert prepared.mapping.label_to_network(label).item() == 0
