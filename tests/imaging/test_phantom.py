import numpy as np

from autoseg.imaging.phantom import ORGANS, SPACING_MM, phantom_case


def test_a_case_is_the_same_for_the_same_seed_and_another_for_another():
    image, label = phantom_case(3)
    again, _ = phantom_case(3)
    other, _ = phantom_case(4)
    np.testing.assert_array_equal(image.array, again.array)
    assert image.array.shape != other.array.shape or bool((image.array != other.array).any())
    assert image.grid == label.grid


def test_it_looks_like_an_anisotropic_ct():
    image, label = phantom_case(0)
    assert image.array.dtype == np.int16
    assert label.array.dtype == np.uint8
    np.testing.assert_allclose(image.grid.spacing_mm, SPACING_MM)
    assert image.array.min() >= -1024
    means = [float(image.array[label.array == value].mean()) for value in range(1, 5)]
    liver, kidney, vertebra, lesion = means
    assert lesion < liver < kidney < vertebra
    assert abs(means[0] - 110) < 25


def test_every_case_has_every_organ_and_the_lesion_touches_the_liver():
    for seed in range(8):
        _, label = phantom_case(seed)
        assert set(np.unique(label.array)) == set(range(len(ORGANS) + 1))
        _, y, x = np.nonzero(label.array[0] == 4)
        _, ly, lx = np.nonzero(label.array[0] == 1)
        assert ly.min() <= y.mean() <= ly.max()
        assert lx.min() <= x.mean() <= lx.max()


def test_the_liver_is_on_the_patients_right():
    _, label = phantom_case(1)
    _, _, x = np.nonzero(label.array[0] == 1)
    affine = np.asarray(label.grid.affine)
    right_to_left_mm = affine[0, 2] * x.mean() + affine[0, 3]
    assert right_to_left_mm > 10  # RAS: positive is right
