"""From an image to label values: what a segmenter does beside its windows."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from autoseg.core.errors import AutosegError
from autoseg.imaging.changes import Change
from autoseg.imaging.resampling import LINEAR, resize
from autoseg.learning.inference import InferenceOptions, make_segmenter
from autoseg.learning.model_files import LoadedNetwork, plan_inputs
from autoseg.learning.network import build_network
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
    both, lesion = Change(values=(1, 7)), Change(values=(7,))
    expected = {(both,): [0, 1, 1, 1, 0, 0, 0, 0, 0, 0], (lesion, both): [0, 1, 1, 1, 0, 0, 0, 0, 0, 0]}
    expected[lesion,] = [0, 1, 1, 1, 0, 7, 7, 0, 0, 1]
    for after, row in expected.items():
        options = InferenceOptions(postprocessing=after, dtype=torch.float32)
        segmenter = make_segmenter(plan(), (network(Steps()),), options)
        assert labels_of(segmenter, image)[0, 0].tolist() == row


LOWRES = replace(PLANNED, name="3d_lowres", spacing_mm=(2.0, 2.0, 2.0))
CASCADE = replace(PLANNED, name="3d_cascade_fullres", previous="3d_lowres")


class Previous(nn.Module):
    """The classes that the channels after the first say, background where they say nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.tensor(0.5), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.threshold.expand_as(x[:, :1]), x[:, 1:]], dim=1)


class TestCascade:
    def test_sees_the_label_map_of_the_stage_before_one_channel_for_each_value(self, steps):
        array = np.kron(steps, np.ones((2, 2, 2), np.float32))
        lowres = make_segmenter(plan(LOWRES), (network(Steps(), "3d_lowres"),), InferenceOptions())
        networks = (network(Steps(), "3d_lowres"), network(Previous(), "3d_cascade_fullres"))
        cascade = make_segmenter(plan(LOWRES, CASCADE), networks, InferenceOptions())
        assert [member.configuration.name for member in cascade.members] == ["3d_cascade_fullres"]
        first = labels_of(lowres, array)
        assert set(np.unique(first)) == {0, 1, 7}
        np.testing.assert_array_equal(labels_of(cascade, array), first)

    def test_equals_its_stages_one_after_the_other(self):
        """Image and one-hot label map at the network's spacing, stacked, are what the second network sees."""
        made = plan(LOWRES, replace(CASCADE, spacing_mm=(1.5, 1.5, 1.5)))
        torch.manual_seed(0)
        modules = [build_network(c, plan_inputs(made, c.name), 3).eval() for c in made.configurations]
        networks = tuple(network(m, c.name) for m, c in zip(modules, made.configurations, strict=True))
        array = np.random.default_rng(1).standard_normal((20, 18, 22)).astype(np.float32)
        options = InferenceOptions(dtype=torch.float32)
        cascade = make_segmenter(made, networks, options)
        found = labels_of(cascade, array)
        before = labels_of(make_segmenter(made, networks[:1], options), array)
        own = cascade.prepare(array[None], SPACING_MM).members[0]
        onehot = own.mapping.label_to_network(before) == np.array([1, 7]).reshape(2, 1, 1, 1)
        stacked = np.concatenate([own.image, onehot.astype(np.float32)])
        logits = cascade.members[0].predictor.logits(stacked)
        native = resize(logits, array.shape, LINEAR).argmax(axis=0)
        assert len(np.unique(native)) == 3
        np.testing.assert_array_equal(found, np.array([0, 1, 7])[native])

    def test_needs_the_networks_of_the_stage_before(self):
        networks = (network(Previous(), "3d_cascade_fullres"),)
        with pytest.raises(AutosegError, match="it has no network 3d_lowres"):
            make_segmenter(plan(LOWRES, CASCADE), networks, InferenceOptions())
