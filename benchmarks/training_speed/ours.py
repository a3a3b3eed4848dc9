"""Our side of the comparison of training speeds.

python -m benchmarks.training_speed.ours WORKSPACE DTYPE

The training loop itself takes steps for as long as each line on standard input says, in seconds; each answer is a line
of JSON. Between lines it waits in the question whether to stop, which it asks before every step.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import torch

from autoseg.core.plans import read_plan
from autoseg.core.stopping import Wish
from autoseg.core.workspace import Workspace
from autoseg.imaging.store import CaseStore
from autoseg.learning.feeding import Batch, Feeder, FeedOptions, MemorySource
from autoseg.learning.model_files import plan_outputs
from autoseg.learning.network import build_network
from autoseg.learning.training import train_network
from autoseg.learning.training_task import Hooks, TrainingTask
from benchmarks.training_speed.compared import BATCH, CONFIGURATION, compared_configuration

_FOREVER = 10**9


class CountingFeeder(Feeder):
    """Counts batches, and the seconds that they take of the training's thread."""

    steps = 0
    data_s = 0.0

    def batch(self, step: int) -> Batch:
        """Return the batch of `step`."""
        started = time.perf_counter()
        found = super().batch(step)
        self.data_s += time.perf_counter() - started
        self.steps += 1
        return found


class Server:
    """Answers when the seconds asked for are over, and waits for the next line."""

    def __init__(self, feeder: CountingFeeder, parameters: int) -> None:
        """Serve `feeder`'s training."""
        self._feeder = feeder
        self._ends_at = 0.0
        self._waited_s = 0.0
        self._began: tuple[float, int, float] | None = None
        self._first = {"parameters": parameters, "batch": BATCH}

    def clock(self) -> float:
        """Return the seconds of training: checkpoints are written as often as in a training that never waits."""
        return time.perf_counter() - self._waited_s

    def stop(self) -> Wish | None:
        """Wait between two stretches of training; leave when standard input ends."""
        now = time.perf_counter()
        if now < self._ends_at:
            return None
        answer: dict[str, float] = dict(self._first)
        if self._began is not None:
            started, steps, data_s = self._began
            done = self._feeder
            answer = {"steps": done.steps - steps, "seconds": now - started, "data_s": done.data_s - data_s}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
        asked = time.perf_counter()
        line = sys.stdin.readline()
        self._waited_s += time.perf_counter() - asked
        if not line.strip():
            return "leave"
        started = time.perf_counter()
        self._ends_at = started + float(line)
        self._began = (started, self._feeder.steps, self._feeder.data_s)
        return None


def main() -> int:
    """Serve until standard input ends."""
    workspace, dtype = Workspace(Path(sys.argv[1])), getattr(torch, sys.argv[2])
    plan = read_plan(workspace.plan)
    configuration = compared_configuration(plan)
    source = MemorySource(CaseStore(workspace.preprocessed(CONFIGURATION)))
    outputs, cpu = plan_outputs(plan), torch.device("cpu")
    feed = FeedOptions(
        configuration=configuration,
        names=source.names,
        channels=len(plan.channels),
        classes=outputs,
        device=cpu,
        seed=0,
        stream=0,
    )
    with tempfile.TemporaryDirectory() as folder, CountingFeeder(source, feed) as feeder:
        task = TrainingTask(
            configuration=configuration,
            channels=len(plan.channels),
            outputs=outputs,
            target=plan.target,
            device=cpu,
            dtype=dtype,
            seed=0,
            steps=_FOREVER,
            seconds=None,
            folder=Path(folder),
            identity="speed",
        )
        network = build_network(configuration, len(plan.channels), outputs)
        server = Server(feeder, sum(parameter.numel() for parameter in network.parameters()))
        hooks = Hooks(
            validate=lambda *_: None,
            log=lambda _: None,
            stop=server.stop,
            peak_memory_bytes=lambda: 0,
            clock=server.clock,
        )
        train_network(task, feeder, hooks)
    return 0


if __name__ == "__main__":
    sys.exit(main())
