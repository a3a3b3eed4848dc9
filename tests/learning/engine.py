"""A small training for tests of the engine: balls in noise, few steps, hooks that can be replaced."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from autoseg.learning.feeding import Feeder, FeedOptions
from autoseg.learning.sampling import CaseSource
from autoseg.learning.training import train_network
from autoseg.learning.training_task import Epoch, Hooks, TrainingResult, TrainingTask
from tests.builders import SHORT_SCHEDULE, ArraySource, configuration


def small_task(folder: Path, *, steps: int | None = 6, batch: int = 2, **others: Any) -> TrainingTask:
    planned = configuration(3, batch=batch)
    schedule = replace(SHORT_SCHEDULE, steps_per_epoch=2, steps=steps, convergence=others.get("convergence"))
    if others.pop("sgd", False):  # Adam would blow up the rounding of gradients that are zero but for it
        schedule = replace(schedule, optimizer="sgd", momentum=0.9)
    given = {
        "configuration": replace(planned, schedule=schedule),
        "channels": 1,
        "outputs": 2,
        "target": "labels",
        "device": torch.device("cpu"),
        "dtype": torch.float32,
        "seed": 1,
        "steps": steps,
        "seconds": None,
        "folder": folder,
        "identity": "same",
    }
    return TrainingTask(**{**given, **others})


def feed_options(task: TrainingTask, names: tuple[str, ...] = ("case_0", "case_1", "case_2")) -> FeedOptions:
    return FeedOptions(
        configuration=task.configuration,
        names=names,
        channels=1,
        classes=2,
        device=task.device,
        seed=task.seed,
        stream=0,
    )


class Heard:
    """What a training said and logged."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.epochs: list[Epoch] = []

    def hooks(self, **others: Any) -> Hooks:
        given = {
            "validate": lambda *_: None,
            "log": self.epochs.append,
            "stop": lambda: None,
            "peak_memory_bytes": lambda: 0,
            "say": self.lines.append,
        }
        return Hooks(**{**given, **others})


def trained(task: TrainingTask, hooks: Hooks, source: CaseSource | None = None) -> TrainingResult:
    with Feeder(source or ArraySource(), feed_options(task)) as feeder:
        return train_network(task, feeder, hooks)


def weights_of(result: TrainingResult) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in result.network.parameters()]
