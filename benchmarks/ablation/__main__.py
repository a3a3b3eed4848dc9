"""What is each default worth? Arms that differ from the default in one thing, at equal cost, three seeds each.

python -m benchmarks.ablation --datasets FOLDER --work FOLDER [--arms default,mirror] [--seeds 0,1,2] [--base-steps 900]
python -m benchmarks.ablation --table

Trains on 110 of the 150 hippocampus cases that benchmarks/hippocampus does not judge, and judges the other 40. Every
arm costs what 900 steps of the default cost (about five minutes of two cores); what helps short trainings need not help
long ones, so other lengths have a record of their own. Runs that the record or the work folder
hold already are kept, so that the command can be stopped and called again, and several may run with seeds of their own.
"""

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from autoseg.core.files import write_text
from autoseg.core.records import read_record, write_record
from autoseg.core.statistics import PairedDifference, holm, paired_difference
from benchmarks.ablation.arms import ARMS, BASE_STEPS, BASELINE
from benchmarks.ablation.runs import AblationRun, prepare, run
from benchmarks.record import RESULTS, Hardware, this_hardware

README = Path(__file__).parent.parent / "README.md"
BEGIN = "<!-- made by `python -m benchmarks.ablation --table`: do not edit -->"
END = "<!-- end of ablation -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ablation:
    """All runs so far."""

    schema: ClassVar[str] = "autoseg.ablation/1"

    hardware: Hardware
    runs: tuple[AblationRun, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """An arm against the default: seeds they share, Dice of each, the paired difference over cases."""

    arm: str
    seeds: tuple[int, ...]
    steps: int
    mean: float
    seed_sd: float | None
    difference: PairedDifference
    p: float | None


def output_of(base_steps: int) -> Path:
    """Return the record of the runs that cost as much as so many steps of the default."""
    return RESULTS / "training" / f"ablation{_suffix(base_steps)}.json"


def _suffix(base_steps: int) -> str:
    return "" if base_steps == BASE_STEPS else f"-{base_steps}"


def recorded_lengths() -> tuple[int, ...]:
    """Return the lengths that have a record, the shortest first."""
    names = [path.stem.removeprefix("ablation").removeprefix("-") for path in output_of(BASE_STEPS).parent.glob("abl*")]
    return tuple(sorted(int(name or BASE_STEPS) for name in names))


def known(work: Path | None, base_steps: int = BASE_STEPS) -> tuple[AblationRun, ...]:
    """Return the runs of the record and of the work folder, each once, in the order of the arms."""
    output = output_of(base_steps)
    runs = {(done.arm, done.seed): done for done in (read_record(output, Ablation).runs if output.exists() else ())}
    for path in sorted(work.glob(f"runs{_suffix(base_steps)}/*.json")) if work else ():
        done = read_record(path, AblationRun)
        runs[done.arm, done.seed] = done
    order = list(ARMS)
    return tuple(runs[key] for key in sorted(runs, key=lambda key: (order.index(key[0]), key[1])))


def verdicts(runs: tuple[AblationRun, ...]) -> tuple[Verdict, ...]:
    """Compare every arm with the default, over the seeds that both have: mean over seeds first, then paired by case.

    The interval speaks for other cases, not for other seeds; the spread between seeds stands beside it.
    """
    dice = {(done.arm, done.seed): np.array(done.mirrored or done.dice) for done in runs}
    result = []
    for arm in ARMS:
        seeds = tuple(seed for name, seed in dice if name == arm and (BASELINE, seed) in dice)
        if not seeds:
            continue
        ours = np.mean([dice[arm, seed] for seed in seeds], axis=0)
        theirs = np.mean([dice[BASELINE, seed] for seed in seeds], axis=0)
        means = [float(dice[arm, seed].mean()) for seed in seeds]
        result.append(
            Verdict(
                arm=arm,
                seeds=seeds,
                steps=next(done.steps for done in runs if done.arm == arm),
                mean=float(np.mean(means)),
                seed_sd=float(np.std(means, ddof=1)) if len(means) > 1 else None,
                difference=paired_difference(list(ours), list(theirs)),
                p=None,
            )
        )
    return _corrected(tuple(result))


def _corrected(found: tuple[Verdict, ...]) -> tuple[Verdict, ...]:
    adjusted = holm([None if v.arm == BASELINE else v.difference.p for v in found])
    return tuple(replace(verdict, p=p) for verdict, p in zip(found, adjusted, strict=True))


def table(runs: tuple[AblationRun, ...]) -> str:
    """Return the Markdown table, best first."""
    if not runs:
        return "No run has been recorded yet.\n"
    lines = [
        "| arm | what | steps | seeds | mean Dice | between seeds | against the default (95 %) | p (Holm) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for v in sorted(verdicts(runs), key=lambda v: -v.difference.mean):
        interval, spread = v.difference.mean_interval, "-" if v.seed_sd is None else f"{v.seed_sd:.4f}"
        between = f" ({interval.lower:+.4f} to {interval.upper:+.4f})" if interval and v.arm != BASELINE else ""
        against = "-" if v.arm == BASELINE else f"{v.difference.mean:+.4f}{between}"
        p = "-" if v.p is None else f"{v.p:.2g}"
        what = ARMS[v.arm].what
        lines.append(f"| {v.arm} | {what} | {v.steps} | {len(v.seeds)} | {v.mean:.4f} | {spread} | {against} | {p} |")
    unaveraged = [done.without_average - float(np.mean(done.dice)) for done in runs]
    if unaveraged:
        lines.append("")
        lines.append(
            f"The last step's weights instead of the average over steps: {np.mean(unaveraged):+.4f} Dice over"
            f" {len(unaveraged)} runs (from {min(unaveraged):+.4f} to {max(unaveraged):+.4f})."
        )
        views = [float(np.mean(done.mirrored)) - float(np.mean(done.dice)) for done in runs if done.mirrored]
        if views:
            lines.append(f"Mirrored copies when predicting, for what was trained so: {np.mean(views):+.4f}.")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run what is missing, or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", type=Path, help="folder with msd-hippocampus")
    parser.add_argument("--work", type=Path, help="keeps preprocessed cases, checkpoints and finished runs")
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--base-steps", type=int, default=BASE_STEPS, help="steps of the default; others cost as much")
    parser.add_argument("--table", action="store_true", help="only write the tables of benchmarks/README.md")
    options = parser.parse_args()
    if not options.table:
        if options.datasets is None or options.work is None:
            parser.error("--datasets and --work are needed")
        _run_missing(options)
    sys.stdout.write(table(known(options.work, options.base_steps)))
    if options.table:
        before, rest = README.read_text(encoding="utf-8").split(BEGIN)
        lengths = recorded_lengths()
        tables = [f"As long as {each} steps of the default:\n\n{table(known(None, each))}\n" for each in lengths]
        write_text(README, f"{before}{BEGIN}\n\n{''.join(tables)}{END}{rest.split(END)[1]}")
    return 0


def _run_missing(options: argparse.Namespace) -> None:
    bench = prepare(options.datasets.resolve() / "msd-hippocampus", options.work.absolute())
    wanted = [(arm, int(seed)) for seed in options.seeds.split(",") for arm in options.arms.split(",")]
    length, suffix = options.base_steps, _suffix(options.base_steps)
    for arm, seed in wanted:
        if any((done.arm, done.seed) == (arm, seed) for done in known(options.work, length)):
            continue
        done = run(bench, arm, seed, options.work / f"training{suffix}" / f"{arm}-{seed}", length)
        write_record(options.work / f"runs{suffix}" / f"{arm}-{seed}.json", done)
        write_record(output_of(length), Ablation(hardware=this_hardware("cpu"), runs=known(options.work, length)))
        sys.stdout.write(f"{arm} seed {seed}: {done.steps} steps, mean Dice {np.mean(done.dice):.4f}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
