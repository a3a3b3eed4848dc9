"""Dice on whole validation cases while a network trains: how good it is, and whether training on would help."""

import math
import time
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float64
from torch import nn

from autoseg.core.stopping import Wish
from autoseg.imaging.metrics import confusion_counts, dice
from autoseg.learning.feeding import MemorySource
from autoseg.learning.sliding_window import WindowPredictor
from autoseg.learning.training_task import TrainingTask, ValidationDice
from autoseg.learning.windows import window_starts
from planners.convergence import rhythm

VALIDATION_SHARE = 0.05
"""Whole-case validation takes at most this share of the training's seconds."""
VALIDATION_CASES = 8
VALIDATIONS_PLANNED = 10
"""Under a budget each in-training validation keeps to this part of the share, so that large cases cost no overrun."""
VALIDATION_LEAST_S = 1.0
VALIDATION_BYTES = 1 << 29
"""Cases with more logits than this are left to the validation after training, which streams them."""


class Validator:
    """Dice on a few whole validation cases, on the network's grid, within a share of the training's time.

    Where the curve of that Dice ends the training, cases and moments follow from counts alone, so that the training
    ends the same way on every machine and after every stop. `stop` is asked between cases.
    """

    def __init__(
        self, task: TrainingTask, source: MemorySource, names: tuple[str, ...], stop: Callable[[], Wish | None]
    ) -> None:
        """Choose among `names`, evenly spread."""
        self._task = task
        self._source = source
        self._stop = stop
        spread = names[:: max(1, len(names) // VALIDATION_CASES)][:VALIDATION_CASES]
        self._names = tuple(
            name for name in spread if task.outputs * math.prod(source.shape(name)) * 4 <= VALIDATION_BYTES
        )
        self._every_steps = 0
        self._chosen: tuple[str, ...] | None = None
        if task.convergence is not None:
            counts = [self._windows(name) for name in self._names]
            found = rhythm(counts, task.configuration.batch, task.configuration.schedule)
            self._chosen, self._every_steps = self._names[: found.cases], found.every_steps
        self._started = time.monotonic()
        self._spent = 0.0
        self._last = 0.0

    @property
    def can_judge(self) -> bool:
        """Whether some case that may be validated has a labelled voxel, so that its Dice is defined."""
        return any(len(places) for name in self._chosen or self._names for places in self._source.locations(name))

    def __call__(self, network: nn.Module, step: int) -> ValidationDice | None:
        """Return the Dice after `step` steps; None where it is not due, does not fit the time, or was cut short."""
        if self._chosen is None:
            self._chosen = self._affordable(network.eval())
        if not self._chosen or not self._due(step):
            return None
        started = time.monotonic()
        task = self._task
        predictor = WindowPredictor(
            (network.eval(),), task.configuration, task.outputs, task.device, task.dtype, target=task.target
        )
        labels = task.outputs - 1 if task.target == "labels" else task.outputs
        totals = np.zeros((labels, 3))
        for name in self._chosen:
            if self._stop() == "leave":
                return None
            totals += self._case_dice(predictor, name, labels)
        means = tuple(float(total / count) if count else None for total, count, _ in totals)
        defined = [value for value in means if value is not None]
        self._last = time.monotonic() - started
        self._spent += self._last
        return ValidationDice(
            mean=float(np.mean(defined)) if defined else None,
            per_label=means,
            present=tuple(held > 0 for _, _, held in totals.tolist()),
        )

    def _due(self, step: int) -> bool:
        if self._every_steps:
            return step % self._every_steps == 0
        allowed = VALIDATION_SHARE * (time.monotonic() - self._started)
        return self._spent + self._last <= max(allowed, VALIDATION_LEAST_S)

    def _windows(self, name: str) -> int:
        """Return how many forward passes of one sample a case takes."""
        shape, patch = self._source.shape(name), self._task.configuration.patch
        flat = 3 - len(patch)
        edges = zip(shape[flat:], patch, strict=True)
        windows = math.prod(len(window_starts(max(length, edge), edge)) for length, edge in edges)
        return windows * math.prod(shape[:flat])

    def _affordable(self, network: nn.Module) -> tuple[str, ...]:
        """Return the cases that together keep one validation within its time."""
        task = self._task
        if task.seconds is None:
            return self._names
        window = torch.zeros((1, task.channels, *task.configuration.patch), device=task.device)
        window_s = math.inf
        with torch.no_grad(), torch.autocast(task.device.type, task.dtype, enabled=task.dtype != torch.float32):
            for _ in range(3):  # the first call prepares the device
                started = time.monotonic()
                network(window).sum().item()
                window_s = min(window_s, time.monotonic() - started)
        allowed = max(VALIDATION_LEAST_S, VALIDATION_SHARE * task.seconds / VALIDATIONS_PLANNED)
        chosen = []
        for name in self._names:
            allowed -= window_s * self._windows(name)
            if allowed < 0:
                break
            chosen.append(name)
        return tuple(chosen)

    def _case_dice(self, predictor: WindowPredictor, name: str, labels: int) -> Float64[np.ndarray, "{labels} 3"]:
        """Return Dice and 1 for each label where it is defined, else zeros; and 1 where the reference holds it."""
        shape = self._source.shape(name)
        logits = predictor.logits(self._source.read_image(name, (0, 0, 0), shape))
        reference = self._source.read_label(name, (0, 0, 0), shape)
        result = np.zeros((labels, 3))
        if self._task.target == "labels":
            counts = confusion_counts(logits.argmax(0), np.maximum(reference[0], 0), labels + 1)
            found = [tuple(int(counts[kind][label]) for kind in range(3)) for label in range(1, labels + 1)]
        else:
            found = []
            for label in range(labels):
                binary = confusion_counts((logits[label] > 0).astype(np.int64), (reference[label] > 0).astype(int), 2)
                found.append(tuple(int(binary[kind][1]) for kind in range(3)))
        for label, (hits, false, missed) in enumerate(found):
            value = dice(hits, false, missed)
            if value is not None:
                result[label] = value, 1, hits + missed > 0
        return result
