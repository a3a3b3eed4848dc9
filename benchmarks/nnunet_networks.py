"""Do our networks compute what nnU-Net's compute, with the same weights?

Run in an environment that has nnunetv2 2.8.1 and its dynamic_network_architectures 0.4.4 (see benchmarks/README.md):

    python -m benchmarks.nnunet_networks            compare plain and residual networks, 2D and 3D; exit 1 above 1e-5
    python -m benchmarks.nnunet_networks --golden F  write the outputs that tests/learning/test_nnunet_weights.py holds

Weights and inputs are sine waves, so nothing is drawn and nothing needs to be stored.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

TOLERANCE = 1e-5
CASES = (("plain-unet", 2), ("plain-unet", 3), ("residual-unet", 2), ("residual-unet", 3))
FEATURES = (4, 8, 12)
CHANNELS = 2
OUTPUTS = 3
SAMPLES = 40


def waves(shape: tuple[int, ...], phase: float, scale: float) -> torch.Tensor:
    """Return a tensor of `shape` whose values are a sine wave of amplitude `scale`."""
    count = math.prod(shape)
    return (scale * torch.sin(torch.arange(count, dtype=torch.float64) * 0.7 + phase)).reshape(shape).float()


def sine_weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Return a state dict of sine waves; norms' weights lie around one."""
    weights = {}
    for index, (name, shape) in enumerate(sorted(shapes.items())):
        fan = max(1, math.prod(shape[1:]))
        weights[name] = waves(shape, float(index), 1.5 / math.sqrt(fan) if len(shape) > 1 else 0.3)
        if name.endswith("norm.weight"):
            weights[name] = weights[name] + 1.0
    return weights


def theirs(architecture: str, dimensions: int) -> nn.Module:
    """Build nnU-Net's own network."""
    from dynamic_network_architectures.architectures import unet

    options: dict[str, Any] = {
        "conv_op": nn.Conv2d if dimensions == 2 else nn.Conv3d,
        "kernel_sizes": [[3] * dimensions] * 3,
        "strides": [[1] * dimensions, [2] * dimensions, [2] * dimensions],
        "num_classes": OUTPUTS,
        "deep_supervision": False,
        "conv_bias": True,
        "norm_op": nn.InstanceNorm2d if dimensions == 2 else nn.InstanceNorm3d,
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": nn.LeakyReLU,
        "nonlin_kwargs": {"inplace": True},
    }
    if architecture == "plain-unet":
        return unet.PlainConvUNet(
            CHANNELS, len(FEATURES), FEATURES, n_conv_per_stage=[2, 2, 2], n_conv_per_stage_decoder=[2, 2], **options
        )
    return unet.ResidualEncoderUNet(
        CHANNELS, len(FEATURES), FEATURES, n_blocks_per_stage=[1, 3, 4], n_conv_per_stage_decoder=[1, 1], **options
    )


def names_and_shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the parameters of nnU-Net's network without their second names."""
    return {
        name: tuple(value.shape)
        for name, value in network.state_dict().items()
        if "all_modules" not in name and not name.startswith("decoder.encoder.")
    }


def image(dimensions: int) -> torch.Tensor:
    """Return the input: one sample, CHANNELS channels, 16 voxels an edge."""
    return waves((1, CHANNELS, *(16,) * dimensions), 0.2, 2.0)


def main() -> int:
    """Compare, or write the golden outputs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--golden", type=Path)
    arguments = parser.parse_args()
    from autoseg.learning.network import build_network
    from autoseg.learning.nnunet_weights import load_nnunet_weights
    from tests.nnunet_configurations import nnunet_configuration

    worst = 0.0
    golden = []
    for architecture, dimensions in CASES:
        network = theirs(architecture, dimensions)
        shapes = names_and_shapes(network)
        weights = sine_weights(shapes)
        missing, _ = network.load_state_dict(weights, strict=False)
        if any("all_modules" not in name and "decoder.encoder" not in name for name in missing):
            sys.stderr.write(f"{architecture}: {missing} got no weights\n")
            return 1
        ours = build_network(nnunet_configuration(architecture, dimensions), CHANNELS, OUTPUTS).eval()
        load_nnunet_weights(ours, weights)
        with torch.no_grad():
            expected, found = network.eval()(image(dimensions)), ours(image(dimensions))
        difference = float((expected - found).abs().max())
        worst = max(worst, difference)
        sys.stdout.write(f"{architecture} {dimensions}D: largest difference {difference:.1e}\n")
        stride = expected.numel() // SAMPLES
        values = [round(float(v), 6) for v in expected.flatten()[:: stride + 1]]
        entry = {"architecture": architecture, "dimensions": dimensions, "stride": stride + 1, "values": values}
        golden.append({**entry, "shapes": {name: list(shape) for name, shape in shapes.items()}})
    if arguments.golden:
        arguments.golden.write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
