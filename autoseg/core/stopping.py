"""The wish to stop: signals and a file become a flag that loops ask for at safe moments."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Literal

Wish = Literal["leave", "finish"]
"""leave: save at once and go. finish: come to a good end soon, which for a training is to anneal shortly."""

_LEAVE = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM") if hasattr(signal, name))
_FINISH = tuple(getattr(signal, name) for name in ("SIGUSR1",) if hasattr(signal, name))


class StoppedError(Exception):
    """A step stopped where it was asked to, its state is saved; `signal_number` says by which signal."""

    def __init__(self, signal_number: int) -> None:
        """Remember the signal."""
        super().__init__(f"stopped by {signal.Signals(signal_number).name}; run the same command again to go on")
        self.signal_number = signal_number


class StopFlag:
    """What was asked for. A second SIGINT or SIGTERM acts as it would without us.

    A file at `stop_file` asks to finish, as SIGUSR1 does (where queues cannot send signals); it is removed when seen.
    """

    def __init__(self, stop_file: Path | None = None) -> None:
        """Start unset."""
        self.signal_number: int | None = None
        self._stop_file = stop_file
        self._finish = False

    def __call__(self) -> Wish | None:
        """Return what was asked for last, None if nothing was; leaving goes before finishing."""
        if self.signal_number is not None:
            return "leave"
        if not self._finish and self._stop_file is not None and self._stop_file.exists():
            self._stop_file.unlink(missing_ok=True)
            self._finish = True
        return "finish" if self._finish else None

    def ask(self, number: int) -> None:
        """Take note of a signal."""
        if number in _FINISH:
            self._finish = True
        else:
            self.signal_number = number

    def check(self) -> None:
        """Raise StoppedError if it is time to leave."""
        if self.signal_number is not None:
            raise StoppedError(self.signal_number)


@contextmanager
def stop_on_request(stop_file: Path | None = None) -> Iterator[StopFlag]:
    """Turn SIGINT, SIGTERM, SIGUSR1 and `stop_file` into a flag while the block runs; only the main thread can."""
    flag = StopFlag(stop_file)
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    previous = {number: signal.getsignal(number) for number in (*_LEAVE, *_FINISH)}

    def handle(number: int, _frame: FrameType | None) -> None:
        flag.ask(number)
        if number in _LEAVE:
            signal.signal(number, previous[number])

    for number in previous:
        signal.signal(number, handle)
    try:
        yield flag
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
