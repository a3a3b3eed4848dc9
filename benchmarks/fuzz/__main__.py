"""Feed every reader and record with damaged files and count what comes out besides a value or an AutosegError.

pip install atheris && python -m benchmarks.fuzz [--inputs 4000] [--only image.nii.gz,plan]

Each target is a process of its own (libFuzzer by way of atheris, guided by the coverage of our code, from small valid
files), limited to 2 GiB and 10 s on a core an input. A row is kept in the record, and replaced when it runs again.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from autoseg.core.records import read_record, write_record
from benchmarks.fuzz.targets import targets
from benchmarks.record import RESULTS, Hardware, this_commit, this_hardware

OUTPUT = RESULTS / "faults" / "fuzz.json"
TIMEOUT_S = 600
"""That may pass for one input, of which the worker allows 10 s on a core: only what never ends comes here."""
MEMORY_MB = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Fuzzed:
    """One target: how many inputs it read, and what was not as promised."""

    target: str
    inputs: int
    seconds: float
    crashes: int
    hangs: int
    outcome: str
    commit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FuzzRecord:
    """All targets so far."""

    schema: ClassVar[str] = "autoseg.fuzz/1"

    hardware: Hardware
    rows: tuple[Fuzzed, ...]

    @property
    def inputs(self) -> int:
        """Inputs of all targets."""
        return sum(row.inputs for row in self.rows)


def fuzz(target: str, inputs: int, seed: int) -> Fuzzed:
    """Run one target to `inputs` inputs or to its first fault, whose input is kept and named in the outcome."""
    place = Path(tempfile.mkdtemp(prefix="fuzz-"))
    started = time.monotonic()
    options = [
        f"-runs={inputs}",
        f"-timeout={TIMEOUT_S}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-seed={seed}",
        "-max_len=131072",
    ]
    command = [
        sys.executable,
        "-m",
        "benchmarks.fuzz.worker",
        target,
        str(place),
        *options,
        f"-artifact_prefix={place}/",
    ]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    counts = [int(number) for number in re.findall(r"^#(\d+)", done.stderr, re.MULTILINE)]
    kept = sorted(place.glob("*-*[0-9a-f]"))
    said = [f"ended with {done.returncode}", *done.stderr.splitlines()]
    fault = next((line for line in reversed(said) if "Error" in line or "Exception" in line), said[0])
    hangs = int("HangsError" in fault or any(path.name.startswith("timeout") for path in kept))
    return Fuzzed(
        target=target,
        inputs=max(counts, default=0),
        seconds=round(time.monotonic() - started, 1),
        crashes=int(done.returncode != 0) - hangs,
        hangs=hangs,
        outcome="as promised" if done.returncode == 0 else f"{fault.strip()[:200]} ({kept[0] if kept else place})",
        commit=this_commit(),
    )


def main() -> int:
    """Fuzz the targets; 0 when none crashed and none hung, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=4000, help="per target")
    parser.add_argument("--only", help="targets, with commas between")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rows = {row.target: row for row in read_record(OUTPUT, FuzzRecord).rows} if OUTPUT.exists() else {}
    for name in options.only.split(",") if options.only else targets():
        rows[name] = fuzz(name, options.inputs, options.seed)
        sys.stdout.write(f"{name}: {rows[name].inputs} inputs, {rows[name].seconds:.0f} s, {rows[name].outcome}\n")
        sys.stdout.flush()
        write_record(OUTPUT, FuzzRecord(hardware=this_hardware("cpu"), rows=tuple(rows.values())))
    made = read_record(OUTPUT, FuzzRecord)
    sys.stdout.write(f"{made.inputs} inputs in all\n")
    return int(any(row.crashes or row.hangs for row in made.rows))


if __name__ == "__main__":
    sys.exit(main())
