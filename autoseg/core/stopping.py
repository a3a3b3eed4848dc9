"""The wish to stop: signals become a flag that loops ask for at safe moments."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))


class StoppedError(Exception):
    """A step stopped where it was asked to, its state is saved; `signal_number` says by which signal."""

    def __init__(self, signal_number: int) -> None:
        """Remember the signal."""
        super().__init__(f"stopped by {signal.Signals(signal_number).name}; run the same command again to go on")
        self.signal_number = signal_number


class StopFlag:
    """Set by the first signal; a second one of the same kind acts as it would without us."""

    def __init__(self) -> None:
        """Start unset."""
        self.signal_number: int | None = None

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.signal_number is not None

    def check(self) -> None:
        """Raise StoppedError if it is time to stop."""
        if self.signal_number is not None:
            raise StoppedError(self.signal_number)


@contextmanager
def stop_on_signals() -> Iterator[StopFlag]:
    """Turn SIGINT, SIGTERM and SIGUSR1 into a flag while the block runs; only the main thread can."""
    flag = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    previous = {number: signal.getsignal(number) for number in _SIGNALS}

    def handle(number: int, _frame: FrameType | None) -> None:
        flag.signal_number = number
        signal.signal(number, previous[number])

    for number in _SIGNALS:
        signal.signal(number, handle)
    try:
        yield flag
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
