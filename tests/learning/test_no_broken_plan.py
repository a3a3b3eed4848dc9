"""Whatever small dataset is planned, its networks are built and train a step."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from autoseg.learning.loss import LossOptions, segmentation_loss
from autoseg.learning.network import build_network
from planners.check import check_plan
from planners.fingerprint import Fingerprint
from planners.plan import Configuration
from planners.planner import describe_task, make_plan
from planners.recipe import RECIPES, Budget
from tests.planners.fingerprints import Shape, Spacing, case, fingerprint, picture

# (shape, spacing in mm, cases, classes)
VOLUMES: tuple[tuple[Shape, Spacing, int, int], ...] = (
    ((7, 7, 7), (1.0, 1.0, 1.0), 1, 1),
    ((8, 8, 8), (1.0, 1.0, 1.0), 1000, 3),
    ((12, 12, 12), (3.0, 0.5, 0.5), 2, 50),
    ((24, 24, 24), (0.01, 1.0, 1.0), 5, 1),
    ((24, 24, 24), (1.0, 1.0, 100.0), 5, 2),
    ((32, 32, 32), (1.0, 1.0, 1.0), 1000, 50),
    ((7, 64, 64), (5.0, 1.0, 1.0), 20, 4),
    ((64, 7, 9), (1.0, 1.0, 1.0), 20, 2),
    ((1, 64, 64), (1.0, 1.0, 1.0), 1, 1),
    ((64, 1, 64), (1.0, 3.0, 1.0), 30, 5),
    ((2, 48, 48), (100.0, 1.0, 1.0), 10, 2),
    ((2, 7, 7), (1.0, 1.0, 1.0), 1, 50),
    ((48, 48, 48), (1.0, 1.0, 1.0), 10, 2),
)


def train_a_step(configuration: Configuration, made: Fingerprint) -> None:
    """Two samples at most, so that it is quick: no layer looks across the batch."""
    torch.manual_seed(0)
    task, schedule = describe_task(made), configuration.schedule
    batch = min(2, configuration.batch)
    network = build_network(configuration, task.channels, task.outputs).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    images = torch.randn(batch, task.channels, *configuration.patch)
    labels = torch.randint(task.outputs, (batch, 1, *configuration.patch))
    options = LossOptions(
        name=schedule.loss,
        target="labels",
        batch_dice=configuration.batch_dice,
        level_weights=configuration.deep_supervision_weights,
    )
    loss = segmentation_loss(network(images), labels, options)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(network.parameters(), schedule.gradient_clip, error_if_nonfinite=True)
    optimizer.step()
    assert torch.isfinite(loss)
    after = network.parameters()
    assert any(not torch.equal(new, old) for new, old in zip(after, before, strict=True)), "the step changed nothing"
    assert all(bool(torch.isfinite(parameter).all()) for parameter in network.parameters())


@pytest.mark.parametrize(("shape", "spacing_mm", "cases", "classes"), VOLUMES)
def test_a_volume_of_any_shape_trains_a_step(shape: Shape, spacing_mm: Spacing, cases: int, classes: int) -> None:
    made = fingerprint(shape, spacing_mm, cases, foreground_voxels=100, labels=classes)
    plan = make_plan(made, RECIPES["auto"], Budget(steps=10))
    assert check_plan(plan) == ()
    for configuration in plan.configurations:
        train_a_step(configuration, made)


@pytest.mark.parametrize("shape", [(7, 7), (64, 8), (64, 64)])
def test_a_picture_of_any_shape_trains_a_step(shape: tuple[int, int]) -> None:
    made = replace(fingerprint(cases=3), cases=tuple(picture(f"case_{index}", shape) for index in range(3)))
    for configuration in make_plan(made, RECIPES["auto"], Budget(steps=10)).configurations:
        train_a_step(configuration, made)


def test_images_of_wildly_different_sizes_train_a_step() -> None:
    shapes: tuple[Shape, ...] = ((7, 64, 64), (64, 64, 7), (64, 7, 64), (1, 64, 64), (2, 30, 64))
    cases = tuple(case(str(index), shape, (1.0 + index, 1.0, 0.5)) for index, shape in enumerate(shapes))
    made = replace(fingerprint(cases=5), cases=cases)
    for configuration in make_plan(made, RECIPES["auto"], Budget(steps=10)).configurations:
        train_a_step(configuration, made)
