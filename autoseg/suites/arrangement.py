"""The data of a suite, found and split: what trains in one folder, what is judged outside of it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoseg.core.errors import AutosegError
from autoseg.core.files import copy_file, write_text
from autoseg.datasets.dataset import Case, Dataset
from autoseg.datasets.load import load_image
from autoseg.datasets.read_case import read_reference
from autoseg.datasets.understand import understand
from autoseg.imaging.read import ending_of
from autoseg.imaging.write import label_ending, write_label
from autoseg.suites.suite import Suite, judged_cases

_DESCRIPTION = "dataset.json"
_LARGEST_DESCRIPTION = 4 << 20
_SIDECARS = (".json", ".tsv", ".csv")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arranged:
    """The folders made from a suite's data, and how many cases are in each."""

    training: Path
    judged_images: Path
    judged_references: Path
    n_training: int
    n_judged: int


def find_data(suite: Suite, given: Path | None, here: Path) -> Path:
    """Return the data folder: `given`, or one in it that has the suite's name, or one at or beside `here`.

    Raises:
        AutosegError: there is none; the message says where the data are published, and under which licence.

    """
    places = [given] if given is not None else [here, here / "datasets", here / "data", here.parent / "datasets"]
    for place in places:
        for name in suite.folders:
            if (place / name).is_dir():
                return place / name
    if given is not None and given.is_dir() and any(given.iterdir()) and not _holds_other_suites(given):
        return given
    looked = ", ".join(str(place) for place in places)
    raise AutosegError.at(
        f"benchmark {suite.name}",
        f"no data ({suite.folders[0]}) in {looked}",
        f"get them from {suite.address} (licence: {suite.licence}) and give --data FOLDER",
    )


def arrange(suite: Suite, source: Path, target: Path) -> Arranged:
    """Copy the files of the suite's cases into `target`, so that the judged ones lie outside what trains.

    What trains keeps its owners' layout and names. Judged images keep their format; their references are written as
    label maps.

    Raises:
        AutosegError: the folder is not understood, has too few cases, or has overlapping labels.

    """
    dataset = understand(source, suite.reading)
    judged = judged_cases(suite, dataset)
    if len(judged) >= len(dataset.cases):
        what = f"{len(dataset.cases)} labelled cases, where {suite.judged} are judged"
        raise AutosegError.at(source, what, f"get all of them from {suite.address}")
    if dataset.overlapping:
        raise AutosegError.at(source, "labels overlap", "the benchmark compares label maps: take another suite")
    arranged = Arranged(
        training=target / source.resolve().name,
        judged_images=target / "judged" / "images",
        judged_references=target / "judged" / "references",
        n_training=len(dataset.cases) - len(judged),
        n_judged=len(judged),
    )
    for folder in (arranged.training, arranged.judged_images, arranged.judged_references):
        folder.mkdir(parents=True, exist_ok=True)
    for case in dataset.cases:
        if case.name in judged:
            _put_aside(dataset, case, arranged)
        else:
            _copy((*case.images, *case.references), source, arranged.training)
    _describe(source, arranged.training, [case for case in dataset.cases if case.name in judged])
    return arranged


def _holds_other_suites(folder: Path) -> bool:
    """Return whether a folder is a collection of data sets rather than one."""
    from autoseg.suites.table import SUITES

    return any((folder / name).is_dir() for suite in SUITES.values() for name in suite.folders)


def _put_aside(dataset: Dataset, case: Case, arranged: Arranged) -> None:
    folder = Path(dataset.folder)
    ending = ending_of(folder / case.images[0])
    several = len(case.images) > 1
    for channel, name in enumerate(case.images):
        copied = arranged.judged_images / (f"{case.name}_{channel:04d}{ending}" if several else f"{case.name}{ending}")
        copy_file(folder / name, copied)
        for sidecar in _SIDECARS if ending else ():  # they tell the size of a picture's pixels
            beside = (folder / name).with_name(Path(name).name.removesuffix(ending) + sidecar)
            if beside.is_file():
                copy_file(beside, copied.with_name(copied.name.removesuffix(ending) + sidecar))
    first = folder / case.images[0]
    volume = load_image(folder, case.images, dataset.reading)
    reference = read_reference(dataset, case, volume.grid)
    kept = np.where(reference < 0, 0, reference).astype(np.uint16 if reference.max() > 255 else np.uint8)
    write_label(arranged.judged_references / f"{case.name}{label_ending(first)}", kept, first)


def _copy(names: Sequence[str], source: Path, target: Path) -> None:
    for name in names:
        if name and not (target / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            copy_file(source / name, target / name)


def _describe(source: Path, target: Path, judged: Sequence[Case]) -> None:
    """Copy what describes the dataset, without its list of the judged cases."""
    named = {name for case in judged for name in (*case.images, *case.references)}
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source).as_posix()
        if path.suffix not in _SIDECARS or not path.is_file() or path.stat().st_size > _LARGEST_DESCRIPTION:
            continue
        if relative == _DESCRIPTION:
            write_text(target / _DESCRIPTION, _without(path.read_text(encoding="utf-8"), named))
        elif relative not in named and not any(_belongs(relative, name) for name in named):
            _copy((relative,), source, target)


def _belongs(sidecar: str, image: str) -> bool:
    """Return whether a sidecar is that of an image: same folder, same name up to the ending."""
    return sidecar.rpartition(".")[0] == image.partition(".")[0]


def _without(text: str, named: set[str]) -> str:
    document = json.loads(text)
    listed = document.get("training") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        return text
    document["training"] = [entry for entry in listed if not _names(entry) & named]
    document["numTraining"] = len(document["training"])
    return json.dumps(document, indent=1) + "\n"


def _names(entry: object) -> set[str]:
    values = entry.values() if isinstance(entry, dict) else [entry]
    return {str(value).removeprefix("./") for value in values}
