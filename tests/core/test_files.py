import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from autoseg.core import files
from autoseg.core.errors import AutosegError, ResourceError
from autoseg.core.files import (
    append_line,
    copy_file,
    file_name,
    locked,
    sweep_temporaries,
    tell_kernel,
    write_atomically,
    write_bytes,
    write_text,
)


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
    with pytest.raises(ResourceError, match=r"a\.bin: less than 4398046511104 MiB free on this disk; free some space"):
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
    assert log.read_text() == "one\ntwo\n"
    log.write_bytes(b"hal")
    append_line(log, "three")
    assert log.read_text() == "three\n"


def test_appending_to_a_folder_is_one_line(tmp_path):
    with pytest.raises(ResourceError, match="could not be written"):
        append_line(tmp_path, "x")


def test_what_will_not_fit_is_refused_before_writing(tmp_path):
    with pytest.raises(ResourceError, match="MiB free on this disk"):
        write_atomically(tmp_path / "a.bin", lambda temporary: temporary.write_bytes(b"x"), expected_bytes=1 << 60)
    assert list(tmp_path.iterdir()) == []


def test_what_reads_back_otherwise_never_gets_its_name(tmp_path, monkeypatch):
    write_bytes(tmp_path / "a.bin", b"old")
    real = os.fsync

    def lossy(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").resolve()
        if path.is_file():
            os.truncate(path, 2)
        real(descriptor)

    monkeypatch.setattr(files.os, "fsync", lossy)
    with pytest.raises(ResourceError, match="read back differs from what was written"):
        write_bytes(tmp_path / "a.bin", b"new")
    assert (tmp_path / "a.bin").read_bytes() == b"old"
    with pytest.raises(ResourceError, match="read back differs"):
        copy_file(tmp_path / "a.bin", tmp_path / "b.bin")
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_a_copy_has_the_bytes_and_the_time_of_its_source(tmp_path):
    (tmp_path / "a").write_bytes(b"1234")
    os.utime(tmp_path / "a", (1_000_000, 1_000_000))
    assert copy_file(tmp_path / "a", tmp_path / "new" / "b") == str(tmp_path / "new" / "b")
    assert (tmp_path / "new" / "b").read_bytes() == b"1234"
    assert (tmp_path / "new" / "b").stat().st_mtime == 1_000_000
    with pytest.raises(AutosegError, match="cannot be read"):
        copy_file(tmp_path / "absent", tmp_path / "c")


def test_temporaries_of_the_dead_are_swept_and_those_of_the_living_stay(tmp_path):
    seen = []
    write_atomically(tmp_path / "a.nii.gz", lambda path: (seen.append(path.name), path.write_bytes(b"x"))[1])
    living = tmp_path / "below" / seen[0]
    living.parent.mkdir()
    living.write_bytes(b"half")
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    dead = living.with_name(seen[0].replace(f"-{os.getpid()}-", f"-{process.pid}-"))
    dead.write_bytes(b"half")
    elsewhere, old = tmp_path / ".tmp-abcdef-1-0123abcd.json", tmp_path / ".tmp-1-0123abcd.json"
    elsewhere.write_bytes(b"another machine")
    old.write_bytes(b"another version, or another machine")
    os.utime(old, (time.time() - 90_000, time.time() - 90_000))
    assert set(sweep_temporaries(tmp_path)) == {dead, old}
    assert living.exists()
    assert elsewhere.exists()
    assert sweep_temporaries(tmp_path / "absent") == ()


def test_a_lock_is_held_by_one_and_ends_with_its_process(tmp_path):
    lock = tmp_path / "new" / "a.lock"
    order = []

    def other() -> None:
        with locked(lock):
            order.append("second")

    with locked(lock):
        waiting = threading.Thread(target=other)
        waiting.start()
        time.sleep(0.05)
        order.append("first")
        with pytest.raises(AutosegError, match="busy"), locked(lock, refusal=AutosegError.at("x", "busy", "wait")):
            pass
    waiting.join()
    assert order == ["first", "second"]
    script = f"""
import os, pathlib, signal
from autoseg.core.files import locked
with locked(pathlib.Path({str(lock)!r})):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    with locked(lock, refusal=AutosegError.at("x", "busy", "wait")):
        pass


@pytest.mark.parametrize("name", ["case_1", "ä" * 124, "x" * 248])
def test_a_name_that_fits_is_kept(name):
    assert file_name(name, ".nii.gz") == f"{name}.nii.gz"


def test_a_long_name_is_cut_and_told_apart(tmp_path):
    first, second = (file_name("ä" * 124 + last, ".nii.gz") for last in "12")
    assert first != second
    assert first.startswith("ä" * 110)
    assert first.endswith(".nii.gz")
    write_bytes(tmp_path / first, b"x")
    assert len((tmp_path / first).name.encode()) in {254, 255}


def test_what_is_told_to_the_kernel_goes_nowhere_else(tmp_path):
    with pytest.raises(OSError, match="not under /proc"):
        tell_kernel(tmp_path / "clear_refs", "5")
    assert not list(tmp_path.iterdir())
