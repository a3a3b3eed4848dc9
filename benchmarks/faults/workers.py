"""Worker processes that are killed while they work: noticed, and the work done all the same or refused in one line."""

import multiprocessing
import os
import random
import signal
import threading
import time

from autoseg.core import runtime
from autoseg.core.errors import ResourceError
from benchmarks.faults.found import Found

ITEMS = 8
WORK_S = 0.25
NOTICED_WITHIN_S = 10.0
HANGS_AFTER_S = 60.0


def square(number: int) -> int:
    """Return the square of a number, after a while."""
    time.sleep(WORK_S)
    return number * number


def rounds(count: int) -> Found:
    """Kill a worker at a random moment of its work, `count` times; a hang ends the benchmark."""
    generator = random.Random(0)
    faults, slowest, done, deaths = [], 0.0, 0, 0
    for index in range(count):
        killed_at: list[float] = []
        said_at: list[float] = []
        runtime.say = lambda _line, said_at=said_at: said_at.append(time.monotonic())
        killer = threading.Thread(target=_kill, args=(generator.uniform(0.1, 3 * WORK_S), killed_at), daemon=True)
        killer.start()
        began = time.monotonic()
        try:
            found = list(runtime.run_parallel(square, range(ITEMS), what="work", workers=2))
            done += 1
            if found != [number * number for number in range(ITEMS)]:
                faults.append(f"round {index}: wrong results {found}")
        except ResourceError:
            pass  # died again when it was tried alone: one line that names the item
        killer.join()
        if time.monotonic() - began > HANGS_AFTER_S:
            faults.append(f"round {index}: hung")
        if killed_at and said_at:
            deaths += 1
            slowest = max(slowest, said_at[0] - killed_at[0])
    if slowest > NOTICED_WITHIN_S:
        faults.append(f"noticed after {slowest:.1f} s")
    detail = f"{deaths} died at work, {done} rounds gave all results"
    return Found(tries=count, faults=tuple(faults), slowest_s=round(slowest, 2), detail=detail)


def _kill(after_s: float, killed_at: list[float]) -> None:
    """Kill the first worker that starts, a while after it began to work."""
    deadline = time.monotonic() + HANGS_AFTER_S
    while not (children := multiprocessing.active_children()) and time.monotonic() < deadline:
        time.sleep(0.01)
    started_s = 1.0  # of a Python with NumPy
    time.sleep(started_s + after_s)
    children = multiprocessing.active_children()
    if children:
        os.kill(random.Random(after_s).choice(children).pid or 0, signal.SIGKILL)
        killed_at.append(time.monotonic())
