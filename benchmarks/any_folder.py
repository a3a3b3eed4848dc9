"""Does `plan-and-train --budget 3m` finish on any labelled folder, or refuse it with a reason that says what to do?

python -m benchmarks.any_folder --datasets FOLDER [--only NAME] [--budget 3m]

Every folder as its owner laid it out, without an option. Rows that the record holds already are kept, so that the
command can be stopped and called again; it prints the table.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from autoseg.core.errors import EXIT_BAD_INPUT, EXIT_DONE
from autoseg.core.records import read_record, write_record
from autoseg.core.workspace import Workspace
from autoseg.datasets.dataset import Dataset
from autoseg.options import parse_budget
from autoseg.steps.train import TrainingRecord
from benchmarks.record import RESULTS, Hardware, this_commit, this_hardware

OUTPUT = RESULTS / "data" / "any_folder.json"
FOLDERS = (
    "msd-hippocampus",
    "sts-ct-mr-pet",
    "totalseg-tests",
    "pyradiomics-nrrd",
    "nuclei3d-stardist",
    "isbi2012-em",
    "drive-retina",
    "sem-axon-bids",
    "dsb2018-nuclei",
    "jsrt-chestxray",
    "dicom-seg/breast-dce-mr",
    "dicom-seg",
    "dicom-awkward",
    "brain-mr-dicom",
)
"""The labelled folders, and three that must be refused: two hold no dataset, one several."""
_GRACE = 3.0
"""A run that takes this many times its budget hangs."""
Outcome = Literal["trained", "refused", "failed", "hung"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One folder: what came out, and for a refusal its one line without the place of the folder."""

    folder: str
    budget_s: float
    outcome: Outcome
    exit_code: int
    wall_s: float
    cases: int
    channels: int
    labels: int
    steps: int
    validation_dice: float | None
    reason: str
    commit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyFolder:
    """All folders so far."""

    schema: ClassVar[str] = "autoseg.any-folder/1"

    hardware: Hardware
    rows: tuple[Row, ...]


def outcome_of(exit_code: int, stderr: str) -> tuple[Outcome, str]:
    """Return what an exit code and the lines on stderr mean: a refusal is exit code 2 with one line `error: ...`."""
    if exit_code == EXIT_DONE:
        return "trained", ""
    errors = [line.removeprefix("error: ") for line in stderr.splitlines() if line.startswith("error: ")]
    refused = exit_code == EXIT_BAD_INPUT and len(errors) == 1 and "; " in errors[0]
    return ("refused" if refused else "failed"), errors[-1] if errors else f"exit code {exit_code} without a word"


def run(root: Path, name: str, budget: str) -> Row:
    """Train on a folder in a workspace that is thrown away."""
    seconds = parse_budget(budget) or 0.0
    folder = (root / name).resolve()
    with tempfile.TemporaryDirectory(prefix="any-folder-") as place:
        workspace = Workspace(Path(place) / f"{folder.name}.autoseg")
        program = [
            sys.executable,
            "-m",
            "autoseg.cli",
            "plan-and-train",
            str(folder),
            "--workspace",
            str(workspace.root),
        ]
        started = time.monotonic()
        try:
            done = subprocess.run(
                [*program, "--budget", budget, "--device", "cpu"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                timeout=_GRACE * seconds + 60,
                check=False,
            )
            exit_code, (outcome, reason) = done.returncode, outcome_of(done.returncode, done.stderr)
        except subprocess.TimeoutExpired:
            exit_code, outcome, reason = -1, "hung", f"not done after {_GRACE * seconds + 60:.0f} s"
        wall_s = time.monotonic() - started
        return _row(
            workspace,
            Row(
                folder=name,
                budget_s=seconds,
                outcome=outcome,
                exit_code=exit_code,
                wall_s=round(wall_s, 1),
                cases=0,
                channels=0,
                labels=0,
                steps=0,
                validation_dice=None,
                reason=re.sub(rf"{re.escape(str(folder))}/?", f"{name}/", reason),
                commit=this_commit(),
            ),
        )


def _row(workspace: Workspace, row: Row) -> Row:
    """Return the row with what the workspace holds of the dataset and the training."""
    if workspace.dataset.exists():
        dataset = read_record(workspace.dataset, Dataset)
        numbers = (len(dataset.cases), len(dataset.channels), len(dataset.labels))
        row = replace(row, cases=numbers[0], channels=numbers[1], labels=numbers[2])
    found = sorted(workspace.root.glob("training/*/fold_*/training.json"))
    if not found:
        return row
    record = read_record(found[0], TrainingRecord)
    return replace(row, steps=record.steps, validation_dice=record.network.validation_dice)


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a table in Markdown."""
    lines = [
        "| folder | cases | channels | labels | outcome | s | steps | validation Dice | reason |",
        "|" + "---|" * 9,
    ]
    for row in rows:
        dice = "" if row.validation_dice is None else f"{row.validation_dice:.3f}"
        known = [str(number) if row.cases else "" for number in (row.cases, row.channels, row.labels)]
        cells = [row.folder, *known, row.outcome, f"{row.wall_s:.0f}", str(row.steps or ""), dice, row.reason]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Run what the record lacks and print the table; 1 when a folder neither trained nor was refused with a reason."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", type=Path, required=True, help="folder with the folders")
    parser.add_argument("--budget", default="3m")
    parser.add_argument("--only", choices=FOLDERS, help="one folder instead of all")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the record")
    options = parser.parse_args()
    rows = list(read_record(options.output, AnyFolder).rows) if options.output.exists() else []
    for name in [options.only] if options.only else FOLDERS:
        if any(row.folder == name and row.budget_s == parse_budget(options.budget) for row in rows):
            continue
        rows.append(run(options.datasets, name, options.budget))
        write_record(options.output, AnyFolder(hardware=this_hardware("cpu"), rows=tuple(rows)))
    sys.stdout.write(table(rows) + "\n")
    return int(any(row.outcome in ("failed", "hung") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
