"""The hippocampus benchmark and `evaluate` on the real cases."""

from pathlib import Path

import pytest

from autoseg.steps.evaluate import evaluate
from benchmarks.hippocampus.published import published
from benchmarks.hippocampus.split import case_names, make_split

pytestmark = pytest.mark.real_data


def test_every_case_has_its_published_result(datasets_dir: Path) -> None:
    names = case_names(datasets_dir / "msd-hippocampus")
    assert names == tuple(published("plain"))
    assert len(make_split(names).train) == 150


def test_references_agree_with_themselves_in_any_type(datasets_dir: Path, tmp_path: Path) -> None:
    folder = datasets_dir / "msd-hippocampus" / "labels"
    scores = evaluate(folder, folder, tmp_path)
    assert scores.summary().n == 200
    assert scores.summary().mean == 1
    assert [label.values for label in scores.labels] == [(1,), (2,)]
