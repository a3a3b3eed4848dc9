"""The signatures of imaging and learning state types and shapes, and every call in the tests is held to them."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from autoseg.imaging.metrics import surface_scores
from autoseg.imaging.resampling import LINEAR, resize, resize_labels
from autoseg.learning.augmentation import gaussian_blur
from autoseg.learning.loss import LossOptions, segmentation_loss
from autoseg.learning.spatial import SourceBlock

OPTIONS = LossOptions(name="dice-ce", target="labels", batch_dice=True)
MASK = np.ones((2, 3, 4), bool)


def test_an_image_without_its_channel_axis_is_refused():
    with pytest.raises(TypeCheckError, match="array"):
        resize(np.zeros((2, 3, 4), np.float32), (4, 6, 8), LINEAR)


def test_an_image_in_double_precision_is_refused():
    with pytest.raises(TypeCheckError, match="array"):
        resize(np.zeros((1, 2, 3, 4)), (4, 6, 8), LINEAR)


def test_a_label_map_of_floats_is_refused():
    with pytest.raises(TypeCheckError, match="label"):
        resize_labels(np.zeros((2, 3, 4), np.float32), (4, 6, 8))


def test_masks_on_different_grids_are_refused():
    with pytest.raises(TypeCheckError, match="reference"):
        surface_scores(MASK, MASK[:1], (1.0, 1.0, 1.0), 1.0)


def test_a_target_of_another_size_than_the_logits_is_refused():
    with pytest.raises(TypeCheckError, match="target"):
        segmentation_loss(torch.zeros(2, 3, 8, 8), torch.zeros(2, 1, 8, 9, dtype=torch.int16), OPTIONS)


def test_a_target_of_another_batch_than_the_logits_is_refused():
    with pytest.raises(TypeCheckError, match="target"):
        segmentation_loss(torch.zeros(2, 3, 8, 8), torch.zeros(1, 1, 8, 8, dtype=torch.int16), OPTIONS)


def test_an_integer_image_is_not_blurred():
    with pytest.raises(TypeCheckError, match="image"):
        gaussian_blur(torch.zeros(4, 4, dtype=torch.int16), 1.0)


def test_fields_of_one_record_share_their_axes():
    with pytest.raises(TypeCheckError, match="label"):
        SourceBlock(image=torch.zeros(1, 4, 5), label=torch.zeros(1, 4, 6, dtype=torch.int16), lower=(0, 0))


def test_nothing_is_checked_where_autoseg_runs_for_a_user():
    code = (
        "import sys; from autoseg.imaging import resampling;"
        " assert not hasattr(resampling.resize, '__wrapped__'); assert 'beartype' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
