"""An encoder that learned without labels, from a file: safetensors, or a torch checkpoint read as weights alone.

Names may be ours or those of nnU-Net's networks, below any of the usual wrappers; what is no tensor is not read.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autoseg.core.errors import AutosegError
from autoseg.learning.nnunet_weights import our_name

_WRAPPERS = ("module.", "_orig_mod.", "network.", "model.", "backbone.", "student.", "net.")
_NESTED = ("network_weights", "state_dict", "model_state_dict", "model", "network", "student", "encoder")
_OURS = ("stem.", "encoder.")


def read_encoder(path: Path) -> dict[str, Tensor]:
    """Return the tensors of stem and encoder in the file at `path` under our names; all others are left out.

    Raises:
        AutosegError: it cannot be read as weights alone, or holds no encoder of a U-Net.

    """
    found: dict[str, Tensor] = {}
    for name, tensor in _read(path).items():
        ours = _name(name)
        if ours.startswith(_OURS):
            found[ours] = tensor.float()
    if not any(name.startswith("encoder.") for name in found):
        raise AutosegError.at(
            path, "no encoder of a U-Net in it", "name tensors as encoder.STAGE.BLOCK..., or as nnU-Net does"
        )
    return found


def _read(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return dict(_tensors(torch.load(path, map_location="cpu", weights_only=True, mmap=True)))
    except Exception as error:  # both libraries raise whatever a damaged file makes of their readers
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        mend = "give safetensors, or a checkpoint that torch.load reads with weights_only"
        raise AutosegError.at(path, f"not weights alone ({reason})", mend) from error


def _tensors(given: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the named tensors of the innermost usual part of a checkpoint."""
    if not isinstance(given, Mapping):
        msg = f"it holds a {type(given).__name__}"
        raise TypeError(msg)
    for key in _NESTED:
        if isinstance(given.get(key), Mapping):
            prefix = "encoder." if key == "encoder" else ""
            yield from ((f"{prefix}{name}", tensor) for name, tensor in _tensors(given[key]))
            return
    yield from ((str(name), tensor) for name, tensor in given.items() if isinstance(tensor, Tensor))


def _name(name: str) -> str:
    """Return our name of a tensor, its own without wrappers where it is none of nnU-Net's."""
    while name.startswith(_WRAPPERS):
        name = name.partition(".")[2]
    try:
        return our_name(name) or ""
    except KeyError:
        return name
