"""With nnU-Net's weights our networks give nnU-Net's outputs (golden outputs of nnunetv2 2.8.1's own networks)."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from autoseg.learning.network import build_network
from autoseg.learning.nnunet_weights import load_nnunet_weights
from benchmarks.nnunet_networks import CASES, CHANNELS, OUTPUTS, image, sine_weights
from tests.nnunet_configurations import nnunet_configuration

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "nnunet-networks.json").read_text(encoding="utf-8"))


def test_every_network_has_its_golden_outputs() -> None:
    assert [(entry["architecture"], entry["dimensions"]) for entry in GOLDEN] == list(CASES)


@pytest.mark.parametrize("entry", GOLDEN, ids=lambda entry: f"{entry['architecture']}-{entry['dimensions']}d")
def test_the_outputs_are_those_of_nnunet(entry: dict[str, Any]) -> None:
    network = build_network(nnunet_configuration(entry["architecture"], entry["dimensions"]), CHANNELS, OUTPUTS).eval()
    weights = sine_weights({name: tuple(shape) for name, shape in entry["shapes"].items()})
    load_nnunet_weights(network, weights)
    with torch.no_grad():
        found = network(image(entry["dimensions"])).flatten()[:: entry["stride"]]
    assert found.tolist() == pytest.approx(entry["values"], abs=1e-5)


def test_a_network_without_deep_supervision_takes_the_last_head() -> None:
    from dataclasses import replace

    entry = GOLDEN[0]
    planned = replace(nnunet_configuration("plain-unet", 2), deep_supervision_weights=None)
    network = build_network(planned, CHANNELS, OUTPUTS).eval()
    load_nnunet_weights(network, sine_weights({name: tuple(shape) for name, shape in entry["shapes"].items()}))
    with torch.no_grad():
        found = network(image(2)).flatten()[:: entry["stride"]]
    assert found.tolist() == pytest.approx(entry["values"], abs=1e-5)


def test_a_foreign_parameter_is_named() -> None:
    network = build_network(nnunet_configuration("plain-unet", 2), CHANNELS, OUTPUTS)
    with pytest.raises(KeyError, match=r"blocks\.attention is no parameter"):
        load_nnunet_weights(network, {"blocks.attention": torch.zeros(1)})
