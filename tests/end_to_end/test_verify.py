"""`autoseg verify` finds each way in which a file can be other than written, and nothing else."""

import json
import shutil

import pytest

from autoseg import cli
from autoseg.core.errors import AutosegError
from autoseg.verification import describe, verify


@pytest.fixture
def copied(tiny_run, tmp_path):
    workspace = tmp_path / "tiny.autoseg"
    shutil.copytree(tiny_run.workspace, workspace)
    return workspace


def flip(path, position=-20):
    data = bytearray(path.read_bytes())
    data[position] ^= 0xFF
    path.write_bytes(bytes(data))


def only_problem(place):
    (problem,) = verify(place).problems
    return problem


def test_a_finished_workspace_is_as_written(copied, capsys):
    found = verify(copied)
    assert found.problems == ()
    assert found.checked > 20
    assert cli.run(["verify", str(copied)]) == 0
    assert "all as written" in capsys.readouterr().out


@pytest.mark.parametrize(
    "pattern",
    [
        "preprocessed/*/*.image.b2nd",
        "preprocessed/*/*.label.b2nd",
        "preprocessed/*/*.locations.npy",
        "training/*/fold_0/checkpoint-*-1.safetensors",
        "model/*.safetensors",
        "validation/*/fold_0/*.nii.gz",
    ],
)
def test_one_flipped_byte_is_found(copied, pattern, capsys):
    flip(min(copied.glob(pattern)))
    found = verify(copied)
    assert len(found.problems) == 1
    assert cli.run(["verify", str(copied), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["problems"][0]["file"].startswith(str(copied))


@pytest.mark.parametrize(
    "name", ["plan.json", "dataset.json", "fingerprint.json", "folds.json", "machine.json", "provenance.json"]
)
def test_a_cut_record_is_found(copied, name):
    path = copied / name
    if not path.exists():
        pytest.skip(f"{name}: not made by a run of fixed steps")
    path.write_bytes(path.read_bytes()[:-9])
    assert only_problem(copied).file == str(path)


def test_a_missing_weight_file_is_found_in_a_model_alone(copied):
    weights = next((copied / "model").glob("*.safetensors"))
    weights.unlink()
    assert only_problem(copied / "model").what == "missing"


def test_a_damaged_log_line_is_found_and_a_cut_last_one_is_not(copied):
    log = copied / "run.jsonl"
    log.write_bytes(log.read_bytes() + b'{"step": "tra')
    assert verify(copied).problems == ()
    log.write_bytes(b"nonsense\n" + log.read_bytes())
    assert only_problem(copied).what.startswith("line 1")


def test_a_changed_case_of_the_dataset_is_found(copied, tmp_path):
    moved = tmp_path / "tiny"
    record = json.loads((copied / "dataset.json").read_text())
    shutil.copytree(record["folder"], moved, copy_function=shutil.copy2)
    record["folder"] = str(moved)
    (copied / "dataset.json").write_text(json.dumps(record))
    assert verify(copied).problems == ()
    flip(sorted((moved / "images").iterdir())[2])
    problem = only_problem(copied)
    assert problem.what == "case changed since it was read"
    shutil.rmtree(moved)
    assert {found.what for found in verify(copied).problems} != set()


def test_what_a_killed_process_left_is_named(copied):
    (copied / "training" / ".tmp-12-abc.json").write_text("")
    found = verify(copied)
    assert [problem.what for problem in found.problems] == ["left by a killed process"]
    assert "1 not as written" in describe(found)


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(AutosegError, match="nothing to verify here"):
        verify(tmp_path)
