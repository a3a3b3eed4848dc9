"""Losses against numbers worked out by hand."""

import math

import pytest
import torch

from autoseg.core.labels import IGNORE
from autoseg.learning.loss import LossOptions, segmentation_loss

LABELS = LossOptions(name="dice-ce", target="labels", batch_dice=False)
CE = LossOptions(name="ce", target="labels", batch_dice=False)


def test_a_perfect_confident_prediction_costs_minus_one() -> None:
    target = torch.tensor([[[[0, 1], [1, 0]]]])
    logits = torch.stack([target[:, 0] == 0, target[:, 0] == 1], dim=1).float() * 60 - 30
    assert segmentation_loss(logits, target, LABELS).item() == pytest.approx(-1.0, abs=1e-5)


def test_indifference_costs_log_two_and_half_a_dice() -> None:
    # p = 1/2 everywhere, 1 of 4 voxels is foreground: Dice = 2 * 0.5 / (2 + 1) = 1/3, cross-entropy = log 2.
    target = torch.tensor([[[[0, 1], [0, 0]]]])
    loss = segmentation_loss(torch.zeros(1, 2, 2, 2), target, LABELS)
    assert loss.item() == pytest.approx(math.log(2) - 1 / 3, abs=1e-4)


def test_ignored_voxels_change_nothing() -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 3, 4, 4)
    target = torch.randint(0, 3, (1, 1, 4, 4))
    target[..., 2:, :] = IGNORE
    changed = logits.clone()
    changed[:, :, 2:] = torch.randn(1, 3, 2, 4)
    for options in (LABELS, CE):
        first = segmentation_loss(logits, target, options)
        assert segmentation_loss(changed, target, options).item() == pytest.approx(first.item())
    alone = segmentation_loss(logits[:, :, :2], target[:, :, :2], LABELS)
    assert segmentation_loss(logits, target, LABELS).item() == pytest.approx(alone.item(), abs=1e-6)


def test_batch_dice_sums_over_the_batch_first() -> None:
    # One sample without foreground: alone its Dice is near 0, over the batch it only adds false positives.
    target = torch.tensor([[[[1, 1]]], [[[0, 0]]]])
    logits = torch.tensor([[[[-30.0, -30.0]], [[30.0, 30.0]]], [[[-30.0, 30.0]], [[30.0, -30.0]]]])
    ce = segmentation_loss(logits, target, CE).item()
    per_sample = segmentation_loss(logits, target, LABELS).item() - ce
    options = LossOptions(name="dice-ce", target="labels", batch_dice=True)
    assert per_sample == pytest.approx(-0.5, abs=1e-4)
    assert segmentation_loss(logits, target, options).item() - ce == pytest.approx(-4 / 5, abs=1e-4)


def test_topk_keeps_the_hardest_tenth() -> None:
    target = torch.zeros(1, 1, 1, 20, dtype=torch.long)
    logits = torch.zeros(1, 2, 1, 20)
    logits[:, 0] = 30.0
    logits[0, 0, 0, :2], logits[0, 1, 0, :2] = 0.0, 5.0
    hard = math.log(1 + math.exp(5.0))
    options = LossOptions(name="dice-topk", target="labels", batch_dice=False)
    dice = segmentation_loss(logits, target, LABELS) - segmentation_loss(logits, target, CE)
    assert (segmentation_loss(logits, target, options) - dice).item() == pytest.approx(hard, rel=1e-4)


def test_regions_may_overlap() -> None:
    target = torch.tensor([[[[1, 1]], [[1, 0]]]])
    options = LossOptions(name="dice-ce", target="regions", batch_dice=False)
    assert segmentation_loss(target * 60.0 - 30.0, target, options).item() == pytest.approx(-1.0, abs=1e-5)


def test_coarse_levels_weigh_as_planned() -> None:
    torch.manual_seed(0)
    target = torch.randint(0, 2, (1, 1, 4, 4))
    fine, coarse = torch.randn(1, 2, 4, 4), torch.randn(1, 2, 2, 2)
    options = LossOptions(name="ce", target="labels", batch_dice=False, level_weights=(0.75, 0.25))
    small = target[..., 1::2, 1::2]  # nearest-exact takes the voxel whose centre is nearest, ties to the upper one
    expected = 0.75 * segmentation_loss(fine, target, CE) + 0.25 * segmentation_loss(coarse, small, CE)
    assert segmentation_loss([fine, coarse], target, options).item() == pytest.approx(expected.item(), rel=1e-5)
