"""A finished network is trained on: kept when it validates no worse, and the old model stays when it does not."""

import json
import shutil
from dataclasses import replace

import pytest

from autoseg import cli, continuing
from autoseg.core.errors import AutosegError
from autoseg.core.records import read_record, write_record
from autoseg.core.runtime import digest_file
from autoseg.core.scores import Scores
from autoseg.core.workspace import Workspace
from autoseg.learning.model_files import load_model_record
from autoseg.options import parse_more
from autoseg.steps.train import TrainingRecord
from planners.recipe import Budget


@pytest.fixture
def workspace(tiny_run, tmp_path):
    shutil.copytree(tiny_run.workspace, tmp_path / "w")
    return Workspace(tmp_path / "w")


def more(workspace, *arguments):
    return cli.run(["train", str(workspace.root), "--more", *map(str, arguments), "--device", "cpu", "--json"])


def record_of(workspace):
    return read_record(workspace.training("3d_fullres", 0) / "training.json", TrainingRecord)


def dice_of(workspace):
    return read_record(workspace.validation("3d_fullres", 0) / "scores.json", Scores).summary().mean


@pytest.mark.slow
def test_a_network_that_gets_better_replaces_the_one_before(workspace, tiny_run, capsys):
    before, dice_before = record_of(workspace), dice_of(workspace)
    assert more(workspace, 20) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["steps"], made["kept"], made["dice_before"]) == (20, True, dice_before)
    after = record_of(workspace)
    assert after.steps == before.steps + 20
    assert after.identity == before.identity
    assert after.network.validation_dice == made["dice_after"] == dice_of(workspace) > dice_before
    assert "; then adamw, poly decay from 0.001 over 20 steps" in after.schedule
    (network,) = load_model_record(workspace.model).networks
    assert network == after.network
    assert [path.name for path in workspace.model.glob("*.safetensors")] == [network.file]
    assert digest_file(workspace.model / network.file) == network.sha256
    assert not (workspace.training("3d_fullres", 0) / "more").exists()
    assert cli.run(["verify", str(workspace.root)]) == 0
    again = [*tiny_run.arguments[:3], str(workspace.root), *tiny_run.arguments[4:]]
    assert cli.run(again) == 0  # finds it finished
    assert record_of(workspace) == after


@pytest.mark.slow
def test_a_network_that_gets_worse_is_not_taken(workspace, capsys, monkeypatch):
    monkeypatch.setattr(continuing, "_dice", lambda *_: 0.999)
    before = {p: digest_file(p) for p in workspace.model.iterdir() if p.is_file()}
    assert more(workspace, "2s") == 0
    assert json.loads(capsys.readouterr().out)["kept"] is False
    assert {p: digest_file(p) for p in workspace.model.iterdir() if p.is_file()} == before
    made = read_record(workspace.training("3d_fullres", 0) / "more.json", continuing.Continuations).made
    assert [each.kept for each in made] == [False]
    assert "so the model keeps the network it had" in continuing.describe(made[0])


def test_only_a_finished_network_is_trained_on(workspace, capsys):
    assert more(workspace, 5, "--fold", 3) == 2
    assert "3d_fullres fold 3: has not been trained; train it without --more first" in capsys.readouterr().err
    path = workspace.training("3d_fullres", 0) / "training.json"
    write_record(path, replace(record_of(workspace), finished=False))
    assert more(workspace, 5) == 2
    assert "3d_fullres fold 0: is not finished" in capsys.readouterr().err
    assert more(workspace, 5, "--steps", 5) == 2
    assert "goes with no --budget, --steps or --from" in capsys.readouterr().err


def test_more_is_a_time_or_a_number_of_steps():
    assert parse_more("500") == Budget(steps=500)
    assert parse_more("10m") == Budget(seconds=600.0)
    for wrong in ("none", "0", "ten"):
        with pytest.raises(AutosegError, match=f"--more {wrong}: neither a time nor steps"):
            parse_more(wrong)
