"""Signals become a flag, and give way to a second signal."""

import os
import signal
import threading

import pytest

from autoseg.core.stopping import StoppedError, stop_on_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_sets_the_flag_and_names_itself(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_on_signals() as stop:
        assert not stop()
        stop.check()
        os.kill(os.getpid(), number)
        assert stop()
        with pytest.raises(StoppedError, match=number.name):
            stop.check()
    assert signal.getsignal(number) == before


def test_a_second_interrupt_interrupts() -> None:
    with stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_thread_gets_a_flag_that_signals_leave_alone() -> None:
    flags = []

    def work() -> None:
        with stop_on_signals() as stop:
            flags.append(stop())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert flags == [False]
