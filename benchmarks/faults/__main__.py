"""Inject faults into every command and count what is not as promised.

python -m benchmarks.faults [--only kills,disks,signals,workers,hardships,damage,bombs,odd] [--again]

Everything runs on phantoms of a few voxels. A row is kept in the record and skipped when the command is called again.
Small disks, an 8 MB /dev/shm, read-only data and a machine without network need root, and are left out without it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from autoseg.core.records import read_record, write_record
from benchmarks.faults import bombs, damage, hardships, odd, workers
from benchmarks.faults.found import Found
from benchmarks.record import RESULTS, Hardware, this_commit, this_hardware

OUTPUT = RESULTS / "faults" / "faults.json"
ROOT = Path(__file__).parents[2]
EVERY_OPERATION = ("operations", 1, 1)
MOMENTS = 30
DEATHS_SHARE = 0.9
"""Of the kills by number: threads change their order, so that the last operations of a run may not come."""
JOBS = {
    "predict": "predict",
    "predict-probabilities": "predict --probabilities",
    "preprocess": "preprocess",
    "train": "train",
}
FULL = {"predict": 17, "preprocess": 17, "train": 16}
"""Sizes of a full disk per command, by a limit for files and again by a small disk: 100 in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One fault: how often it was injected, and how often something was not as promised; `faults` should be 0."""

    part: str
    what: str
    tries: int
    faults: int
    slowest_s: float | None
    detail: str
    seconds: float
    commit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultsRecord:
    """All faults so far."""

    schema: ClassVar[str] = "autoseg.faults/1"

    hardware: Hardware
    rows: tuple[Row, ...]


def killed(job: str, how: tuple[str, int, int], place: Path) -> Found:
    """Run `tests.faults.kill_points`, whose faults are sentences; too few deaths are a fault, too."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}

    def ran(module: str, *words: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", f"tests.faults.{module}", *words]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", check=False)

    if not (place / job).exists() and (made := ran("jobs", str(place / job), job)).returncode:
        shutil.rmtree(place / job, ignore_errors=True)
        return Found(tries=0, faults=(f"could not be made: {made.stderr[-1000:]}",))
    done = ran("kill_points", str(place / job), job, *map(str, how))
    if done.returncode:
        return Found(tries=0, faults=(done.stderr[-1000:],))
    found = json.loads(done.stdout.splitlines()[-1])
    told = {key: found[key] for key in ("killed", "kinds", "codes") if key in found}
    words = ", ".join(f"{key} {value}" for key, value in told.items())
    wrong = list(found["wrong"])
    least = how[2] if how[0] == "moments" else DEATHS_SHARE * found["tries"]
    if "killed" in found and found["killed"] < least:
        wrong.append(f"only {found['killed']} of {least:.0f} died")
    return Found(tries=found["tries"], faults=tuple(wrong), slowest_s=found.get("slowest_s"), detail=words)


def faults(place: Path, beside: Path) -> Iterator[tuple[str, str, Callable[[], Found]]]:
    """Yield part, what is injected, and what injects it; `beside` is a place outside /dev/shm."""
    for job, name in JOBS.items():
        yield "kills", f"kill -9 of {name} at every operation on a file", partial(killed, job, EVERY_OPERATION, place)
        yield "kills", f"kill -9 of {name} at 30 random moments", partial(killed, job, ("moments", 0, MOMENTS), place)
    for job, count in FULL.items():
        yield "disks", f"{job}, files limited to {count} sizes", partial(killed, job, ("limits", 0, count), place)
        if os.geteuid() == 0:
            yield "disks", f"{job} on disks of {count} sizes", partial(killed, job, ("disks", 0, count), place)
    yield "signals", "SIGTERM or SIGUSR1 to a training", partial(killed, "train", ("signals", 0, 50), place)
    yield "signals", "five folds started at once in one workspace", partial(killed, "train", ("together", 0, 20), place)
    yield "workers", "kill -9 of a worker process", partial(workers.watched, 50)
    yield "workers", "kill -9 of a worker of preprocess", partial(workers.of_preprocess, place, 20)
    for name, inject in hardships.hardships(beside):
        yield "hardships", name, inject
    for name, inject in damage.damages(place):
        yield "damage", name, inject
    for name, inject in bombs.bombs(place):
        yield "bombs", name, inject
    for name, inject in odd.odd(place):
        yield "odd", name, inject


def row(part: str, what: str, inject: Callable[[], Found]) -> Row:
    """Inject a fault and count; what raises or hangs is a fault, too, and ends no benchmark."""
    began = time.monotonic()
    try:
        found = inject()
    except Exception as error:  # noqa: BLE001 (whatever it is, it is not as promised)
        found = Found(tries=1, faults=(f"{type(error).__name__}: {error}"[-1000:],))
    return Row(
        part=part,
        what=what,
        tries=found.tries,
        faults=len(found.faults),
        slowest_s=found.slowest_s,
        detail="; ".join([found.detail, *found.faults])[:4000],
        seconds=round(time.monotonic() - began, 1),
        commit=this_commit(),
    )


def table(rows: tuple[Row, ...]) -> str:
    """Return the rows as they stand in benchmarks/README.md."""
    lines = ["| fault | tries | not as promised | slowest |", "|---|---|---|---|"]
    for each in rows:
        slowest = "" if each.slowest_s is None else f"{each.slowest_s:.1f} s"
        lines.append(f"| {each.what} | {each.tries} | {each.faults} | {slowest} |")
    return "\n".join(lines)


def main() -> int:
    """Inject what the record does not have yet; 0 when nothing in it went wrong, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="parts, with commas between")
    parser.add_argument("--again", action="store_true", help="also what the record has")
    options = parser.parse_args()
    rows = {each.what: each for each in read_record(OUTPUT, FaultsRecord).rows} if OUTPUT.exists() else {}
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
    with (
        tempfile.TemporaryDirectory(prefix="faults-", dir=memory) as place,
        tempfile.TemporaryDirectory(prefix="faults-") as beside,
    ):
        order = []
        for part, what, inject in faults(Path(place), Path(beside)):
            order.append(what)
            if (options.only and part not in options.only.split(",")) or (what in rows and not options.again):
                continue
            rows[what] = row(part, what, inject)
            made = rows[what]
            sys.stdout.write(f"{what}: {made.tries} tries, {made.faults} faults, {made.seconds:.0f} s; {made.detail}\n")
            sys.stdout.flush()
            kept = tuple(rows[each] for each in order if each in rows) + tuple(
                each for name, each in rows.items() if name not in order
            )
            write_record(OUTPUT, FaultsRecord(hardware=this_hardware("cpu"), rows=kept))
    made_rows = read_record(OUTPUT, FaultsRecord).rows
    sys.stdout.write(table(made_rows) + "\n")
    return int(any(each.faults or not each.tries for each in made_rows))


if __name__ == "__main__":
    sys.exit(main())
