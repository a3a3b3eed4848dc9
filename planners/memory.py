"""What a network costs in memory: nnU-Net's count of feature-map elements, and our own bytes."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from planners.plan import Configuration
from planners.topology import Network, stage_shapes

FLOAT32 = 4
BFLOAT16 = 2

# Bytes of state per parameter beside the weight and its gradient: AdamW two moments, SGD one momentum.
_OPTIMIZER_BYTES = {"adamw": 2 * FLOAT32, "sgd": FLOAT32}

# Fitted by benchmarks/planner_models.py on a CPU with torch 2.13. Backward holds the gradients of input and output of
# the largest layer, partly again in the order that the convolution library wants.
_WORKSPACE_LAYERS = 3.4
# Float32 copies of the full-resolution logits: logits, log-probabilities, probabilities, gradients, masks.
_LOSS_COPIES = 5.5
# Threads and compiled kernels of the libraries, from the first step on.
_LIBRARY_BYTES = 82_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One convolution of a network: kernel voxels, features in and out, voxels of its output.

    `normalized`: an instance norm and an activation follow. `transposed`: it upsamples, so every output voxel sees
    one kernel weight per input feature.
    """

    weights: int
    features_in: int
    features_out: int
    voxels: int
    normalized: bool
    transposed: bool = False
    bias: bool = True

    @property
    def parameters(self) -> int:
        """Weights, biases, and the scale and shift of the norm."""
        return self.features_out * (self.weights * self.features_in + self.bias + 2 * self.normalized)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of one forward pass of one sample."""
        weights = 1 if self.transposed else self.weights
        return weights * self.features_in * self.features_out * self.voxels


@lru_cache(maxsize=8)
def layers(network: Network) -> tuple[Layer, ...]:
    """Return every convolution of `network` for one sample, encoder first, as autoseg.learning.network builds it."""
    return (*_encoder(network), *_decoder(network))


def _encoder(network: Network) -> Iterator[Layer]:
    residual = network.architecture == "residual-unet"
    shapes = stage_shapes(network.patch, network.stages)
    features = network.channels
    if residual:
        first = network.stages[0]
        yield _convolution(math.prod(first.kernel), features, first.features, math.prod(network.patch))
        features = first.features
    for stage, shape in zip(network.stages, shapes, strict=True):
        voxels, weights = math.prod(shape), math.prod(stage.kernel)
        for _ in range(stage.convolutions):
            if residual and features != stage.features:
                yield replace(_convolution(1, features, stage.features, voxels), bias=False)
            yield _convolution(weights, features, stage.features, voxels)
            if residual:
                yield _convolution(weights, stage.features, stage.features, voxels)
            features = stage.features


def _decoder(network: Network) -> Iterator[Layer]:
    gated = network.architecture == "attention-unet"
    shapes = stage_shapes(network.patch, network.stages)
    if len(network.stages) == 1:
        yield _head(network.stages[0].features, network.outputs, math.prod(shapes[0]))
    for index in reversed(range(len(network.stages) - 1)):
        stage, below = network.stages[index], network.stages[index + 1]
        voxels, weights, features = math.prod(shapes[index]), math.prod(stage.kernel), stage.features
        yield Layer(
            weights=math.prod(below.stride),
            features_in=below.features,
            features_out=features,
            voxels=voxels,
            normalized=False,
            transposed=True,
        )
        if gated:
            hidden = max(1, features // 2)
            yield replace(_head(features, hidden, voxels), bias=False)
            yield _head(features, hidden, voxels)
            yield _head(hidden, 1, voxels)
        for repeat in range(stage.decoder_convolutions):
            yield _convolution(weights, features if repeat else 2 * features, features, voxels)
        yield _head(features, network.outputs, voxels)


def _convolution(weights: int, features_in: int, features_out: int, voxels: int) -> Layer:
    return Layer(weights=weights, features_in=features_in, features_out=features_out, voxels=voxels, normalized=True)


def _head(features_in: int, features_out: int, voxels: int) -> Layer:
    return Layer(weights=1, features_in=features_in, features_out=features_out, voxels=voxels, normalized=False)


def parameter_count(network: Network) -> int:
    """Return the number of trainable parameters of `network`."""
    return sum(layer.parameters for layer in layers(network))


def feature_map_elements(network: Network, label_entries: int) -> int:
    """Return nnU-Net's stand-in for memory: feature-map elements of one sample's forward pass.

    `label_entries` counts background, foreground and ignore entries alike, as nnU-Net does. Source: nnU-Net,
    compute_conv_feature_map_size of the plain and the residual U-Net, in closed form.
    """
    residual = network.architecture == "residual-unet"
    last = len(network.stages) - 1
    total = network.stages[0].features * math.prod(network.patch) if residual else 0
    features = network.stages[0].features
    for index, (stage, shape) in enumerate(
        zip(network.stages, stage_shapes(network.patch, network.stages), strict=True)
    ):
        maps = stage.convolutions
        if residual:
            maps = 2 * maps + (stage.features != features or max(stage.stride) > 1)
        if index < last:
            maps += stage.decoder_convolutions + 1
        total += maps * stage.features * math.prod(shape)
        features = stage.features
    return total + (label_entries * math.prod(network.patch) if last else 0)


def training_network_bytes(network: Network, batch: int, optimizer: str, element_bytes: int) -> int:
    """Return the peak bytes of a training step beyond those of the process before the network existed.

    Weights, gradients, optimizer state and averaged weights in float32; kept for backward in `element_bytes`: the
    output of every convolution and, where it is normalised, its activation, and where it upsamples, twice its output,
    joined to the skip; the input; and the workspace of backward, of the loss and of the libraries. The constants of
    the workspace were fitted to fourteen networks on a CPU (benchmarks/planner_models.py): worst error 12 %.
    """
    parameters, kept, largest = 0, 0, 0
    for layer in layers(network):
        parameters += layer.parameters
        kept += 2 * layer.features_out * layer.voxels if layer.normalized or layer.transposed else 0
        largest = max(largest, (layer.features_in + layer.features_out) * layer.voxels)
    logits = network.outputs * math.prod(network.patch)
    inputs = math.prod(network.patch) * network.channels
    weights = parameters * (3 * FLOAT32 + _OPTIMIZER_BYTES[optimizer])
    sample = (kept + _WORKSPACE_LAYERS * largest) * element_bytes + (_LOSS_COPIES * logits + inputs) * FLOAT32
    return round(_LIBRARY_BYTES + weights + batch * sample)


def network_of(configuration: Configuration, channels: int, outputs: int) -> Network:
    """Return the network of a configuration for `channels` input channels and `outputs` logit channels."""
    return Network(
        architecture=configuration.architecture,
        patch=configuration.patch,
        stages=configuration.stages,
        channels=channels,
        outputs=outputs,
    )


def training_bytes(configuration: Configuration, channels: int, outputs: int, *, bf16: bool = False) -> int:
    """Return the peak bytes of training `configuration`, in bfloat16 autocast when `bf16`."""
    network = network_of(configuration, channels, outputs)
    element_bytes = BFLOAT16 if bf16 else FLOAT32
    return training_network_bytes(network, configuration.batch, configuration.schedule.optimizer, element_bytes)


def inference_bytes(
    configuration: Configuration, channels: int, outputs: int, *, batch: int = 1, bf16: bool = False
) -> int:
    """Return the peak bytes of predicting `batch` patches, without the image and the assembled result.

    Weights in float32, the skip connections of every stage, and input, output and concatenation of the largest layer.
    """
    network = network_of(configuration, channels, outputs)
    element_bytes = BFLOAT16 if bf16 else FLOAT32
    shapes = stage_shapes(network.patch, network.stages)
    skips = sum(stage.features * math.prod(shape) for stage, shape in zip(network.stages, shapes, strict=True))
    largest = max((layer.features_in + 2 * layer.features_out) * layer.voxels for layer in layers(network))
    sample = (skips + largest) * element_bytes + math.prod(network.patch) * (channels + outputs) * FLOAT32
    return parameter_count(network) * FLOAT32 + batch * sample
