"""Another model's weights by the command line: what is taken is told, and thirty steps go further than from nothing."""

import json

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from autoseg import cli
from autoseg.core.records import read_record
from autoseg.core.workspace import Workspace
from autoseg.imaging.phantom import phantom_case
from autoseg.imaging.write import write_image, write_label
from autoseg.learning.model_files import load_model_record
from autoseg.steps.train import TrainingRecord
from planners.plan import Plan
from tests.end_to_end.conftest import write_dataset

STEPS = 30


def run(*arguments):
    assert cli.run([*map(str, arguments), "--device", "cpu"]) == 0


def write_other(folder, cases):
    """Write cases with two channels whose structures have other names: bone (vertebra), kidney and no others."""
    for seed in range(50, 50 + cases):
        image, label = phantom_case(seed, slices=(10, 12), edge=(32, 36))
        for channel in range(2):
            write_image(folder / "imagesTr" / f"case_{seed}_{channel:04d}.nii.gz", image)
        values = np.array([0, 0, 2, 1, 0], np.uint8)[label.array[0]]
        write_label(
            folder / "labelsTr" / f"case_{seed}.nii.gz", values, folder / "imagesTr" / f"case_{seed}_0000.nii.gz"
        )
    names = {"channel_names": {"0": "CT", "1": "again"}, "labels": {"background": 0, "bone": 1, "label_2": 2}}
    (folder / "dataset.json").write_text(json.dumps({**names, "numTraining": cases, "file_ending": ".nii.gz"}))
    return folder


@pytest.mark.slow
def test_other_labels_and_channels_begin_with_a_model_and_say_how(tiny_run, tmp_path, capsys):
    other = write_other(tmp_path / "other", 5)
    arguments = ["--from", tiny_run.workspace, "--steps", 2]
    run("plan-and-train", other, "--workspace", tmp_path / "w", *arguments)
    said = capsys.readouterr().err
    assert "begins with the model tiny.autoseg of tiny: 3d_fullres fold 0" in said
    workspace = Workspace(tmp_path / "w")
    theirs, ours = (read_record(place / "plan.json", Plan) for place in (tiny_run.workspace, workspace.root))
    assert [each.name for each in ours.configurations] == ["3d_fullres"]
    assert ours.configurations[0].stages == theirs.configuration("3d_fullres").stages
    assert ours.configurations[0].spacing_mm == theirs.configuration("3d_fullres").spacing_mm
    (network,) = load_model_record(workspace.model).networks
    assert "head of label_2" in network.started.taken
    assert network.started.fresh == ("head of bone (the model has no such label)",)
    assert "head of label_1 (no label here)" in network.started.ignored
    assert network.started.adapted[0].startswith("stem (2 channels of 1")
    assert "head of bone (the model has no such label)" in workspace.report.read_text(encoding="utf-8")
    before = read_record(workspace.training("3d_fullres", 0) / "training.json", TrainingRecord)
    run("plan-and-train", other, "--workspace", tmp_path / "w", *arguments)  # nothing is trained anew
    assert read_record(workspace.training("3d_fullres", 0) / "training.json", TrainingRecord) == before


def test_what_is_no_model_is_refused_by_name(tiny_run, tmp_path, capsys):
    place = tmp_path / "nothing"
    arguments = ["plan-and-train", str(tiny_run.dataset), "--workspace", str(tmp_path / "w"), "--steps", "2"]
    assert cli.run([*arguments, "--from", str(place)]) == 2
    assert f"--from {place}: nothing there" in capsys.readouterr().err
    place.write_text("no weights")
    assert cli.run([*arguments, "--from", str(place)]) == 2
    assert "not weights alone" in capsys.readouterr().err


@pytest.mark.slow
def test_thirty_steps_from_a_model_beat_thirty_from_nothing(tmp_path):
    source, target = write_dataset(tmp_path / "source", 10), write_other(tmp_path / "target", 6)
    run("plan-and-train", source, "--workspace", tmp_path / "model", "--steps", 80)
    run("plan-and-train", target, "--workspace", tmp_path / "scratch", "--steps", STEPS)
    run("plan-and-train", target, "--workspace", tmp_path / "tuned", "--steps", STEPS, "--from", tmp_path / "model")
    scratch, tuned = (load_model_record(tmp_path / name / "model").networks[0] for name in ("scratch", "tuned"))
    assert tuned.validation_dice > scratch.validation_dice + 0.02, (tuned.validation_dice, scratch.validation_dice)


@pytest.mark.slow
def test_a_training_begins_with_an_encoder_in_a_file(tiny_run, tmp_path, capsys):
    weights = load_file(tiny_run.workspace / "model" / "3d_fullres-fold_0.safetensors")
    save_file({n: t for n, t in weights.items() if n.startswith("encoder.")}, tmp_path / "encoder.safetensors")
    run("plan-and-train", tiny_run.dataset, "--workspace", tmp_path / "w", "--steps", 2)
    run("train", tmp_path / "w", "--steps", 2, "--from", tmp_path / "encoder.safetensors")
    assert "begins with the encoder in encoder.safetensors" in capsys.readouterr().err
    (network,) = load_model_record(tmp_path / "w" / "model").networks
    assert network.started.taken == ("encoder",)
    assert "decoder (the file has an encoder to begin with)" in network.schedule
