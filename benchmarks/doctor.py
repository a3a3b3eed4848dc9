"""How many faults does `autoseg inspect` find in real cases, and how many sound cases does it accuse?

python -m benchmarks.doctor --datasets FOLDER

Faults are put into every tenth case of msd-hippocampus, in memory, one kind at a time: labels mirrored along all sets
of axes, images copied under another name with noise and scaled grays. What is found among the faulty cases is
detection, among the others a false alarm.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from autoseg.core.records import write_record
from autoseg.datasets.alignment import turn_gains
from autoseg.datasets.dataset import Case
from autoseg.datasets.doctor_copies import near_copies
from autoseg.datasets.doctor_turns import turned_labels
from autoseg.datasets.inspection import CaseFacts, Finding
from autoseg.datasets.options import Options
from autoseg.datasets.read_case import read_case
from autoseg.datasets.thumbnail import thumbnail
from autoseg.datasets.understand import study
from autoseg.imaging.volume import Volume
from benchmarks.record import RESULTS, this_commit

OUTPUT = RESULTS / "data" / "doctor.json"
EVERY = 10
NOISE = (0.02, 0.05, 0.1)
"""Standard deviation of added noise, in spreads (percentiles 5 to 95) of the image."""
AXES = {"z": 0, "y": 1, "x": 2}
MIRRORED = ("z", "y", "x", "zy", "zx", "yx", "zyx")
Rows = list[tuple[Case, CaseFacts]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One kind of fault: how many cases had it, how many of them were found, how many sound cases were accused."""

    fault: str
    faulty: int
    found: int
    sound: int
    accused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorRecord:
    """Faults put into real cases and what was found of them."""

    schema: ClassVar[str] = "autoseg.benchmark-doctor/1"

    dataset: str
    commit: str
    faults: tuple[Fault, ...]


def run(folder: Path, every: int = EVERY) -> DoctorRecord:
    """Measure all kinds of faults on the dataset in `folder`, one in every `every` cases."""
    understanding = study(folder, Options(), {})
    dataset = understanding.dataset
    rows = list(zip(dataset.cases, understanding.facts, strict=True))
    chosen = range(0, len(rows), every)
    arrays = {index: read_case(dataset, dataset.cases[index]) for index in chosen}
    images = {index: found.image for index, found in arrays.items()}
    labels = {index: found.label for index, found in arrays.items() if found.label is not None}
    faults = [
        _counted("none", turned_labels(rows), rows, set()),
        _counted("none", near_copies(rows, (), ()), rows, set()),
    ]
    for mirrored in MIRRORED:
        axes = tuple(AXES[axis] for axis in mirrored)
        turned = _turned(rows, images, labels, lambda array, axes=axes: np.flip(array, axes))
        faults.append(_counted(f"label mirrored along {mirrored}", turned_labels(turned), turned, set(chosen)))
    for noise in NOISE:
        copied, copies = _copied(rows, images, noise)
        found = near_copies(copied, (), ())
        faults.append(_counted(f"copy with noise of {noise:g} spreads, grays scaled", found, copied, copies))
    return DoctorRecord(dataset=folder.name, commit=this_commit(), faults=tuple(faults))


def _turned(
    rows: Rows,
    images: dict[int, Volume],
    labels: dict[int, NDArray[np.integer[Any]]],
    turn: Callable[[NDArray[np.integer[Any]]], NDArray[np.integer[Any]]],
) -> Rows:
    turned = list(rows)
    for index, image in images.items():
        case, fact = rows[index]
        turned[index] = (case, replace(fact, turns=turn_gains(image.array[0], turn(labels[index]))))
    return turned


def _copied(rows: Rows, images: dict[int, Volume], noise: float) -> tuple[Rows, set[int]]:
    """Return the rows with noisy copies of the chosen images under the names of new cases, and where those are."""
    copied = list(rows)
    rng = np.random.default_rng(0)
    for index, image in images.items():
        case, fact = rows[index]
        spread = fact.channels[0].high - fact.channels[0].low
        array = (image.array * 1.7 + 30 + rng.normal(0, 1.7 * noise * spread, image.array.shape)).astype(np.float32)
        name = f"copy_of_{case.name}"
        other = replace(case, name=name, images=(name,), group=name)
        copied.append((other, replace(fact, digest=name, thumbnail=thumbnail(replace(image, array=array)))))
    return copied, set(range(len(rows), len(copied)))


def _counted(fault: str, findings: Iterator[Finding], rows: Rows, faulty: set[int]) -> Fault:
    told = {finding.where for finding in findings}
    accused = {i for i, (case, _) in enumerate(rows) if told & {*case.images, *case.references}}
    return Fault(
        fault=fault,
        faulty=len(faulty),
        found=len(accused & faulty),
        sound=len(rows) - len(faulty),
        accused=len(accused - faulty),
    )


def main() -> int:
    """Measure, write the record and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", type=Path, required=True, help="folder with msd-hippocampus")
    record = run((parser.parse_args().datasets / "msd-hippocampus").resolve())
    write_record(OUTPUT, record)
    for fault in record.faults:
        sys.stdout.write(f"{fault.fault}: {fault.found}/{fault.faulty} found, {fault.accused}/{fault.sound} accused\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
