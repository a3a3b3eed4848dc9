"""Datasets at the edge of sense: trained on and predicted, or refused in one line."""

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from autoseg.core.errors import EXIT_BAD_INPUT, EXIT_DONE
from benchmarks.faults.datasets import Array, arrays, predict, save, train
from benchmarks.faults.found import Found

Change = Callable[[Array, Array, int], tuple[Array, Array]]
"""Image and label (z, y, x) and the number of the case -> what they become."""


def _constant(image: Array, label: Array, _: int) -> tuple[Array, Array]:
    return np.full_like(image, 7), label


def _one_constant(image: Array, label: Array, index: int) -> tuple[Array, Array]:
    return (np.full_like(image, 7) if index == 0 else image), label


def _one_voxel(image: Array, label: Array, _: int) -> tuple[Array, Array]:
    return image[5:6, 8:9, 8:9], label[5:6, 8:9, 8:9]


def _one_of_one_voxel(image: Array, label: Array, index: int) -> tuple[Array, Array]:
    return _one_voxel(image, label, index) if index == 0 else (image, label)


def _one_slice(image: Array, label: Array, _: int) -> tuple[Array, Array]:
    return image[5:6], label[5:6]


def _one_of_one_slice(image: Array, label: Array, index: int) -> tuple[Array, Array]:
    return _one_slice(image, label, index) if index == 0 else (image, label)


def _empty(image: Array, label: Array, _: int) -> tuple[Array, Array]:
    return image, np.zeros_like(label)


def _one_empty(image: Array, label: Array, index: int) -> tuple[Array, Array]:
    return image, np.zeros_like(label) if index == 0 else label


def _absent(image: Array, label: Array, index: int) -> tuple[Array, Array]:
    return image, label if index == 0 else np.where(label == 2, 0, label).astype(np.uint8)


def _gaps(image: Array, label: Array, _: int) -> tuple[Array, Array]:
    return image, np.choose(label, [0, 3, 200]).astype(np.uint8)


def _negative(image: Array, label: Array, _: int) -> tuple[Array, Array]:
    return image, np.where(label == 2, -1, label.astype(np.int16))  # 255 without the cast


def _beyond(image: Array, label: Array, _: int) -> tuple[Array, Array]:
    return image, np.where(label == 2, 70_000, label.astype(np.int32))


def _floats(image: Array, label: Array, _: int) -> tuple[Array, Array]:
    return image, label.astype(np.float32)


def _halves(image: Array, label: Array, _: int) -> tuple[Array, Array]:
    return image, (label * 0.5).astype(np.float32)


def _all_foreground(image: Array, label: Array, _: int) -> tuple[Array, Array]:
    return image, np.ones_like(label)


ODD: dict[str, tuple[Change, int]] = {
    "constant images": (_constant, 5),
    "one constant image": (_one_constant, 5),
    "images of one voxel": (_one_voxel, 5),
    "one image of one voxel": (_one_of_one_voxel, 5),
    "images of one slice": (_one_slice, 5),
    "one image of one slice": (_one_of_one_slice, 5),
    "no foreground anywhere": (_empty, 5),
    "no foreground in one case": (_one_empty, 5),
    "a class in one case only": (_absent, 5),
    "nothing but foreground": (_all_foreground, 5),
    "label values with gaps": (_gaps, 5),
    "label values stored as float": (_floats, 5),
    "label values of a half": (_halves, 5),
    "a negative label value": (_negative, 5),
    "a label value of 70000": (_beyond, 5),
    "two cases": (lambda image, label, _: (image, label), 2),
    "one case": (lambda image, label, _: (image, label), 1),
}


def odd(place: Path) -> Iterator[tuple[str, Callable[[], Found]]]:
    """Yield a name and what injects it."""
    for name, (change, cases) in ODD.items():
        yield f"data: {name}", partial(run, place / "odd", change, cases)


def run(work: Path, change: Change, cases: int) -> Found:
    """Train and predict, or be refused: exit code 2 and one line that says what to do."""
    shutil.rmtree(work, ignore_errors=True)
    for index in range(cases):
        image, label = change(*arrays(index), index)
        save(work / "data" / "images" / f"case_{index}.nii.gz", image)
        save(work / "data" / "labels" / f"case_{index}.nii.gz", label)
    done = train(work / "data", work / "w")
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    if done.returncode == EXIT_BAD_INPUT and len(errors) == 1 and "; " in errors[0]:
        return Found(tries=1, faults=(), detail=errors[0].replace(str(work), "PLACE"))
    if done.returncode != EXIT_DONE:
        return Found(tries=1, faults=(f"training ended with {done.returncode}: {done.stderr[-600:]}",))
    done = predict(work / "data" / "images", work / "w", work / "out")
    made = len(list((work / "out").glob("*.nii.gz")))
    if done.returncode != EXIT_DONE or made != cases:
        return Found(tries=1, faults=(f"predicted {made} and ended with {done.returncode}: {done.stderr[-600:]}",))
    return Found(tries=1, faults=(), detail="trained and predicted")
