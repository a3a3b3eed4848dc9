"""Instance norm on channels-last maps: what double precision gives, also of large and of mostly constant maps."""

import pytest
import torch
from torch.nn import functional

from autoseg.learning.network import ConvolutionBlock, build_network
from autoseg.learning.norm import InstanceNorm2d, InstanceNorm3d, is_channels_last, to_fast_layout
from tests.builders import configuration


def mostly_air() -> torch.Tensor:
    """Return maps (1, 8, 64, 64, 64) of one value with a small structure, as a CT of a body in a large field gives."""
    random = torch.Generator().manual_seed(0)
    maps = torch.full((1, 8, 64, 64, 64), -1.6)
    maps[..., 20:40, 20:40, 20:40] += 0.3 * torch.randn((20, 20, 20), generator=random)
    return maps


def noise(*shape: int) -> torch.Tensor:
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(0)) + 10


@pytest.mark.parametrize(
    "maps",
    [mostly_air(), noise(2, 24, 32, 48, 32), noise(1, 3, 31, 37, 29), noise(2, 5, 2, 3, 2), noise(2, 16, 192, 160)],
    ids=["mostly air", "whole runs", "primes", "twelve voxels", "2d"],
)
def test_the_mean_of_many_voxels_is_not_lost_in_single_precision(maps: torch.Tensor) -> None:
    layout = torch.channels_last if maps.ndim == 4 else torch.channels_last_3d
    norm = (InstanceNorm2d if maps.ndim == 4 else InstanceNorm3d)(maps.shape[1], affine=True)
    given = maps.contiguous(memory_format=layout).requires_grad_()
    exact = maps.double().requires_grad_()
    expected = functional.instance_norm(exact, eps=norm.eps)
    found = norm(given)
    assert is_channels_last(found)
    assert (found - expected).abs().max() < 5e-5
    weights = torch.arange(maps.numel(), dtype=torch.float32).reshape(maps.shape).remainder(7)
    torch.autograd.backward([(found * weights).sum(), (expected * weights).sum()])
    assert exact.grad is not None
    assert given.grad is not None
    assert (given.grad - exact.grad).abs().max() < 3e-3 * exact.grad.abs().max()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_on_a_cpu_every_feature_map_lies_channels_last(channels: int, dimensions: int) -> None:
    network = build_network(configuration(dimensions, count=3, edge=16), channels, 2).eval()
    image = torch.randn(2, channels, *(16,) * dimensions)
    before = network(image)
    to_fast_layout(network, torch.device("cpu"))
    layouts = []
    for module in network.modules():
        if isinstance(module, ConvolutionBlock):
            module.register_forward_hook(lambda _module, _given, found: layouts.append(is_channels_last(found)))
    assert torch.allclose(network(image), before, atol=1e-5)
    assert layouts
    assert all(layouts)
