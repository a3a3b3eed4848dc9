"""What the presets of prediction take and give on msd-hippocampus: seconds of a case, and Dice on validation cases.

    python -m benchmarks.presets --datasets FOLDER [--workspace DIR]

FOLDER holds msd-hippocampus. Trains with `plan-and-train --budget 5m` unless the workspace holds a model already, and
measures as `autoseg show WORKSPACE --measure` does, on more cases. Prints the table and writes the record.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from autoseg.core.errors import AutosegError
from autoseg.core.records import write_record
from autoseg.core.workspace import Workspace
from autoseg.learning.model_files import load_model_record
from autoseg.predicting.records import PresetsRecord
from autoseg.steps.presets import measure_presets
from benchmarks.record import RESULTS, Hardware, these_versions, this_commit, this_hardware

OUTPUT = RESULTS / "prediction" / "presets.json"
BUDGET = "5m"
CASES = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class PresetsComparison:
    """What was measured, of a model trained for `steps` steps in `training_s` seconds, where and with what."""

    schema: ClassVar[str] = "autoseg.presets-benchmark/1"

    dataset: str
    budget: str
    steps: int
    training_s: float
    measured: PresetsRecord
    date: str
    commit: str
    command: str
    hardware: Hardware
    versions: tuple[tuple[str, str], ...]


def main() -> int:
    """Train if need be, measure, write and print; 0, or the code of what failed."""
    options = _parser().parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="presets-") as temporary:
            root = (options.workspace or Path(temporary) / "presets.autoseg").absolute()
            record = measured(Workspace(root), options.datasets / "msd-hippocampus")
    except AutosegError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    write_record(options.output, record)
    print(describe(record))
    return 0


def measured(workspace: Workspace, dataset: Path) -> PresetsComparison:
    """Return what the presets of a workspace's model take and give.

    Raises:
        AutosegError: training failed, or the workspace is of no use.

    """
    if not (workspace.model / "model.json").exists():
        words = ["plan-and-train", str(dataset), "--budget", BUDGET, "--workspace", str(workspace.root)]
        done = subprocess.run([sys.executable, "-m", "autoseg.cli", *words], check=False)
        if done.returncode:
            raise AutosegError.at(workspace.root, f"training ended with code {done.returncode}", "mend that first")
    networks = load_model_record(workspace.model).networks
    measured = measure_presets(workspace, "cpu", CASES)
    if measured is None:
        raise AutosegError.at(workspace.root, "nothing was measured", "give it time")
    return PresetsComparison(
        dataset=dataset.name,
        budget=BUDGET,
        steps=sum(network.steps for network in networks),
        training_s=round(sum(network.seconds for network in networks), 1),
        measured=measured,
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        commit=this_commit(),
        command="python -m benchmarks.presets --datasets FOLDER",
        hardware=this_hardware("cpu"),
        versions=these_versions(),
    )


def describe(record: PresetsComparison) -> str:
    """Return a Markdown table."""
    lines = [
        "| preset | seconds a case | networks | windows, of them skipped | Dice | cases |",
        "|---|---|---|---|---|---|",
    ]
    for row in record.measured.presets:
        dice = "-" if row.mean_dice is None else f"{row.mean_dice:.4f}"
        windows = f"{row.windows}, {row.windows_skipped}"
        cells = [row.preset, f"{row.seconds_per_case:.2f}", str(row.networks_used), windows, dice, str(row.cases)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.presets", description=__doc__)
    parser.add_argument("--datasets", type=Path, required=True, help="folder that holds msd-hippocampus")
    parser.add_argument("--workspace", type=Path, help="of plan-and-train on it; trained if it is none yet")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the record")
    return parser


if __name__ == "__main__":
    sys.exit(main())
