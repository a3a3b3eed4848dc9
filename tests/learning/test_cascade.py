"""What a cascade's network sees beside the image: one channel a value, turned with the patch, augmented on its own."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.morphology import ball

from autoseg.learning.cascade import (
    CascadeDraw,
    CascadeSource,
    OperatorDraw,
    RemovalDraw,
    apply_cascade,
    apply_operator,
    cascade_input,
    draw_cascade,
)
from autoseg.learning.feeding import Feeder, FeedOptions
from autoseg.learning.sliding_window import WindowPredictor
from planners.cascade import CASCADE_AUGMENTATION
from planners.fingerprint import Label
from planners.plan import Plan
from planners.sides import input_swaps
from tests.builders import EVERY_AUGMENTATION, NO_AUGMENTATION, ArraySource, configuration

CASCADE = replace(configuration(), name="3d_cascade_fullres", previous="3d_lowres")


class Stored(ArraySource):
    """Balls (class 1) and, as the last label map, what was predicted: the ball shifted (5), a corner (2)."""

    def read_label(self, name, lower, upper):
        before = 5 * np.roll(self._labels[name], 1, axis=1)
        before[:, :2, :2, :2] = 2
        before[:, -1, -1, -1] = -1
        both = np.concatenate([self._labels[name], before])
        return both[(slice(None), *map(slice, lower, upper))]


def plan(*values):
    labels = tuple(Label(name=f"l{value}", values=(value,), role="foreground") for value in values)
    return Plan(
        dataset="balls",
        recipe="test",
        channels=("image",),
        labels=labels,
        target="labels",
        transpose=(0, 1, 2),
        configurations=(CASCADE,),
        decisions=(),
    )


def test_each_value_becomes_a_channel_and_everything_else_background():
    source, whole = CascadeSource(Stored(1), (2, 5)), (10, 12, 9)
    image = source.read_image("case_0", (0, 0, 0), whole)
    assert image.shape == (3, *whole)
    before = Stored(1).read_label("case_0", (0, 0, 0), whole)[-1]
    np.testing.assert_array_equal(image[1], before == 2)
    np.testing.assert_array_equal(image[2], before == 5)
    np.testing.assert_array_equal(image[:1], ArraySource(1).read_image("case_0", (0, 0, 0), whole))
    assert source.read_label("case_0", (0, 0, 0), whole).shape == (1, *whole)


@pytest.mark.parametrize("radius", [1, 2, 3, 8])
@pytest.mark.parametrize("shape", [(9, 12, 20), (7, 24)])
def test_operators_are_those_of_scipy_with_a_ball(radius, shape):
    random = np.random.default_rng(radius)
    mask = ndimage.binary_dilation(random.random(shape) > 0.97, iterations=1)
    element = ball(radius) if len(shape) == 3 else ball(radius)[radius]
    grown = ndimage.binary_dilation(mask, element)
    shrunk = ndimage.binary_erosion(mask, element, border_value=1)
    expected = {
        "dilation": grown,
        "erosion": shrunk,
        "opening": ndimage.binary_dilation(shrunk, element),
        "closing": ndimage.binary_erosion(grown, element, border_value=1),
    }
    for operator, result in expected.items():
        found = apply_operator(torch.from_numpy(mask), operator, radius)
        np.testing.assert_array_equal(found.numpy(), result, err_msg=operator)


def test_a_grown_structure_takes_its_voxels_from_the_others():
    one_hot = torch.zeros(1, 2, 1, 1, 5)
    one_hot[0, 0, 0, 0, 0] = one_hot[0, 1, 0, 0, 1] = 1
    draw = CascadeDraw(operators=(OperatorDraw(sample=0, value=0, operator="dilation", radius_voxels=1),), removals=())
    found = apply_cascade(one_hot, draw, 0.15)
    assert found[0, 0, 0, 0].tolist() == [1, 1, 0, 0, 0]
    assert found[0, 1, 0, 0].tolist() == [0, 0, 0, 0, 0]


def test_a_lost_component_is_one_of_the_small_ones():
    line = [1, 0, 1, 1, 0, 1, 1, 1, 0, 0]
    for which, expected in ((0.0, [0, 0, 1, 1, 0, 1, 1, 1, 0, 0]), (0.99, [1, 0, 0, 0, 0, 1, 1, 1, 0, 0])):
        one_hot = torch.tensor(line, dtype=torch.float32).view(1, 1, 1, 1, 10).clone()
        draw = CascadeDraw(operators=(), removals=(RemovalDraw(sample=0, value=0, which=which),))
        assert apply_cascade(one_hot, draw, 0.3)[0, 0, 0, 0].tolist() == expected  # three of ten voxels are not fewer
    alone = torch.ones(1, 1, 1, 1, 10)
    assert apply_cascade(alone, draw, 0.3).sum() == 10


def test_draws_come_as_often_as_the_plan_says():
    random, many = np.random.default_rng(0), 4000
    draw = draw_cascade(CASCADE_AUGMENTATION, many, 3, random)
    operated = {each.sample for each in draw.operators}
    assert len(operated) / many == pytest.approx(0.4 * (1 - 0.5**3), abs=0.03)
    assert len(draw.operators) / (many * 3) == pytest.approx(0.4 * 0.5, abs=0.02)
    assert len(draw.removals) / (many * 3) == pytest.approx(0.2 * 0.5, abs=0.02)
    assert {each.radius_voxels for each in draw.operators} == set(range(1, 9))
    assert {each.operator for each in draw.operators} == {"dilation", "erosion", "opening", "closing"}
    again = draw_cascade(CASCADE_AUGMENTATION, many, 3, np.random.default_rng(0))
    assert again == draw


def batches(cascade, steps=3, seed=0):
    before = cascade_input(plan(2, 5), cascade, seed=seed, stream=0)
    source = CascadeSource(Stored(3), before.values)
    options = FeedOptions(
        configuration=cascade,
        names=source.names,
        channels=1,
        classes=3,
        device=torch.device("cpu"),
        seed=seed,
        stream=0,
        finish=before.finish,
    )
    with Feeder(source, options) as feeder:
        return [feeder.batch(step) for step in range(steps)]


def test_turned_patches_stay_binary_and_keep_their_intensities_apart():
    for batch in batches(replace(CASCADE, augmentation=EVERY_AUGMENTATION)):
        assert batch.images.shape == (2, 3, 8, 8, 8)
        one_hot = batch.images[:, 1:]
        assert set(one_hot.unique().tolist()) <= {0.0, 1.0}
        assert one_hot.sum(1).max() <= 1


def test_without_changes_the_channels_are_what_was_predicted():
    changed = batches(replace(CASCADE, augmentation=NO_AUGMENTATION, previous_augmentation=CASCADE_AUGMENTATION), 8)
    plain = batches(replace(CASCADE, augmentation=NO_AUGMENTATION), 8)
    assert all(torch.equal(one.images[:, 0], other.images[:, 0]) for one, other in zip(changed, plain, strict=True))
    assert not all(torch.equal(one.images, other.images) for one, other in zip(changed, plain, strict=True))
    for batch in plain:
        shifted = batch.labels[:, :, :-1] == 1
        assert torch.equal(batch.images[:, 2:, 1:][shifted], torch.ones(int(shifted.sum())))


def test_sides_that_change_places_change_them_in_what_was_predicted():
    sided = replace(NO_AUGMENTATION, mirror_axes=(2,), mirror_swap_axis=2, mirror_swaps=((1, 2),))
    mirrored = batches(replace(CASCADE, augmentation=sided), 6)
    flipped = batches(replace(CASCADE, augmentation=replace(sided, mirror_swaps=())), 6)
    found = 0
    for one, other in zip(mirrored, flipped, strict=True):
        for with_swap, without in zip(one.images[:, 1:], other.images[:, 1:], strict=True):
            if not torch.equal(with_swap, without):
                assert torch.equal(with_swap, without.flip(0))
                found += 1
    assert found


class Copies(torch.nn.Module):
    """Returns what the stage before predicted: background 0, then the one-hot channels."""

    def forward(self, x):
        return torch.cat([torch.zeros_like(x[:, :1]), x[:, 1:]], dim=1)


def test_mirrored_views_exchange_the_sides_of_what_was_predicted():
    sided = replace(NO_AUGMENTATION, mirror_axes=(2,), mirror_swap_axis=2, mirror_swaps=((1, 2),))
    cascade = replace(CASCADE, augmentation=sided)
    assert input_swaps(plan(2, 5), cascade) == ((1, 2),)
    assert input_swaps(plan(2, 5), replace(cascade, previous=None)) == ()
    image = torch.zeros(3, 8, 8, 8)
    image[1, :, :, :3] = image[2, :, :, 5:7] = 1
    made = [
        WindowPredictor(
            (Copies(),),
            cascade,
            3,
            torch.device("cpu"),
            torch.float32,
            mirror_axes=axes,
            input_swaps=input_swaps(plan(2, 5), cascade),
        ).logits(image.numpy())
        for axes in ((), (2,))
    ]
    np.testing.assert_array_equal(made[0], made[1])
