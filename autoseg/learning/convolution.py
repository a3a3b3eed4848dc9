"""Convolutions that stay in float32 on maps too thin for the reduced-precision kernels of CPUs.

The oneDNN of torch 2.13 computes some convolutions in bfloat16 wrongly where an axis of the input is one or two voxels
long and the kernel is three: on CPUs with AVX-512 but without AMX the gradient of the weights contains memory that
nobody wrote (often not finite), with AMX the output itself is wrong for some strides. Random shapes, kernels, strides
and layouts found no other failing convolution (docs/log.md). Such maps are a network's coarsest and smallest.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

_THIN = 2
"""Voxels along an axis up to which kernels that span more than one voxel are not trusted in reduced precision."""

Features = Float[Tensor, "batch features *spatial"]
Convolved = Float[Tensor, "batch outputs *strided"]


class Conv2d(nn.Conv2d):
    """torch's, but exact on thin maps under autocast on a CPU."""

    def forward(self, x: Features) -> Convolved:
        """Return the convolution of `x`: float32 where it is thin, else in autocast's precision."""
        if not _untrusted(x, self.kernel_size):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float())


class Conv3d(nn.Conv3d):
    """torch's, but exact on thin maps under autocast on a CPU."""

    def forward(self, x: Features) -> Convolved:
        """Return the convolution of `x`: float32 where it is thin, else in autocast's precision."""
        if not _untrusted(x, self.kernel_size):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float())


def _untrusted(x: Features, kernel: Sequence[int]) -> bool:
    if x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return False
    return any(size <= _THIN and width > 1 for size, width in zip(x.shape[2:], kernel, strict=True))
