from pathlib import Path

import pytest

from autoseg.core import files
from autoseg.core.errors import ResourceError
from autoseg.core.files import append_line, write_atomically, write_bytes, write_text


def test_a_file_is_complete_and_nothing_else_is_left(tmp_path):
    write_text(tmp_path / "new" / "a.json", "äöü")
    assert (tmp_path / "new" / "a.json").read_text(encoding="utf-8") == "äöü"
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.json"]


def test_the_temporary_name_keeps_a_double_ending(tmp_path):
    seen = []

    def writer(path: Path) -> None:
        seen.append(path.name)
        path.write_bytes(b"x")

    write_atomically(tmp_path / "case.nii.gz", writer)
    assert seen[0].startswith(files.TEMPORARY_PREFIX)
    assert seen[0].endswith(".nii.gz")


def test_a_failing_writer_leaves_the_old_file_and_no_temporary(tmp_path):
    target = tmp_path / "a.bin"
    write_bytes(target, b"old")

    def writer(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(ResourceError, match="No space left") as caught:
        write_atomically(target, writer)
    assert caught.value.exit_code == 4
    assert target.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_our_own_faults_in_a_writer_stay_our_own(tmp_path):
    def writer(path: Path) -> None:
        path.write_bytes(b"half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_atomically(tmp_path / "a.bin", writer)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_refused_before_writing(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_MINIMUM_FREE_BYTES", 1 << 62)
    with pytest.raises(ResourceError, match=r"a\.bin: less than 64 MiB free on this disk; free some space"):
        write_bytes(tmp_path / "a.bin", b"x")


def test_a_file_where_a_folder_should_be_is_one_line(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ResourceError, match="its folder cannot be made"):
        write_bytes(tmp_path / "file" / "a.bin", b"x")


def test_appending_goes_on_after_a_line_cut_by_a_crash(tmp_path):
    log = tmp_path / "run.jsonl"
    append_line(log, "one")
    log.write_bytes(log.read_bytes() + b"hal")
    append_line(log, "two")
    assert log.read_text() == "one\nhal\ntwo\n"


def test_appending_to_a_folder_is_one_line(tmp_path):
    with pytest.raises(ResourceError, match="could not be written"):
        append_line(tmp_path, "x")
