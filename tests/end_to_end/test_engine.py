"""What the training engine does in a whole workspace: look before it trains, remember its memory, work together."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from autoseg import cli
from autoseg.core.records import read_record, write_record
from autoseg.core.workspace import Workspace
from autoseg.learning.training_task import Hooks, TrainingTask
from autoseg.steps import train as step
from planners.recipe import Machine

ROOT = Path(__file__).parents[2]


class ReachedError(Exception):
    """The training would begin now."""


@pytest.fixture
def workspace(tiny_run, tmp_path) -> Workspace:
    """A copy of the finished run, as if nothing had been trained."""
    copy = Workspace(tmp_path / tiny_run.workspace.name)
    shutil.copytree(tiny_run.workspace, copy.root)
    shutil.rmtree(copy.root / "training")
    return copy


def begun(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[TrainingTask, Hooks]:
    """Return what `autoseg train` would begin to train."""
    found: list[tuple[TrainingTask, Hooks]] = []

    def begin(task: TrainingTask, _: object, hooks: Hooks) -> None:
        found.append((task, hooks))
        hooks.begin()
        raise ReachedError

    monkeypatch.setattr(step, "train_network", begin)
    assert cli.run(["train", str(workspace.root), "--device", "cpu", *arguments]) == 70
    return found[0]


def test_a_batch_that_memory_did_not_hold_is_halved_by_every_later_training(workspace, monkeypatch, capsys):
    task, hooks = begun(workspace, monkeypatch, "--steps", "3")
    assert task.parts == 1
    hooks.halved()
    assert read_record(workspace.machine, Machine).halved == ("3d_fullres",)
    again, _ = begun(workspace, monkeypatch, "--steps", "3")
    assert (again.parts, again.identity) == (2, task.identity)
    assert "health check" not in capsys.readouterr().err  # fixed steps need no clock


@pytest.mark.slow
def test_a_budget_begins_with_a_look_at_one_case(workspace, monkeypatch, capsys):
    task, _ = begun(workspace, monkeypatch, "--budget", "3m")
    assert task.seconds == 180
    said = capsys.readouterr().err
    assert "health check: case_0" in said or "ReachedError" in said
    assert "warning: label" not in said


@pytest.mark.slow
def test_torchrun_trains_one_network_in_two_processes(workspace):
    machine = read_record(workspace.machine, Machine)
    write_record(workspace.machine, replace(machine, bf16=False))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, "-m", "autoseg.cli", "train", str(workspace.root), "--steps", "4", "--device", "cpu"]
    made = subprocess.run(
        ["env", f"PYTHONPATH={ROOT}", *command], capture_output=True, encoding="utf-8", timeout=400, check=False
    )
    assert made.returncode == 0, made.stderr
    assert made.stdout.count("4 steps in") == 1  # one process speaks
    assert made.stderr.count("step 4, 100 %") == 1
    record = read_record(workspace.training("3d_fullres", 0) / "training.json", step.TrainingRecord)
    assert (record.finished, record.steps) == (True, 4)
    assert (workspace.model / "model.json").is_file()
