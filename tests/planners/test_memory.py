"""What networks cost: nnU-Net's count on its published anchors, parameters against the networks themselves."""

from dataclasses import replace

import pytest

from autoseg.learning.network import build_network
from planners.memory import (
    feature_map_elements,
    inference_bytes,
    layers,
    network_of,
    parameter_count,
    training_bytes,
)
from planners.plan import Architecture
from planners.recipe import RECIPES
from planners.topology import Network, build_stages, topology
from tests.builders import configuration

MEGABYTE = 1 << 20


@pytest.mark.parametrize(
    ("recipe", "edge", "dimensions", "stages", "elements", "millions"),
    [  # measured on nnU-Net 2.8.1 with one channel and three classes
        ("nnunet", 128, 3, 6, 452_796_416, 31.2),
        ("nnunet", 512, 2, 7, 82_771_968, 33.5),
        ("nnunet-resenc", 128, 3, 6, 557_420_544, 102.3),
        ("nnunet-resenc", 512, 2, 7, 129_531_904, 105.9),
    ],
)
def test_nnunets_count_and_parameters_on_its_anchors(  # noqa: PLR0917
    recipe: str, edge: int, dimensions: int, stages: int, elements: int, millions: float
) -> None:
    shape = topology((1.0,) * dimensions, (edge,) * dimensions, 4, stages)
    network = Network(
        architecture=RECIPES[recipe].architecture,
        patch=shape.patch,
        stages=build_stages(shape, RECIPES[recipe], 32),
        channels=1,
        outputs=3,
    )
    assert feature_map_elements(network, 3) == elements
    assert parameter_count(network) / 1e6 == pytest.approx(millions, abs=0.06)


@pytest.mark.parametrize("architecture", ["plain-unet", "residual-unet", "attention-unet"])
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_parameters_are_those_of_the_network_that_is_built(
    architecture: Architecture, dimensions: int, count: int
) -> None:
    planned = replace(
        configuration(dimensions, count=count, edge=16),
        architecture=architecture,
        deep_supervision_weights=(1.0,) * (count - 1) if count > 2 else None,
    )
    built = build_network(planned, 2, 3)
    assert parameter_count(network_of(planned, 2, 3)) == sum(p.numel() for p in built.parameters())


def test_one_convolution_by_hand() -> None:
    network = network_of(configuration(2, count=1, edge=8), 1, 2)
    first, second, head = layers(network)
    assert first.parameters == 4 * 9 + 4 + 8
    assert first.multiply_adds == 9 * 1 * 4 * 64
    assert second.parameters == 4 * 4 * 9 + 4 + 8
    assert head.parameters == 4 * 2 + 2
    assert not head.normalized


def test_training_memory_grows_with_the_batch_and_halves_with_bf16() -> None:
    small = configuration(3, count=3, edge=64, batch=1)
    large = replace(small, batch=4)
    weights = training_bytes(replace(small, batch=0), 1, 2)
    assert training_bytes(large, 1, 2) - weights == pytest.approx(4 * (training_bytes(small, 1, 2) - weights))
    assert training_bytes(large, 1, 2, bf16=True) - weights < 0.7 * (training_bytes(large, 1, 2) - weights)


def test_prediction_takes_less_memory_than_training() -> None:
    planned = configuration(3, count=3, edge=64, batch=1)
    assert MEGABYTE < inference_bytes(planned, 1, 2) < training_bytes(planned, 1, 2)
    assert inference_bytes(planned, 1, 2, batch=2, bf16=True) < 2 * inference_bytes(planned, 1, 2)
