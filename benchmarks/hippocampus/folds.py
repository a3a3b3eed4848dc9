"""Four folds of 50 cases over all 200: each case is judged once, by a network that was trained without it.

python -m benchmarks.hippocampus.folds --datasets FOLDER [--budget 30m] [--folds 0,1,2,3]
python -m benchmarks.hippocampus.folds --table

The first fold is the split of `autoseg benchmark hippocampus`. Each fold is `plan-and-train` with the budget on the 150
other cases, and has a record of its own; folds that have one are not run again, so that the command can be stopped and
called again, and several may run with folds of their own.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from autoseg.benchmark import compare, run_suite, summary
from autoseg.benchmark_options import BenchmarkOptions
from autoseg.core.files import write_text
from autoseg.core.records import read_record, write_record
from autoseg.core.statistics import Interval, bca_interval
from autoseg.suites.table import HIPPOCAMPUS
from benchmarks.hippocampus.split import JUDGED
from benchmarks.record import RESULTS, BenchmarkRecord

FOLDS = 4
RECORDS = RESULTS / "training" / "hippocampus_folds"
README = Path(__file__).parents[1] / "README.md"
BEGIN = "<!-- made by `python -m benchmarks.hippocampus.folds --table`: do not edit -->"
END = "<!-- end of folds -->"


def path_of(folder: Path, budget: str, fold: int) -> Path:
    """Return where the record of a fold lies."""
    return folder / f"{budget}-{fold}.json"


def recorded(folder: Path, budget: str) -> tuple[BenchmarkRecord, ...]:
    """Return the records that there are of a budget, in the order of the folds."""
    paths = [path_of(folder, budget, fold) for fold in range(FOLDS)]
    return tuple(read_record(path, BenchmarkRecord) for path in paths if path.exists())


def budgets(folder: Path) -> tuple[str, ...]:
    """Return the budgets of which all folds have a record."""
    named = sorted({path.stem.rpartition("-")[0] for path in folder.glob("*.json")})
    return tuple(budget for budget in named if len(recorded(folder, budget)) == FOLDS)


def table(folder: Path = RECORDS) -> str:
    """Return Markdown: all cases together and each fold, against nnU-Net on the same cases."""
    lines = [
        "| budget | cases | machine | ours | compared with, same cases | theirs | ours - theirs (95 %) | commit |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for budget in budgets(folder):
        records = recorded(folder, budget)
        lines += _rows(budget, "all", records)
        lines += [row for fold, each in enumerate(records) for row in _rows(budget, f"fold {fold}", (each,))[:1]]
    return "\n".join(lines) + "\n" if len(lines) > 2 else "Not all folds of a budget have been recorded yet.\n"


def _rows(budget: str, what: str, records: Sequence[BenchmarkRecord]) -> list[str]:
    cases = [case for record in records for case in record.cases]
    names = [case.case for case in cases]
    if len(set(names)) != len(names):
        msg = f"{what}, {budget}: a case is judged twice"
        raise ValueError(msg)
    machines = ", ".join(dict.fromkeys(f"{r.hardware.cores} cores, {r.hardware.cpu}" for r in records))
    commits = ", ".join(dict.fromkeys(record.commit[:10] for record in records))
    dice = [case.dice or 0.0 for case in cases]
    ours = _with(sum(dice) / len(dice), bca_interval(dice), ".4f")
    return [
        f"| {budget} | {what}, {len(cases)} | {machines} | {ours} | {peer.name} | {peer.difference.mean_b:.4f} |"
        f" {_with(peer.difference.mean, peer.difference.mean_interval, '+.4f')} | {commits} |"
        for peer in compare(HIPPOCAMPUS, cases)
    ]


def _with(mean: float, interval: Interval | None, form: str) -> str:
    return f"{mean:{form}}" + (f" ({interval.lower:{form}} to {interval.upper:{form}})" if interval else "")


def main() -> int:
    """Run the folds that have no record, or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", type=Path, help="folder with msd-hippocampus")
    parser.add_argument("--budget", default="30m")
    parser.add_argument("--folds", default=",".join(map(str, range(FOLDS))))
    parser.add_argument("--records", type=Path, default=RECORDS)
    parser.add_argument("--table", action="store_true", help="only write the table of benchmarks/README.md")
    given = parser.parse_args()
    if given.table:
        before, rest = README.read_text(encoding="utf-8").split(BEGIN)
        write_text(README, f"{before}{BEGIN}\n\n{table()}\n{END}{rest.split(END)[1]}")
        return 0
    if given.datasets is None:
        parser.error("--datasets is needed")
    for fold in map(int, given.folds.split(",")):
        path = path_of(given.records, given.budget, fold)
        if path.exists():
            continue
        suite = replace(HIPPOCAMPUS, judged=JUDGED, part=fold)
        options = BenchmarkOptions(budget=given.budget, records=given.records)
        record = run_suite(suite, given.datasets / "msd-hippocampus", options)
        command = f"python -m benchmarks.hippocampus.folds --budget {given.budget} --folds {fold}"
        write_record(path, replace(record, command=command))
        sys.stdout.write("\n".join(summary(record)) + "\n")
        sys.stdout.flush()
    sys.stdout.write(table(given.records))
    return 0


if __name__ == "__main__":
    sys.exit(main())
