"""Train on 150 hippocampus cases under a budget and compare 50 unseen ones, case by case, with published nnU-Net.

python -m benchmarks.hippocampus --datasets FOLDER --budget 15m
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from autoseg.core.errors import AutosegError
from autoseg.core.records import write_record
from autoseg.core.scores import Scores, scores_table
from autoseg.core.statistics import paired_difference
from autoseg.options import parse_budget
from autoseg.steps.evaluate import evaluate
from benchmarks.hippocampus.published import SOURCE, VARIANTS, published
from benchmarks.hippocampus.split import arrange, case_names, make_split
from benchmarks.measure import Measured, measure
from benchmarks.record import (
    RESULTS,
    BenchmarkRecord,
    CaseResult,
    Peer,
    these_versions,
    this_commit,
    this_hardware,
)

SUBFOLDER = "msd-hippocampus"
MAXIMUM_OVERRUN = 1.05
"""The time contract: everything included, plan-and-train ends within this many times its budget."""


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark; 0 when it went through, 2 for a mistake in the arguments or the data."""
    options = _parser().parse_args(arguments)
    try:
        if options.workspace:
            record = run(options, options.workspace.absolute())
        else:
            with tempfile.TemporaryDirectory(prefix="hippocampus-") as folder:
                record = run(options, Path(folder) / "hippocampus.autoseg")
    except AutosegError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    write_record(options.output, record)
    print(summary(record))
    return 0


def run(options: argparse.Namespace, workspace: Path) -> BenchmarkRecord:
    """Arrange, train, predict, score, compare; copies of the data lie beside the workspace."""
    source = options.datasets / SUBFOLDER if (options.datasets / SUBFOLDER).is_dir() else options.datasets
    split = make_split(case_names(source))
    data = arrange(source, split, workspace.with_suffix(".data"))
    program = [sys.executable, "-m", "autoseg.cli"]
    train = [*program, "plan-and-train", str(data.training), "--workspace", str(workspace), "--budget", options.budget]
    train += ["--seed", str(options.seed), "--device", options.device]
    output = workspace.with_suffix(".predictions")
    predict = [*program, "predict", str(data.judged_images), "--model", str(workspace), "--output", str(output)]
    trained = _succeed(train)
    predicted = _succeed([*predict, "--device", options.device])
    scores = evaluate(output, data.judged_references)
    print(scores_table(scores))
    return make_record(options, (trained, predicted), scores, len(split.train))


def make_record(
    options: argparse.Namespace, measured: tuple[Measured, Measured], scores: Scores, n_training: int
) -> BenchmarkRecord:
    """Put together what was measured and how it compares."""
    trained, predicted = measured
    over_labels = scores.summary()
    cases = tuple(
        CaseResult(case=case.case, dice=dice) for case, dice in zip(scores.cases, scores.per_case(), strict=True)
    )
    if over_labels.mean is None:
        raise AutosegError.at("hippocampus", "no case has a defined Dice", "look at the predictions")
    return BenchmarkRecord(
        benchmark="hippocampus",
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        commit=this_commit(),
        command=f"autoseg plan-and-train hippocampus --budget {options.budget} --seed {options.seed}",
        budget_s=parse_budget(options.budget),
        seed=options.seed,
        train_s=round(trained.seconds, 1),
        predict_s=round(predicted.seconds, 1),
        peak_process_bytes=max(trained.peak_process_bytes, predicted.peak_process_bytes),
        peak_total_bytes=max(trained.peak_total_bytes, predicted.peak_total_bytes),
        hardware=this_hardware(options.device),
        versions=these_versions(),
        n_training=n_training,
        cases=cases,
        mean_dice=over_labels.mean,
        mean_interval=over_labels.mean_interval,
        peers=compare(cases),
    )


def compare(cases: Sequence[CaseResult]) -> tuple[Peer, ...]:
    """Compare each case with each published variant of nnU-Net; an undefined Dice counts as 0."""
    ours = [case.dice or 0.0 for case in cases]
    peers = []
    for variant in VARIANTS:
        theirs = {case.case: case.dice for case in published(variant)}
        difference = paired_difference(ours, [theirs[case.case] for case in cases])
        peers.append(Peer(name=f"nnU-Net 2 {variant}", source=SOURCE, difference=difference))
    return tuple(peers)


def summary(record: BenchmarkRecord) -> str:
    """Return the result in a few lines."""
    budget = "no budget" if record.budget_s is None else f"budget {record.budget_s:.0f} s"
    if record.budget_s is not None and record.train_s > MAXIMUM_OVERRUN * record.budget_s:
        budget += ", EXCEEDED"
    times = f"trained in {record.train_s:.0f} s ({budget}), predicted in {record.predict_s:.0f} s"
    lines = [
        f"{times}, largest process {record.peak_process_bytes / 2**20:.0f} MiB",
        f"mean Dice of {len(record.cases)} unseen cases: {record.mean_dice:.4f}",
    ]
    for peer in record.peers:
        d = peer.difference
        interval = f" ({d.mean_interval.lower:+.4f} to {d.mean_interval.upper:+.4f})" if d.mean_interval else ""
        p = "" if d.wilcoxon_p is None else f", Wilcoxon p = {d.wilcoxon_p:.2g}"
        lines.append(f"{peer.name}: {d.mean_b:.4f}, difference {d.mean:+.4f}{interval}{p}")
    return "\n".join(lines)


def _succeed(command: list[str]) -> Measured:
    print("$", " ".join(command), file=sys.stderr)
    measured = measure(command)
    if measured.exit_code:
        raise AutosegError.at(" ".join(command[2:4]), f"ended with code {measured.exit_code}", "read its last lines")
    return measured


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hippocampus", description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", type=Path, required=True, help="folder with msd-hippocampus, or itself")
    parser.add_argument("--budget", default="15m", help="wall clock of plan-and-train: 15m, 2h, none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda", "mps"))
    parser.add_argument("--workspace", type=Path, help="keep the workspace here (default: a temporary folder)")
    parser.add_argument("--output", type=Path, default=RESULTS / "hippocampus.json", help="the result record")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
