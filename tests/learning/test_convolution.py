"""Convolutions in bfloat16 on a CPU: as in float32, however thin the map is."""

import itertools

import pytest
import torch
from torch import nn

from autoseg.learning.convolution import Conv2d, Conv3d

LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}
SIZES = (1, 2, 3, 8)


def poison() -> None:
    """Leave NaN in freed memory: what nobody writes shows as NaN."""
    sizes = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 65536)
    kept = [torch.full((size,), float("nan")) for size in sizes for _ in range(10)]
    del kept


def agrees(layer: nn.Conv2d | nn.Conv3d, x: torch.Tensor) -> bool:
    """Tell whether output and both gradients under autocast are those of float32, to bfloat16's precision."""
    results = []
    for reduced in (True, False):
        poison()
        given = x.clone().requires_grad_()
        layer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
            output = layer(given)
        poison()
        torch.manual_seed(1)
        output.float().backward(torch.randn(output.shape))
        results.append((output.detach().float(), given.grad, layer.weight.grad))
    worst = [
        float((a.float() - b).abs().max() / b.abs().max()) if bool(torch.isfinite(a).all()) else float("inf")
        for a, b in zip(*results, strict=True)
    ]
    return max(worst) < 0.05


@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels-last"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("kind", "axes"), [(Conv2d, 2), (Conv3d, 3)])
def test_thin_maps_give_what_float32_gives(kind: type[nn.Conv2d | nn.Conv3d], axes: int, stride: int, last: bool):
    torch.manual_seed(0)
    wrong = []
    for shape in itertools.product(SIZES, repeat=axes):
        layer = kind(16, 16, 3, stride, 1)
        x = torch.randn(2, 16, *shape)
        if last:
            x = x.contiguous(memory_format=LAYOUTS[x.ndim])
            layer = layer.to(memory_format=LAYOUTS[x.ndim])
        if not agrees(layer, x):
            wrong.append(shape)
    assert not wrong


def test_a_map_that_is_not_thin_keeps_the_reduced_precision():
    with torch.autocast("cpu", torch.bfloat16):
        assert Conv3d(4, 4, 3, 1, 1)(torch.randn(1, 4, 3, 3, 3)).dtype == torch.bfloat16
        assert Conv3d(4, 4, (1, 3, 3), 1, (0, 1, 1))(torch.randn(1, 4, 2, 3, 3)).dtype == torch.bfloat16
        assert Conv3d(4, 4, 3, 1, 1)(torch.randn(1, 4, 2, 3, 3)).dtype == torch.float32
