"""Compares every network with itself compiled; run by test_network.py in a process where types are not checked."""

from dataclasses import replace

import torch

from autoseg.learning.network import build_network
from planners.plan import Architecture
from tests.builders import configuration

ARCHITECTURES: tuple[Architecture, ...] = ("plain-unet", "residual-unet", "attention-unet")


def compare(architecture: Architecture, dimensions: int) -> None:
    planned = replace(configuration(dimensions), architecture=architecture)
    network = build_network(planned, 1, 2).train()
    image = torch.randn(2, 1, *planned.patch)
    found = []
    torch.compiler.reset()
    for forward in (network, torch.compile(network, dynamic=False)):
        network.zero_grad()
        levels = forward(image)
        sum((level**2).mean() for level in levels).backward()
        found.append([*(level.detach() for level in levels), *(p.grad.clone() for p in network.parameters())])
    for plain, fast in zip(*found, strict=True):
        torch.testing.assert_close(plain, fast, rtol=1e-3, atol=1e-4)
    print(architecture, dimensions, "agree")


if __name__ == "__main__":
    torch.manual_seed(0)
    for chosen in ARCHITECTURES:
        for axes in (2, 3):
            compare(chosen, axes)
