"""Training state on disk: tensors as safetensors, numbers as JSON, each checkpoint checked by its digest.

A folder holds `checkpoint.json`, which names the newest tensor file and the one before it with their SHA-256. It is
replaced only after its tensor file is complete, so a kill at any moment costs at most one checkpoint interval. A copy
of it stands in when it is damaged.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from autoseg.core.files import write_bytes
from autoseg.core.runtime import say
from autoseg.learning.annealing import Annealing
from autoseg.learning.collapse import Restart
from planners.convergence import Point

INDEX_NAME = "checkpoint.json"
COPY_NAME = "checkpoint-copy.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a training is: steps done, working seconds spent, losses so far skipped as non-finite.

    `identity` is the digest of what the training depends on (plan, cases, seed); another one cannot be resumed.
    `epoch_step` is the step of the last epoch that was ended; `points` is the validation curve that decides when a
    training without a budget ends, and `annealing` how it ends once that is decided. `restarts` are labels that were
    lost; `best_step` is when the averaged weights validated best, with which Dice.
    """

    identity: str
    step: int
    seconds: float
    skipped: int
    finished: bool
    epoch_step: int = 0
    points: tuple[Point, ...] = ()
    annealing: Annealing | None = None
    restarts: tuple[Restart, ...] = ()
    best_step: int = 0
    best_dice: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A restored training state."""

    progress: Progress
    tensors: Mapping[str, Tensor]


def save_checkpoint(folder: Path, tensors: Mapping[str, Tensor], progress: Progress) -> None:
    """Write the state, keep the one before it, remove older ones."""
    data = save_tensors({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    name = f"checkpoint-{progress.step:08d}-{int(progress.finished)}.safetensors"
    write_bytes(folder / name, data)
    newest = {"file": name, "sha256": hashlib.sha256(data).hexdigest(), "progress": asdict(progress)}
    kept = [entry for entry in _entries(folder) if entry.get("file") != name][:1]
    index = json.dumps({"checkpoints": [newest, *kept]}, indent=1).encode()
    for place in (INDEX_NAME, COPY_NAME):
        write_bytes(folder / place, index)
    names = {name, *(str(entry["file"]) for entry in kept)}
    for path in folder.glob("checkpoint-*.safetensors"):
        if path.name not in names:
            path.unlink(missing_ok=True)


def load_checkpoint(folder: Path, identity: str) -> Checkpoint | None:
    """Return the newest undamaged state of the training `identity`, or None without any; say which are damaged."""
    for entry in _entries(folder):
        progress = _progress(entry)
        name = entry.get("file")
        if progress is None or progress.identity != identity or not isinstance(name, str) or Path(name).name != name:
            continue
        path = folder / name
        if not path.is_file():
            continue
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() == entry.get("sha256"):
            return Checkpoint(progress=progress, tensors=load_tensors(data))
        say(f"warning: {path}: damaged, so training goes on from what was saved before it")
    return None


def checkpoint_digests(folder: Path) -> tuple[tuple[Path, str], ...]:
    """Return the tensor files that a training's index names, with the SHA-256 they must have."""
    entries = [(str(entry.get("file")), str(entry.get("sha256"))) for entry in _entries(folder)]
    return tuple((folder / name, digest) for name, digest in entries if Path(name).name == name)


def _progress(entry: Mapping[str, object]) -> Progress | None:
    numbers = entry.get("progress")
    if not isinstance(numbers, dict):
        return None
    points, annealing = numbers.get("points", ()), numbers.get("annealing")
    restarts = numbers.get("restarts", ())
    try:
        return Progress(
            **numbers
            | {
                "points": tuple(Point(**point) for point in points),
                "annealing": None if annealing is None else Annealing(**annealing),
                "restarts": tuple(Restart(**restart) for restart in restarts),
            }
        )
    except TypeError:
        return None


def _entries(folder: Path) -> list[dict[str, object]]:
    return _entries_of(folder / INDEX_NAME) or _entries_of(folder / COPY_NAME)


def _entries_of(path: Path) -> list[dict[str, object]]:
    if not path.is_file():
        return []
    try:
        document = json.loads(path.read_bytes())
    except ValueError:
        return []
    entries = document.get("checkpoints") if isinstance(document, dict) else None
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's state as flat, named tensors; parameters are numbered in their order."""
    flat: dict[str, Tensor] = {}
    for index, parameter in enumerate(_parameters(optimizer)):
        for key, value in optimizer.state.get(parameter, {}).items():
            tensor = value if isinstance(value, Tensor) else torch.tensor(float(value))
            flat[f"{index}.{key}"] = tensor
    return flat


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave."""
    for index, parameter in enumerate(_parameters(optimizer)):
        prefix = f"{index}."
        for name, tensor in tensors.items():
            if name.startswith(prefix):
                given = tensor.to(parameter.device, copy=True)
                if given.shape == parameter.shape:  # in the parameter's memory layout, which fused optimisers rely on
                    given = torch.empty_like(parameter, dtype=given.dtype).copy_(given)
                optimizer.state[parameter][name.removeprefix(prefix)] = given


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
