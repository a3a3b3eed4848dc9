"""Does `plan-and-train --budget T` end in time, and use the time it has?

python -m benchmarks.time_contract --datasets FOLDER [--budgets 5m,15m,30m] [--only isbi2012-em]

Each row is one whole run, from the start of the process to its exit, on a machine with nothing else to do. Rows that
the record holds already are kept, so that the command can be stopped and called again.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from autoseg.core.records import read_record, write_record
from autoseg.core.workspace import Workspace
from autoseg.options import parse_budget
from autoseg.steps.train import TrainingRecord
from benchmarks.measure import measure
from benchmarks.record import RESULTS, Hardware, this_commit, this_hardware

OUTPUT = RESULTS / "planners" / "time_contract.json"
DATASETS = ("msd-hippocampus", "isbi2012-em")
LATEST, EARLIEST = 1.05, 0.85
"""A job ends between these shares of its budget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run: `share` is its wall-clock time over its budget; Dice is the mean over validation cases."""

    dataset: str
    budget_s: float
    wall_s: float
    share: float
    steps: int
    validation_dice: float | None
    peak_process_bytes: int
    commit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeContract:
    """All runs so far."""

    schema: ClassVar[str] = "autoseg.time-contract/1"

    hardware: Hardware
    runs: tuple[Run, ...]


def run(folder: Path, budget: str) -> Run:
    """Train on `folder` with `budget` in a workspace that is thrown away."""
    seconds = parse_budget(budget) or 0.0
    with tempfile.TemporaryDirectory(prefix="time-contract-") as place:
        workspace = Workspace(Path(place) / f"{folder.name}.autoseg")
        program = [sys.executable, "-m", "autoseg.cli", "plan-and-train", str(folder)]
        measured = measure([*program, "--workspace", str(workspace.root), "--budget", budget, "--device", "cpu"])
        if measured.exit_code:
            sys.exit(f"{folder.name} --budget {budget}: exit code {measured.exit_code}")
        record = read_record(next(workspace.root.glob("training/*/fold_*/training.json")), TrainingRecord)
    return Run(
        dataset=folder.name,
        budget_s=seconds,
        wall_s=round(measured.seconds, 1),
        share=round(measured.seconds / seconds, 3),
        steps=record.steps,
        validation_dice=record.network.validation_dice,
        peak_process_bytes=measured.peak_process_bytes,
        commit=this_commit(),
    )


def main() -> int:
    """Run what the record lacks; 0 when every run of it kept the contract, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", type=Path, required=True, help="folder with msd-hippocampus and isbi2012-em")
    parser.add_argument("--budgets", default="5m,15m,30m")
    parser.add_argument("--only", choices=DATASETS, help="one dataset instead of both")
    options = parser.parse_args()
    runs = list(read_record(OUTPUT, TimeContract).runs) if OUTPUT.exists() else []
    for budget in options.budgets.split(","):
        for name in [options.only] if options.only else DATASETS:
            if any(done.dataset == name and done.budget_s == parse_budget(budget) for done in runs):
                continue
            runs.append(run((options.datasets / name).resolve(), budget))
            write_record(OUTPUT, TimeContract(hardware=this_hardware("cpu"), runs=tuple(runs)))
    for done in runs:
        sys.stdout.write(f"{done.dataset} {done.budget_s:.0f} s: {done.wall_s:.0f} s, {100 * done.share:.1f} %\n")
    return int(not all(EARLIEST <= done.share <= LATEST for done in runs))


if __name__ == "__main__":
    sys.exit(main())
