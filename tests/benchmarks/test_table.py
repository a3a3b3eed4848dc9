"""The results table in benchmarks/README.md says what the committed records say."""

from dataclasses import replace

import pytest

from autoseg.core.statistics import Interval, PairedDifference
from autoseg.suites.record import Published
from benchmarks.record import BenchmarkRecord, CaseResult, Hardware, Peer, these_versions, this_hardware
from benchmarks.table import README, page, records, table


def record() -> BenchmarkRecord:
    difference = PairedDifference(
        n=50,
        mean_a=0.895,
        mean_b=0.8997,
        mean=-0.0047,
        mean_interval=Interval(lower=-0.006, upper=-0.0035),
        median=-0.004,
        median_interval=None,
        wilcoxon_p=0.01,
    )
    return BenchmarkRecord(
        benchmark="hippocampus",
        date="2026-01-01",
        commit="0123456789abcdef",
        command="autoseg plan-and-train hippocampus --budget 15m --seed 0",
        budget_s=900.0,
        seed=0,
        train_s=890.0,
        predict_s=30.0,
        peak_process_bytes=1 << 30,
        peak_total_bytes=2 << 30,
        hardware=Hardware(cpu="Test CPU", cores=2, memory_bytes=8 << 30, bf16=True, gpu=None),
        versions=(("python", "3.11"),),
        n_training=150,
        cases=(CaseResult(case="a", dice=0.9),),
        mean_dice=0.895,
        mean_interval=None,
        peers=(Peer(name="nnU-Net 2 plain", source="somewhere", difference=difference),),
    )


def test_readme_table_is_not_stale() -> None:
    text = README.read_text(encoding="utf-8")
    assert page(text, records()) == text, "run: python -m benchmarks.table"


def test_a_record_becomes_a_line_of_the_board_and_one_for_each_peer() -> None:
    text = table([("hippocampus", record())])
    assert "| hippocampus | autoseg, 15 min | 0.8950 | 1 | 14.8 min | 30 s | 1.00 GiB | - | 2 cores, Test CPU" in text
    assert "8 GiB, bf16 | 0123456789 | [hippocampus](results/hippocampus.json) |" in text
    assert "| nnU-Net 2 plain | 0.8950 | 0.8997 | -0.0047 (-0.0060 to -0.0035) |" in text


def test_the_best_of_a_suite_comes_first_with_its_energy() -> None:
    classical = replace(
        record(),
        method="classical",
        mean_dice=0.7,
        cases=(CaseResult(case="a", dice=0.7),),
        processor_s=360.0,
        notes=("chosen by cross-validation: watershed",),
        published=(Published(name="n", dice=0.89, per_label=(0.9, 0.88), protocol="5 folds", source="s"),),
    )
    measured = replace(record(), energy_j=7200.0)
    lines = table([("a", classical), ("b", measured)]).splitlines()
    assert lines[2].startswith("| hippocampus | autoseg, 15 min | 0.8950")
    assert " | 2.0 | " in lines[2]
    assert lines[3].startswith("| hippocampus | classical; watershed | 0.7000")
    assert " | ~1.0 | " in lines[3]
    assert "| hippocampus | autoseg, 15 min | the classical baseline | 0.9000 | 0.7000 | +0.2000 |" in lines
    assert "| hippocampus | n | 0.8900 | 0.9000, 0.8800 | 5 folds (s) |" in lines


def test_a_readme_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="needs the lines"):
        page("# Benchmarks", [])


def test_this_machine_is_described() -> None:
    hardware = this_hardware("cpu")
    assert hardware.cpu
    assert hardware.cores >= 1
    assert hardware.memory_bytes > 1 << 28
    assert dict(these_versions())["numpy"][0].isdigit()
