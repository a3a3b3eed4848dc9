"""How either side is started, and what comes back."""

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoseg.core.errors import AutosegError
from autoseg.core.files import write_text
from benchmarks.measure import Measured, measure

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where things lie. `small`: a trial of everything in a minute or two, on tiny images."""

    nnunet_python: Path
    datasets: Path
    work: Path
    small: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """What one side needed for a function, and its result."""

    seconds: float
    peak_bytes: int
    result: NDArray[Any]


def theirs(setting: Setting, **task: Any) -> dict[str, Any]:
    """Run a task of theirs.py in nnU-Net's environment; return its report.

    Raises:
        AutosegError: it failed.

    """
    return _task(setting, [str(setting.nnunet_python), "-m", "benchmarks.inference.theirs"], task)


def ours(setting: Setting, **task: Any) -> dict[str, Any]:
    """Run a task of ours.py; return its report.

    Raises:
        AutosegError: it failed.

    """
    return _task(setting, [sys.executable, "-m", "benchmarks.inference.ours"], task)


def both(setting: Setting, given: NDArray[Any], **task: Any) -> tuple[Answer, Answer]:
    """Let both sides work on `given`, one after the other; return our answer and theirs."""
    source = setting.work / "given.npy"
    np.save(source, given)
    answers = []
    for run, name in ((ours, "ours"), (theirs, "theirs")):
        output = setting.work / f"{name}.npy"
        report = run(setting, input=source, output=output, **task)
        answers.append(Answer(result=np.load(output), **report))
        output.unlink()
    source.unlink()
    return answers[0], answers[1]


def succeed(command: Sequence[str], log: Path) -> Measured:
    """Run and measure a command whose output goes to `log`.

    Raises:
        AutosegError: it failed.

    """
    os.environ.setdefault("PYTHONPATH", str(ROOT))
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as handle:
        measured = measure(command, output=handle)
    if measured.exit_code:
        last = (log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no message"])[-1]
        raise AutosegError.at(" ".join(command[:4]), f"ended with code {measured.exit_code} ({last})", f"read {log}")
    return measured


def write_task(setting: Setting, task: dict[str, Any]) -> Path:
    """Write a task file; return its path."""
    with tempfile.NamedTemporaryFile(dir=setting.work, suffix=".json", delete=False) as handle:
        path = Path(handle.name)
    write_text(path, json.dumps({"report": f"{path}.report", **task}, default=str))
    return path


def _task(setting: Setting, command: list[str], task: dict[str, Any]) -> dict[str, Any]:
    path = write_task(setting, task)
    succeed([*command, str(path)], setting.work / "log" / f"{command[0].split('/')[-3]}-{task['kind']}.txt")
    report = Path(f"{path}.report")
    found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    report.unlink()
    path.unlink()
    return found
