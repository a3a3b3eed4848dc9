"""`--deterministic` with a fixed number of steps: two runs on a CPU are equal to the last bit."""

import shutil
from dataclasses import replace

import pytest
import torch

from autoseg import cli
from autoseg.core.records import read_record, write_record
from autoseg.core.runtime import digest_file
from autoseg.learning.repeatable import CUBLAS_CONFIG, repeatable
from autoseg.steps.train import TrainingRecord
from planners.recipe import Machine


def trained(source, root, *, bf16):
    """Train anew in a copy of a workspace whose machine was measured to be faster in bfloat16, or not."""
    shutil.copytree(source, root, ignore=shutil.ignore_patterns("training", "validation", "model"))
    machine = read_record(root / "machine.json", Machine)
    write_record(root / "machine.json", replace(machine, bf16=bf16))
    assert cli.run(["train", str(root), "--steps", "3", "--device", "cpu", "--deterministic"]) == 0
    record = read_record(root / "training/3d_fullres/fold_0/training.json", TrainingRecord)
    maps = sorted((root / "validation/3d_fullres/fold_0").glob("*.nii.gz"))
    assert maps
    return record.identity, record.precision, record.network.sha256, [digest_file(path) for path in maps]


def test_two_runs_with_a_fixed_number_of_steps_give_equal_digests(tiny_run, tmp_path):
    one = trained(tiny_run.workspace, tmp_path / "one", bf16=False)
    assert one == trained(tiny_run.workspace, tmp_path / "two", bf16=True)
    assert one[1] == "float32"
    assert not torch.are_deterministic_algorithms_enabled()


def test_with_a_time_the_clock_decides_and_that_is_said(tiny_run, tmp_path, capsys):
    root = tmp_path / "w"
    shutil.copytree(tiny_run.workspace, root)
    asked = ["train", str(root), "--budget", "2s", "--device", "cpu", "--deterministic", "--fold", "9"]
    assert cli.run(asked) == 2
    assert "warning: --deterministic with a time" in capsys.readouterr().err


def test_what_torch_was_told_is_taken_back(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    with repeatable():
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cudnn.benchmark
    assert torch.backends.cudnn.benchmark
    assert not torch.are_deterministic_algorithms_enabled()


def test_cublas_is_told_to_repeat_itself_before_it_is_loaded(monkeypatch):
    monkeypatch.setattr(cli.sys, "argv", ["autoseg", "train", "nowhere", "--deterministic"])
    monkeypatch.setattr(cli, "run", len)
    told: dict[str, str] = {}
    monkeypatch.setattr(cli.os, "environ", told)
    with pytest.raises(SystemExit):
        cli.main()
    assert told["CUBLAS_WORKSPACE_CONFIG"] == CUBLAS_CONFIG
