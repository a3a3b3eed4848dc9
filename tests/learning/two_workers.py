"""What tests/learning/test_workers.py has torchrun start: `losses` compares two workers with one, `long` trains on."""

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import torch

from autoseg.core.files import write_text
from autoseg.learning import training
from autoseg.learning.feeding import Batch, Feeder, FeedOptions
from autoseg.learning.joining import joined_workers
from autoseg.learning.training import train_network
from autoseg.learning.training_task import TrainingTask
from autoseg.learning.workers import ALONE, Workers
from tests.builders import ArraySource
from tests.learning.engine import Heard, feed_options, small_task


def share_options(task: TrainingTask, workers: Workers) -> FeedOptions:
    options = feed_options(task)
    own = replace(task.configuration, batch=workers.share(task.configuration.batch))
    return replace(options, configuration=own, stream=1000 * workers.rank)


class BothShares(Feeder):
    """Gives one process the batches of two workers, one after the other."""

    def __init__(self, task: TrainingTask) -> None:
        source = ArraySource()
        super().__init__(source, share_options(task, Workers(rank=0, count=2)))
        self.other = Feeder(source, share_options(task, Workers(rank=1, count=2)))

    def batch(self, step: int) -> Batch:
        first, second = super().batch(step), self.other.batch(step)
        images, labels = ((a, b) for a, b in ((first.images, second.images), (first.labels, second.labels)))
        return Batch(images=torch.cat(images), labels=torch.cat(labels), names=first.names + second.names, wait_s=0.0)


def losses(task: TrainingTask, feeder: Feeder) -> list[float]:
    heard = Heard()
    with feeder:
        train_network(task, feeder, heard.hooks())
    return [epoch.train_loss for epoch in heard.epochs if epoch.train_loss is not None]


def a_task(folder: Path, *, batch_dice: bool, batch: int, parts: int) -> TrainingTask:
    task = small_task(folder, steps=5, batch=batch, parts=parts)
    schedule = replace(task.configuration.schedule, steps_per_epoch=1)
    return replace(task, configuration=replace(task.configuration, batch_dice=batch_dice, schedule=schedule))


def compare(folder: Path, workers: Workers) -> None:
    found = []
    for batch_dice, batch, parts in ((True, 4, 1), (False, 3, 1), (False, 4, 2)):
        name = f"{batch_dice}-{batch}-{parts}"
        task = a_task(folder / name, batch_dice=batch_dice, batch=batch, parts=parts)
        together = replace(task, workers=workers)
        ours = losses(together, Feeder(ArraySource(), share_options(together, workers)))
        if workers.leads:
            alone = replace(task, folder=folder / f"{name}-alone", workers=ALONE, parts=1)
            found.append({"name": name, "two": ours, "one": losses(alone, BothShares(alone))})
        workers.largest(0.0)
    if workers.leads:
        write_text(folder / "losses.json", json.dumps(found))


def train_long(folder: Path, workers: Workers) -> None:
    training.CHECKPOINT_INTERVAL_S = 0.5
    signal.signal(signal.SIGTERM, lambda *_: None)  # torchrun's; a training takes it as a wish, too
    write_text(folder / f"pid-{workers.rank}", str(os.getpid()))
    task = small_task(folder, steps=10**6, workers=workers)
    with Feeder(ArraySource(), share_options(task, workers)) as feeder:
        train_network(task, feeder, Heard().hooks())


if __name__ == "__main__":
    torch.set_num_threads(1)
    with joined_workers() as joined:
        {"losses": compare, "long": train_long}[sys.argv[1]](Path(sys.argv[2]), joined)
