"""Two processes train as one with the double batch; a death is named, and another number of workers goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autoseg.learning.checkpoint import load_checkpoint
from autoseg.learning.joining import SILENCE_S, Signs, Watch, joined_workers
from autoseg.learning.lockstep import same_start, shared_hooks
from autoseg.learning.workers import ALONE, Workers
from tests.learning.engine import Heard, small_task, trained

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("two_workers.py")


def torchrun(*arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.Popen(
        ["env", f"PYTHONPATH={ROOT}", "OMP_NUM_THREADS=1", *command, *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        encoding="utf-8",
    )


@pytest.mark.slow
def test_two_workers_have_the_losses_of_one_with_the_double_batch(tmp_path: Path) -> None:
    process = torchrun(str(SCRIPT), "losses", str(tmp_path))
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    compared = json.loads((tmp_path / "losses.json").read_text())
    assert [entry["name"] for entry in compared] == ["True-4-1", "False-3-1", "False-4-2"]
    for entry in compared:
        assert len(entry["two"]) == 5
        assert entry["two"] == pytest.approx(entry["one"], abs=1e-5), entry["name"]
        assert len(set(entry["two"])) == 5


@pytest.mark.slow
def test_a_killed_worker_ends_all_by_its_rank_and_one_worker_goes_on(tmp_path: Path) -> None:
    process = torchrun(str(SCRIPT), "long", str(tmp_path))
    deadline = time.monotonic() + 200
    while not (tmp_path / "checkpoint.json").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(int((tmp_path / "pid-1").read_text()), signal.SIGKILL)
    killed = time.monotonic()
    _, said = process.communicate(timeout=120)
    assert process.returncode != 0
    assert time.monotonic() - killed < 30
    assert "worker 1 of 2: it is gone" in said
    assert "rank      : 1 (local_rank: 1)" in said  # torchrun's own words
    left = load_checkpoint(tmp_path, "same")
    assert left is not None
    heard = Heard()
    result = trained(small_task(tmp_path, steps=left.progress.step + 3), heard.hooks())
    assert (result.finished, result.steps) == (True, left.progress.step + 3)
    assert all(epoch.step >= left.progress.step for epoch in heard.epochs)


class GivenSigns(Signs):
    """Signs of life as a test gives them."""

    def __init__(self, *, silent_from: int) -> None:
        self.workers = Workers(rank=0, count=2)
        self.looks = 0
        self.silent_from = silent_from
        self.given: list[str] = []

    def give(self, sign: str) -> None:
        self.given.append(sign)

    def seen(self, rank: int) -> str:
        assert rank == 1
        self.looks += 1
        return str(min(self.looks, self.silent_from))


def test_a_worker_without_signs_of_life_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoseg.learning.joining.BEAT_S", 0.01)
    monkeypatch.setattr("autoseg.learning.joining.SILENCE_S", 0.3)
    lost: list[int] = []
    watch = Watch(GivenSigns(silent_from=3), lost.append)
    watch.start()
    watch.join(20)
    assert lost == [1]
    asked = Watch(GivenSigns(silent_from=3), lost.append)
    asked.start()
    assert asked.gone_within(20) == 1
    assert lost == [1]  # whoever asks is told instead


@pytest.mark.parametrize("last", [10**6, 0])
def test_a_worker_that_lives_or_said_goodbye_is_not_lost(monkeypatch: pytest.MonkeyPatch, last: int) -> None:
    monkeypatch.setattr("autoseg.learning.joining.BEAT_S", 0.01)
    monkeypatch.setattr("autoseg.learning.joining.SILENCE_S", 0.2)
    lost: list[int] = []
    signs = GivenSigns(silent_from=last)
    if last == 0:
        monkeypatch.setattr(signs, "seen", lambda _: "left")
    watch = Watch(signs, lost.append)
    watch.start()
    assert watch.gone_within(0.6) is None
    watch.stop()
    assert lost == []
    assert signs.given[-1] == "left"


def test_alone_nothing_is_shared(tmp_path: Path) -> None:
    hooks = Heard().hooks()
    assert shared_hooks(hooks, ALONE, 2) is hooks
    with joined_workers() as workers:
        assert workers == ALONE
    ALONE.tell("nobody hears it")
    assert ALONE.of_leader([1.0, None], 2) == (1.0, None)
    same_start(small_task(tmp_path), 7)
    assert SILENCE_S < 10


@pytest.mark.parametrize(("batch", "count", "shares"), [(7, 2, [4, 3]), (2, 4, [1, 1, 1, 1]), (6, 3, [2, 2, 2])])
def test_a_batch_is_divided(batch: int, count: int, shares: list[int]) -> None:
    workers = [Workers(rank=rank, count=count) for rank in range(count)]
    assert [worker.share(batch) for worker in workers] == shares
    assert {worker.smallest_share(batch) for worker in workers} == {min(shares)}
