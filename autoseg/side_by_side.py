"""Networks that are trained at the same time, each on a GPU of its own, in a process of its own."""

import math
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import torch

from autoseg.core.errors import ResourceError
from autoseg.core.runtime import say
from autoseg.core.stopping import StoppedError, Wish, stop_on_request
from autoseg.core.workspace import Workspace
from autoseg.steps.train import TrainOptions, train

POLL_S = 0.2
_TOLD = {"leave": signal.SIGTERM, "finish": getattr(signal, "SIGUSR1", signal.SIGTERM)}

Item = TypeVar("Item")


class Running(Protocol):
    """A process that was started."""

    def poll(self) -> int | None:
        """Return its exit code, None while it runs."""

    def tell(self, number: int) -> None:
        """Send it a signal."""


def slots(device: torch.device) -> int:
    """Return how many networks can be trained at the same time: one for each GPU."""
    return max(1, torch.cuda.device_count()) if device.type == "cuda" else 1


def rounds(networks: int, at_once: int) -> int:
    """Return how many trainings follow one another; each may take the time divided by that.

    >>> rounds(5, 2), rounds(5, 8), rounds(5, 1)
    (3, 1, 5)

    """
    return math.ceil(networks / at_once)


def run_side_by_side(
    wanted: Sequence[Item],
    at_once: int,
    start: Callable[[Item, int], Running],
    stop: Callable[[], Wish | None],
) -> dict[Item, int]:
    """Start each of `wanted` when one of `at_once` slots is free, and return their exit codes.

    `start` gets the item and its slot. A wish to stop is handed on to all that run, and nothing more is started.
    """
    waiting, running, codes = deque(wanted), dict[int, tuple[Item, Running]](), dict[Item, int]()
    told: Wish | None = None
    while running or (waiting and told is None):
        wish = stop()
        if wish is not None and wish != told:
            told = wish
            for _, process in running.values():
                process.tell(_TOLD[wish])
        for slot in range(at_once):
            if slot not in running and waiting and told is None:
                item = waiting.popleft()
                running[slot] = item, start(item, slot)
        for slot, (item, process) in list(running.items()):
            code = process.poll()
            if code is not None:
                codes[item] = code
                del running[slot]
        time.sleep(POLL_S)
    return codes


def train_side_by_side(workspace: Workspace, trainings: Sequence[TrainOptions], at_once: int) -> None:
    """Train each network in a process of its own, `at_once` at a time; what is trained already ends at once.

    Raises:
        StoppedError: a signal asked to leave; each training has saved its state.
        ResourceError: trainings failed; the message names them, and the others are done.

    """
    say(f"{len(trainings)} networks on {at_once} GPUs side by side")
    with stop_on_request(workspace.stop_file) as stop:
        codes = run_side_by_side(trainings, at_once, lambda item, slot: _Process(workspace, item, slot), stop)
        stop.check()
    failed = [f"{item.configuration} fold {item.fold} (exit code {code})" for item, code in codes.items() if code]
    if failed:
        raise ResourceError.at(
            "training side by side", f"failed: {', '.join(failed)}", "the words of each are above; run again to go on"
        )


class _Process:
    """A training in a fresh interpreter: threads of torch do not survive a fork."""

    def __init__(self, workspace: Workspace, options: TrainOptions, slot: int) -> None:
        self._process = multiprocessing.get_context("spawn").Process(
            target=_train_on, args=(workspace, options, slot), name=f"autoseg-{options.configuration}-{options.fold}"
        )
        self._process.start()

    def poll(self) -> int | None:
        return self._process.exitcode

    def tell(self, number: int) -> None:
        if self._process.pid is not None and self._process.exitcode is None:
            os.kill(self._process.pid, number)


def _train_on(workspace: Workspace, options: TrainOptions, gpu: int) -> None:
    """Train in this process; only `gpu` is used, which torch calls the current one."""
    if torch.cuda.is_available():
        torch.cuda.set_device(gpu)
    try:
        train(workspace, options)
    except StoppedError:
        return  # saved; the parent says so
