"""A workspace keeps its split: whoever trains on it later goes on with the same cases held out."""

import shutil
from dataclasses import replace

import pytest

from autoseg import cli, groundwork
from autoseg.core.records import read_record
from autoseg.core.workspace import Workspace, WorkspaceRecord
from autoseg.datasets.dataset import Dataset, Folds
from autoseg.datasets.splits import is_split_of
from autoseg.learning.model_files import load_model_record
from autoseg.steps.train import TrainingRecord

STEPS = ("--steps", "3", "--device", "cpu")
FOLD_0 = "training/3d_fullres/fold_0/training.json"


def run(capsys, *tokens):
    code = cli.run([str(token) for token in tokens])
    return code, capsys.readouterr().err


@pytest.fixture
def finished(tiny_run, tmp_path, monkeypatch, capsys):
    """A workspace as one call makes it of many cases: more splits than `train` would make, and a seed of its own."""
    monkeypatch.setattr(groundwork, "HELD_OUT_OF_MANY", 1)
    root = tmp_path / "w"
    assert run(capsys, "plan-and-train", tiny_run.dataset, "--workspace", root, *STEPS, "--seed", 3)[0] == 0
    assert len(read_record(root / "folds.json", Folds).folds) == 6
    return Workspace(root)


def test_train_on_a_workspace_that_plan_and_train_made_keeps_its_folds_and_goes_on(finished, capsys):
    before = finished.folds.read_bytes()
    record = read_record(finished.root / FOLD_0, TrainingRecord)
    assert run(capsys, "train", finished.root, *STEPS)[0] == 0
    assert finished.folds.read_bytes() == before
    assert read_record(finished.root / FOLD_0, TrainingRecord) == record  # finished before, so not trained again
    assert run(capsys, "train", finished.root, *STEPS, "--fold", 5)[0] == 0
    assert finished.folds.read_bytes() == before
    networks = load_model_record(finished.model).networks
    assert [(network.fold, network.seed) for network in networks] == [(0, 3), (5, 3)]
    code, err = run(capsys, "train", finished.root, *STEPS, "--fold", 6)
    assert (code, err.splitlines()[-1]) == (
        2,
        "error: fold 6: there are 6 folds, numbered from 0; choose among them",
    )


def test_the_same_command_without_its_seed_finds_everything_done(tiny_run, finished, capsys):
    before = (finished.root / FOLD_0).read_bytes()
    assert run(capsys, "plan-and-train", tiny_run.dataset, "--workspace", finished.root, *STEPS)[0] == 0
    assert (finished.root / FOLD_0).read_bytes() == before
    assert read_record(finished.record, WorkspaceRecord).seed == 3


def test_networks_of_another_split_leave_the_model(tiny_run, tmp_path, capsys):
    root = tmp_path / "w"
    shutil.copytree(tiny_run.workspace, root)
    assert run(capsys, "train", root, *STEPS, "--fold", 1)[0] == 0
    assert len(load_model_record(root / "model").networks) == 2
    again = ("plan-and-train", tiny_run.dataset, "--workspace", root, *STEPS, "--seed", 9)
    assert run(capsys, *again)[0] == 0
    assert [(network.fold, network.seed) for network in load_model_record(root / "model").networks] == [(0, 9)]


def test_a_dataset_that_grew_is_split_anew(finished):
    folds = read_record(finished.folds, Folds)
    dataset = read_record(finished.dataset, Dataset)
    assert is_split_of(folds, dataset)
    case = dataset.cases[0]
    assert not is_split_of(folds, replace(dataset, cases=(*dataset.cases, replace(case, name="new"))))
    torn = tuple(replace(each, group="one" if at < 2 else each.group) for at, each in enumerate(dataset.cases))
    assert not is_split_of(folds, replace(dataset, cases=torn))
