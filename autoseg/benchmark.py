"""Run a suite: arrange its data, train, predict the judged cases, evaluate, compare with what is published, record."""

import os
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from autoseg.benchmark_options import BenchmarkOptions
from autoseg.core.energy import estimated_joules, usage
from autoseg.core.errors import AutosegError
from autoseg.core.measuring import Measured, measure
from autoseg.core.records import read_record, write_record
from autoseg.core.runtime import say
from autoseg.core.scores import Scores
from autoseg.core.statistics import paired_difference
from autoseg.options import parse_budget
from autoseg.predicting.records import PredictionRecord
from autoseg.steps.evaluate import evaluate
from autoseg.suites.arrangement import Arranged, arrange, find_data
from autoseg.suites.record import (
    BenchmarkRecord,
    CaseResult,
    Peer,
    Tried,
    these_versions,
    this_commit,
    this_hardware,
)
from autoseg.suites.suite import Suite, per_case_results
from autoseg.suites.table import GROUPS, SUITES

MAXIMUM_OVERRUN = 1.05
"""The time contract: everything included, plan-and-train ends within this many times its budget."""
_KIBIBYTE = 1 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkRuns:
    """What `autoseg benchmark` did: a record for each suite that ran, and the files they were written to."""

    schema: ClassVar[str] = "autoseg.benchmark-runs/1"

    records: tuple[BenchmarkRecord, ...]
    files: tuple[str, ...]
    without_data: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ran:
    """How training and prediction went; `command` in a user's words."""

    command: str
    trained: Measured
    predicted: Measured
    tried: tuple[Tried, ...] = ()
    notes: tuple[str, ...] = ()


def run_benchmark(name: str, options: BenchmarkOptions) -> BenchmarkRuns:
    """Run the suite, or those suites of a group whose data are there, and write a record for each.

    Raises:
        AutosegError: no such suite, its data are absent (the message says where they are published), or a step failed.

    """
    parse_budget(options.budget)
    records, files, absent = [], [], []
    for each in GROUPS.get(name, (name,)):
        suite = suite_named(each)
        try:
            source = find_data(suite, options.data, Path.cwd())
        except AutosegError as error:
            if name not in GROUPS:
                raise
            say(str(error))
            absent.append(each)
            continue
        record = run_suite(suite, source, options)
        path = free_path(options.records, suite, options)
        write_record(path, record)
        say(f"record {path}")
        records.append(record)
        files.append(str(path))
    if not records:
        mend = f"get them from {suite_named(absent[0]).address} and give --data FOLDER"
        raise AutosegError.at(f"benchmark {name}", "no data of any of its suites", mend)
    return BenchmarkRuns(records=tuple(records), files=tuple(files), without_data=tuple(absent))


def suite_named(name: str) -> Suite:
    """Return a suite; AutosegError when there is none, with the names there are."""
    if name not in SUITES:
        known = ", ".join((*SUITES, *GROUPS))
        raise AutosegError.at(f"benchmark {name}", "no such suite", f"take one of {known}")
    return SUITES[name]


def run_suite(suite: Suite, source: Path, options: BenchmarkOptions) -> BenchmarkRecord:
    """Arrange, train, predict, evaluate and compare one suite."""
    if options.workspace is not None:
        return _run(suite, source, options, options.workspace.absolute())
    with tempfile.TemporaryDirectory(prefix=f"{suite.name}-") as folder:
        return _run(suite, source, options, Path(folder) / f"{suite.name}.autoseg")


def compare(suite: Suite, cases: Sequence[CaseResult]) -> tuple[Peer, ...]:
    """Compare each case with each published result for it; an undefined Dice counts as 0.

    A variant whose table lacks a case is left out: a mean over other cases is no comparison.
    """
    ours = [case.dice or 0.0 for case in cases]
    peers = []
    for variant, theirs in per_case_results(suite).items():
        if all(case.case in theirs for case in cases):
            difference = paired_difference(ours, [theirs[case.case] for case in cases])
            peers.append(Peer(name=f"nnU-Net 2 {variant}", source=suite.per_case_source, difference=difference))
    return tuple(peers)


def free_path(folder: Path, suite: Suite, options: BenchmarkOptions) -> Path:
    """Return a name in `folder` that no earlier record has."""
    how = options.budget if options.method == "network" else options.method
    stem = f"{suite.name}-{how}"
    numbered = (folder / f"{stem}{'' if number == 1 else f'-{number}'}.json" for number in range(1, 10_000))
    return next(path for path in numbered if not path.exists())


def describe(runs: BenchmarkRuns) -> str:
    """Return what came out as lines for people."""
    lines = [line for record in runs.records for line in summary(record)]
    if runs.without_data:
        lines.append(f"no data for {', '.join(runs.without_data)}")
    return "\n".join([*lines, *(f"record {file}" for file in runs.files)])


def summary(record: BenchmarkRecord) -> list[str]:
    """Return one record in a few lines."""
    budget = "no budget" if record.budget_s is None else f"budget {record.budget_s:.0f} s"
    if record.budget_s is not None and record.train_s > MAXIMUM_OVERRUN * record.budget_s:
        budget += ", EXCEEDED"
    interval = record.mean_interval
    within = f" ({interval.lower:.4f} to {interval.upper:.4f})" if interval else ""
    mebibytes = record.peak_process_bytes / 2**20
    lines = [
        f"{record.benchmark}, {record.method}: trained in {record.train_s:.0f} s ({budget})",
        f"predicted in {record.predict_s:.0f} s, largest process {mebibytes:.0f} MiB, {energy_text(record)}",
        f"mean Dice of {len(record.cases)} unseen cases: {record.mean_dice:.4f}{within}",
        *record.notes,
    ]
    for peer in record.peers:
        d = peer.difference
        bounds = f" ({d.mean_interval.lower:+.4f} to {d.mean_interval.upper:+.4f})" if d.mean_interval else ""
        p = "" if d.p is None else f", {d.test} p = {d.p:.2g}"
        lines.append(f"{peer.name}, same cases: {d.mean_b:.4f}, difference {d.mean:+.4f}{bounds}{p}")
    lines += [f"{one.name}, {one.protocol}, other cases: {one.dice:.4f} ({one.source})" for one in record.published]
    return lines


def energy_text(record: BenchmarkRecord) -> str:
    """Return the energy in watt hours, and whether it was measured or estimated."""
    if record.energy_j is not None:
        return f"{record.energy_j / 3600:.1f} Wh (processors, measured)"
    if record.processor_s is not None and record.hardware.gpu is None:
        return f"about {estimated_joules(record.processor_s) / 3600:.1f} Wh (estimate)"
    return "energy unknown"


def _run(suite: Suite, source: Path, options: BenchmarkOptions, workspace: Path) -> BenchmarkRecord:
    data = arrange(suite, source, workspace.with_suffix(".data"))
    say(f"{suite.name}: {data.n_training} cases train, {data.n_judged} are judged")
    output = workspace.with_suffix(".predictions")
    if options.method == "network":
        ran = _with_network(suite, data, options, (workspace, output))
    else:
        ran = _with_baseline(suite, data, options, output)
    return _record(suite, options, ran, (evaluate(output, data.judged_references), data.n_training))


def _with_network(suite: Suite, data: Arranged, options: BenchmarkOptions, places: tuple[Path, Path]) -> _Ran:
    workspace, output = places
    program = [sys.executable, "-m", "autoseg.cli"]
    train = [*program, "plan-and-train", str(data.training), "--workspace", str(workspace), "--budget", options.budget]
    train += ["--seed", str(options.seed), "--device", options.device, *suite.words]
    predict = [*program, "predict", str(data.judged_images), "--model", str(workspace), "--output", str(output)]
    trained, predicted = _succeed(train), _succeed([*predict, "--device", options.device])
    told = read_record(output / "prediction.json", PredictionRecord).peak_memory_bytes or 0
    return _Ran(
        command=f"autoseg benchmark {suite.name} --budget {options.budget} --seed {options.seed}",
        trained=trained,
        predicted=replace(predicted, peak_process_bytes=max(predicted.peak_process_bytes, told)),
    )


def _with_baseline(suite: Suite, data: Arranged, options: BenchmarkOptions, output: Path) -> _Ran:
    from autoseg.baseline import run_baseline

    before = usage()
    result = run_baseline(data.training, data.judged_images, output, options.seed, suite.reading)
    processor_s = usage().processor_s - before.processor_s
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIBIBYTE
    share = result.train_s / (result.train_s + result.predict_s)

    def measured(seconds: float, processor_share: float) -> Measured:
        return Measured(
            exit_code=os.EX_OK,
            seconds=seconds,
            peak_process_bytes=peak,
            peak_total_bytes=peak,
            processor_s=processor_s * processor_share,
        )

    return _Ran(
        command=f"autoseg benchmark {suite.name} --method classical --seed {options.seed}",
        trained=measured(result.train_s, share),
        predicted=measured(result.predict_s, 1 - share),
        tried=result.tried,
        notes=(f"chosen by cross-validation: {result.chosen}",),
    )


def _record(suite: Suite, options: BenchmarkOptions, ran: _Ran, judged: tuple[Scores, int]) -> BenchmarkRecord:
    scores, n_training = judged
    over_labels = scores.summary()
    if over_labels.mean is None:
        raise AutosegError.at(f"benchmark {suite.name}", "no case has a defined Dice", "look at the predictions")
    cases = tuple(
        CaseResult(case=case.case, dice=dice) for case, dice in zip(scores.cases, scores.per_case(), strict=True)
    )
    joules = [part.energy_j for part in (ran.trained, ran.predicted) if part.energy_j is not None]
    return BenchmarkRecord(
        benchmark=suite.name,
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        commit=this_commit(),
        command=ran.command,
        budget_s=parse_budget(options.budget) if options.method == "network" else None,
        seed=options.seed,
        train_s=round(ran.trained.seconds, 1),
        predict_s=round(ran.predicted.seconds, 1),
        peak_process_bytes=max(ran.trained.peak_process_bytes, ran.predicted.peak_process_bytes),
        peak_total_bytes=max(ran.trained.peak_total_bytes, ran.predicted.peak_total_bytes),
        hardware=this_hardware(_device(options) if options.method == "network" else "cpu"),
        versions=these_versions(),
        n_training=n_training,
        cases=cases,
        mean_dice=over_labels.mean,
        mean_interval=over_labels.mean_interval,
        peers=compare(suite, cases),
        method=options.method,
        processor_s=round(ran.trained.processor_s + ran.predicted.processor_s, 1),
        energy_j=sum(joules) if len(joules) == 2 else None,
        published=suite.published,
        tried=ran.tried,
        notes=ran.notes,
    )


def _device(options: BenchmarkOptions) -> str:
    """Return where the network was trained: what `auto` chose is asked again."""
    from autoseg.learning.machine import choose_device

    return choose_device(options.device).type


def _succeed(command: list[str]) -> Measured:
    say(f"$ autoseg {' '.join(command[3:])}")
    measured = measure(command, sys.stderr)
    if measured.exit_code:
        raise AutosegError.at(" ".join(command[2:4]), f"ended with code {measured.exit_code}", "read its last lines")
    return measured
