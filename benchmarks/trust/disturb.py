"""Labels put wrong on purpose in a few training cases, as an annotator's slip would: swapped, shifted, cut off."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from autoseg.core.errors import AutosegError
from autoseg.imaging.read import read_label
from autoseg.imaging.write import write_label

Labels = NDArray[np.uint8]
Kind = Literal["swapped", "shifted", "cut"]
ENDING = ".nii.gz"
SHIFT_VOXELS = 2
"""The least shift that is to be found: the hardest of those asked for."""
CUT_SHARE = 1 / 3
"""The least share of the foreground that is cut off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disturbance:
    """What was done to the labels of one case; `detail` says where."""

    case: str
    kind: Kind
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DisturbedRecord:
    """Which cases were disturbed how, chosen by `seed`."""

    schema: ClassVar[str] = "autoseg.benchmark.disturbed/1"

    seed: int
    cases: tuple[Disturbance, ...]


def disturb(labels: Labels, kind: Kind, random: np.random.Generator) -> tuple[Labels, str]:
    """Return a disturbed copy of a label map (values 0, 1, 2) and where it was disturbed.

    >>> labels = np.array([[[0, 1, 1, 2, 2, 0]]], dtype=np.uint8)
    >>> disturb(labels, "swapped", np.random.default_rng(0))[0].tolist()
    [[[0, 2, 2, 1, 1, 0]]]

    """
    if kind == "swapped":
        return np.array([0, 2, 1], np.uint8)[labels], "labels 1 and 2"
    axis, sign = int(random.integers(3)), int(random.choice([-1, 1]))
    result = labels.astype(np.uint8)
    if kind == "shifted":
        moved = np.roll(result, sign * SHIFT_VOXELS, axis)
        edge = np.arange(SHIFT_VOXELS) if sign > 0 else np.arange(-SHIFT_VOXELS, 0)
        np.moveaxis(moved, axis, 0)[edge] = 0
        return moved, f"{sign * SHIFT_VOXELS} voxels along axis {axis}"
    places = np.argwhere(result > 0)
    along = sign * places[:, axis]
    order = np.argsort(along, kind="stable")
    gone = places[order[: int(np.ceil(CUT_SHARE * len(places)))]]
    result[tuple(gone.T)] = 0
    return result, f"a third at the {'low' if sign > 0 else 'high'} end of axis {axis}"


def disturbed_copy(source: Path, target: Path, n_cases: int, seed: int) -> tuple[Disturbance, ...]:
    """Copy images/ and labels/ of `source` to `target`, with the labels of `n_cases` disturbed, kinds in turn.

    Raises:
        AutosegError: `source` has fewer cases.

    """
    names = sorted(path.name for path in (source / "labels").glob(f"*{ENDING}"))
    if len(names) < n_cases:
        raise AutosegError.at(source, f"{len(names)} labelled cases", f"give a folder with {n_cases} or more")
    random = np.random.default_rng(seed)
    chosen = sorted(random.choice(names, n_cases, replace=False).tolist())
    for folder in ("images", "labels"):
        (target / folder).mkdir(parents=True, exist_ok=True)
        for name in names:
            shutil.copyfile(source / folder / name, target / folder / name)
    return tuple(
        _disturb_file(source, target, name, kind, random) for name, kind in zip(chosen, kinds(chosen), strict=True)
    )


def kinds(chosen: Sequence[object]) -> list[Kind]:
    """Return what is done to each of the chosen cases: the kinds in turn."""
    known: tuple[Kind, ...] = ("shifted", "swapped", "cut")
    return [known[position % len(known)] for position in range(len(chosen))]


def _disturb_file(source: Path, target: Path, name: str, kind: Kind, random: np.random.Generator) -> Disturbance:
    original = source / "labels" / name
    labels, detail = disturb(read_label(original).array[0], kind, random)
    (target / "labels" / name).unlink()
    write_label(target / "labels" / name, labels, original)
    return Disturbance(case=name.removesuffix(ENDING), kind=kind, detail=detail)
