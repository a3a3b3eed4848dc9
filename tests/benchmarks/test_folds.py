"""Four folds judge every case once, and the table is of all of them together."""

from dataclasses import replace

import pytest

from autoseg.benchmark import compare
from autoseg.core.records import write_record
from autoseg.datasets.dataset import Case
from autoseg.suites.record import BenchmarkRecord, CaseResult, Hardware
from autoseg.suites.suite import judged_cases, per_case_results
from autoseg.suites.table import HIPPOCAMPUS
from benchmarks.hippocampus.folds import FOLDS, path_of, recorded, table
from benchmarks.hippocampus.split import JUDGED, make_split
from tests.records import a_dataset

THEIRS = per_case_results(HIPPOCAMPUS)["plain"]
HARDWARE = Hardware(cpu="abacus", cores=2, memory_bytes=1 << 30, bf16=False, gpu=None)


def parts(suite, dataset, count):
    return [judged_cases(replace(suite, part=part), dataset) for part in range(count)]


def cases_of(tmp_path, names):
    cases = [Case(name=n, images=(n,), references=(n,), group=n) for n in names]
    return a_dataset(tmp_path, cases, [])


def test_the_folds_are_all_cases_once_and_the_first_is_the_split(tmp_path):
    folds = parts(HIPPOCAMPUS, cases_of(tmp_path, THEIRS), FOLDS)
    assert [len(fold) for fold in folds] == [JUDGED] * FOLDS
    assert frozenset().union(*folds) == frozenset(THEIRS)
    assert folds[0] == frozenset(make_split(list(THEIRS)).judged)
    assert judged_cases(replace(HIPPOCAMPUS, part=FOLDS), cases_of(tmp_path, THEIRS)) == frozenset()


def test_parts_of_a_stack_go_backwards_and_parts_keep_groups_whole(tmp_path):
    slices = cases_of(tmp_path, [f"slice_{i}" for i in range(12)])
    stack = replace(HIPPOCAMPUS, split="block", judged=5)
    assert parts(stack, slices, 3) == [
        frozenset(f"slice_{i}" for i in range(7, 12)),
        frozenset(f"slice_{i}" for i in range(2, 7)),
        frozenset({"slice_0", "slice_1"}),
    ]
    visits = [Case(name=f"{p}{v}", images=("i",), references=("r",), group=p) for p in "abcd" for v in (1, 2)]
    found = parts(replace(HIPPOCAMPUS, judged=3), a_dataset(tmp_path, visits, []), 2)
    assert [len(part) for part in found] == [4, 4]
    assert all(len({name[0] for name in part}) == 2 for part in found)


def record(names, better):
    cases = tuple(CaseResult(case=name, dice=THEIRS[name] + better) for name in names)
    return BenchmarkRecord(
        benchmark="hippocampus",
        date="2026-12-01",
        commit="c0ffee",
        command="run",
        budget_s=1800.0,
        seed=0,
        train_s=1.0,
        predict_s=1.0,
        peak_process_bytes=1,
        peak_total_bytes=1,
        hardware=HARDWARE,
        versions=(),
        n_training=150,
        cases=cases,
        mean_dice=0.9,
        mean_interval=None,
        peers=compare(HIPPOCAMPUS, cases),
    )


def test_the_table_is_of_all_cases_together(tmp_path):
    folds = parts(HIPPOCAMPUS, cases_of(tmp_path, THEIRS), FOLDS)
    for fold, names in enumerate(folds[:3]):
        write_record(path_of(tmp_path, "30m", fold), record(sorted(names), 0.01 * fold))
    assert "Not all folds" in table(tmp_path)
    write_record(path_of(tmp_path, "30m", 3), record(sorted(folds[3]), 0.03))
    lines = table(tmp_path).splitlines()
    assert len(recorded(tmp_path, "30m")) == 4
    assert lines[2].startswith("| 30m | all, 200 | 2 cores, abacus |")
    assert "| nnU-Net 2 plain | 0.8924 | +0.0150 (+0.01" in lines[2]
    assert "| 30m | fold 3, 50 |" in lines[-1]
    assert "+0.0300" in lines[-1]
    write_record(path_of(tmp_path, "30m", 3), record(sorted(folds[2]), 0.03))
    with pytest.raises(ValueError, match="judged twice"):
        table(tmp_path)
