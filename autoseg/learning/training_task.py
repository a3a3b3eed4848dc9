"""What a training is told, what it says, and what comes out: the records around the training loop."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from autoseg.core.stopping import Wish
from autoseg.learning.annealing import Annealing
from planners.plan import Configuration, Convergence, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingTask:
    """What to train. One of `steps` and `seconds` is given; `identity` names everything the result depends on.

    With a `convergence` the validation curve ends the training, after `steps` at the latest.
    """

    configuration: Configuration
    channels: int
    outputs: int
    target: Target
    device: torch.device
    dtype: torch.dtype
    seed: int
    steps: int | None
    seconds: float | None
    folder: Path
    identity: str
    convergence: Convergence | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationDice:
    """Dice on whole validation cases: mean over labels and per label, None where undefined."""

    mean: float | None
    per_label: tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One line of the training's log; `outlook` says what the validation curve promises, where it decides."""

    step: int
    progress: float
    seconds: float
    train_loss: float | None
    learning_rate: float
    validation_dice: float | None
    validation_dice_per_label: tuple[float | None, ...]
    data_seconds: float
    compute_seconds: float
    samples_per_s: float
    peak_memory_bytes: int
    outlook: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """The edge of the loop: the clock, the wish to stop, whole-case validation, the log, resident memory.

    `validate` takes the averaged network and the step; `keep` is called after each checkpoint of an unfinished training
    with the network as it would be if the training ended there.
    """

    validate: Callable[[nn.Module, int], ValidationDice | None]
    log: Callable[[Epoch], None]
    stop: Callable[[], Wish | None]
    peak_memory_bytes: Callable[[], int]
    keep: Callable[["TrainingResult"], None] = lambda _: None
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """A trained network (averaged weights, evaluation mode) and how it got there; `finished` is False when stopped.

    `annealing` is how it ended when its steps or seconds were not what ended it.
    """

    network: nn.Module
    steps: int
    seconds: float
    skipped: int
    finished: bool
    annealing: Annealing | None = None
