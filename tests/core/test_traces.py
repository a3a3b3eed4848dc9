"""What the run log says of files, and what it leaves out."""

import hashlib
from pathlib import Path

import pytest

from autoseg.core.errors import AutosegError
from autoseg.core.records import decode
from autoseg.core.runtime import RunEntry, logged_step
from autoseg.core.traces import StepFiles, digests, impersonal, outcome_of


def sha(data):
    return hashlib.sha256(data).hexdigest()


def test_files_are_named_from_the_folder_of_the_log_and_folders_by_what_is_in_them(tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "b").write_bytes(b"2")
    (tmp_path / "in" / "a").write_bytes(b"1")
    (tmp_path / "in" / "run.jsonl").write_bytes(b"grows")
    (tmp_path / "in" / "deep" / "c").write_bytes(b"3")
    listed = sha(f"{sha(b'1')}  a\n{sha(b'2')}  b\n".encode())
    paths = (tmp_path / "in", tmp_path / "in" / "a", tmp_path / "in" / "[b]", tmp_path / "absent")
    found = dict(digests(paths, tmp_path))
    assert found == {"in": listed, "in/a": sha(b"1"), "in/[b]": sha(f"{sha(b'2')}  b\n".encode())}
    assert digests((tmp_path / "in" / "a",), tmp_path / "elsewhere") == (("a", sha(b"1")),)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (Path("/place/w/plan.json"), "plan.json"),
        (Path("/home/jane doe/liver"), "liver"),
        ("/home/jane doe/liver", "liver"),
        ((Path("/home/jane/a.nii"), Path("b.nii")), "a.nii, b.nii"),
        ("images/*.nii.gz", "images/*.nii.gz"),
        ("x at /place/w/sub/x.json, /data/jane/y.json (z)", "x at sub/x.json, y.json (z)"),
        ("1/2 or 3 / 4", "1/2 or 3 / 4"),
        (None, "None"),
    ],
)
def test_arguments_lose_what_tells_the_machine(value, said):
    assert impersonal(value, Path("/place/w")) == said


def test_an_error_at_a_path_with_spaces_keeps_the_name_of_the_file():
    error = AutosegError.at("/data/Jane Doe/scan 1.nii", "cut short", "copy it again")
    assert outcome_of(error, Path("/place/w")) == "AutosegError: scan 1.nii: cut short; copy it again"


def test_lines_of_older_versions_are_read(tmp_path):
    old = b'{"step":"plan","arguments":[],"started":"","seconds":1.0,"outcome":"done","platform":"","versions":[]}'
    assert decode(old, RunEntry, tmp_path).inputs == ()


def test_a_folder_that_is_not_there_stays_so_after_a_failure(tmp_path):
    with pytest.raises(ValueError, match="no"), logged_step(tmp_path / "w" / "run.jsonl", "plan"):
        raise ValueError("no")
    assert not (tmp_path / "w").exists()
    with logged_step(tmp_path / "w" / "run.jsonl", "plan", StepFiles(), seed=3, device="cpu"):
        pass
    line = decode((tmp_path / "w" / "run.jsonl").read_bytes(), RunEntry, tmp_path)
    assert (line.seed, line.device) == (3, "cpu")
