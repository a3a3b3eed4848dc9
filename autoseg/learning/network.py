"""The networks: U-Nets built from a plan's stages.

Plain convolutional U-Net, residual-encoder U-Net and attention-gated U-Net, each in 2D and 3D. Structure of the plain
and residual networks after Isensee et al., nnU-Net (Nature Methods 2021) and nnU-Net Revisited (MICCAI 2024), of the
gates after Oktay et al., Attention U-Net (MIDL 2018).

A network in training mode with deep supervision returns one logit tensor per decoder level, full resolution first;
otherwise the full-resolution logits alone, shape (batch, outputs, *spatial).
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from autoseg.learning.convolution import Conv2d, Conv3d
from autoseg.learning.norm import InstanceNorm2d, InstanceNorm3d, in_layout
from planners.plan import Architecture, Configuration, Stage

NEGATIVE_SLOPE = 0.01  # leaky ReLU; nnU-Net's value, also the gain of the Kaiming initialisation below
NORM_EPS = 1e-5

# Any: torch's stubs do not admit that every one of these takes a tuple per axis.
_CONV: Mapping[int, Any] = MappingProxyType({2: Conv2d, 3: Conv3d})
_TRANSPOSED: Mapping[int, Any] = MappingProxyType({2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d})
_POOL: Mapping[int, Any] = MappingProxyType({2: nn.AvgPool2d, 3: nn.AvgPool3d})
_NORM: Mapping[int, Any] = MappingProxyType({2: InstanceNorm2d, 3: InstanceNorm3d})


def _norm(features: int, dimensions: int) -> nn.Module:
    norm: nn.Module = _NORM[dimensions](features, eps=NORM_EPS, affine=True)
    return norm


def _convolution(
    inputs: int, outputs: int, kernel: Sequence[int], stride: Sequence[int], *, bias: bool = True
) -> nn.Module:
    padding = tuple((k - 1) // 2 for k in kernel)
    convolution: nn.Module = _CONV[len(kernel)](inputs, outputs, tuple(kernel), tuple(stride), padding, bias=bias)
    return convolution


class ConvolutionBlock(nn.Sequential):
    """Convolution, instance norm, leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: Sequence[int], stride: Sequence[int]) -> None:
        """Build a block from `inputs` to `outputs` features."""
        super().__init__(
            _convolution(inputs, outputs, kernel, stride),
            _norm(outputs, len(kernel)),
            nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True),
        )


class ResidualBlock(nn.Module):
    """Two convolutions beside a skip (average pooling where strided, 1x1 convolution where features change)."""

    def __init__(self, inputs: int, outputs: int, kernel: Sequence[int], stride: Sequence[int]) -> None:
        """Build a block from `inputs` to `outputs` features."""
        super().__init__()
        dimensions, ones = len(kernel), (1,) * len(kernel)
        self.first = ConvolutionBlock(inputs, outputs, kernel, stride)
        self.second = nn.Sequential(_convolution(outputs, outputs, kernel, ones), _norm(outputs, dimensions))
        skip: list[nn.Module] = []
        if max(stride) > 1:
            skip.append(_POOL[dimensions](tuple(stride), tuple(stride)))
        if inputs != outputs:
            skip += [_convolution(inputs, outputs, ones, ones, bias=False), _norm(outputs, dimensions)]
        self.skip = nn.Sequential(*skip)
        self.activation = nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True)

    def forward(self, x: Float[Tensor, "batch features *spatial"]) -> Float[Tensor, "batch outputs *strided"]:
        """Return the block's output, shape (batch, outputs, *spatial / stride)."""
        output: Tensor = self.activation(self.second(self.first(x)) + self.skip(x))
        return output


class AttentionGate(nn.Module):
    """Weights a skip connection by its agreement with the decoder's features at the same resolution."""

    def __init__(self, skip: int, gate: int, dimensions: int) -> None:
        """Build a gate with half as many hidden features as the skip has."""
        super().__init__()
        hidden, ones = max(1, skip // 2), (1,) * dimensions
        self.project_skip = _convolution(skip, hidden, ones, ones, bias=False)
        self.project_gate = _convolution(gate, hidden, ones, ones)
        self.weight = nn.Sequential(nn.ReLU(inplace=True), _convolution(hidden, 1, ones, ones), nn.Sigmoid())

    def forward(
        self, skip: Float[Tensor, "batch features *spatial"], gate: Float[Tensor, "batch gating *spatial"]
    ) -> Float[Tensor, "batch features *spatial"]:
        """Return `skip` times a weight in (0, 1) per voxel."""
        weighted: Tensor = skip * self.weight(self.project_skip(skip) + self.project_gate(gate))
        return weighted


def _plain_stage(inputs: int, stage: Stage) -> nn.Sequential:
    ones = (1,) * len(stage.kernel)
    blocks = [ConvolutionBlock(inputs, stage.features, stage.kernel, stage.stride)]
    blocks += [
        ConvolutionBlock(stage.features, stage.features, stage.kernel, ones) for _ in range(1, stage.convolutions)
    ]
    return nn.Sequential(*blocks)


def _residual_stage(inputs: int, stage: Stage) -> nn.Sequential:
    ones = (1,) * len(stage.kernel)
    blocks = [ResidualBlock(inputs, stage.features, stage.kernel, stage.stride)]
    blocks += [ResidualBlock(stage.features, stage.features, stage.kernel, ones) for _ in range(1, stage.convolutions)]
    return nn.Sequential(*blocks)


class DecoderLevel(nn.Module):
    """Upsample by transposed convolution, join the (gated) skip, convolve."""

    def __init__(self, below: Stage, level: Stage, *, gated: bool) -> None:
        """Build the level that leads from the resolution of stage `below` to that of stage `level`."""
        super().__init__()
        dimensions = len(level.kernel)
        self.up = _TRANSPOSED[dimensions](below.features, level.features, below.stride, below.stride)
        self.gate = AttentionGate(level.features, level.features, dimensions) if gated else None
        ones = (1,) * dimensions
        blocks = [ConvolutionBlock(2 * level.features, level.features, level.kernel, ones)]
        blocks += [
            ConvolutionBlock(level.features, level.features, level.kernel, ones)
            for _ in range(1, max(1, level.decoder_convolutions))
        ]
        self.blocks = nn.Sequential(*blocks)

    def forward(
        self, x: Float[Tensor, "batch below *coarse"], skip: Float[Tensor, "batch features *spatial"]
    ) -> Float[Tensor, "batch features *spatial"]:
        """Return features at the skip's resolution, shape (batch, level features, *spatial)."""
        up = self.up(x)
        gated = skip if self.gate is None else self.gate(skip, up)
        output: Tensor = self.blocks(torch.cat((up, gated), dim=1))
        return output


class UNet(nn.Module):
    """Encoder stages, decoder levels, one 1x1 head per decoder level (only the first without deep supervision)."""

    def __init__(self, configuration: Configuration, channels: int, outputs: int) -> None:
        """Build the network of `configuration` for `channels` input and `outputs` logit channels."""
        super().__init__()
        self.channels_last = False
        stages = configuration.stages
        build_stage = _ENCODER_STAGE[configuration.architecture]
        dimensions = configuration.dimensions
        ones = (1,) * dimensions
        first = stages[0]
        self.stem: nn.Module = nn.Identity()
        inputs = channels
        if configuration.architecture == "residual-unet":
            self.stem = ConvolutionBlock(channels, first.features, first.kernel, ones)
            inputs = first.features
        encoder: list[nn.Module] = []
        for stage in stages:
            encoder.append(build_stage(inputs, stage))
            inputs = stage.features
        self.encoder = nn.ModuleList(encoder)
        gated = configuration.architecture == "attention-unet"
        pairs = list(zip(stages[1:], stages[:-1], strict=True))[::-1]
        self.decoder = nn.ModuleList(DecoderLevel(below, level, gated=gated) for below, level in pairs)
        levels = [level.features for _, level in pairs] or [first.features]
        self.supervised = configuration.deep_supervision_weights is not None and len(levels) > 1
        heads = levels if self.supervised else levels[-1:]
        self.heads = nn.ModuleList(_convolution(features, outputs, ones, ones) for features in heads)
        self.apply(_initialise)
        if configuration.architecture == "residual-unet":
            self._silence_residual_branches()

    def forward(
        self, x: Float[Tensor, "batch channels *spatial"]
    ) -> Float[Tensor, "batch outputs *spatial"] | list[Float[Tensor, "batch outputs ..."]]:
        """Return logits: a list, full resolution first, in training with deep supervision, else one tensor."""
        x = self.stem(in_layout(x) if self.channels_last else x)
        skips = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        features = []
        for level, skip in zip(self.decoder, skips[-2::-1], strict=True):
            x = level(x, skip)
            features.append(x)
        if self.supervised and self.training:
            return [head(f) for head, f in zip(self.heads, features, strict=True)][::-1]
        logits: Tensor = self.heads[-1](x)
        return logits

    def _silence_residual_branches(self) -> None:
        for module in self.modules():
            if isinstance(module, ResidualBlock):
                for parameter in module.second[-1].parameters():
                    nn.init.zeros_(parameter)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        nn.init.kaiming_normal_(module.weight, a=NEGATIVE_SLOPE)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


_ENCODER_STAGE: Mapping[Architecture, Callable[[int, Stage], nn.Sequential]] = MappingProxyType(
    {"plain-unet": _plain_stage, "residual-unet": _residual_stage, "attention-unet": _plain_stage}
)


def build_network(configuration: Configuration, channels: int, outputs: int) -> UNet:
    """Build the network of a configuration with freshly drawn weights (from torch's current random state)."""
    return UNet(configuration, channels, outputs)


def output_count(labels: int, target: Literal["labels", "regions"]) -> int:
    """Logit channels for `labels` foreground labels: one more (background) under softmax, as many under sigmoid."""
    return labels + 1 if target == "labels" else labels


def divisor(stages: Sequence[Stage]) -> tuple[int, ...]:
    """Return the number of voxels per axis that an input must be a multiple of."""
    total = [1] * len(stages[0].stride)
    for stage in stages:
        total = [t * s for t, s in zip(total, stage.stride, strict=True)]
    return tuple(total)
