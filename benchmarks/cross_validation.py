"""A whole cross-validation of two configurations: what is chosen, how well it is calibrated, what it foresees.

python -m benchmarks.cross_validation --datasets FOLDER --workspace FOLDER [--budget 60m]
python -m benchmarks.cross_validation --table

Runs `plan-and-train msd-hippocampus --folds 5 --configurations 2d,3d_fullres` on all 200 cases, one wall clock around
the process; a workspace in which that call has finished is read as it is, with the time that its own log tells. Every
case is judged by networks that had not seen it, and compared with nnU-Net's published out-of-fold Dice of that case.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar

import numpy as np

from autoseg.core.calibration import CALIBRATION_NAME, Calibration
from autoseg.core.errors import AutosegError
from autoseg.core.files import write_text
from autoseg.core.quality import QUALITY_NAME, Quality
from autoseg.core.records import read_record, write_record
from autoseg.core.scores import Scores
from autoseg.core.selection import JOINED
from autoseg.core.statistics import Interval, PairedDifference, bca_interval, paired_difference
from autoseg.core.suspects import SUSPECTS_NAME, Suspects
from autoseg.core.workspace import Workspace
from autoseg.imaging.selection import Selection
from autoseg.options import parse_budget
from autoseg.steps.train import TrainingRecord
from benchmarks.hippocampus.published import PLAIN, published
from benchmarks.measure import measure
from benchmarks.record import RESULTS, Hardware, this_commit, this_hardware

OUTPUT = RESULTS / "evaluation" / "cross_validation.json"
README = RESULTS.parent / "README.md"
BEGIN = "<!-- made by `python -m benchmarks.cross_validation --table`: do not edit -->"
END = "<!-- end of cross-validation -->"
CONFIGURATIONS, FOLDS = "2d,3d_fullres", 5
MOST_SUSPECT = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateScores:
    """A configuration or ensemble over all out-of-fold cases; the difference is to nnU-Net's plain 3d_fullres."""

    name: str
    cases: int
    dice: float
    interval: Interval | None
    against_nnunet: PairedDifference


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossValidation:
    """One run: seconds, networks, every candidate, what was chosen and why, and what is known of the chosen one.

    `calibration_error` is the expected one before and after the temperature; `suspects` are the most suspect labels.
    """

    schema: ClassVar[str] = "autoseg.cross-validation/1"

    command: str
    commit: str
    hardware: Hardware
    budget_s: float
    wall_s: float
    steps: tuple[tuple[str, int, int], ...]
    candidates: tuple[CandidateScores, ...]
    chosen: str
    because: str
    postprocessing: tuple[tuple[str, str], ...]
    left_out: tuple[str, ...]
    temperatures: tuple[float, ...]
    calibration_error: tuple[tuple[float, float], ...]
    quality_cases: int
    suspects: tuple[tuple[str, float, str], ...]


def command(folder: Path, workspace: Workspace, budget: str) -> list[str]:
    """Return the command that is measured."""
    words = ["plan-and-train", str(folder), "--workspace", str(workspace.root), "--budget", budget]
    return [*words, "--folds", str(FOLDS), "--configurations", CONFIGURATIONS, "--device", "cpu"]


def summarise(workspace: Workspace, budget_s: float, wall_s: float) -> CrossValidation:
    """Read what a finished run left in its workspace."""
    selection = read_record(workspace.selection, Selection)
    calibration = read_record(workspace.model / CALIBRATION_NAME, Calibration)
    reliable = [(each.before, each.after) for each in calibration.temperatures]
    trained = [read_record(path, TrainingRecord) for path in sorted(workspace.root.glob("training/*/*/training.json"))]
    suspects = read_record(workspace.root / SUSPECTS_NAME, Suspects).cases[:MOST_SUSPECT]
    words = command(Path("msd-hippocampus"), Workspace(Path("W")), f"{budget_s / 60:.0f}m")
    return CrossValidation(
        command=f"autoseg {' '.join(words)}",
        commit=logged_commit(workspace),
        hardware=this_hardware("cpu"),
        budget_s=budget_s,
        wall_s=round(wall_s, 1),
        steps=tuple((done.network.configuration, done.network.fold, done.steps) for done in trained),
        candidates=tuple(candidate(workspace, each.name, selection.folds) for each in selection.choice.candidates),
        chosen=selection.choice.chosen,
        because=selection.choice.because,
        postprocessing=tuple((each.label, str(each.change or "")) for each in selection.postprocessing),
        left_out=selection.left_out,
        temperatures=calibration.values,
        calibration_error=tuple((a.calibration_error, b.calibration_error) for a, b in reliable if a and b),
        quality_cases=read_record(workspace.model / QUALITY_NAME, Quality).n_cases,
        suspects=tuple((each.case, round(each.score, 4), each.explanation) for each in suspects),
    )


def candidate(workspace: Workspace, name: str, folds: tuple[int, ...]) -> CandidateScores:
    """Gather the out-of-fold Dice of a candidate, mean over labels of each case."""
    dice: dict[str, float] = {}
    for fold in folds:
        for case in read_record(workspace.validation(name, fold) / "scores.json", Scores).cases:
            defined = [score.dice for score in case.labels if score.dice is not None]
            dice[case.case] = float(np.mean(defined))
    theirs = published(PLAIN)
    missing = sorted(set(dice) - set(theirs))
    if missing:
        raise AutosegError.at(workspace.root, f"{missing[0]} is no published case", "train on msd-hippocampus")
    values = list(dice.values())
    return CandidateScores(
        name=name,
        cases=len(dice),
        dice=round(float(np.mean(values)), 5),
        interval=bca_interval(values),
        against_nnunet=paired_difference(values, [theirs[case] for case in dice]),
    )


def logged_seconds(workspace: Workspace) -> float:
    """Return the time from the first beginning to the last end in a workspace's log."""
    begins, ends = [], []
    for line in workspace.run_log.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        begins.append(datetime.fromisoformat(entry["started"]))
        ends.append(begins[-1] + timedelta(seconds=entry["seconds"]))
    return (max(ends) - min(begins)).total_seconds()


def logged_commit(workspace: Workspace) -> str:
    """Return the commit that the run was made by, as its log tells."""
    entry = json.loads(workspace.run_log.read_text(encoding="utf-8").splitlines()[-1])
    return entry.get("commit") or this_commit()


def table(record: CrossValidation) -> str:
    """Return the record as Markdown."""
    lines = ["| candidate | cases | mean Dice (95 %) | against nnU-Net, same cases (95 %) |", "|---|---|---|---|"]
    for each in record.candidates:
        own, between = each.interval, each.against_nnunet.mean_interval
        shown = f" ({own.lower:.4f} to {own.upper:.4f})" if own else ""
        apart = f" ({between.lower:+.4f} to {between.upper:+.4f})" if between else ""
        name = each.name.replace(JOINED, " + ") + (", chosen" if each.name == record.chosen else "")
        lines.append(f"| {name} | {each.cases} | {each.dice:.4f}{shown} | {each.against_nnunet.mean:+.4f}{apart} |")
    errors = ", ".join(f"{before:.3f} to {after:.3f}" for before, after in record.calibration_error)
    temperatures = ", ".join(f"{value:.2f}" for value in record.temperatures)
    changes = "; ".join(f"{label}: {change}" for label, change in record.postprocessing if change) or "none"
    steps = [count for _, _, count in record.steps]
    sentences = (
        f"Chosen: {record.chosen}, {record.because}. Postprocessing: {changes}.",
        f"Calibration error {errors} with a temperature of {temperatures}; Dice is foreseen from",
        f"{record.quality_cases} cases. {len(steps)} networks of {min(steps)} to {max(steps)} steps,",
        f"{record.wall_s:.0f} s in all,",
        f"{record.wall_s / record.budget_s:.1%} of the budget; {record.hardware.cpu}, {record.hardware.cores} cores,",
        f"commit {record.commit[:10]}.",
    )
    return "\n".join([*lines, "", " ".join(sentences), ""])


def main() -> int:
    """Run what the workspace lacks, write the record, or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", type=Path, help="folder with msd-hippocampus")
    parser.add_argument("--workspace", type=Path, help="is kept, and gone on with")
    parser.add_argument("--budget", default="60m")
    parser.add_argument("--table", action="store_true", help="only write the table of benchmarks/README.md")
    options = parser.parse_args()
    if not options.table:
        if options.datasets is None or options.workspace is None:
            parser.error("--datasets and --workspace are needed")
        workspace = Workspace(options.workspace.absolute())
        words = command((options.datasets / "msd-hippocampus").resolve(), workspace, options.budget)
        if not workspace.selection.exists():
            measured = measure([sys.executable, "-m", "autoseg.cli", *words])
            if measured.exit_code:
                return measured.exit_code
            wall_s = measured.seconds
        else:
            wall_s = logged_seconds(workspace)
        write_record(OUTPUT, summarise(workspace, parse_budget(options.budget) or 0.0, wall_s))
    record = read_record(OUTPUT, CrossValidation)
    sys.stdout.write(table(record))
    if options.table:
        before, rest = README.read_text(encoding="utf-8").split(BEGIN)
        write_text(README, f"{before}{BEGIN}\n\n{table(record)}\n{END}{rest.split(END)[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
