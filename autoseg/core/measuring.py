"""Run a command and measure it from outside: wall clock, processor time, energy and the peak memory (Linux)."""

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from autoseg.core.energy import energy_between, usage

_POLL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """How a command went.

    Memory is resident memory, `peak_process_bytes` the kernel's own high-water mark; of a process that resets its mark,
    as `autoseg predict` does between cases, what comes just before a reset may be missed. `processor_s` counts all
    cores; `energy_j` is what the processors' counters say of the whole machine, None where they cannot be read.
    """

    exit_code: int
    seconds: float
    peak_process_bytes: int
    peak_total_bytes: int
    processor_s: float = 0.0
    energy_j: float | None = None


def measure(command: Sequence[str], output: IO[str] | None = None) -> Measured:
    """Run `command` in a session of its own and poll all processes of that session until it ends.

    Standard output and error go to `output`, by default where ours go. A process that starts a session of its own is
    not seen.
    """
    started, before = time.monotonic(), usage()
    process = subprocess.Popen(command, start_new_session=True, stdout=output, stderr=output)  # noqa: S603 (ours)
    peak_process = peak_total = 0
    while process.poll() is None:
        found = [_memory(pid) for pid in _members(process.pid)]
        peak_process = max([peak_process, *(peak for peak, _ in found)])
        peak_total = max(peak_total, sum(now for _, now in found))
        time.sleep(_POLL_S)
    after = usage()
    return Measured(
        exit_code=process.returncode,
        seconds=time.monotonic() - started,
        peak_process_bytes=peak_process,
        peak_total_bytes=peak_total,
        processor_s=after.processor_s - before.processor_s,
        energy_j=energy_between(before, after),
    )


def _members(session: int) -> list[Path]:
    """Return the /proc folders of the processes of a session."""
    return [folder for folder in Path("/proc").iterdir() if folder.name.isdigit() and _session(folder) == session]


def _session(folder: Path) -> int | None:
    try:
        # The command's name, in brackets, may hold spaces; the session is the fourth field after it.
        return int((folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[3])
    except OSError:
        return None  # it has just ended


def _memory(folder: Path) -> tuple[int, int]:
    """Return (peak, present) resident bytes of a process, zeros when it has ended."""
    try:
        lines = (folder / "status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 0, 0
    values = {key: value for key, _, value in (line.partition(":") for line in lines)}
    return _kibibytes(values.get("VmHWM", "0 kB")), _kibibytes(values.get("VmRSS", "0 kB"))


def _kibibytes(text: str) -> int:
    return int(text.split(maxsplit=1)[0]) * 1024
