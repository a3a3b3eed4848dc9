"""Whether memory and file handles stay flat over thousands of cases: inspect, preprocess, predict, with 64 open files.

python -m benchmarks.faults.long_run [--cases 2000]

Each command runs in a process of its own that may hold 64 files open. Resident memory and open
files are those of the process and its children, sampled when so many cases are done.
"""

import argparse
import contextlib
import importlib
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from autoseg.core.records import write_record
from benchmarks.record import RESULTS, Hardware, this_commit, this_hardware

OUTPUT = RESULTS / "faults" / "long_run.json"
FILES_MAX = 64
SAMPLES = 10
GROWTH_MAX = 0.05
COMMANDS = ("inspect", "preprocess", "predict")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What a process and its children held when `cases` were done."""

    cases: int
    resident_bytes: int
    open_files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LongRun:
    """One command over all cases; `growth` is that of memory from the first sample to the last."""

    command: str
    seconds: float
    growth: float
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LongRunRecord:
    """All commands."""

    schema: ClassVar[str] = "autoseg.long-run/1"

    commit: str
    cases: int
    files_max: int
    hardware: Hardware
    runs: tuple[LongRun, ...]


def held() -> tuple[int, int]:
    """Return resident bytes and open files of this process and its children."""
    pages = files = 0
    for each in ("self", *(str(child.pid) for child in multiprocessing.active_children())):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a worker that has just ended
            pages += int(Path(f"/proc/{each}/statm").read_text(encoding="ascii").split()[1])
            files += len(os.listdir(f"/proc/{each}/fd"))  # noqa: PTH208 (an entry may be gone before it is looked at)
    return pages * resource.getpagesize(), files


def child(command: str, work: Path, total: int) -> list[dict[str, int]]:
    """Run a command in this process and sample it through the progress that it shows."""
    from autoseg import cli

    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES_MAX, FILES_MAX))
    found: list[dict[str, int]] = []
    every = total // SAMPLES

    def watched(items: Iterable[object], **_: object) -> Iterator[object]:
        for index, item in enumerate(items):
            yield item
            if (index + 1) % every == 0:
                resident, files = held()
                found.append({"cases": index + 1, "resident_bytes": resident, "open_files": files})

    loops = {"inspect": "autoseg.datasets.understand", "preprocess": "autoseg.steps.preprocess"}
    module = importlib.import_module(loops.get(command, "autoseg.predicting.line"))  # the last of them loads torch
    module.progress = watched  # type: ignore[attr-defined]
    words = {
        "inspect": ["inspect", str(work / "data"), "--workspace", str(work / "inspected")],
        "preprocess": ["preprocess", str(work / "planned.autoseg")],
        "predict": ["predict", str(work / "data/images"), "--model", str(work / "model"), "-o", str(work / "out")],
    }[command]
    code = cli.run([*words, *(("--device", "cpu") if command == "predict" else ())])
    if code not in (0, 1) or len(found) != SAMPLES:
        raise SystemExit(f"{command} ended with {code} after {len(found)} samples")
    return found


def measured(command: str, work: Path, cases: int) -> LongRun:
    """Run a command over all cases in a process of its own."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.faults.long_run", "--child", command, "--work", str(work),
         "--cases", str(cases)],
        stdout=subprocess.PIPE, encoding="utf-8", check=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    samples = tuple(Sample(**each) for each in json.loads(done.stdout.splitlines()[-1]))
    growth = samples[-1].resident_bytes / samples[0].resident_bytes - 1
    seconds = round(time.monotonic() - began, 1)
    return LongRun(command=command, seconds=seconds, growth=round(growth, 4), samples=samples)


def main() -> int:
    """Run all commands; 0 when memory and file handles were flat, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--child", choices=COMMANDS, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        sys.stdout.write(json.dumps(child(options.child, options.work, options.cases)) + "\n")
        return 0
    from tests.faults.jobs import planned_workspace
    from tests.steps.test_predict import make_model

    with tempfile.TemporaryDirectory(prefix="long-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as place:  # noqa: S108
        work = Path(place)
        planned_workspace(work, work / "planned.autoseg", options.cases)
        make_model(work / "model")
        runs = tuple(measured(command, work, options.cases) for command in COMMANDS)
    record = LongRunRecord(
        commit=this_commit(), cases=options.cases, files_max=FILES_MAX, hardware=this_hardware("cpu"), runs=runs
    )
    write_record(OUTPUT, record)
    for run in runs:
        first, last = run.samples[0], run.samples[-1]
        sys.stdout.write(
            f"| {run.command} | {run.seconds:.0f} s | {first.resident_bytes / 2**20:.0f} MiB | "
            f"{last.resident_bytes / 2**20:.0f} MiB | {100 * run.growth:+.1f} % | "
            f"{first.open_files} to {last.open_files} |\n"
        )
    flat = all(run.growth < GROWTH_MAX and run.samples[-1].open_files <= run.samples[0].open_files + 2 for run in runs)
    return int(not flat)


if __name__ == "__main__":
    sys.exit(main())
