"""Instance norm that keeps the memory layout of its input, so that a whole network can run channels-last.

On a CPU convolutions are faster channels-last (docs/log.md), but torch's instance norm turns its input into the other
layout and back. Batch norm over one sample is the same function and has kernels for both, but that for channels-last
adds up millions of voxels one by one in float32: on a 128^3 patch that is mostly air its mean is wrong by hundredths
of a standard deviation. Mean and variance are therefore taken of short runs of voxels and put together.
"""

import math
from functools import cache
from typing import Any

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_LAYOUT = {4: torch.channels_last, 5: torch.channels_last_3d}
_RUN = 128
"""At most so many voxels are added up one by one in single precision."""

Features = Float[Tensor, "batch features *spatial"]
Weights = Float32[Tensor, " features"]


class InstanceNorm2d(nn.InstanceNorm2d):
    """torch's, and as fast on channels-last input."""

    def forward(self, x: Features) -> Features:
        """Return `x` normalised over each sample and channel."""
        return _instance_norm(self, x) if is_channels_last(x) else super().forward(x)


class InstanceNorm3d(nn.InstanceNorm3d):
    """torch's, and as fast on channels-last input."""

    def forward(self, x: Features) -> Features:
        """Return `x` normalised over each sample and channel."""
        return _instance_norm(self, x) if is_channels_last(x) else super().forward(x)


def is_channels_last(x: Features) -> bool:
    """Return whether `x` lies channels-last in memory, and not also the other way."""
    return not x.is_contiguous() and x.is_contiguous(memory_format=_LAYOUT[x.ndim])


def in_layout(x: Features) -> Features:
    """Return `x` channels-last, with strides that say so even of one channel."""
    if x.shape[1] == 1:
        return x.clone(memory_format=_LAYOUT[x.ndim])
    return x.contiguous(memory_format=_LAYOUT[x.ndim])


def to_fast_layout(network: nn.Module, device: torch.device) -> None:
    """Lay the weights of a network out so that its convolutions are fast on `device`; feature maps follow them.

    An image of one channel lies both ways, and what is computed of it would lie the other way: a network that has an
    attribute `channels_last` is told to ask for `in_layout` of its input.
    """
    if device.type != "cpu":
        return
    for module in network.modules():
        if "channels_last" in vars(module):
            vars(module)["channels_last"] = True
    for parameter in network.parameters():
        if parameter.ndim in _LAYOUT:
            parameter.data = parameter.data.contiguous(memory_format=_LAYOUT[parameter.ndim])


def _instance_norm(norm: nn.InstanceNorm2d | nn.InstanceNorm3d, x: Features) -> Features:
    normalised: Tensor = _ChannelsLastNorm.apply(x, norm.weight, norm.bias, norm.eps)
    return normalised


@cache
def _run_length(voxels: int) -> int:
    """Return the longest run, at most _RUN, that divides the voxels."""
    return next(length for length in range(min(_RUN, voxels), 0, -1) if voxels % length == 0)


def _moments(sample: Float[Tensor, "1 features *spatial"]) -> tuple[Weights, Weights]:
    """Return mean and (biased) variance of each feature of a channels-last sample.

    Each of `runs` interleaved runs of voxels is a feature of its own to torch: in memory feature follows feature and
    voxel follows voxel, so that a view of more features and fewer voxels is the same memory.
    """
    features = sample.shape[1]
    length = _run_length(math.prod(sample.shape[2:]))
    runs = math.prod(sample.shape[2:]) // length
    wide = runs * features
    view = sample.as_strided((1, wide, length, 1), (wide * length, 1, wide, wide), sample.storage_offset())
    unused = sample.new_empty((2, wide), dtype=torch.float32)
    mean, variance = torch.ops.aten.batch_norm_update_stats(view, unused[0], unused[1], 0.0)
    mean, variance = mean.view(runs, features).double(), variance.view(runs, features).double()
    between, whole = torch.var_mean(mean, 0, correction=0)
    return whole.float(), (variance.mean(0) + between).float()


class _ChannelsLastNorm(torch.autograd.Function):
    """Batch norm of each sample by itself, written into one channels-last tensor."""

    @staticmethod
    def forward(ctx: Any, x: Features, weight: Weights, bias: Weights, eps: float) -> Features:
        output = torch.empty_like(x)
        mean = x.new_empty(x.shape[:2], dtype=torch.float32)
        inverse_std = torch.empty_like(mean)
        nothing = mean.new_empty(0)
        for i in range(len(x)):
            part = slice(i, i + 1)
            mean[i], variance = _moments(x[part])
            out = (output[part], nothing, nothing)
            torch.native_batch_norm(x[part], weight, bias, mean[i], variance, False, 0.0, eps, out=out)
            inverse_std[i] = (variance + eps).rsqrt()
        ctx.save_for_backward(x, weight, mean, inverse_std)
        ctx.eps = eps
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Features) -> tuple[Features, Weights, Weights, None]:
        x, weight, mean, inverse_std = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=_LAYOUT[x.ndim])
        of_x = torch.empty_like(x)
        of_weight, of_bias = torch.zeros_like(weight), torch.zeros_like(weight)
        for i in range(len(x)):
            part = slice(i, i + 1)
            of_x[part], more_weight, more_bias = torch.ops.aten.native_batch_norm_backward(
                gradient[part], x[part], weight, None, None, mean[i], inverse_std[i], True, ctx.eps, [True] * 3
            )
            of_weight += more_weight
            of_bias += more_bias
        return of_x, of_weight, of_bias, None
