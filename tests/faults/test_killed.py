"""Commands killed anywhere, or short of room: what has a final name is complete, and calling again completes the rest.

The whole of it, every operation of every command among them, is `python -m benchmarks.faults`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
JOBS = ("predict", "predict-probabilities", "preprocess", "train")


def tried(work: Path, job: str, *how: str) -> dict:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    for module, arguments in (("jobs", (job,)), ("kill_points", (job, *how))):
        done = subprocess.run(
            [sys.executable, "-m", f"tests.faults.{module}", str(work), *arguments],
            cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["wrong"] == []
    return found


@pytest.mark.slow
def test_killed_at_some_operations_of_predict_nothing_is_half_there_and_the_rerun_completes(tmp_path):
    found = tried(tmp_path, "predict", "operations", "3", "17")
    assert set(found["kinds"]) >= {"open", "write", "half a write", "fsync", "replace", "mkdir"}
    assert found["killed"] >= found["tries"] - 1  # the order of two threads moves the last operation
    assert found["tries"] >= 4


@pytest.mark.faults
@pytest.mark.parametrize("job", JOBS)
def test_killed_at_many_operations_nothing_is_half_there_and_the_rerun_completes(tmp_path, job):
    found = tried(tmp_path, job, "operations", "1", "5")
    assert found["killed"] >= found["tries"] - 3
    assert found["tries"] >= 10


@pytest.mark.faults
@pytest.mark.parametrize("job", JOBS)
def test_killed_at_random_moments_nothing_is_half_there_and_the_rerun_completes(tmp_path, job):
    found = tried(tmp_path, job, "moments", "0", "8")
    assert found["killed"] == 8


@pytest.mark.faults
@pytest.mark.parametrize("job", JOBS)
def test_a_full_disk_leaves_no_damaged_file_and_the_rerun_completes(tmp_path, job):
    found = tried(tmp_path, job, "limits", "0", "8")
    assert found["codes"].get("4", 0) >= 4


@pytest.mark.faults
def test_asked_to_leave_or_to_finish_a_training_is_saved_and_gone(tmp_path):
    assert tried(tmp_path, "train", "signals", "0", "4")["slowest_s"] < 20


@pytest.mark.faults
def test_five_folds_started_at_once_are_all_in_the_model(tmp_path):
    tried(tmp_path, "train", "together", "0", "2")
