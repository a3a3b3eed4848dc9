"""Counts what changes files in this process, and kills it at one of them.

An operation is: a file opened for writing, a write to the system (killed before it and half-way through it), a flush to
the disk, a rename, a removal, a new folder. Writers in C and C++ cannot be stopped half-way like that.
"""

import builtins
import io
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable


class Operations:
    """Counts operations, and kills the process at number `fatal` (from 1; None: never)."""

    def __init__(self, fatal: int | None = None) -> None:
        self.kinds: Counter[str] = Counter()
        self._fatal = fatal
        self._lock = threading.Lock()

    def due(self, kind: str) -> bool:
        """Count one operation and tell whether it is the fatal one."""
        with self._lock:
            self.kinds[kind] += 1
            return self.kinds.total() == self._fatal

    def before(self, kind: str) -> None:
        if self.due(kind):
            die()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)  # the signal is on its way


def install(operations: Operations) -> None:
    """Let everything that changes a file in this process be counted from now on."""
    real_open = io.open

    class CountedFile(io.FileIO):
        def write(self, data):
            operations.before("write")
            if operations.due("half a write"):
                super().write(bytes(data)[: len(data) // 2])
                die()
            return super().write(data)

    def opened(file, mode="r", *more, **named):
        if isinstance(file, int) or not set(mode) & set("wxa+"):  # a number is a pipe to another process
            return real_open(file, mode, *more, **named)
        operations.before("open")
        raw = CountedFile(file, mode.replace("b", "").replace("t", ""))
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, "utf-8")

    io.open = builtins.open = opened
    for name in ("fsync", "replace", "rename", "unlink", "mkdir", "rmdir", "truncate", "write"):
        setattr(os, name, counted(operations, name, getattr(os, name)))


def counted(operations: Operations, name: str, function: Callable) -> Callable:
    def call(*arguments, **named):
        operations.before(name)
        return function(*arguments, **named)

    return call
