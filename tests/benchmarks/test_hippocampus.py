"""The split is the one that was agreed, and the published numbers come out."""

from dataclasses import replace

import numpy as np
import pytest

from autoseg.core.statistics import paired_difference
from benchmarks.hippocampus.__main__ import compare, summary
from benchmarks.hippocampus.published import VARIANTS, published
from benchmarks.hippocampus.split import ENDING, arrange, case_names, make_split
from benchmarks.record import BenchmarkRecord, CaseResult, Hardware


def test_plain_nnunet_has_its_published_mean_on_the_judged_cases() -> None:
    table = published("plain")
    judged = set(make_split([case.case for case in table]).judged)
    assert len(table) == 200
    assert np.mean([case.dice for case in table if case.case in judged]) == pytest.approx(0.8997, abs=5e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_variant_is_close_to_its_published_mean(variant: str) -> None:
    assert np.mean([case.dice for case in published(variant)]) == pytest.approx(0.89, abs=0.01)


def test_residual_encoders_do_not_differ_much_from_plain_on_the_same_cases() -> None:
    plain, residual = ([case.dice for case in published(variant)] for variant in ("plain", "resenc_m"))
    result = paired_difference(residual, plain)
    assert result.mean_interval is not None
    assert result.mean_interval.upper - result.mean_interval.lower < 0.005


def test_split_does_not_depend_on_order_or_on_other_cases_being_trained_on() -> None:
    names = [case.case for case in published("plain")]
    assert make_split(names) == make_split(names[::-1])
    assert not set(make_split(names).train) & set(make_split(names).judged)
    assert len(make_split(names).judged) == 50


def test_judged_cases_lie_outside_the_training_dataset(tmp_path) -> None:
    names = [f"case_{i}" for i in range(53)]
    for kind in ("images", "labels"):
        (tmp_path / "source" / kind).mkdir(parents=True)
        for name in names:
            (tmp_path / "source" / kind / f"{name}{ENDING}").write_bytes(f"{kind}{name}".encode())
    split = make_split(case_names(tmp_path / "source"))
    data = arrange(tmp_path / "source", split, tmp_path / "data")
    trained = sorted(path.name.removesuffix(ENDING) for path in data.training.rglob(f"*{ENDING}"))
    assert trained == sorted(2 * split.train)
    assert len(list(data.judged_images.iterdir())) == len(list(data.judged_references.iterdir())) == 50
    assert (data.judged_references / f"{split.judged[0]}{ENDING}").read_text() == f"labels{split.judged[0]}"


def test_ours_minus_theirs_on_the_same_cases() -> None:
    table = published("plain")
    judged = make_split([case.case for case in table]).judged
    theirs = {case.case: case.dice for case in table}
    ours = [CaseResult(case=name, dice=theirs[name] - 0.002) for name in judged]
    plain = compare(ours)[0]
    assert plain.name == "nnU-Net 2 plain"
    assert plain.difference.mean == pytest.approx(-0.002)
    assert plain.difference.mean_b == pytest.approx(0.8997, abs=5e-5)
    assert plain.difference.mean_interval is not None
    assert plain.difference.mean_interval.upper == pytest.approx(-0.002)


def test_an_exceeded_budget_is_said_aloud() -> None:
    cases = (CaseResult(case="hippocampus_001", dice=0.9),)
    record = BenchmarkRecord(
        benchmark="hippocampus",
        date="2026-01-01",
        commit="0" * 40,
        command="",
        budget_s=60.0,
        seed=0,
        train_s=64.0,
        predict_s=5.0,
        peak_process_bytes=1 << 30,
        peak_total_bytes=1 << 30,
        hardware=Hardware(cpu="", cores=1, memory_bytes=1, bf16=False, gpu=None),
        versions=(),
        n_training=1,
        cases=cases,
        mean_dice=0.9,
        mean_interval=None,
        peers=compare(cases),
    )
    assert "(budget 60 s, EXCEEDED)" in summary(record)
    assert "(budget 60 s)" in summary(replace(record, train_s=62.9))
