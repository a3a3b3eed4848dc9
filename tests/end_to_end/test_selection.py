"""Two configurations, two folds: what predicts is chosen out of fold, and the model does what was chosen."""

import json

import pytest

from autoseg import cli
from autoseg.core.records import read_record
from autoseg.core.workspace import Workspace
from autoseg.imaging.selection import Selection
from autoseg.learning.model_files import load_model_record
from tests.end_to_end.conftest import write_dataset

pytestmark = pytest.mark.slow


def test_configurations_and_their_ensemble_are_compared_on_all_unseen_cases(tmp_path, capsys):
    dataset = write_dataset(tmp_path / "tiny", 6)
    workspace = Workspace(tmp_path / "tiny.autoseg")
    arguments = ["plan-and-train", str(dataset), "--workspace", str(workspace.root), "--steps", "2", "--device", "cpu"]
    assert cli.run([*arguments, "--folds", "2", "--configurations", "2d,3d_fullres", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    selection = read_record(workspace.selection, Selection)
    names = [each.name for each in selection.choice.candidates]
    assert names == ["3d_fullres", "2d", "3d_fullres+2d"]  # in the order of the plan
    assert selection.choice.n_cases == 2  # each of two folds holds out one
    assert {each.label for each in selection.postprocessing} == {"label_1", "label_2", "label_3", "label_4"}
    assert result["configuration"] == "+".join(selection.configurations)
    model = load_model_record(workspace.model)
    assert model.predicting == selection.configurations
    assert model.postprocessing == selection.changes
    assert "What predicts" in workspace.report.read_text(encoding="utf-8")
    output = tmp_path / "out"
    both = ["--configurations", "3d_fullres,2d"]
    assert cli.run(["predict", str(dataset / "images"), "--model", str(workspace.root), "-o", str(output), *both]) == 0
    assert len(list(output.glob("*.nii.gz"))) == 6
