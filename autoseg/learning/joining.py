"""Joining the processes that torchrun started, and noticing within seconds when one of them is gone.

Numbers and CPU tensors travel by gloo, CUDA tensors by NCCL. Every process leaves a sign of life twice a second; one
that leaves none is gone, whatever the others are waiting for.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from autoseg.core.errors import EXIT_RESOURCES, ResourceError
from autoseg.core.runtime import say
from autoseg.learning.workers import ALONE, Workers

BEAT_S = 0.5
SILENCE_S = 6.0
"""Without a sign of life for so long a worker is gone; a thread gives them, so that long steps are no silence."""
_PATIENCE = timedelta(hours=6)
"""Others wait this long while worker 0 validates; a death is noticed by its silence, not by this."""
_LEFT = "left"


def started_together() -> bool:
    """Whether torchrun started this process, with others or alone."""
    return distributed.is_available() and bool(distributed.is_torchelastic_launched())


@contextlib.contextmanager
def joined_workers() -> Iterator[Workers]:
    """Yield this process among those that torchrun started; alone without torchrun.

    Raises:
        ResourceError: a worker is gone; the message names its rank.

    """
    if not started_together():
        yield ALONE
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(distributed.get_node_local_rank() % torch.cuda.device_count())
    distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=_PATIENCE)
    workers = Workers(rank=distributed.get_rank(), count=distributed.get_world_size())
    watch = Watch(Signs(workers), lambda rank: _leave(workers, rank))
    watch.start()
    try:
        yield workers
    except RuntimeError as error:  # gloo's, when a connection broke
        gone = watch.gone_within(2 * SILENCE_S) if workers.count > 1 else None
        if gone is None:
            raise
        raise ResourceError.at(f"worker {gone} of {workers.count}", "it is gone", _MEND) from error
    finally:
        watch.stop()
        distributed.destroy_process_group()


_MEND = "its own last words are above; the same command goes on from the last checkpoint, with any number of workers"


def _leave(workers: Workers, rank: int) -> None:
    """End this process from the watching thread: its main thread may wait for the lost worker for ever."""
    say(f"error: worker {rank} of {workers.count}: it is gone; {_MEND}")
    os._exit(EXIT_RESOURCES)


class Signs:
    """Signs of life of all workers, kept by torchrun's store."""

    def __init__(self, workers: Workers) -> None:
        """Take a connection of our own: the thread that watches must not wait for another."""
        self.workers = workers
        store: Any = distributed.distributed_c10d._get_default_store()  # noqa: SLF001 (no public way)
        self._store = store.clone()

    def give(self, sign: str) -> None:
        """Leave this worker's sign."""
        self._store.set(f"autoseg-alive-{self.workers.rank}", sign)

    def seen(self, rank: int) -> str | None:
        """Return the last sign of a worker, None before its first."""
        key = f"autoseg-alive-{rank}"
        return self._store.get(key).decode() if self._store.check([key]) else None


class Watch(threading.Thread):
    """Gives this worker's signs of life, and calls `lost` with the rank of one that gives none any more."""

    def __init__(self, signs: Signs, lost: Callable[[int], None]) -> None:
        """Watch over all workers but this one."""
        super().__init__(daemon=True, name="autoseg-watch")
        self._signs = signs
        self._lost = lost
        self._over = threading.Event()
        self._found = threading.Event()
        self._asked = False
        self._gone: int | None = None

    def run(self) -> None:
        """Look twice a second until told to stop, or until one is gone."""
        last: dict[int, tuple[str | None, float]] = {}
        beat = 0
        looked = time.monotonic()
        while not self._over.wait(BEAT_S):
            beat += 1
            now = time.monotonic()
            held_up, looked = now - looked > SILENCE_S / 2, now
            try:
                self._signs.give(str(beat))
                found = self._silent(last, now, forgive=held_up)
            except (RuntimeError, OSError):  # the store is gone, and with it the machine of worker 0
                found = 0
            if found is not None and not self._over.is_set():
                self._gone = found
                self._found.set()
                if not self._asked:
                    self._lost(found)
                return

    def stop(self) -> None:
        """Say goodbye: from here on silence means nothing."""
        self._over.set()
        self.join(SILENCE_S)
        with contextlib.suppress(RuntimeError, OSError):
            self._signs.give(_LEFT)

    def gone_within(self, seconds: float) -> int | None:
        """Return the rank of a lost worker, once that is known; None if all are there after so many seconds."""
        self._asked = True
        self._found.wait(seconds)
        return self._gone

    def _silent(self, last: dict[int, tuple[str | None, float]], now: float, *, forgive: bool) -> int | None:
        workers = self._signs.workers
        for rank in range(workers.count):
            if rank == workers.rank:
                continue
            sign = self._signs.seen(rank)
            before, since = last.get(rank, (None, now))
            if sign != before or forgive:
                last[rank] = (sign, now)
            elif sign is not None and sign != _LEFT and now - since > SILENCE_S:
                return rank
        return None
