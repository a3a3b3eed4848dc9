"""Predict, be killed, look, predict again: for every operation on a file, or at random moments. Run by the tests here.

    python -m tests.faults.kill_points WORK operations FIRST STRIDE     kill at operation FIRST, FIRST + STRIDE, ...
    python -m tests.faults.kill_points WORK moments SEED COUNT          kill COUNT times at any moment

WORK holds `model` and `images`. One warm process forks a child per kill, so that torch is loaded once; it has one
thread when it forks. An operation is: a file opened for writing, a write to the system (killed before it and half-way
through it), a flush to the disk, a rename, a removal, a new folder. Writers in C++ cannot be stopped half-way like
that: random moments hit them. Prints what happened as JSON.
"""

import builtins
import dataclasses
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import SimpleITK
import torch

from autoseg.core.files import TEMPORARY_PREFIX
from autoseg.core.records import read_record
from autoseg.predicting.records import CasePrediction, PredictionRecord
from autoseg.steps.predict import PredictOptions, predict

MEASURED = {"seconds": 0, "peak_memory_bytes": 0, "estimated_seconds": None, "estimated_bytes": None}
"""What differs between two predictions of a case."""

COMPLAINTS = Path(tempfile.mkdtemp(prefix="killed-")) / "stderr"
"""What children say; shown when a prediction fails that was not killed."""

LOADED = (nib, SimpleITK)
"""Imported before the forks, so that no child has to."""


class Operations:
    """Counts operations, and kills the process at number `fatal` (from 1; None: never)."""

    def __init__(self, fatal: int | None = None) -> None:
        self.kinds: Counter[str] = Counter()
        self._fatal = fatal
        self._lock = threading.Lock()

    def due(self, kind: str) -> bool:
        """Count one operation and tell whether it is the fatal one."""
        with self._lock:
            self.kinds[kind] += 1
            return self.kinds.total() == self._fatal

    def before(self, kind: str) -> None:
        if self.due(kind):
            die()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)  # the signal is on its way


def install(operations: Operations) -> None:
    """Let everything that changes a file in this process be counted from now on."""
    real_open = io.open

    class CountedFile(io.FileIO):
        def write(self, data):
            operations.before("write")
            if operations.due("half a write"):
                super().write(bytes(data)[: len(data) // 2])
                die()
            return super().write(data)

    def opened(file, mode="r", *more, **named):
        if isinstance(file, int) or not set(mode) & set("wxa+"):  # a number is a pipe to another process
            return real_open(file, mode, *more, **named)
        operations.before("open")
        raw = CountedFile(file, mode.replace("b", "").replace("t", ""))
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, "utf-8")

    io.open = builtins.open = opened
    for name in ("fsync", "replace", "rename", "unlink", "mkdir", "rmdir", "truncate", "write"):
        setattr(os, name, counted(operations, name, getattr(os, name)))


def counted(operations: Operations, name: str, function: Callable) -> Callable:
    def call(*arguments, **named):
        operations.before(name)
        return function(*arguments, **named)

    return call


def run(work: Path, output: Path, fatal: int | None = None) -> Operations:
    operations = Operations(fatal)
    install(operations)
    predict(PredictOptions(inputs=work / "images", model=work / "model", output=output, device="cpu"))
    return operations


def forked(function: Callable[[], object]) -> int:
    """Run in a child; return its process number."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(COMPLAINTS, os.O_WRONLY | os.O_CREAT | os.O_APPEND), sys.stderr.fileno())
        code = 1
        try:
            function()
            code = 0
        finally:
            os._exit(code)
    return child


def ending(child: int) -> int:
    """Wait; return the exit code, or minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def contents(output: Path) -> dict[str, object]:
    """Return what lies under final names: bytes of label maps and tables, records without times and memory.

    Raises:
        AutosegError: a record is incomplete.

    """
    found: dict[str, object] = {}
    for path in sorted(output.rglob("*")) if output.exists() else ():
        if path.is_dir() or path.name.startswith(TEMPORARY_PREFIX):
            continue
        if path.name == "prediction.json":
            record = read_record(path, PredictionRecord)
            cases = tuple(
                dataclasses.replace(case, seconds=0, peak_memory_bytes=0, estimated_seconds=0, estimated_bytes=0)
                for case in record.cases
            )
            found[path.name] = dataclasses.replace(record, cases=cases, skipped=())
        elif path.suffix == ".json":
            found[path.name] = dataclasses.replace(
                read_record(path, CasePrediction),
                seconds=0,
                peak_memory_bytes=0,
                estimated_seconds=0,
                estimated_bytes=0,
            )
        else:
            found[path.name] = path.read_bytes()
    return found


def judge(output: Path, expected: dict[str, object], *, complete: bool) -> list[str]:
    """Return what is wrong with the files under final names."""
    try:
        found = contents(output)
    except Exception as error:  # noqa: BLE001 (whatever it is, the file is not what it should be)
        return [f"unreadable: {error}"]
    wrong = [f"{name} differs" for name in found if found[name] != expected.get(name)]
    return wrong + [f"{name} is missing" for name in expected if complete and name not in found]


def killed_once(work: Path, expected: dict[str, object], start: Callable[[Path], int]) -> tuple[bool, list[str]]:
    """Predict until killed, look, predict again, look; return whether it was killed, and what was wrong."""
    output = work / "killed"
    shutil.rmtree(output, ignore_errors=True)
    code = ending(start(output))
    if code not in (0, -signal.SIGKILL):
        return False, [f"ended with {code}: {COMPLAINTS.read_text()[-2000:]}"]
    wrong = judge(output, expected, complete=code == 0)
    if ending(forked(lambda: run(work, output))) != 0:
        wrong.append(f"the rerun failed: {COMPLAINTS.read_text()[-2000:]}")
    return code != 0, wrong + judge(output, expected, complete=True)


def main(work: Path, how: str, first: int, second: int) -> dict[str, object]:
    torch.set_num_threads(1)
    clean = work / "expected"
    for old in ("expected", "counted"):
        shutil.rmtree(work / old, ignore_errors=True)
    # In a child, too: readers in C++ keep threads, which a fork would leave behind.
    assert ending(forked(lambda: run(work, clean))) == 0, COMPLAINTS.read_text()[-2000:]
    expected = contents(clean)
    report = work / "operations.json"
    started = time.monotonic()
    child = forked(lambda: report.write_text(json.dumps(run(work, work / "counted").kinds)))
    assert ending(child) == 0, COMPLAINTS.read_text()[-2000:]
    seconds = time.monotonic() - started
    kinds = json.loads(report.read_text())
    if how == "operations":
        tries = [lambda output, at=at: forked(lambda: run(work, output, at))
                 for at in range(first, sum(kinds.values()) + 1, second)]  # fmt: skip
    else:
        generator = random.Random(first)
        moments = [generator.uniform(0, seconds) for _ in range(second)]
        tries = [lambda output, after=after: shot(work, output, after) for after in moments]
    results = [killed_once(work, expected, start) for start in tries]
    wrong = [f"{how} {index}: {what}" for index, (_, found) in enumerate(results) for what in found]
    return {"kinds": kinds, "tries": len(tries), "killed": sum(died for died, _ in results), "wrong": wrong}


def shot(work: Path, output: Path, after_s: float) -> int:
    child = forked(lambda: run(work, output))
    time.sleep(after_s)
    os.kill(child, signal.SIGKILL)
    return child


if __name__ == "__main__":
    try:
        print(json.dumps(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
    finally:
        shutil.rmtree(COMPLAINTS.parent)
