"""What a user may say to `autoseg benchmark`; apart from what it does, so that `--help` loads none of that."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from autoseg.options import Device


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkOptions:
    """How to run a suite."""

    data: Path | None = None
    """The suite's data, or a folder that holds them; by default looked for here, in datasets/ and beside."""

    method: Literal["network", "classical"] = "network"
    """What is judged: network (plan-and-train) or classical (the baseline without a network)."""

    budget: str = "15m"
    """Wall clock of plan-and-train: 15m, 2h, none."""

    device: Device = "auto"
    """Where to train; auto takes a GPU if there is one."""

    seed: int = 0
    """Seed of folds, initial weights, sampling and augmentation."""

    records: Path = Path("benchmark-records")
    """Folder that the record is added to."""

    workspace: Path | None = None
    """Keep workspace, data and predictions here; by default they are removed."""
