"""`python -m benchmarks.nnunet_plans` counts what matches and names what does not."""

import json
from pathlib import Path

import pytest

from autoseg.core.records import read_record
from benchmarks.nnunet_figures import GoldenPlans, recipe_of
from benchmarks.nnunet_plans import main

GOLDEN = Path(__file__).parents[1] / "golden" / "nnunet_plans"
CASE = {
    "input": {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "organ": [1, 2], "lesion": 2, "ignore": 3},
        "n_training": 30,
        "natural_image_2d": False,
        "spacings": [[3.0, 0.8, 0.8]],
        "shapes_after_crop": [[100, 400, 400]],
        "median_relative_size_after_cropping": 1.0,
        "overwrite_target_spacing": None,
    },
    "plans": {},
}


def write(folder: Path, case: dict[str, object]) -> Path:
    path = folder / "plans.json"
    path.write_text(json.dumps({"about": "test", "cases": {"belly": case}}), encoding="utf-8")
    return path


def made_by_us(tmp_path: Path) -> dict[str, object]:
    """Our plan for CASE in the file's format, where an empty plan asked for it."""
    empty = {"transpose_forward": [0, 1, 2], "configurations": {}}
    file = write(tmp_path, CASE | {"plans": {"resenc-m@4GB": empty}})
    assert main([str(file), "--write", str(tmp_path / "ours.json")]) == 1
    case: dict[str, object] = json.loads((tmp_path / "ours.json").read_bytes())["cases"]["belly"]
    return case


def test_own_plans_match(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = made_by_us(tmp_path)
    assert main([str(write(tmp_path, case))]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 of 1 plans match"


def test_a_changed_patch_is_named_with_both_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = json.loads(json.dumps(made_by_us(tmp_path)))
    plan = case["plans"]["resenc-m@4GB"]
    ours = plan["configurations"]["2d"]["patch_size"]
    plan["configurations"]["2d"]["patch_size"] = [64, 96]
    plan["transpose_forward"] = [2, 0, 1]
    capsys.readouterr()
    assert main([str(write(tmp_path, case))]) == 1
    difference, total = capsys.readouterr().out.splitlines()
    assert difference == (
        "belly resenc-m@4GB: transpose_forward: ours [0, 1, 2], theirs [2, 0, 1]; "
        f"2d.patch_size: ours {json.dumps(ours, separators=(',', ':'))}, theirs [64,96]"
    )
    assert total == "0 of 1 plans match"


def test_an_unknown_planner_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = {"transpose_forward": [0, 1, 2], "configurations": {}}
    assert main([str(write(tmp_path, CASE | {"plans": {"huge": empty}}))]) == 2
    assert "no planner 'huge'" in capsys.readouterr().err


def test_an_unknown_option_is_an_error() -> None:
    with pytest.raises(ValueError, match="no option @twice of planner plain"):
        recipe_of("plain@twice", None)


def test_golden_records_hold_what_the_file_holds(tmp_path: Path) -> None:
    case = made_by_us(tmp_path)
    assert main([str(write(tmp_path, case)), "--golden", str(tmp_path / "golden")]) == 0
    golden = read_record(tmp_path / "golden" / "belly.json", GoldenPlans)
    assert [label.role for label in golden.fingerprint.labels] == ["foreground", "foreground", "ignore"]
    names = [configuration.name for configuration in golden.plans[0].configurations]
    assert names == ["2d", "3d_cascade_fullres", "3d_fullres", "3d_lowres"]
    assert golden.plans[0].configurations[1].previous == "3d_lowres"
