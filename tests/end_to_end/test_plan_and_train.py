"""The whole way, small: a folder in, a model, a report and segmentations out."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

import autoseg
from autoseg import cli
from autoseg.core.records import read_record
from autoseg.core.workspace import Workspace
from autoseg.imaging.phantom import phantom_case
from autoseg.imaging.read import read_label
from autoseg.steps.train import TrainingRecord
from tests.end_to_end.conftest import STEPS, write_case, write_dataset


def stamps(folder):
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_folder_becomes_a_model_a_report_and_scores(tiny_run):
    workspace = Workspace(tiny_run.workspace)
    assert tiny_run.result["schema"] == "autoseg.run/1"
    assert [network["steps"] for network in tiny_run.result["networks"]] == [STEPS]
    assert (workspace.model / "model.json").is_file()
    page = workspace.report.read_text(encoding="utf-8")
    assert "not a diagnosis" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    scores = json.loads((workspace.validation("3d_fullres", 0) / "scores.json").read_text())
    assert len(scores["cases"]) == tiny_run.result["networks"][0]["validation_cases"] == 1


def test_nothing_is_written_into_the_dataset(tiny_run):
    assert {path.parent.name for path in tiny_run.dataset.rglob("*") if path.is_file()} == {"images", "labels"}


def test_a_second_call_skips_everything_that_is_finished(tiny_run, capsys):
    before = stamps(tiny_run.workspace)
    assert cli.run(tiny_run.arguments) == 0
    after = stamps(tiny_run.workspace)
    changed = {path.name for path in after if after[path] != before.get(path)}
    rewritten = {
        "run.jsonl",
        "report.html",
        "dataset.json",
        "inspection.json",
        "model.json",
        "plan.json",
        "budget.json",
        "selection.json",
        "inspect.html",
        "previews.json",
        "manifest.json",
        "training_cases.json",
        "calibration.json",
        "quality.json",
        "suspects.json",
    }
    assert changed <= rewritten | {"fingerprint.json"}
    assert "step 5" not in capsys.readouterr().err


def test_new_cases_are_segmented_on_their_own_grid_and_scored(tiny_run, tmp_path, capsys):
    write_case(tmp_path / "new", 77)
    arguments = ["--model", str(tiny_run.workspace), "--output", str(tmp_path / "out"), "--device", "cpu"]
    assert cli.run(["predict", str(tmp_path / "new" / "images"), *arguments]) == 0
    prediction = read_label(tmp_path / "out" / "case_77.nii.gz")
    reference = read_label(tmp_path / "new" / "labels" / "case_77.nii.gz")
    assert prediction.grid == reference.grid
    assert "not a diagnosis" in (tmp_path / "out" / "measurements.csv").read_text()
    assert cli.run(["evaluate", str(tmp_path / "out"), str(tmp_path / "new" / "labels"), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out.partition("{\n")[2].join(["{\n", ""]))
    assert len(scores["cases"]) == 1


def test_the_same_from_python(tiny_run):
    model = autoseg.load_model(tiny_run.workspace, device="cpu")
    image, _ = phantom_case(78, slices=(10, 12), edge=(32, 36))
    labels = model.predict(image.array[0], image.grid.spacing_mm)
    assert labels.shape == image.array.shape[1:]
    assert set(np.unique(labels)) <= {0, *(value for _, value in model.labels)}
    again = autoseg.plan_and_train(tiny_run.dataset, workspace=tiny_run.workspace, steps=STEPS, device="cpu")
    assert again.model == tiny_run.result["model"]


def test_a_model_says_what_it_is(tiny_run, capsys):
    assert cli.run(["show", str(tiny_run.workspace)]) == 0
    shown = capsys.readouterr().out
    assert "label_1, label_2, label_3, label_4" in shown
    assert "validation Dice" in shown
    assert "not a diagnosis" in shown


def test_a_moved_model_still_predicts(tiny_run, tmp_path):
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for path in (tiny_run.workspace / "model").iterdir():
        (moved / path.name).write_bytes(path.read_bytes())
    image, _ = phantom_case(79, slices=(10, 12), edge=(32, 36))
    one = autoseg.load_model(moved, device="cpu").predict(image.array, image.grid.spacing_mm)
    other = autoseg.load_model(tiny_run.workspace, device="cpu").predict(image.array, image.grid.spacing_mm)
    np.testing.assert_array_equal(one, other)


def test_one_seed_gives_identical_weights(tiny_run, tmp_path):
    dataset = write_dataset(tmp_path / "tiny", 6)
    arguments = ["--workspace", str(tmp_path / "again"), "--steps", str(STEPS), "--device", "cpu"]
    assert cli.run(["plan-and-train", str(dataset), *arguments]) == 0
    name = "3d_fullres-fold_0.safetensors"
    first, second = load_file(tiny_run.workspace / "model" / name), load_file(tmp_path / "again" / "model" / name)
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[key], second[key]) for key in first)
    training = [
        Workspace(w).training("3d_fullres", 0) / "training.json" for w in (tiny_run.workspace, tmp_path / "again")
    ]
    identities = {read_record(path, TrainingRecord).identity for path in training}
    assert len(identities) == 1


def test_a_workspace_of_another_dataset_is_refused(tiny_run, tmp_path, capsys):
    other = write_dataset(tmp_path / "other", 2)
    assert cli.run(["plan-and-train", str(other), "--workspace", str(tiny_run.workspace), "--steps", "5"]) == 2
    assert f"this workspace belongs to {tiny_run.dataset}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "line"),
    [
        (["--configurations", "3d_fulres"], "did you mean 3d_fullres?"),
        (["--folds", "7,"], "there are 5 folds, numbered from 0"),
        (["--recipe", "nnunett"], "did you mean nnunet?"),
        (["--budget", "5m"], "give one of them"),
    ],
)
def test_a_wrong_wish_is_one_line_and_exit_code_2(tiny_run, extra, line, capsys):
    assert cli.run([*tiny_run.arguments, *extra]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert line in error
