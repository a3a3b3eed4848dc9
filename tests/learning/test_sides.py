"""Left and right change places when patches and predictions are mirrored: an asymmetric phantom of known sides."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autoseg.core.labels import IGNORE, OUTSIDE
from autoseg.learning.feeding import read_block
from autoseg.learning.model_files import (
    ModelRecord,
    TrainedNetwork,
    choose_prediction,
    load_model_record,
    save_model,
    save_network,
)
from autoseg.learning.network import build_network
from autoseg.learning.sampling import CaseSource, SampleDraw, draw_batch, step_generator
from autoseg.learning.sliding_window import WindowPredictor
from autoseg.learning.spatial import SpatialDraw, swap_sides, take_patch
from autoseg.runner.predictor import NetworkPredictor
from planners.fingerprint import Label
from planners.plan import Augmentation, Configuration
from planners.planner import make_plan
from planners.recipe import RECIPES, Budget
from tests.builders import NO_AUGMENTATION, ArraySource, configuration, stages
from tests.planners.fingerprints import fingerprint

MIRRORED = replace(NO_AUGMENTATION, mirror_axes=(0, 2), mirror_swap_axis=2, mirror_swaps=((1, 3),))


class Body(ArraySource):
    """Class 1 lies in the left half (low x), class 3 in the right one, class 2 is a spine that touches both."""

    def __init__(self) -> None:
        super().__init__(1, (8, 8, 8))
        label = np.zeros((1, 8, 8, 8), np.int16)
        label[0, 2:6, 2:5, 0:3] = 1
        label[0, 2:5, 2:4, 5:8] = 3
        label[0, :, 6, 3:5] = 2
        label[0, 0] = IGNORE
        self._labels["case_0"] = label
        self._images["case_0"] = np.arange(512, dtype=np.float32).reshape(1, 8, 8, 8)


def planned(augmentation: Augmentation) -> Configuration:
    return replace(configuration(3, edge=8, batch=4), augmentation=augmentation)


def whole(source: CaseSource, draw: SpatialDraw) -> tuple[Tensor, Tensor]:
    block = read_block(source, SampleDraw(name="case_0", spatial=draw, slice_index=None), (8, 8, 8))
    return take_patch(block, draw, (8, 8, 8), 4)


def test_drawn_patches_keep_every_class_on_its_side() -> None:
    source, seen = Body(), set()
    for step in range(8):
        for sample in draw_batch(source, ("case_0",), planned(MIRRORED), 1, step_generator(0, 0, step)).samples:
            image, label = whole(source, sample.spatial)
            seen.add(sample.spatial.mirror)
            assert not bool((label[..., 4:] == 1).any())
            assert not bool((label[..., :4] == 3).any())
            if 2 in sample.spatial.mirror:
                assert int((label == 1).sum()) == 3 * 2 * 3  # what was the right one is smaller
            assert torch.equal(image, whole(source, replace(sample.spatial, swaps=()))[0])
    assert seen == {(), (0,), (2,), (0, 2)}


def test_without_a_swap_they_would_not() -> None:
    _, label = whole(Body(), SpatialDraw(centre=(3.5, 3.5, 3.5), matrix=None, mirror=(2,)))
    assert bool((label[..., 4:] == 1).any())


def test_codes_and_the_spine_stay() -> None:
    label = torch.tensor([[[0, 1, 2, 3, IGNORE, OUTSIDE]]], dtype=torch.int16)
    assert swap_sides(label, ((1, 3),)).tolist() == [[[0, 3, 2, 1, IGNORE, OUTSIDE]]]
    assert label.tolist() == [[[0, 1, 2, 3, IGNORE, OUTSIDE]]]


def test_masks_of_regions_change_places() -> None:
    masks = torch.arange(4 * 3, dtype=torch.int16).view(4, 3)
    assert torch.equal(swap_sides(masks, ((0, 2),)), masks[[2, 1, 0, 3]])


class Sided(nn.Module):
    """A network that knows left from right: output 1 where low x is bright, output 3 where high x is."""

    def forward(self, x: Tensor) -> Tensor:
        left = (torch.arange(x.shape[-1]) < x.shape[-1] / 2).float()
        found = x[:, :1]
        return torch.cat((torch.full_like(found, 0.5), found * left, 0.1 * found, found * (1 - left)), dim=1)


def test_mirrored_views_of_a_prediction_agree_with_the_plain_one() -> None:
    image = Body().read_label("case_0", (0, 0, 0), (8, 8, 8)).astype(np.float32).clip(0, 1)
    plain, mirrored, wrong = (
        WindowPredictor((Sided(),), planned(augmentation), 4, torch.device("cpu"), torch.float32, axes)
        for augmentation, axes in (
            (NO_AUGMENTATION, ()),
            (MIRRORED, (0, 2)),
            (replace(MIRRORED, mirror_swap_axis=None, mirror_swaps=()), (0, 2)),
        )
    )
    assert np.allclose(mirrored.logits(image), plain.logits(image), atol=1e-6)
    assert not np.allclose(wrong.logits(image), plain.logits(image), atol=1e-1)


class Session:
    """The same network as an ONNX session gives it."""

    def get_inputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="image")]

    def run(self, _: None, given: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        return [Sided()(torch.from_numpy(given["image"])).numpy()]


def test_exported_networks_exchange_the_sides_too() -> None:
    image = Body().read_label("case_0", (0, 0, 0), (8, 8, 8)).astype(np.float32).clip(0, 1)[None]
    plain, mirrored = (
        NetworkPredictor(configuration=planned(MIRRORED), sessions=(Session(),), outputs=4, mirror_axes=axes)
        for axes in ((), (0, 2))
    )
    assert np.allclose(mirrored.forward(image), plain.forward(image), atol=1e-6)


def test_a_model_carries_its_pairs(tmp_path: Path) -> None:
    labels = (Label(name="kidney left", values=(1,)), Label(name="kidney right", values=(2,)))
    cases = tuple(replace(case, left_right_axis=2, label_voxels=(9, 9)) for case in fingerprint(cases=3).cases)
    data = replace(fingerprint(cases=3, labels=2), labels=labels, cases=cases)
    plan = make_plan(data, RECIPES["nnunet"], Budget(steps=10))
    small = (replace(c, stages=stages(c.dimensions, 3)) for c in plan.configurations)
    plan = replace(plan, configurations=tuple(replace(c, deep_supervision_weights=(0.7, 0.3)) for c in small))
    name = plan.configurations[0].name
    trained = TrainedNetwork(
        configuration=name,
        fold=0,
        module=build_network(plan.configurations[0], 1, 3),
        steps=1,
        seconds=1.0,
        validation_dice=None,
    )
    network = save_network(tmp_path, trained)
    record = ModelRecord(dataset="x", version="0", configuration=name, networks=(network,), mirror_axes=())
    save_model(tmp_path, record, plan, data)
    chosen = choose_prediction(tmp_path, [name], ())
    assert (chosen.mirror_axes, chosen.mirror_swap_axis, chosen.mirror_swaps) == ((0, 1, 2), 2, ((1, 2),))
    assert load_model_record(tmp_path) == chosen
