"""What a training is told, what it says, and what comes out: the records around the training loop."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from autoseg.core.runtime import say
from autoseg.core.stopping import Wish
from autoseg.learning.annealing import Annealing
from autoseg.learning.collapse import Restart
from autoseg.learning.fine_tuning import Beginning
from autoseg.learning.workers import ALONE, Workers
from planners.plan import Configuration, Convergence, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingTask:
    """What to train. One of `steps` and `seconds` is given; `identity` names everything the result depends on.

    With a `convergence` the validation curve ends the training, after `steps` at the latest. Each worker takes its
    share of every batch, in `parts` one after the other where memory does not hold it at once.
    `beginning` are the weights of another network to begin with; None for weights drawn from the seed.
    `fold_sha256` is of the cases that it trains on and is judged by.
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
    parts: int = 1
    workers: Workers = ALONE
    beginning: Beginning | None = None
    fold_sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationDice:
    """Dice on whole validation cases: mean over labels and per label, None where undefined.

    `present` says which labels the references hold; where it is empty, all that are defined.
    """

    mean: float | None
    per_label: tuple[float | None, ...]
    present: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One line of the training's log; `outlook` says what the validation curve promises, where it decides.

    `skipped_cases` are those of the batches whose loss was not finite; `restart` says that a label that was lost gets
    more samples from here on.
    """

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
    skipped_cases: tuple[str, ...] = ()
    restart: Restart | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """The edge of the loop: the clock, the wish to stop, whole-case validation, the log, resident memory.

    `validate` takes the averaged network and the step; `keep` is called after each checkpoint of an unfinished training
    with the network as it would be if the training ended there; `begin` before the first step of all, within the
    training's seconds; `halved` when memory did not hold a batch. `say` tells people at once.
    """

    validate: Callable[[nn.Module, int], ValidationDice | None]
    log: Callable[[Epoch], None]
    stop: Callable[[], Wish | None]
    peak_memory_bytes: Callable[[], int]
    keep: Callable[["TrainingResult"], None] = lambda _: None
    clock: Callable[[], float] = time.monotonic
    begin: Callable[[], None] = lambda: None
    halved: Callable[[], None] = lambda: None
    say: Callable[[str], None] = say


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """A trained network (averaged weights, evaluation mode) and how it got there; `finished` is False when stopped.

    `annealing` is how it ended when its steps or seconds were not what ended it; `restarts` are the labels that were
    lost on the way.
    """

    network: nn.Module
    steps: int
    seconds: float
    skipped: int
    finished: bool
    annealing: Annealing | None = None
    restarts: tuple[Restart, ...] = ()
