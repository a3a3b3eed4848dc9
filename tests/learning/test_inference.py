"""From an image to label values: what a segmenter does beside its windows."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from autoseg.learning.inference import InferenceOptions, make_segmenter
from autoseg.learning.model_files import KeepLargest, LoadedNetwork
from planners.fingerprint import Label
from planners.plan import Normalization, Plan
from tests.builders import configuration

ORGAN, LESION = Label(name="organ", values=(1,)), Label(name="lesion", values=(7,))
PLANNED = replace(configuration(3), normalizations=(Normalization(channel="image", scheme="none"),))
SPACING_MM = (1.0, 1.0, 1.0)


class Steps(nn.Module):
    """Class i where the first channel rounds to i; `slope` says how sure it is."""

    def __init__(self, classes: int = 3, slope: float = 10.0) -> None:
        super().__init__()
        self.levels = nn.Parameter(torch.arange(float(classes)), requires_grad=False)
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        return -self.slope * (x[:, :1] - self.levels.view(1, -1, *(1,) * (x.ndim - 2))) ** 2


def plan(*configurations, **changes):
    made = Plan(
        dataset="toy",
        recipe="auto",
        channels=("image",),
        labels=(ORGAN, LESION),
        target="labels",
        transpose=(0, 1, 2),
        configurations=configurations or (PLANNED,),
        decisions=(),
    )
    return replace(made, **changes)


def network(module, configuration="3d_fullres", fold=0):
    return LoadedNetwork(configuration=configuration, fold=fold, module=module.eval())


def labels_of(segmenter, array, spacing_mm=SPACING_MM):
    return segmenter.segment(segmenter.prepare(array[None], spacing_mm))


@pytest.fixture
def steps():
    """An image of whole numbers, so that `Steps` gives itself as classes."""
    return np.random.default_rng(0).integers(0, 3, (12, 9, 10)).astype(np.float32)


def test_classes_become_the_values_of_the_labels(steps):
    segmenter = make_segmenter(plan(), (network(Steps()),), InferenceOptions())
    np.testing.assert_array_equal(labels_of(segmenter, steps), np.array([0, 1, 7])[steps.astype(int)])


def test_postprocessing_steps_follow_each_other():
    image = np.array([0, 1, 1, 1, 0, 2, 2, 0, 2, 1], np.float32).reshape(1, 1, 10)
    both, lesion = KeepLargest(values=(1, 7)), KeepLargest(values=(7,))
    expected = {(both,): [0, 1, 1, 1, 0, 0, 0, 0, 0, 0], (lesion, both): [0, 1, 1, 1, 0, 0, 0, 0, 0, 0]}
    expected[lesion,] = [0, 1, 1, 1, 0, 7, 7, 0, 0, 1]
    for after, row in expected.items():
        options = InferenceOptions(postprocessing=after, dtype=torch.float32)
        segmenter = make_segmenter(plan(), (network(Steps()),), options)
        assert labels_of(segmenter, image)[0, 0].tolist() == row
