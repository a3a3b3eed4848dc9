"""Each epoch as a line for machines (progress.jsonl) and a line for people."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from autoseg.core.files import write_text
from autoseg.core.runtime import say
from autoseg.learning.training_task import Epoch, TrainingResult, TrainingTask


class EpochLog:
    """Writes the lines of a training; a resumed one replaces those after the step it goes on from."""

    def __init__(self, path: Path, title: str, after: tuple[Callable[[Epoch], None], ...] = ()) -> None:
        """Log to `path`; `title` names the training to people. `after` are called with each epoch then."""
        self._path = path
        self._title = title
        self._after = after

    def __call__(self, epoch: Epoch) -> None:
        """Write the lines of an epoch."""
        earlier = self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []
        kept = [line for line in earlier if int(json.loads(line)["step"]) < epoch.step]
        write_text(self._path, "\n".join([*kept, json.dumps(asdict(epoch), allow_nan=False)]) + "\n")
        say(f"{self._title}: {epoch_text(epoch)}")
        if epoch.outlook is not None:
            say(f"{self._title}: {epoch.outlook}")
        for also in self._after:
            also(epoch)


def epoch_text(epoch: Epoch) -> str:
    """Return how far a training is and what its time and memory go into, in one line."""
    loss = "-" if epoch.train_loss is None else f"{epoch.train_loss:.4f}"
    score = "-" if epoch.validation_dice is None else f"{epoch.validation_dice:.4f}"
    return (
        f"step {epoch.step}, {100 * epoch.progress:.0f} %, loss {loss}, validation Dice {score}, "
        f"waited for data {epoch.data_seconds:.1f} s, compute {epoch.compute_seconds:.1f} s, "
        f"{epoch.samples_per_s:.3g} samples/s, memory {epoch.peak_memory_bytes / 2**30:.2f} GiB"
    )


def schedule_text(task: TrainingTask, result: TrainingResult) -> str:
    """Return in words what the learning rate followed, and why the training ended when it did."""
    schedule, annealing = task.configuration.schedule, result.annealing
    planned = f"{task.steps} steps" if task.steps is not None else f"{task.seconds:.0f} s of working time"
    text = f"{schedule.optimizer}, {schedule.decay} decay from {schedule.learning_rate:g} over {planned}"
    if task.convergence is not None:
        text = f"{schedule.optimizer}, {schedule.learning_rate:g} until validation rises no more, {planned} at most"
    if annealing is not None:
        text += f"; annealed from step {annealing.start} to {annealing.end}, because {annealing.because}"
    for restart in result.restarts:
        text += f"; label {restart.label + 1} was lost at step {restart.step}, sampled {restart.weight} times as often"
    return text if result.finished else f"{text}; stopped at step {result.steps}"
