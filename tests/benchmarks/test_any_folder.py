"""The plumbing of the benchmark of any folder: outcomes, the table, resuming, and real refusals."""

import sys

import pytest

from autoseg.core.records import read_record
from benchmarks import any_folder
from benchmarks.any_folder import AnyFolder, Row, outcome_of, table

ROW = Row(
    folder="a",
    budget_s=180.0,
    outcome="trained",
    exit_code=0,
    wall_s=170.2,
    cases=3,
    channels=1,
    labels=2,
    steps=40,
    validation_dice=0.8765,
    reason="",
    commit="abc",
)


@pytest.mark.parametrize(
    ("exit_code", "stderr", "expected"),
    [
        (0, "inspect: 3/3\n", ("trained", "")),
        (2, "error: a/b: no label; add one\n", ("refused", "a/b: no label; add one")),
        (2, "error: no\n", ("failed", "no")),
        (70, "error: our own error: KeyError: 'x'; y\n", ("failed", "our own error: KeyError: 'x'; y")),
        (-9, "", ("failed", "exit code -9 without a word")),
    ],
)
def test_only_a_reason_with_what_to_do_is_a_refusal(exit_code, stderr, expected):
    assert outcome_of(exit_code, stderr) == expected


def test_the_table_has_a_line_per_folder():
    assert table([ROW]).splitlines()[2] == "| a | 3 | 1 | 2 | trained | 170 | 40 | 0.876 |  |"


def test_rows_that_are_there_are_kept_and_a_folder_without_labels_is_refused(tmp_path, monkeypatch, capsys):
    (tmp_path / "brain-mr-dicom").mkdir()
    output = tmp_path / "rows.json"
    arguments = ["--datasets", str(tmp_path), "--output", str(output), "--only", "brain-mr-dicom"]
    monkeypatch.setattr(sys, "argv", ["any_folder", *arguments])
    assert any_folder.main() == 0
    (row,) = read_record(output, AnyFolder).rows
    assert (row.outcome, row.exit_code, row.steps) == ("refused", 2, 0)
    assert row.reason.startswith("brain-mr-dicom/: no image in it; put images and labels there")
    monkeypatch.setattr(any_folder, "run", lambda *_: pytest.fail("ran again"))
    assert any_folder.main() == 0
    assert capsys.readouterr().out.count("| brain-mr-dicom |") == 2
