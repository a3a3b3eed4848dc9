"""Stopping at any moment leaves a model that predicts; the same command goes on, and a wish to finish is followed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from autoseg import cli, pipeline
from autoseg.core.records import read_record, write_record
from autoseg.core.stopping import StoppedError
from autoseg.core.workspace import Workspace, open_workspace
from autoseg.learning.model_files import ModelRecord
from autoseg.steps.train import TrainingRecord
from planners.recipe import Machine
from tests.end_to_end.conftest import write_case, write_dataset

STEPS = 100
AUTOSEG = (sys.executable, "-m", "autoseg.cli")


def command(root: Path) -> list[str]:
    arguments = ["--workspace", str(root / "w"), "--steps", str(STEPS), "--device", "cpu"]
    return ["plan-and-train", str(root / "tiny"), *arguments]


def once_training(root: Path, action, seconds: float = 240) -> None:
    """Do `action` when an epoch more than now is over."""
    log = Workspace(root / "w").training("3d_fullres", 0) / "progress.jsonl"

    def epochs() -> int:
        return len(log.read_text().splitlines()) if log.exists() else 0

    before, deadline = epochs(), time.monotonic() + seconds
    while epochs() <= before and time.monotonic() < deadline:
        time.sleep(0.02)
    action()


def training(root: Path) -> TrainingRecord:
    return read_record(Workspace(root / "w").training("3d_fullres", 0) / "training.json", TrainingRecord)


def model(root: Path) -> ModelRecord:
    return read_record(root / "w" / "model" / "model.json", ModelRecord)


def check_unfinished(root: Path, capsys) -> None:
    """What a stop left is marked, is shown, and predicts."""
    record = training(root)
    assert (record.finished, record.network.finished, record.network.validation_dice) == (False, False, None)
    assert 0 < record.steps < STEPS
    assert f"stopped at step {record.steps}" in record.schedule
    (network,) = model(root).networks
    assert network == record.network
    assert {p.name for p in (root / "w" / "model").glob("*.safetensors")} == {network.file}
    assert cli.run(["show", str(root / "w")]) == 0
    assert "unfinished: training was stopped; the same command goes on" in capsys.readouterr().out
    write_case(root / "new", 77)
    arguments = ["--model", str(root / "w"), "--output", str(root / "out"), "--device", "cpu"]
    assert cli.run(["predict", str(root / "new" / "images"), *arguments]) == 0
    assert (root / "out" / "case_77.nii.gz").is_file()
    assert f"training was stopped after {record.steps} steps" in capsys.readouterr().err


def check_finished(root: Path) -> None:
    """A wish to finish ends with an annealed, validated model and a report."""
    record = training(root)
    assert record.finished
    assert record.asked_to_finish
    assert record.steps < STEPS
    assert record.network.validation_dice is not None
    assert "because asked to finish after" in record.schedule
    (network,) = model(root).networks
    assert (network.finished, network.file) == (True, "3d_fullres-fold_0.safetensors")
    assert {p.name for p in (root / "w" / "model").glob("*.safetensors")} == {network.file}
    assert "because asked to finish after" in (root / "w" / "report.html").read_text(encoding="utf-8")
    last = json.loads((root / "w/training/3d_fullres/fold_0/progress.jsonl").read_text().splitlines()[-1])
    assert last["step"] == record.steps
    assert last["learning_rate"] < 0.2 * 2e-3


def test_a_stop_leaves_a_model_that_predicts(tmp_path, capsys):
    write_dataset(tmp_path / "tiny", 6)
    stopper = threading.Thread(target=once_training, args=(tmp_path, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    stopper.start()
    assert cli.run(command(tmp_path)) == 128 + signal.SIGTERM
    stopper.join()
    said = capsys.readouterr().err
    assert "predicts with what was learned so far, neither annealed nor validated" in said
    assert "error: stopped by SIGTERM; run the same command again to go on" in said
    check_unfinished(tmp_path, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("wish", ["STOP", "SIGUSR1"])
def test_a_stopped_process_goes_on_and_a_wish_to_finish_ends_it_well(tmp_path, capsys, wish):
    write_dataset(tmp_path / "tiny", 6)
    stop, log = tmp_path / "w" / "STOP", tmp_path / "log"

    def started() -> "subprocess.Popen[bytes]":
        with log.open("wb") as sink:
            return subprocess.Popen([*AUTOSEG, *command(tmp_path)], stderr=sink, stdout=subprocess.DEVNULL)

    process = started()
    once_training(tmp_path, lambda: os.kill(process.pid, signal.SIGTERM))
    began = time.monotonic()
    assert process.wait(timeout=240) == 143, log.read_text()
    assert time.monotonic() - began < 20
    check_unfinished(tmp_path, capsys)
    stopped_at = training(tmp_path).steps
    stop.touch()  # meant for the call before: it is removed, not followed
    process = started()
    once_training(tmp_path, stop.touch if wish == "STOP" else lambda: os.kill(process.pid, signal.SIGUSR1))
    assert process.wait(timeout=240) == 0, log.read_text()
    assert "STOP: left from an earlier call, removed" in log.read_text()
    assert not stop.exists()
    check_finished(tmp_path)
    assert training(tmp_path).steps > stopped_at
    model_before = (tmp_path / "w" / "model" / "model.json").read_bytes()
    assert cli.run(command(tmp_path)) == 0
    assert (tmp_path / "w" / "model" / "model.json").read_bytes() == model_before


def test_plan_and_train_says_when_a_budget_is_too_small_before_it_trains(tmp_path, monkeypatch, capsys):
    workspace = open_workspace(tmp_path / "w", write_dataset(tmp_path / "tiny", 4), 0)
    slow = Machine(device="cpu", cores=1, memory_bytes=8 << 30, bf16=False, flops_per_s=1e9)
    write_record(workspace.machine, slow)

    def stop(*_: object) -> None:
        raise StoppedError(signal.SIGTERM)

    monkeypatch.setattr(pipeline, "train_networks", stop)
    arguments = ["--workspace", str(tmp_path / "w"), "--device", "cpu"]
    assert cli.run(["plan-and-train", str(tmp_path / "tiny"), "--budget", "90s", *arguments]) == 143
    said = capsys.readouterr().err
    assert "warning: budget 1m30s: too small for any sensible model here" in said
    smallest = said.partition("the smallest that works is --budget ")[2].split()[0]
    assert cli.run(["plan-and-train", str(tmp_path / "tiny"), "--budget", smallest, *arguments]) == 143
    assert "too small" not in capsys.readouterr().err
