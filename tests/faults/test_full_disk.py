"""A full disk ends in one line and exit code 4, whoever notices it: the writer, a library in C, a log, the terminal."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import blosc2
import numpy as np
import pytest

from autoseg import cli
from autoseg.core.errors import EXIT_RESOURCES, ResourceError
from autoseg.core.runtime import say
from autoseg.imaging.store import write_case
from tests.imaging.test_store import case

AUTOSEG = (sys.executable, "-m", "autoseg.cli")
ROOT = Path(__file__).parents[2]


def limited(limit_bytes: int, function: Callable[[], object]) -> str:
    """Call in a child that may write no file longer than this; return what it raised."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, resource.RLIM_INFINITY))
        try:
            function()
            said = "nothing"
        except BaseException as error:  # noqa: BLE001
            said = f"{type(error).__name__}: {error}"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


@pytest.mark.parametrize("kib", [0, 1, 20, 60, 100])
def test_a_full_disk_while_a_case_is_stored_is_one_line_and_leaves_no_file(tmp_path, kib):
    random = np.random.default_rng(0)
    shape = (20, 40, 40)
    image = random.standard_normal((1, *shape)).astype(np.float32)
    label = np.zeros((1, *shape), np.int16)
    said = limited(
        kib << 10, lambda: write_case(tmp_path, case("a", shape=shape), image, label, (np.zeros((9, 3), np.int32),))
    )
    assert said.startswith("FullDiskError: "), said
    assert "a.image.b2nd: could not be written" in said
    assert list(tmp_path.iterdir()) == []


def test_what_a_library_wrote_short_never_gets_its_name(tmp_path, monkeypatch):
    real = blosc2.asarray

    def short(*arguments, **named):
        made = real(*arguments, **named)
        path = Path(named["urlpath"])
        os.truncate(path, path.stat().st_size - 300)
        return made

    monkeypatch.setattr(blosc2, "asarray", short)
    shape = (4, 8, 8)
    noise = np.random.default_rng(0).standard_normal((1, *shape)).astype(np.float32)
    with pytest.raises(ResourceError, match="could not be written"):
        write_case(tmp_path, case("a", shape=shape), noise, np.zeros((1, *shape), np.int16), ())
    assert list(tmp_path.iterdir()) == []


def test_a_log_on_a_full_disk_stops_nothing(monkeypatch):
    full = Path("/dev/full").open("w", encoding="utf-8")  # noqa: SIM115 (it cannot be closed without an error)
    monkeypatch.setattr(sys, "stderr", full)
    say("a line that is lost")
    with pytest.raises(OSError, match="No space left"):
        full.close()


def test_a_result_that_finds_no_room_is_exit_code_4(tmp_path):
    (tmp_path / "workspace.json").write_text('{"schema": "autoseg.workspace/1", "dataset": "/x", "seed": 0}')
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*AUTOSEG, "show", str(tmp_path / "workspace.json")],
            cwd=ROOT, stdout=full, stderr=subprocess.PIPE, encoding="utf-8", check=False,
        )  # fmt: skip
    assert done.returncode == EXIT_RESOURCES, done.stderr
    (line,) = done.stderr.splitlines()
    assert "No space left on device" in line


@pytest.mark.parametrize("number", [24, 28, 122])
def test_an_error_of_the_system_about_room_is_exit_code_4(number, monkeypatch, capsys):
    def app(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(cli, "app", app)
    assert cli.run(["show"]) == EXIT_RESOURCES
    assert capsys.readouterr().err.startswith(f"error: [Errno {number}]")


def test_another_error_of_the_system_is_our_own(monkeypatch, capsys):
    def app(*_, **__):
        raise OSError(5, os.strerror(5))

    monkeypatch.setattr(cli, "app", app)
    assert cli.run(["show"]) == 70
    assert "our own error: OSError" in capsys.readouterr().err
