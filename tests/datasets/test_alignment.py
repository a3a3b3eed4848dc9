"""A turned label is told by the edges of its image; every number by hand or against a label in its place."""

import numpy as np
import pytest

from autoseg.datasets.alignment import SAMPLED_VOXELS, sampling_steps, turn_gains


def scene(shape=(12, 20, 16)):
    """A bright box off the centre in faint noise, and its mask."""
    label = np.zeros(shape, np.uint8)
    label[2:6, 3:9, 4:7] = 1
    return label * 100.0 + np.random.default_rng(0).normal(0, 1, shape), label


def best(image, label):
    gains = {turn.turn: turn.gain for turn in turn_gains(image, label)}
    return max(gains, key=gains.get), max(gains.values())


def test_a_label_in_its_place_loses_edge_by_every_turn():
    gains = turn_gains(*scene())
    assert len(gains) == 7
    assert max(turn.gain for turn in gains) < -0.5


@pytest.mark.parametrize(
    ("axes", "name"), [((0,), "mirrored along z"), ((2,), "mirrored along x"), ((0, 1), "mirrored along z and y")]
)
def test_a_mirrored_label_gains_most_by_being_mirrored_back(axes, name):
    image, label = scene()
    turn, gain = best(image, np.flip(label, axes))
    assert (turn, gain > 0.5) == (name, True)


def test_a_label_turned_by_a_quarter_is_told_where_the_plane_is_square():
    image, label = scene((12, 18, 18))
    assert best(image, np.rot90(label, axes=(1, 2)))[0] == "x and y exchanged, mirrored along x"
    assert best(image, label.transpose(0, 2, 1))[0] == "x and y exchanged"


def test_a_flat_image_has_no_turns_along_z():
    image, label = scene()
    assert {turn.turn for turn in turn_gains(image[4:5], label[4:5])} == {
        "mirrored along y",
        "mirrored along x",
        "mirrored along y and x",
    }


def test_the_gain_is_the_logarithm_of_the_ratio_of_mean_roots():
    image = np.array([[[0.0, 0, 9, 9, 9, 9, 9, 10]]])  # neighbours' differences: 0 9 9 0 0 0 1 1; roots 0 3 3 0 0 0 1 1
    label = np.array([[[0, 0, 0, 0, 0, 0, 0, 1]]])  # boundary: the last two; mirrored: the first two
    (turn,) = turn_gains(image, label)
    assert turn.gain == pytest.approx(np.log(1.5 / 1.0))


def test_nothing_is_said_of_a_label_without_boundary_or_an_image_without_edges():
    image, label = scene()
    assert turn_gains(image, np.zeros_like(label)) == ()
    assert turn_gains(np.zeros_like(image), label) == ()


def test_large_images_are_thinned_along_their_longest_axes():
    assert sampling_steps((35, 51, 35)) == (1, 1, 1)
    steps = sampling_steps((100, 512, 512))
    assert min(steps[1:]) > steps[0]
    assert np.prod([-(-n // s) for n, s in zip((100, 512, 512), steps, strict=True)]) <= SAMPLED_VOXELS
