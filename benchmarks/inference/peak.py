"""Seconds and peak memory of a function inside its own process (Linux). Standard library only: both sides import it."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

Result = TypeVar("Result")

REPEATS = 30
ENOUGH_S = 15.0
"""A function that has taken so long in all is not called again. Its best time is what other work disturbed least."""


@dataclass(frozen=True)
class Taken(Generic[Result]):
    """What a function returned, its shortest time, and by how much its first call raised the resident memory."""

    result: Result
    seconds: float
    peak_bytes: int


def taken(function: Callable[[], Result]) -> Taken[Result]:
    """Call `function` up to REPEATS times.

    Memory is the kernel's high-water mark of resident memory during the first call, minus what was resident before it:
    what the caller holds (the given logits, the libraries) is not counted, everything that is returned is.
    """
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the mark to what is resident now
    before = _status("VmRSS")
    started = time.perf_counter()
    result = function()
    seconds = time.perf_counter() - started
    peak = _status("VmHWM") - before
    spent = seconds
    for _ in range(REPEATS - 1):
        if spent > ENOUGH_S:
            break
        started = time.perf_counter()
        function()
        spent += time.perf_counter() - started
        seconds = min(seconds, time.perf_counter() - started)
    return Taken(result=result, seconds=seconds, peak_bytes=peak)


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(key)
