"""`autoseg predict` killed anywhere: what has a final name is complete, and calling again completes the rest."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import torch

from autoseg.core.plans import read_plan
from autoseg.core.records import write_record
from autoseg.learning.model_files import TrainedNetwork, load_model_record, plan_outputs, save_network
from autoseg.learning.network import build_network
from tests.steps.test_predict import make_model, save

ROOT = Path(__file__).parents[2]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A model with random weights, and three images: label maps of noise, so that a file takes several writes."""
    folder = make_model(tmp_path / "model")
    plan = read_plan(folder / "plan.json")
    torch.manual_seed(0)
    (planned,) = plan.configurations
    module = build_network(planned, 1, plan_outputs(plan)).eval()
    trained = TrainedNetwork(
        configuration=planned.name, fold=0, module=module, steps=1, seconds=1.0, validation_dice=None
    )
    network = save_network(folder, trained)
    write_record(folder / "model.json", replace(load_model_record(folder), networks=(network,)))
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        save(tmp_path / "images" / f"{name}.nii.gz", random.integers(0, 99, (40, 36, 12)).astype(np.int16))
    noise = SimpleITK.GetImageFromArray(random.integers(0, 99, (12, 36, 40)).astype(np.int16))
    SimpleITK.WriteImage(noise, tmp_path / "images" / "c.nrrd")
    return tmp_path


def killed(work: Path, *how: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.kill_points", str(work), *how],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["wrong"] == []
    return found


def test_killed_at_some_operations_nothing_is_half_there_and_the_rerun_completes(work):
    found = killed(work, "operations", "3", "13")
    assert set(found["kinds"]) >= {"open", "write", "half a write", "fsync", "replace", "mkdir"}
    assert found["killed"] >= found["tries"] - 1  # the order of two threads moves the last operation
    assert found["tries"] >= 5


@pytest.mark.slow
def test_killed_at_every_operation_nothing_is_half_there_and_the_rerun_completes(work):
    found = killed(work, "operations", "1", "1")
    assert found["killed"] >= found["tries"] - 3
    assert found["tries"] == sum(found["kinds"].values())


@pytest.mark.slow
def test_killed_at_thirty_random_moments_nothing_is_half_there_and_the_rerun_completes(work):
    found = killed(work, "moments", "0", "30")
    assert found["tries"] == 30
    assert found["killed"] >= 20
