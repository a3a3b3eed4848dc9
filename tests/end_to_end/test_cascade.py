"""A cascade by the command line: coarse networks in every fold, then one that sees what they predicted out of fold."""

from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest
import torch

from autoseg import cli
from autoseg.core.records import read_record
from autoseg.core.workspace import Workspace
from autoseg.datasets.dataset import Folds
from autoseg.imaging.read import read_label
from autoseg.imaging.selection import Selection
from autoseg.imaging.store import CaseStore
from autoseg.learning.model_files import load_model_record, load_network
from autoseg.steps import plan as planning
from planners.recipe import RECIPES
from tests.end_to_end.conftest import write_dataset

pytestmark = pytest.mark.slow

AUTO = RECIPES["auto"]
COARSE_FIRST = replace(
    AUTO,
    name="coarse-first",
    feature_choices=(8, 4),
    patch_coverage_min=1.0,
    structure_voxels_min=8.0,
    volume=replace(
        AUTO.volume, stages_max=3, patch_voxels_max=4096, patch_voxels_comfortable=4096, patch_voxels_min=512
    ),
)
"""Patches so small that the planner wants a coarser network for images of 11x34x34 voxels."""


def run(*arguments):
    assert cli.run([str(argument) for argument in arguments]) == 0


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    root = tmp_path_factory.mktemp("cascade")
    dataset = write_dataset(root / "tiny", 6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "RECIPES", MappingProxyType({**RECIPES, "coarse-first": COARSE_FIRST}))
        arguments = ["--recipe", "coarse-first", "--configurations", "3d_cascade_fullres", "--steps", "40"]
        run("plan-and-train", dataset, "--workspace", root / "w", *arguments, "--device", "cpu")
    return Workspace(root / "w")


def test_the_stage_before_is_trained_in_every_fold_and_the_cascade_in_one(workspace):
    trained = {path.parent.relative_to(workspace.root).as_posix() for path in workspace.root.rglob("training.json")}
    lowres = {f"training/3d_lowres/fold_{fold}" for fold in range(5)}
    assert trained == lowres | {"training/3d_cascade_fullres/fold_0"}
    assert read_record(workspace.selection, Selection).configurations == ("3d_cascade_fullres",)
    assert load_model_record(workspace.model).predicting == ("3d_cascade_fullres",)
    network = load_network(workspace.model, "3d_cascade_fullres", 0, torch.device("cpu")).module
    assert network.encoder[0][0][0].weight.shape[1] == 1 + 4  # the image and a channel for each of four structures


def test_each_case_shows_what_the_network_that_had_not_seen_it_predicted(workspace):
    store = CaseStore(workspace.preprocessed("3d_cascade_fullres"))
    seen = 0
    for index, fold in enumerate(read_record(workspace.folds, Folds).folds):
        for name in fold.validation:
            predicted = read_label(workspace.validation("3d_lowres", index) / f"{name}.nii.gz").array[0]
            mapping = store.mapping(name)
            stored = store.read_label(name, (0, 0, 0), store.shape(name))
            assert stored.shape[0] == 2
            np.testing.assert_array_equal(np.maximum(stored[1], 0), mapping.label_to_network(predicted))
            seen += int((predicted > 0).sum())
    assert len(store.names) == 6
    assert seen


def test_new_cases_are_predicted_by_both_stages(workspace, tmp_path):
    images = workspace.root.parent / "tiny" / "images"
    for names in ("3d_cascade_fullres", "3d_lowres"):
        run("predict", images, "--model", workspace.root, "-o", tmp_path / names, "--configurations", names)
    files = sorted(path.name for path in (tmp_path / "3d_lowres").glob("*.nii.gz"))
    assert len(files) == 6
    differ = [
        (read_label(tmp_path / "3d_cascade_fullres" / n).array != read_label(tmp_path / "3d_lowres" / n).array).any()
        for n in files
    ]
    assert any(differ)


def test_a_second_fold_of_the_cascade_uses_what_is_there(workspace, capsys):
    run("train", workspace.root, "--configurations", "3d_lowres,3d_cascade_fullres", "--fold", 1, "--steps", 40)
    said = capsys.readouterr().err
    assert "also trains 3d_lowres fold 0, 2, 3, 4" in said
    assert "3d_lowres fold 0: step" not in said  # finished before
    assert (workspace.validation("3d_cascade_fullres", 1) / "scores.json").is_file()
    assert cli.run(["verify", str(workspace.root)]) == 0
