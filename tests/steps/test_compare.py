"""`autoseg compare`: results on the same cases, and a clear word where they are not."""

from dataclasses import replace
from pathlib import Path

import pytest

from autoseg import cli
from autoseg.core.comparison import Comparison
from autoseg.core.errors import AutosegError
from autoseg.core.records import decode, read_record, write_record
from autoseg.core.scores import CaseScore, LabelScore, Scores, dice_of, make_scores
from autoseg.steps.compare import compare
from planners.fingerprint import Label

LABELS = (Label(name="liver", values=(1,)),)


def scores(*found: int, names: str = "abcdefghijkl") -> Scores:
    """Score cases whose references have ten voxels, of which a number was found."""
    cases = [
        CaseScore(
            case=name,
            patient=name,
            prediction=None,
            labels=(
                LabelScore(
                    label="liver",
                    tp=tp,
                    fp=0,
                    fn=10 - tp,
                    dice=dice_of(tp, 0, 10 - tp),
                    iou=tp / 10,
                    reference_ml=0.01,
                    prediction_ml=tp / 1000,
                ),
            ),
        )
        for name, tp in zip(names, found, strict=False)
    ]
    return make_scores(LABELS, cases, [])


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    write_record(tmp_path / "old" / "scores.json", scores(5, 6, 7, 8))
    write_record(tmp_path / "new" / "scores.json", scores(6, 6, 8, 7))
    return tmp_path / "old", tmp_path / "new"


def test_folders_and_files_are_compared_alike(folders: tuple[Path, Path]) -> None:
    comparison = compare(folders)
    assert [r.name for r in comparison.results] == ["old", "new"]
    assert compare([folder / "scores.json" for folder in folders]) == comparison
    assert comparison.n_cases == 4
    expected = sum(dice_of(b, 0, 10 - b) - dice_of(a, 0, 10 - a) for a, b in ((5, 6), (7, 8), (8, 7))) / 4
    assert comparison.differences[0].paired.mean == pytest.approx(expected)


def test_the_record_is_written_only_where_asked(folders: tuple[Path, Path], tmp_path: Path) -> None:
    comparison = compare(folders, tmp_path / "out")
    assert read_record(tmp_path / "out" / "comparison.json", Comparison) == comparison
    assert sorted(path.name for path in folders[0].iterdir()) == ["scores.json"]


def test_results_of_one_folder_name_are_told_apart(folders: tuple[Path, Path], tmp_path: Path) -> None:
    for run in ("one", "two"):
        write_record(tmp_path / run / "fold_0" / "scores.json", scores(5, 6))
    names = [r.name for r in compare([tmp_path / "one" / "fold_0", tmp_path / "two" / "fold_0"]).results]
    assert names == ["one/fold_0", "two/fold_0"]
    assert [r.name for r in compare([folders[0], folders[0]]).results] == ["old (1)", "old (2)"]


def test_on_the_command_line_it_prints_a_table_or_the_record(folders: tuple[Path, Path], capsys) -> None:
    assert cli.run(["compare", *map(str, folders)]) == 0
    assert "not distinguishable with n=4" in capsys.readouterr().out
    assert cli.run(["compare", *map(str, folders), "--json"]) == 0
    assert decode(capsys.readouterr().out.encode(), Comparison, "stdout") == compare(folders)


def other_references(record: Scores) -> Scores:
    case = record.cases[0]
    return replace(record, cases=(replace(case, labels=(replace(case.labels[0], fn=99),)), *record.cases[1:]))


def other_labels(record: Scores) -> Scores:
    cases = tuple(replace(c, labels=(replace(c.labels[0], label="spleen"),)) for c in record.cases)
    return replace(record, cases=cases)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (scores(6, 6, 8), r"new/scores\.json: 1 cases are not in both \(d\), compared with .*; evaluate both against"),
        (other_references(scores(6, 6, 8, 7)), r"the reference of a has 105 voxels of liver, not 10 as in .*old"),
        (other_labels(scores(6, 6, 8, 7)), "other labels than in"),
    ],
)
def test_what_does_not_belong_together_is_refused(folders: tuple[Path, Path], second: Scores, message: str) -> None:
    write_record(folders[1] / "scores.json", second)
    with pytest.raises(AutosegError, match=message):
        compare(folders)


def test_one_result_nowhere_and_nothing_evaluated_are_one_line(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(AutosegError, match="1 result given; name at least two folders"):
        compare(folders[:1])
    with pytest.raises(AutosegError, match="nowhere: no such file or folder"):
        compare([folders[0], tmp_path / "nowhere"])
    with pytest.raises(AutosegError, match=r"empty: holds no scores\.json; run `autoseg evaluate`"):
        compare([folders[0], tmp_path / "empty"])
