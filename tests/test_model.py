"""A loaded model predicts arrays: shapes go in and come out, threads share it, errors say what is wrong."""

import threading
from pathlib import Path

import numpy as np
import pytest

import autoseg
from autoseg.core.errors import AutosegError, ResourceError
from tests.steps.test_predict import make_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return autoseg.load_model(make_model(tmp_path_factory.mktemp("solid")), device="cpu")


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    return autoseg.load_model(make_model(tmp_path_factory.mktemp("flat"), dimensions=2), device="cpu")


SPACING_MM = (2.0, 0.5, 0.5)


def test_a_volume_gives_a_label_map_of_its_shape(model):
    label_map = model.predict(np.ones((5, 9, 12)), SPACING_MM)
    assert (label_map.shape, label_map.dtype) == ((5, 9, 12), np.uint8)
    assert (label_map == 7).all()
    assert (model.predict(np.ones((1, 5, 9, 12), np.int16), SPACING_MM) == label_map).all()


def test_zeros_around_an_image_are_background(model):
    image = np.zeros((8, 9, 10), np.float32)
    image[2:5, 3:6, 4:9] = 3
    expected = np.where(image > 0, 7, 0)
    np.testing.assert_array_equal(model.predict(image, SPACING_MM), expected)


def test_probabilities_sum_to_one_and_their_largest_is_the_label(tmp_path):
    """A cropped image, in transposed axes, of a network with random weights."""
    folder = make_model(tmp_path, transpose=(2, 0, 1), random=True)
    random = autoseg.load_model(folder, device="cpu")
    image = np.zeros((9, 20, 13), np.float32)
    image[1:, 2:17, 1:12] = np.random.default_rng(0).normal(5, 1, (8, 15, 11))
    found = random.predict_probabilities(image, SPACING_MM)
    assert (found.shape, found.dtype) == ((3, 9, 20, 13), np.float32)
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-6)
    assert (found[0, 0] == 1).all()
    labels = random.predict(image, SPACING_MM)
    assert set(np.unique(labels)) == {0, 1, 7}
    np.testing.assert_array_equal(np.array([0, 1, 7])[found.argmax(axis=0)], labels)


def test_a_slice_gives_a_slice(flat):
    assert flat.predict_probabilities(np.ones((9, 12)), (0.5, 0.5)).shape == (3, 9, 12)
    assert flat.predict(np.ones((9, 12)), (0.5, 0.5)).shape == (9, 12)
    assert flat.predict(np.ones((1, 9, 12)), (0.5, 0.5)).shape == (9, 12)


def test_structures_have_names_and_values(model):
    assert model.labels == (("organ", 1), ("lesion", 7))


def test_cases_come_back_in_order(model):
    shapes = [(4, 9, 8), (5, 8, 9), (6, 8, 8), (7, 9, 9)]
    found = model.predict_iter((np.ones(shape), SPACING_MM) for shape in shapes)
    assert [label_map.shape for label_map in found] == shapes


def test_threads_share_a_model(tmp_path):
    model = autoseg.load_model(make_model(tmp_path, random=True), device="cpu")
    images = [np.random.default_rng(seed).random((6, 10 + seed, 12)) for seed in range(4)]
    alone = [model.predict(image, SPACING_MM) for image in images]
    together: list = [None] * 4

    def run(index):
        together[index] = model.predict(images[index], SPACING_MM)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(alone, together, strict=True):
        assert set(np.unique(one)) == {0, 1, 7}
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("array", "spacing_mm", "message"),
    [
        (np.ones((5, 5)), SPACING_MM, r"has shape \(5, 5\)"),
        (np.ones((5, 5, 5)), (1.0, 0.0, 1.0), r"spacing_mm: is \(1\.0, 0\.0, 1\.0\)"),
        (np.ones((2, 5, 5, 5)), SPACING_MM, "2 channels where the model takes 1"),
        (np.full((5, 5, 5), np.nan), SPACING_MM, "not all finite"),
    ],
)
def test_what_does_not_fit_is_an_error(model, array, spacing_mm, message):
    with pytest.raises(AutosegError, match=message):
        model.predict(array, spacing_mm)


def test_a_folder_without_a_model_is_an_error(tmp_path: Path):
    with pytest.raises(AutosegError, match="no trained model here"):
        autoseg.load_model(tmp_path)


def test_a_case_that_cannot_be_predicted_ends_the_others_only_when_asked(model):
    cases = [
        (np.ones((4, 9, 8)), SPACING_MM),
        (np.full((4, 9, 8), np.nan), SPACING_MM),
        (np.ones((5, 9, 8)), SPACING_MM),
    ]
    first, second, third = model.predict_iter(iter(cases), on_error="yield")
    assert (first.shape, third.shape) == ((4, 9, 8), (5, 9, 8))
    assert isinstance(second, AutosegError)
    found = model.predict_iter(iter(cases))
    assert next(found).shape == (4, 9, 8)
    with pytest.raises(AutosegError, match="not all finite"):
        next(found)


def test_labels_within_a_ceiling_are_the_same_and_too_low_a_ceiling_is_an_error(tmp_path):
    folder = make_model(tmp_path, random=True)
    image = np.random.default_rng(0).random((16, 24, 24))
    free = autoseg.load_model(folder, device="cpu").predict(image, SPACING_MM)
    np.testing.assert_array_equal(
        autoseg.load_model(folder, device="cpu", max_ram="16GiB").predict(image, SPACING_MM), free
    )
    with pytest.raises(ResourceError):
        autoseg.load_model(folder, device="cpu", max_ram="1MB").predict(image, SPACING_MM)
