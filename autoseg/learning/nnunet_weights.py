"""The weights of nnU-Net 2's plain and residual-encoder U-Nets, under our names.

Our networks compute what nnU-Net's do (dynamic_network_architectures 0.4.4), so its weights load by renaming alone.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType

from torch import Tensor

from autoseg.learning.network import UNet

_PARTS = MappingProxyType({"conv": 0, "norm": 1})

_ALIASES = re.compile(r"(^decoder\.encoder\.|\.all_modules\.)")  # a second name of a tensor that has another


def our_name(name: str) -> str | None:
    """Return our name of nnU-Net's parameter `name`, None if it is only an alias of another."""
    if _ALIASES.search(name):
        return None
    name = name.removeprefix("_orig_mod.")
    for pattern, build in _RULES:
        match = pattern.fullmatch(name)
        if match:
            return build(match)
    msg = f"{name} is no parameter of a plain or residual-encoder U-Net of nnU-Net"
    raise KeyError(msg)


def _residual_skip(match: re.Match[str]) -> str:
    stage, block, index, part, kind = match.groups()
    return f"encoder.{stage}.{block}.skip.{int(index) + _PARTS[part]}.{kind}"


_RULES = (
    (
        re.compile(r"encoder\.stem\.convs\.0\.(conv|norm)\.(\w+)"),
        lambda m: f"stem.{_PARTS[m[1]]}.{m[2]}",
    ),
    (
        re.compile(r"encoder\.stages\.(\d+)\.0\.convs\.(\d+)\.(conv|norm)\.(\w+)"),
        lambda m: f"encoder.{m[1]}.{m[2]}.{_PARTS[m[3]]}.{m[4]}",
    ),
    (
        re.compile(r"encoder\.stages\.(\d+)\.blocks\.(\d+)\.conv1\.(conv|norm)\.(\w+)"),
        lambda m: f"encoder.{m[1]}.{m[2]}.first.{_PARTS[m[3]]}.{m[4]}",
    ),
    (
        re.compile(r"encoder\.stages\.(\d+)\.blocks\.(\d+)\.conv2\.(conv|norm)\.(\w+)"),
        lambda m: f"encoder.{m[1]}.{m[2]}.second.{_PARTS[m[3]]}.{m[4]}",
    ),
    (re.compile(r"encoder\.stages\.(\d+)\.blocks\.(\d+)\.skip\.(\d+)\.(conv|norm)\.(\w+)"), _residual_skip),
    (
        re.compile(r"decoder\.stages\.(\d+)\.convs\.(\d+)\.(conv|norm)\.(\w+)"),
        lambda m: f"decoder.{m[1]}.blocks.{m[2]}.{_PARTS[m[3]]}.{m[4]}",
    ),
    (re.compile(r"decoder\.transpconvs\.(\d+)\.(\w+)"), lambda m: f"decoder.{m[1]}.up.{m[2]}"),
    (re.compile(r"decoder\.seg_layers\.(\d+)\.(\w+)"), lambda m: f"heads.{m[1]}.{m[2]}"),
)


def load_nnunet_weights(network: UNet, weights: Mapping[str, Tensor]) -> None:
    """Load nnU-Net's state dict into `network`, which has the same stages, channels and outputs.

    nnU-Net keeps the heads of deep supervision even where they are not used; a network without them takes the last.

    Raises:
        KeyError: a name that neither network of nnU-Net has.
        RuntimeError: a tensor is missing or has another shape.

    """
    renamed = {ours: tensor for name, tensor in weights.items() if (ours := our_name(name)) is not None}
    heads = sorted({int(name.split(".")[1]) for name in renamed if name.startswith("heads.")})
    if len(network.heads) == 1 and len(heads) > 1:
        for kind in ("weight", "bias"):
            last = renamed.pop(f"heads.{heads[-1]}.{kind}")
            for index in heads[:-1]:
                renamed.pop(f"heads.{index}.{kind}")
            renamed[f"heads.0.{kind}"] = last
    network.load_state_dict(renamed)
