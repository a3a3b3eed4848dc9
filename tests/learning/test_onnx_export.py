"""Networks written as ONNX compute what torch computes."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from autoseg.core.errors import AutosegError
from autoseg.learning.network import build_network
from autoseg.learning.onnx_export import OPSET, _Graph, largest_difference, network_to_onnx
from tests.builders import configuration

CHANNELS, OUTPUTS = 2, 3


def lively(planned, seed=0):
    """A network none of whose weights is zero, so that no branch is silent; in evaluation mode."""
    torch.manual_seed(seed)
    module = build_network(planned, CHANNELS, OUTPUTS).eval()
    for parameter in module.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    return module


def uneven(dimensions, architecture):
    """A configuration whose second stage leaves the first axis alone, as anisotropic images need it."""
    planned = replace(configuration(dimensions, edge=16), architecture=architecture)
    first, second, *others = planned.stages
    second = replace(second, stride=(1,) + (2,) * (dimensions - 1), kernel=(1,) + (3,) * (dimensions - 1))
    return replace(planned, stages=(first, second, *others), patch=(8,) + (16,) * (dimensions - 1))


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("architecture", ["plain-unet", "residual-unet", "attention-unet"])
def test_logits_equal_torchs(architecture, dimensions):
    planned = uneven(dimensions, architecture)
    module = lively(planned)
    data = network_to_onnx(module, CHANNELS, planned.patch)
    image = np.random.default_rng(1).standard_normal((3, CHANNELS, *planned.patch), dtype=np.float32)
    with torch.inference_mode():
        expected = module(torch.from_numpy(image)).numpy()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    for batch in (3, 1):
        (found,) = session.run(["logits"], {"image": image[:batch]})
        assert found.shape == (batch, OUTPUTS, *planned.patch)
        assert np.abs(found - expected[:batch]).max() <= 1e-4
    assert np.ptp(expected) > 0.1


def test_the_graph_says_which_operators_it_needs_and_is_the_same_every_time():
    planned = configuration(2)
    module = lively(planned)
    data = network_to_onnx(module, CHANNELS, planned.patch)
    assert data == network_to_onnx(module, CHANNELS, planned.patch)
    model = onnx.load_from_string(data)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
    assert {node.op_type for node in model.graph.node} == {
        "Conv",
        "ConvTranspose",
        "InstanceNormalization",
        "LeakyRelu",
        "Concat",
        "Identity",
    }


def test_a_difference_from_torch_is_seen():
    planned = configuration(2)
    module = lively(planned)
    data = network_to_onnx(module, CHANNELS, planned.patch)
    shape = (1, CHANNELS, *planned.patch)
    assert largest_difference(data, module, shape) < 1e-5
    module.heads[-1].bias.data[1] += 0.5
    assert largest_difference(data, module, shape) > 0.05


def test_a_layer_that_cannot_be_written_is_named():
    with pytest.raises(AutosegError, match=r"encoder\.0: a layer GELU cannot be written"):
        _Graph().emit(nn.GELU(), "image", "encoder.0")
