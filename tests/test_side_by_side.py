"""Networks share the GPUs: each slot is filled as soon as it is free, wishes are handed on, failures are named."""

import signal

import pytest
import torch

from autoseg import side_by_side
from autoseg.core.errors import ResourceError
from autoseg.core.stopping import StoppedError
from autoseg.core.workspace import Workspace
from autoseg.side_by_side import rounds, run_side_by_side, slots, train_side_by_side
from autoseg.steps.train import TrainOptions


class Fake:
    """A process that ends after so many looks, or when it is told to."""

    def __init__(self, looks, code=0):
        self.looks = looks
        self.code = code
        self.told = []

    def poll(self):
        self.looks -= 1
        return self.code if self.looks < 0 else None

    def tell(self, number):
        self.told.append(number)
        self.looks = 0


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr(side_by_side, "POLL_S", 0.0)


def test_a_free_slot_is_filled_at_once_and_never_twice():
    looks = {"a": 5, "b": 1, "c": 1, "d": 1, "e": 9}
    started = []

    def start(item, slot):
        started.append((item, slot))
        return Fake(looks[item])

    assert run_side_by_side(tuple(looks), 2, start, lambda: None) == dict.fromkeys(looks, 0)
    assert started == [("a", 0), ("b", 1), ("c", 1), ("d", 1), ("e", 0)]


@pytest.mark.parametrize(("wish", "number"), [("leave", signal.SIGTERM), ("finish", signal.SIGUSR1)])
def test_a_wish_is_handed_on_once_and_nothing_more_is_started(wish, number):
    processes = {}

    def start(item, _slot):
        processes[item] = Fake(1000)
        return processes[item]

    wishes = iter([None, None, wish, wish, wish, wish])
    assert run_side_by_side("abc", 2, start, lambda: next(wishes)) == {"a": 0, "b": 0}
    assert [process.told for process in processes.values()] == [[number], [number]]


def test_rounds_and_slots():
    assert [rounds(5, at_once) for at_once in (1, 2, 5, 8)] == [5, 3, 1, 1]
    assert slots(torch.device("cpu")) == 1


def options(fold):
    return TrainOptions(configuration="2d", fold=fold, steps=3)


def test_a_failed_training_is_named_and_the_others_are_done(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(side_by_side, "_Process", lambda _, item, __: Fake(1, code=item.fold))
    with pytest.raises(ResourceError, match=r"failed: 2d fold 1 \(exit code 1\), 2d fold 2 \(exit code 2\)"):
        train_side_by_side(Workspace(tmp_path), [options(0), options(1), options(2)], 2)
    assert "3 networks on 2 GPUs side by side" in capsys.readouterr().err


def test_asked_to_leave_it_says_by_which_signal(tmp_path, monkeypatch):
    def start(_workspace, _item, _slot):
        signal.raise_signal(signal.SIGTERM)
        return Fake(1000)

    monkeypatch.setattr(side_by_side, "_Process", start)  # called once: a second SIGTERM would end this process
    with pytest.raises(StoppedError, match="stopped by SIGTERM"):
        train_side_by_side(Workspace(tmp_path), [options(0), options(1), options(2)], 1)


def test_a_process_that_cannot_train_ends_with_a_code(tmp_path):
    with pytest.raises(ResourceError, match=r"2d fold 0 \(exit code 1\)"):
        train_side_by_side(Workspace(tmp_path / "nothing"), [options(0)], 1)
