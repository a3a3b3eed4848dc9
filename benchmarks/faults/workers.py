"""Worker processes that are killed while they work: noticed, and the work done all the same or refused in one line."""

import dataclasses
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from autoseg.core import runtime
from autoseg.core.errors import ResourceError
from benchmarks.faults.found import Found

ITEMS = 8
WORK_S = 0.25
NOTICED_WITHIN_S = 10.0
HANGS_AFTER_S = 600.0
"""A round takes three seconds, but a minute where others use the cores."""
DEATHS_SHARE = 0.9
ROOT = Path(__file__).parents[2]
CASES = 8
SHAPE = (40, 70, 60)
"""Large enough for a case to keep a worker busy for a while."""
PREPROCESS = (
    "import sys; from autoseg.steps import preprocess; preprocess._WORTH_WORKERS_VOXELS = 0; "
    "from autoseg.cli import main; main()"
)
"""The command with workers, which it has for large images only."""


def square(item: tuple[str, int]) -> int:
    """Say who works, in a folder, and return the square of a number, after a while."""
    folder, number = item
    Path(folder, str(os.getpid())).touch()
    time.sleep(WORK_S)
    return number * number


def watched(count: int) -> Found:
    """Run `rounds` in a process of its own, which a hang ends."""
    command = [sys.executable, "-m", "benchmarks.faults.workers", str(count)]
    limit_s = count * HANGS_AFTER_S
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8", check=True, timeout=limit_s)
    found = json.loads(done.stdout.splitlines()[-1])
    return Found(**{**found, "faults": tuple(found["faults"])})


def rounds(count: int) -> Found:
    """Kill a worker at a random moment of its work, `count` times; the first hang ends this process."""
    generator = random.Random(0)
    faults, slowest, done, deaths = [], 0.0, 0, 0
    for index in range(count):

        def hung(*_: object, index: int = index) -> None:
            found = Found(tries=index + 1, faults=(*faults, f"round {index}: hung"))
            sys.stdout.write(json.dumps(dataclasses.asdict(found)) + "\n")
            sys.stdout.flush()
            os._exit(0)

        signal.signal(signal.SIGALRM, hung)
        signal.alarm(int(HANGS_AFTER_S))
        killed_at: list[float] = []
        said_at: list[float] = []
        runtime.say = lambda _line, said_at=said_at: said_at.append(time.monotonic())
        with tempfile.TemporaryDirectory(prefix="workers-") as folder:
            wait_s = generator.uniform(0, 2 * WORK_S)
            killer = threading.Thread(target=_kill, args=(Path(folder), wait_s, killed_at), daemon=True)
            killer.start()
            try:
                items = [(folder, number) for number in range(ITEMS)]
                found = list(runtime.run_parallel(square, items, what="work", workers=2))
                done += 1
                if found != [number * number for number in range(ITEMS)]:
                    faults.append(f"round {index}: wrong results {found}")
            except ResourceError:
                pass  # died again when it was tried alone: one line that names the item
            killer.join()
        signal.alarm(0)
        if killed_at and said_at:
            deaths += 1
            slowest = max(slowest, said_at[0] - killed_at[0])
    if slowest > NOTICED_WITHIN_S:
        faults.append(f"noticed after {slowest:.1f} s")
    return _counted(count, deaths, faults, slowest, f"{done} rounds gave all results")


def _counted(count: int, deaths: int, faults: list[str], slowest: float | None, detail: str) -> Found:
    if deaths < DEATHS_SHARE * count:
        faults.append(f"only {deaths} of {count} died at work")
    slowest_s = None if slowest is None else round(slowest, 2)
    return Found(tries=count, faults=tuple(faults), slowest_s=slowest_s, detail=f"{deaths} died at work, {detail}")


def _kill(folder: Path, after_s: float, killed_at: list[float]) -> None:
    """Kill one of the workers that have begun, a while after the first of them did."""
    deadline = time.monotonic() + HANGS_AFTER_S
    while not any(folder.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(after_s)
    begun = {int(path.name) for path in folder.iterdir()}
    workers = [child.pid for child in multiprocessing.active_children() if child.pid in begun]
    if workers:
        os.kill(random.Random(after_s).choice(workers) or 0, signal.SIGKILL)
        killed_at.append(time.monotonic())


# --------------------------------------------------------------------------------------------- of a command
def of_preprocess(place: Path, count: int) -> Found:
    """Kill a worker of `preprocess`: the same cases are stored as without, or one line says what died."""
    from tests.faults.jobs import planned_workspace, stored

    work = place / "workers"
    planned = work / "planned.autoseg"
    planned_workspace(work, planned, CASES, SHAPE)
    shutil.copytree(planned, work / "expected")
    began = time.monotonic()
    code, said, _ = _preprocess(work / "expected", None)
    if code:
        return Found(tries=0, faults=(f"ended with {code} without any fault: {said[-600:]}",))
    seconds = time.monotonic() - began
    expected, generator = stored(work / "expected"), random.Random(0)
    faults, deaths = [], 0
    for index in range(count):
        shutil.rmtree(work / "killed", ignore_errors=True)
        shutil.copytree(planned, work / "killed")
        code, said, died = _preprocess(work / "killed", generator.uniform(0, seconds / 4))
        deaths += died
        if code:
            faults.append(f"round {index}: ended with {code}: {said[-300:]}")
        elif stored(work / "killed") != expected:
            faults.append(f"round {index}: other cases")
        elif died and "worker process died" not in said:
            faults.append(f"round {index}: nothing was said of the death")
    return _counted(count, deaths, faults, None, f"{seconds:.1f} s without a death")


def _preprocess(workspace: Path, kill_after_s: float | None) -> tuple[int, str, bool]:
    """Run the command and kill a worker so long after the first began; return its code, stderr, and if one died."""
    command = [sys.executable, "-c", PREPROCESS, "preprocess", str(workspace)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    died = False
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, env=environment, encoding="utf-8", **pipes) as process:  # type: ignore[call-overload]
        if kill_after_s is not None:
            while not _workers(process.pid) and process.poll() is None:
                time.sleep(0.02)
            time.sleep(kill_after_s)
            if workers := _workers(process.pid):
                os.kill(random.Random(kill_after_s).choice(workers), signal.SIGKILL)
                died = True
        try:
            said = process.communicate(timeout=HANGS_AFTER_S)[1]
        except subprocess.TimeoutExpired:
            process.kill()
            return -1, "hung", died
    return process.returncode, said, died


def _workers(parent: int) -> list[int]:
    """Return the worker processes of a process; ones that end meanwhile are none."""
    found = []
    for listed in Path(f"/proc/{parent}/task").glob("*/children"):
        try:
            children = [int(number) for number in listed.read_text(encoding="ascii").split()]
            found += [child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
        except OSError:
            continue
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(dataclasses.asdict(rounds(int(sys.argv[1])))) + "\n")
