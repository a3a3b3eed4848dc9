"""Networks as ONNX graphs, written operator by operator: nothing is traced, so that the graph is what the plan says.

Operator set 17 (onnxruntime 1.12 and later). The batch is free, the patch is fixed. Input `image` (batch, channels,
*patch), output `logits` (batch, outputs, *patch), both float32.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from autoseg.core.errors import AutosegError
from autoseg.core.version import VERSION
from autoseg.learning.network import AttentionGate, ResidualBlock, UNet

INPUT, OUTPUT = "image", "logits"
"""Names of a network's input and output."""
OPSET = 17
IR_VERSION = 8
"""Version of the file format that belongs to operator set 17."""
AGREEMENT = 1e-4
"""Largest difference of logits from torch's, as a share of their largest magnitude (or of 1), that is rounding."""


def network_to_onnx(module: UNet, channels: int, patch: Sequence[int]) -> bytes:
    """Return a network in evaluation mode, on the CPU, as the bytes of an ONNX file.

    Raises:
        AutosegError: onnx is not installed, or the network has a layer that cannot be written.

    """
    onnx = _onnx()
    graph = _Graph()
    output = graph.emit(module, INPUT, "")
    graph.add("Identity", (output,), name=OUTPUT)
    outputs = module.heads[-1].out_channels
    value = onnx.helper.make_tensor_value_info
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            graph.nodes,
            "network",
            [value(INPUT, onnx.TensorProto.FLOAT, ["batch", channels, *patch])],
            [value(OUTPUT, onnx.TensorProto.FLOAT, ["batch", outputs, *patch])],
            graph.weights,
        ),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        producer_name="autoseg",
        producer_version=VERSION,
    )
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def largest_difference(data: bytes, module: UNet, shape: Sequence[int], seed: int = 0) -> float:
    """Return how far onnxruntime's logits are from torch's, for noise of `shape` (batch, channels, *patch).

    In units of torch's largest logit, or of 1 if that is larger.

    Raises:
        AutosegError: onnxruntime is not installed.

    """
    try:
        import onnxruntime
    except ImportError as error:
        raise AutosegError.at("onnxruntime", "is not installed", "pip install 'autoseg[onnx]'") from error
    image = np.random.default_rng(seed).standard_normal(tuple(shape), dtype=np.float32)
    with torch.inference_mode():
        expected = module(torch.from_numpy(image)).numpy()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (found,) = session.run([OUTPUT], {INPUT: image})
    return float(np.abs(found - expected).max() / max(1.0, float(np.abs(expected).max())))


def _onnx() -> Any:
    try:
        import onnx
    except ImportError as error:
        raise AutosegError.at("onnx", "is not installed", "pip install 'autoseg[onnx]'") from error
    return onnx


class _Graph:
    """Nodes and weights so far; every value is named after the module that makes it."""

    def __init__(self) -> None:
        """Begin empty."""
        self._helper, self._to_array = _onnx().helper, _onnx().numpy_helper.from_array
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def emit(self, module: nn.Module, x: str, name: str) -> str:
        """Add what `module`, called `name`, does to the value `x`; return the name of the result."""
        for kind, emit in _EMIT.items():
            if isinstance(module, kind):
                return emit(self, module, x, name)
        raise AutosegError.at(
            name, f"a layer {type(module).__name__} cannot be written as ONNX", "train another network"
        )

    def add(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Add a node; its output and the node itself are called `name`."""
        self.nodes.append(self._helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def weight(self, name: str, tensor: Tensor | None) -> tuple[str, ...]:
        """Add a constant; none where there is no tensor."""
        if tensor is None:
            return ()
        self.weights.append(self._to_array(tensor.detach().float().cpu().numpy(), name))
        return (name,)


def _convolution(graph: _Graph, module: Any, x: str, name: str) -> str:
    transposed = isinstance(module, nn.ConvTranspose2d | nn.ConvTranspose3d)
    weights = (*graph.weight(f"{name}.weight", module.weight), *graph.weight(f"{name}.bias", module.bias))
    return graph.add(
        "ConvTranspose" if transposed else "Conv",
        (x, *weights),
        name,
        kernel_shape=list(module.kernel_size),
        strides=list(module.stride),
        dilations=list(module.dilation),
        pads=[*module.padding, *module.padding],
        group=module.groups,
        **({"output_padding": list(module.output_padding)} if transposed else {}),
    )


def _norm(graph: _Graph, module: Any, x: str, name: str) -> str:
    scale = graph.weight(f"{name}.weight", module.weight)
    shift = graph.weight(f"{name}.bias", module.bias)
    return graph.add("InstanceNormalization", (x, *scale, *shift), name, epsilon=module.eps)


def _leaky_relu(graph: _Graph, module: Any, x: str, name: str) -> str:
    return graph.add("LeakyRelu", (x,), name, alpha=module.negative_slope)


def _pool(graph: _Graph, module: Any, x: str, name: str) -> str:
    return graph.add("AveragePool", (x,), name, kernel_shape=list(module.kernel_size), strides=list(module.stride))


def _sequence(graph: _Graph, module: Any, x: str, name: str) -> str:
    for key, child in module.named_children():
        x = graph.emit(child, x, f"{name}.{key}")
    return x


def _residual(graph: _Graph, module: Any, x: str, name: str) -> str:
    main = graph.emit(module.second, graph.emit(module.first, x, f"{name}.first"), f"{name}.second")
    total = graph.add("Add", (main, graph.emit(module.skip, x, f"{name}.skip")), f"{name}.sum")
    return graph.emit(module.activation, total, f"{name}.activation")


def _decoder(graph: _Graph, module: Any, x: str, skip: str, name: str) -> str:
    up = graph.emit(module.up, x, f"{name}.up")
    gated = skip if module.gate is None else _gate(graph, module.gate, skip, up, f"{name}.gate")
    joined = graph.add("Concat", (up, gated), f"{name}.joined", axis=1)
    return graph.emit(module.blocks, joined, f"{name}.blocks")


def _gate(graph: _Graph, module: AttentionGate, skip: str, gate: str, name: str) -> str:
    projected = (
        graph.emit(module.project_skip, skip, f"{name}.project_skip"),
        graph.emit(module.project_gate, gate, f"{name}.project_gate"),
    )
    total = graph.add("Add", projected, f"{name}.sum")
    return graph.add("Mul", (skip, graph.emit(module.weight, total, f"{name}.weight")), f"{name}.weighted")


def _unet(graph: _Graph, module: Any, x: str, _: str) -> str:
    x = graph.emit(module.stem, x, "stem")
    skips = []
    for index, stage in enumerate(module.encoder):
        x = graph.emit(stage, x, f"encoder.{index}")
        skips.append(x)
    for index, (level, skip) in enumerate(zip(module.decoder, skips[-2::-1], strict=True)):
        x = _decoder(graph, level, x, skip, f"decoder.{index}")
    return graph.emit(module.heads[-1], x, f"heads.{len(module.heads) - 1}")


_Emit = Callable[[_Graph, Any, str, str], str]
_EMIT: Mapping[type[nn.Module], _Emit] = MappingProxyType(
    {
        UNet: _unet,
        ResidualBlock: _residual,
        nn.Sequential: _sequence,
        nn.Identity: lambda _graph, _module, x, _name: x,
        nn.Conv2d: _convolution,
        nn.Conv3d: _convolution,
        nn.ConvTranspose2d: _convolution,
        nn.ConvTranspose3d: _convolution,
        nn.InstanceNorm2d: _norm,
        nn.InstanceNorm3d: _norm,
        nn.LeakyReLU: _leaky_relu,
        nn.ReLU: lambda graph, _module, x, name: graph.add("Relu", (x,), name),
        nn.Sigmoid: lambda graph, _module, x, name: graph.add("Sigmoid", (x,), name),
        nn.AvgPool2d: _pool,
        nn.AvgPool3d: _pool,
    }
)
"""Layer -> what writes it; the composite ones repeat their `forward`."""
