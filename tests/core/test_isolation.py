"""The child process: results and errors come back, crashes and hunger end one call and not the job."""

import ctypes
import os
from pathlib import Path

import numpy as np
import pytest

from autoseg.core.errors import EXIT_RESOURCES, AutosegError, ResourceError
from autoseg.core.isolation import isolated
from autoseg.core.runtime import memory_bytes


def where_am_i(name):
    return os.getpid(), str(Path(name).resolve())


def refuse(name):
    raise AutosegError.at(name, "is no image", "take another")


def crash():
    ctypes.string_at(0)


def hunger():
    return np.empty(int(0.9 * memory_bytes()), np.uint8).size  # no page is touched: only the limit refuses it


def test_work_is_done_elsewhere_and_paths_mean_the_same(tmp_path, monkeypatch):
    first, _ = isolated("x", where_am_i, "here")
    monkeypatch.chdir(tmp_path)
    second, place = isolated("x", where_am_i, "here")
    assert first == second != os.getpid()  # the child is kept
    assert place == str(tmp_path / "here")


def test_errors_come_back_with_their_parts():
    with pytest.raises(AutosegError, match=r"a\.png: is no image; take another") as caught:
        isolated("x", refuse, "a.png")
    assert (caught.value.where, caught.value.mend) == ("a.png", "take another")


def test_a_crash_names_the_file_and_the_next_call_works():
    with pytest.raises(AutosegError, match=r"bad\.dcm: the process that read it died"):
        isolated("bad.dcm", crash)
    assert isolated("x", where_am_i, ".")[0] != os.getpid()


def test_a_demand_for_too_much_memory_names_the_file():
    with pytest.raises(ResourceError, match=r"bomb\.dcm: reading it takes more than .* GiB of memory") as caught:
        isolated("bomb.dcm", hunger)
    assert caught.value.exit_code == EXIT_RESOURCES
    assert isolated("x", where_am_i, ".")[0] != os.getpid()


def test_the_limit_holds_below_what_the_machine_has():
    assert isolated("x", limit_of_the_child) <= 0.75 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def limit_of_the_child():
    import resource

    return resource.getrlimit(resource.RLIMIT_DATA)[0]
