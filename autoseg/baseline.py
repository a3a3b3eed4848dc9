"""The classical baseline: methods without a network, chosen by cross-validation, fitted, and run on new images."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoseg.core.runtime import progress
from autoseg.datasets.dataset import Case, Dataset
from autoseg.datasets.folds import make_folds
from autoseg.datasets.inputs import find_inputs
from autoseg.datasets.load import load_image
from autoseg.datasets.options import Options
from autoseg.datasets.read_case import read_case
from autoseg.datasets.understand import understand
from autoseg.imaging.baseline import (
    CANDIDATES,
    Candidate,
    Fitted,
    LabelledImage,
    dice_of_positions,
    labelled_image,
)
from autoseg.imaging.write import label_ending, write_label
from autoseg.suites.record import Tried
from planners.fingerprint import Label

FOLDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineResult:
    """What was chosen among which candidates, and the seconds that choosing and predicting took."""

    chosen: str
    tried: tuple[Tried, ...]
    train_s: float
    predict_s: float


def run_baseline(
    training: Path, images: Path, output: Path, seed: int, reading: Options | None = None
) -> BaselineResult:
    """Choose a method on the labelled folder `training`, fit it to all cases, and segment `images` into `output`.

    `reading` says how to read `training` where it does not speak for itself.

    Raises:
        AutosegError: a folder is not understood.

    """
    started = time.monotonic()
    dataset = understand(training, reading or Options())
    values = foreground_values(dataset.labels)
    cases = {case.name: _labelled(dataset, case, values) for case in progress(dataset.cases, what="read")}
    folds = [(fold.train, fold.validation) for fold in make_folds(dataset, FOLDS, seed).folds]
    tried = cross_validated(cases, folds, len(values) + 1)
    best = max(range(len(CANDIDATES)), key=lambda i: tried[i].dice)
    fitted = Fitted(CANDIDATES[best], list(cases.values()), len(values) + 1)
    trained = time.monotonic()
    _segment_all(fitted, images, output, dataset, values)
    return BaselineResult(
        chosen=CANDIDATES[best].name,
        tried=tried,
        train_s=trained - started,
        predict_s=time.monotonic() - trained,
    )


def cross_validated(
    cases: dict[str, LabelledImage], folds: Sequence[tuple[Sequence[str], Sequence[str]]], classes: int
) -> tuple[Tried, ...]:
    """Return the mean Dice of each candidate over the cases of `folds` (train, held out), each held out once."""
    scores: dict[Candidate, list[float]] = {candidate: [] for candidate in CANDIDATES}
    tasks = [(candidate, *fold) for fold in folds for candidate in CANDIDATES]
    for candidate, train, held_out in progress(tasks, what="tune", unit="fit"):
        fitted = Fitted(candidate, [cases[name] for name in train], classes)
        for name in held_out:
            case = cases[name]
            found = fitted.segment(case.image, case.relative_spacing)
            dice = dice_of_positions(found, case.positions, classes)
            scores[candidate] += [] if dice is None else [dice]
    return tuple(Tried(name=c.name, dice=round(float(np.mean(values or [0.0])), 4)) for c, values in scores.items())


def foreground_values(labels: Sequence[Label]) -> tuple[int, ...]:
    """Return the value that each foreground label is written with."""
    return tuple(label.values[0] for label in labels if label.role == "foreground")


def _labelled(dataset: Dataset, case: Case, values: Sequence[int]) -> LabelledImage:
    arrays = read_case(dataset, case)
    positions = np.zeros(arrays.image.grid.shape, np.uint8)
    for position, value in enumerate(values, start=1):
        positions[np.asarray(arrays.label) == value] = position
    return labelled_image(arrays.image.array.astype(np.float32), positions, arrays.image.grid.spacing_mm)


def _segment_all(fitted: Fitted, images: Path, output: Path, dataset: Dataset, values: Sequence[int]) -> None:
    table = np.array([0, *values], dtype=np.uint16 if max(values) > 255 else np.uint8)
    output.mkdir(parents=True, exist_ok=True)
    for case in progress(find_inputs((images,), len(dataset.channels)), what="segment"):
        first = case.images[0].absolute()
        volume = load_image(first.parent, tuple(str(path.absolute()) for path in case.images), dataset.reading)
        empty = np.zeros(volume.grid.shape, np.uint8)
        ready = labelled_image(volume.array.astype(np.float32), empty, volume.grid.spacing_mm)
        found = table[fitted.segment(ready.image, ready.relative_spacing)]
        write_label(output / f"{case.name}{label_ending(first)}", found, first)
