"""What TensorBoard shows of a training, where the extra `tensorboard` is installed.

Its own writer opens files itself, in a thread that a full disk ends with a traceback. Here only the bytes are made by
TensorBoard's code; they are written like everything else.
"""

import io
import os
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from autoseg.core.errors import ResourceError
from autoseg.core.files import append_bytes
from autoseg.core.runtime import say
from autoseg.learning.training_task import Epoch

FOLDER = "tensorboard"
_FORMAT = "brain.Event:2"


class TensorBoardLog:
    """Writes the numbers of each epoch below a training's folder; without TensorBoard it does nothing.

    A resumed training goes on in a file of its own, which hides what was logged from the step it goes on with. Where
    nothing can be written that is said once, and the training goes on without.
    """

    def __init__(self, folder: Path) -> None:
        """Log to `folder`/tensorboard, from the first epoch on."""
        self._path = folder / FOLDER / f"events.out.tfevents.{time.time():.0f}.{os.getpid()}"
        self._wanted = find_spec("tensorboard") is not None
        self._begun = False

    def __call__(self, epoch: Epoch) -> None:
        """Write the numbers of an epoch."""
        if not self._wanted:
            return
        try:
            append_bytes(self._path, _framed(_events(epoch, first=not self._begun)))
        except ResourceError as error:
            say(f"nothing more is logged for TensorBoard: {error}")
            self._wanted = False
        self._begun = True


def _events(epoch: Epoch, *, first: bool) -> Iterator[Any]:
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog
    from tensorboard.compat.proto.summary_pb2 import Summary

    now = time.time()
    if first:
        yield Event(wall_time=now, step=epoch.step, file_version=_FORMAT)
        yield Event(wall_time=now, step=epoch.step, session_log=SessionLog(status=SessionLog.START))
    values = [Summary.Value(tag=name, simple_value=value) for name, value in numbers_of(epoch).items()]
    yield Event(wall_time=now, step=epoch.step, summary=Summary(value=values))


def _framed(events: Iterator[Any]) -> bytes:
    """Return events as a file holds them: each with its length and checksums."""
    from tensorboard.summary.writer.record_writer import RecordWriter

    buffer = io.BytesIO()
    writer = RecordWriter(buffer)
    for event in events:
        writer.write(event.SerializeToString())
    return buffer.getvalue()


def numbers_of(epoch: Epoch) -> dict[str, float]:
    """Return the numbers of an epoch that are defined, by the names that TensorBoard shows."""
    per_label = enumerate(epoch.validation_dice_per_label, start=1)
    numbers = {
        "loss/train": epoch.train_loss,
        "dice/validation": epoch.validation_dice,
        **{f"dice/label {label}": value for label, value in per_label},
        "schedule/learning rate": epoch.learning_rate,
        "speed/samples per s": epoch.samples_per_s,
        "speed/waited for data, s": epoch.data_seconds,
        "speed/compute, s": epoch.compute_seconds,
        "speed/memory, GiB": epoch.peak_memory_bytes / 2**30,
    }
    return {name: value for name, value in numbers.items() if value is not None}
