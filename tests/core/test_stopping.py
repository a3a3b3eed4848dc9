"""Signals and a file become a flag; to leave goes before to finish, and a second signal acts by itself."""

import os
import signal
import threading

import pytest

from autoseg.core.stopping import StoppedError, stop_on_request


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_leave_sets_the_flag_and_names_itself(number):
    before = signal.getsignal(number)
    with stop_on_request() as stop:
        assert stop() is None
        stop.check()
        os.kill(os.getpid(), number)
        assert stop() == "leave"
        with pytest.raises(StoppedError, match=number.name):
            stop.check()
    assert signal.getsignal(number) == before


def test_a_signal_to_finish_may_come_twice_and_gives_way_to_one_to_leave():
    before = signal.getsignal(signal.SIGUSR1)
    with stop_on_request() as stop:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGUSR1)
            assert stop() == "finish"
        stop.check()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop() == "leave"
    assert signal.getsignal(signal.SIGUSR1) == before


def test_a_file_asks_to_finish_and_is_removed_when_seen(tmp_path):
    place = tmp_path / "STOP"
    with stop_on_request(place) as stop:
        assert stop() is None
        place.touch()
        assert stop() == "finish"
        assert not place.exists()
        assert stop() == "finish"
        assert stop() == "finish"


def test_a_second_interrupt_interrupts():
    with stop_on_request() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop() == "leave"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_thread_gets_a_flag_that_signals_leave_alone():
    flags = []

    def work():
        with stop_on_request() as stop:
            flags.append(stop())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert flags == [None]
