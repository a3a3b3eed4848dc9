"""When would `--budget none` end trainings whose curves are published, and what would they miss?

python -m benchmarks.convergence [--output FILE]

The curves are of AutoNNUnet's five-fold runs of nnU-Net 2 (automl/AutoNNUNet, results_zipped): mean foreground
pseudo-Dice after some epochs of 250 steps, means of ten epochs. Between those points Dice is taken to be straight in
the logarithm of the epochs, and normal noise is added to each validation. Their rate decays over all 1000 epochs, so a
curve that ends late holds some of what annealing gives. What annealing adds after the end is not known here.
"""

import argparse
import math
import random
import statistics
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

from autoseg.core.records import write_record
from benchmarks.record import RESULTS
from planners.convergence import Point, outlook
from planners.recipe import RECIPES

EPOCHS = (5, 10, 20, 50, 100, 200, 300, 500, 750, 1000)
STEPS_PER_EPOCH = 250
PUBLISHED: Mapping[str, tuple[float, ...]] = {
    "Hippocampus": (85.1, 86.3, 88.3, 88.6, 88.5, 88.5, 88.5, 88.5, 88.5, 88.4),
    "Hippocampus, ResEnc L": (75.8, 81.9, 88.3, 88.2, 88.2, 88.1, 88.0, 88.0, 87.9, 87.7),
    "Heart": (88.4, 89.6, 92.1, 92.9, 93.0, 93.3, 93.2, 93.5, 93.6, 93.6),
    "BrainTumour": (70.1, 72.3, 76.7, 79.0, 79.5, 80.1, 79.9, 80.3, 80.4, 80.6),
    "Prostate": (55.2, 60.3, 67.1, 70.1, 71.6, 72.5, 72.9, 74.1, 73.5, 73.5),
    "Spleen": (70.4, 76.6, 86.6, 89.8, 92.4, 93.8, 94.5, 95.0, 96.2, 96.9),
    "Liver": (48.5, 55.9, 67.5, 74.4, 78.1, 80.7, 82.2, 80.9, 84.6, 87.4),
    "Lung": (36.3, 44.0, 52.8, 60.1, 63.6, 63.8, 67.4, 71.0, 70.3, 75.4),
    "Pancreas": (12.7, 21.6, 43.4, 53.1, 57.6, 60.4, 62.5, 63.7, 66.3, 66.2),
    "HepVessel": (25.2, 36.5, 55.3, 65.5, 69.8, 71.8, 72.4, 72.8, 74.2, 76.2),
    "Colon": (28.1, 35.3, 46.3, 52.4, 56.8, 59.7, 62.2, 64.3, 65.1, 69.3),
}
NOISES = (0.002, 0.005, 0.01)
SEEDS = 3
LONGEST_EPOCHS = 200
"""Steps of the longest training without a budget, 50 000, in these epochs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """One curve: epochs after which the training would begin to anneal, None where only the upper bound ends it."""

    task: str
    noise: float
    epochs: tuple[int | None, ...]
    dice_then: float
    dice_after_1000_epochs: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Endings:
    """All curves; `dice_then` is the mean over seeds of the curve's value where the training ends."""

    schema: ClassVar[str] = "autoseg.convergence/1"

    source: str
    longest_epochs: int
    endings: tuple[Ending, ...]


def published_dice(task: str, epochs: float) -> float:
    """Return the Dice (0 to 1) of a published curve after some epochs."""
    known = [value / 100 for value in PUBLISHED[task]]
    if epochs <= EPOCHS[0]:
        return known[0] * math.log1p(epochs) / math.log1p(EPOCHS[0])
    for (before, after), (low, high) in zip(pairwise(EPOCHS), pairwise(known), strict=True):
        if epochs <= after:
            return low + (high - low) * math.log(epochs / before) / math.log(after / before)
    return known[-1]


def validated_epochs() -> Iterator[int]:
    """Yield the epochs that are validated: all at first, then fewer, to spare time."""
    epoch = 0
    while epoch < LONGEST_EPOCHS:
        epoch += 1 if epoch < 30 else 2 if epoch < 100 else 5
        yield epoch


def end_of(task: str, noise: float, seed: int) -> int | None:
    """Return the epoch at which the rule of recipe `auto` ends a training with this curve, None if it does not."""
    rule = RECIPES["auto"].schedule.convergence
    drawn, points = random.Random(seed), []
    for epoch in validated_epochs():
        dice = published_dice(task, epoch) + drawn.gauss(0.0, noise)
        points.append(Point(step=STEPS_PER_EPOCH * epoch, dice=dice, weakest=dice))
        if rule is not None and outlook(points, rule).enough:
            return epoch
    return None


def main() -> int:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=RESULTS / "planners" / "convergence.json")
    options = parser.parse_args()
    endings = []
    for task in PUBLISHED:
        for noise in NOISES:
            epochs = tuple(end_of(task, noise, seed) for seed in range(SEEDS))
            then = statistics.mean(published_dice(task, epoch or LONGEST_EPOCHS) for epoch in epochs)
            endings.append(
                Ending(
                    task=task,
                    noise=noise,
                    epochs=epochs,
                    dice_then=round(then, 4),
                    dice_after_1000_epochs=published_dice(task, 1000),
                )
            )
            print(f"{task:22} noise {noise:.3f}: ends after {epochs} epochs at {then:.3f}", flush=True)
    source = "AutoNNUnet, five-fold runs of nnU-Net 2: mean foreground pseudo-Dice, means of ten epochs"
    write_record(options.output, Endings(source=source, longest_epochs=LONGEST_EPOCHS, endings=tuple(endings)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
