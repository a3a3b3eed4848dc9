import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from autoseg.core import runtime
from autoseg.core.errors import AutosegError, ResourceError
from autoseg.core.runtime import (
    cores,
    digest_bytes,
    digest_file,
    logged_step,
    memory_bytes,
    progress,
    run_parallel,
    say,
)


def square(x: int) -> int:
    return x * x


def process_id(_: int) -> int:
    return os.getpid()


def refuse_three(x: int) -> int:
    if x == 3:
        raise AutosegError.at("case_3", "is empty", "remove it")
    return x


def die_on_three(x: int) -> int:
    if x == 3:
        os._exit(9)
    return x


def die_once(marker: str) -> str:
    if marker and not Path(marker).exists():
        Path(marker).touch()
        os._exit(9)
    return marker


def test_results_come_in_order_from_other_processes():
    assert list(run_parallel(square, range(7), what="squares", workers=2)) == [x * x for x in range(7)]
    assert os.getpid() not in set(run_parallel(process_id, range(4), what="ids", workers=2))


def test_one_worker_stays_in_this_process():
    assert set(run_parallel(process_id, range(4), what="ids", workers=1)) == {os.getpid()}
    assert list(run_parallel(square, [], what="nothing")) == []


def test_an_error_in_a_worker_reaches_the_user_unchanged():
    with pytest.raises(AutosegError, match="case_3: is empty; remove it"):
        list(run_parallel(refuse_three, range(6), what="cases", workers=2))


def test_a_worker_that_dies_twice_names_its_item(capsys):
    results = run_parallel(die_on_three, range(6), what="preprocess", workers=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ResourceError, match="preprocess: the worker process died on 3; most likely too little memory"):
        next(results)
    assert "trying again one at a time" in capsys.readouterr().err


def test_a_worker_that_dies_once_does_no_harm(tmp_path):
    items = ["", str(tmp_path / "died"), "", "", "", ""]
    assert list(run_parallel(die_once, items, what="cases", workers=2)) == items


def test_a_script_without_a_main_guard_can_start_workers(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import math\n"
        "from autoseg.core.runtime import run_parallel\n"
        "print(list(run_parallel(math.sqrt, [1, 4, 9], what='roots', workers=2)))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, encoding="utf-8", check=True, timeout=60)
    assert done.stdout == "[1.0, 2.0, 3.0]\n"


def test_workers_end_when_their_parent_is_killed(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import time\n"
        "from autoseg.core.runtime import run_parallel\n"
        "list(run_parallel(time.sleep, [30] * 4, what='naps', workers=2))\n"
    )
    parent = subprocess.Popen([sys.executable, script], start_new_session=True)

    def group() -> list[int]:
        members = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == parent.pid and fields[0] != "Z" and int(stat.parent.name) != parent.pid:
                members.append(int(stat.parent.name))
        return members

    deadline = time.monotonic() + 30
    while len(group()) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(group()) >= 2
    time.sleep(1.5)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 20
    while group() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert group() == []


def test_short_work_shows_nothing(capsys):
    assert list(progress(range(3), what="quick")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_long_work_without_a_terminal_is_plain_lines(capsys, monkeypatch):
    clock = iter(np.arange(0, 1000, 6.0))
    monkeypatch.setattr(runtime.time, "monotonic", lambda: float(next(clock)))
    assert list(progress([1, 2, 3], what="preprocess")) == [1, 2, 3]
    assert capsys.readouterr().err.splitlines() == ["preprocess: 2/3 cases, 12 s", "preprocess: 3/3 cases in 30.0 s"]


def test_a_terminal_gets_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(runtime, "_BAR_AFTER_S", 0.0)
    assert list(progress(iter("ab"), what="read", total=2)) == ["a", "b"]
    say("a line above")
    assert "read: 100%" in capsys.readouterr().err


def test_cores_obey_affinity_and_quota(monkeypatch):
    assert 1 <= cores() <= (os.cpu_count() or 1)
    monkeypatch.setattr(runtime.os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.setattr(runtime, "_control_group", lambda _: "250000 100000\n")
    assert cores() == 2
    monkeypatch.setattr(runtime, "_control_group", lambda _: "max 100000\n")
    assert cores() == 16


def test_memory_obeys_the_control_group(monkeypatch):
    monkeypatch.setattr(runtime, "_control_group", lambda _: "1048576\n")
    assert memory_bytes() == 1048576
    monkeypatch.setattr(runtime, "_control_group", lambda _: "max\n")
    assert memory_bytes() > 100 << 20


def test_digests_are_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"autoseg")
    assert digest_file(tmp_path / "a") == digest_bytes(b"autoseg") == hashlib.sha256(b"autoseg").hexdigest()


def test_the_run_log_tells_what_ran_and_how_it_ended(tmp_path):
    log = tmp_path / "run.jsonl"
    with logged_step(log, "plan", recipe="auto"):
        pass
    with pytest.raises(AutosegError), logged_step(log, "train", fold=0):
        raise AutosegError.at("a", "b", "c")
    plan, train = (json.loads(line) for line in log.read_text().splitlines())
    assert plan["step"] == "plan"
    assert plan["arguments"] == [["recipe", "auto"]]
    assert plan["outcome"] == "done"
    assert train["outcome"] == "AutosegError: a: b; c"
    assert dict(plan["versions"])["numpy"] == np.__version__
