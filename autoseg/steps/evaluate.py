"""Predictions against references, paired by name: scores.json, scores.csv and a table.

A reference without a prediction is scored as if nothing had been predicted; a prediction without a reference, or on
another grid, is an error. So nobody's mean rises by leaving out a hard case.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from autoseg.core.errors import AutosegError
from autoseg.core.files import write_text
from autoseg.core.pairing import pair_names
from autoseg.core.records import read_record, write_record
from autoseg.core.runtime import progress
from autoseg.core.scores import CaseScore, Scores, make_scores, scores_csv
from autoseg.core.workspace import Workspace
from autoseg.datasets.dataset import Case, Dataset, Folds
from autoseg.datasets.load import load_label
from autoseg.datasets.options import Options
from autoseg.datasets.read_case import read_reference
from autoseg.datasets.understand import understand
from autoseg.imaging.read import ending_of, read_header, read_label
from autoseg.imaging.scoring import score_case, values_in
from autoseg.imaging.volume import Grid
from planners.fingerprint import Label
from planners.plan import Plan

SCORES_JSON = "scores.json"
SCORES_CSV = "scores.csv"

Integers = NDArray[np.integer]
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """A label map and its name without the ending."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """One case to score: its reference is a label map (`path`) or a case of the dataset; `prediction` may be None."""

    name: str
    patient: str
    prediction: Path | None
    path: Path | None = None
    case: Case | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """All cases and what scoring them needs; `recode` is (value in the predictions, label value) where they differ."""

    labels: tuple[Label, ...]
    pairs: tuple[_Pair, ...]
    dataset: Dataset | None = None
    recode: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()
    tolerance_mm: float | None = None


def evaluate(
    predictions: Path,
    references: Path,
    output: Path | None = None,
    *,
    partial: bool = False,
    tolerance_mm: float | None = None,
) -> Scores:
    """Score label maps against references; write scores.json and scores.csv into `output`.

    Args:
        predictions: a folder of label maps in any format, or one file.
        references: a folder of label maps, one file, a labelled dataset in any layout, or a workspace.
        output: where the scores go; beside the predictions when None.
        partial: leave references without a prediction out instead of scoring them as empty predictions.
        tolerance_mm: measure HD95, ASSD and NSD too, the latter with this tolerance.

    Raises:
        AutosegError: nothing to pair, a prediction without reference, two files of one name, another grid, a value in
            a prediction that is no label, or a tolerance that is no distance.

    """
    if tolerance_mm is not None and not 0 <= tolerance_mm < math.inf:
        raise AutosegError.at("tolerance", f"{tolerance_mm} mm is no distance", "give millimetres, such as 1")
    files = _label_maps(predictions)
    if not files:
        raise AutosegError.at(predictions, "holds no label map", "give the folder that `autoseg predict` wrote")
    task = _task(references, files)
    if partial:
        task = replace(task, pairs=tuple(pair for pair in task.pairs if pair.prediction))
    task = replace(task, tolerance_mm=tolerance_mm)
    scores = _score_all(task)
    _write(output or (predictions if predictions.is_dir() else predictions.parent), scores)
    return scores


def score_validation(workspace: Workspace, configuration: str, fold: int) -> Scores:
    """Score the predictions of a fold's validation cases; write scores.json and scores.csv beside them.

    Raises:
        AutosegError: the fold has no validation cases, or a record of the workspace is missing or damaged.

    """
    dataset = read_record(workspace.dataset, Dataset)
    plan = read_record(workspace.plan, Plan)
    folds = read_record(workspace.folds, Folds).folds
    names = frozenset(folds[fold].validation) if 0 <= fold < len(folds) else frozenset()
    if not names:
        raise AutosegError.at(workspace.folds, f"fold {fold} has no validation cases", "choose another fold")
    folder = workspace.validation(configuration, fold)
    cases = tuple(case for case in dataset.cases if case.name in names and case.references)
    pairs = _paired_cases(cases, _label_maps(folder))
    scores = _score_all(_Task(labels=plan.labels, pairs=pairs, dataset=dataset))
    _write(folder, scores)
    return scores


# ---------------------------------------------------------------------------------------------------- pairing
def _task(references: Path, files: Sequence[_File]) -> _Task:
    """Find out what kind of references these are, and pair them."""
    maps = _label_maps(references)
    if maps:
        return _with_labels_found(_paired_files(maps, files))
    record = Workspace(references).dataset
    known = record.is_file() and Dataset.schema.encode() in record.read_bytes()[:100]  # others have a dataset.json, too
    dataset = read_record(record, Dataset) if known else understand(references, Options())
    tests = tuple(case for case in dataset.test_cases if case.references)
    of_tests = bool(tests) and not pair_names([case.name for case in tests], [file.name for file in files]).extra
    cases = tests if of_tests else tuple(case for case in dataset.cases if case.references)
    return _Task(labels=dataset.labels, pairs=_paired_cases(cases, files), dataset=dataset)


def _label_maps(place: Path) -> tuple[_File, ...]:
    """Return the image files directly in a folder, or the one file, sorted by name."""
    if not place.exists():
        raise AutosegError.at(place, "does not exist", "check the path")
    paths = sorted(place.iterdir()) if place.is_dir() else [place]
    found = [
        _File(name=path.name[: -len(ending_of(path))], path=path)
        for path in paths
        if path.is_file() and ending_of(path) and not path.name.startswith(".")
    ]
    for before, file in itertools.pairwise(found):
        if before.name == file.name:
            raise AutosegError.at(file.path, f"{before.path.name} is the same case", "keep one label map per case")
    return tuple(found)


def _paired_files(references: Sequence[_File], files: Sequence[_File]) -> tuple[_Pair, ...]:
    found = _predictions([reference.name for reference in references], files)
    return tuple(
        _Pair(name=reference.name, patient=reference.name, prediction=prediction, path=reference.path)
        for reference, prediction in zip(references, found, strict=True)
    )


def _paired_cases(cases: Sequence[Case], files: Sequence[_File]) -> tuple[_Pair, ...]:
    found = _predictions([case.name for case in cases], files)
    return tuple(
        _Pair(name=case.name, patient=case.group, prediction=prediction, case=case)
        for case, prediction in zip(cases, found, strict=True)
    )


def _predictions(names: Sequence[str], files: Sequence[_File]) -> tuple[Path | None, ...]:
    """Return the prediction of each name, None where there is none; refuse predictions that are left over."""
    pairing = pair_names(names, [file.name for file in files])
    paths = {file.name: file.path for file in files}
    if pairing.extra:
        others = f" and {len(pairing.extra) - 1} more like it" if len(pairing.extra) > 1 else ""
        raise AutosegError.at(
            paths[pairing.extra[0]],
            f"no reference is called {pairing.extra[0]}{others}",
            "name predictions like their references, or remove them",
        )
    return tuple(None if name is None else paths[name] for _, name in pairing.pairs)


def _with_labels_found(pairs: tuple[_Pair, ...]) -> _Task:
    """Read which values occur: plain label maps come without a list of labels.

    One foreground value on each side, not the same (a mask of 255 against a prediction of 1), is the same label.
    """
    expected: set[int] = set()
    predicted: set[int] = set()
    for pair in progress(pairs, what="looking for labels"):
        if pair.path:
            expected.update(_values(pair.path))
        if pair.prediction:
            predicted.update(_values(pair.prediction))
    expected, predicted = expected - {0}, predicted - {0}
    recode: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()
    if len(expected) == len(predicted) == 1 and expected != predicted:
        recode = (min(predicted), min(expected))
        notes = (f"value {recode[0]} of the predictions was compared with value {recode[1]} of the references",)
        predicted = expected
    if not expected | predicted:
        raise AutosegError.at("evaluate", "every label map is empty", "check that these are the right folders")
    labels = tuple(Label(name=f"label_{value}", values=(value,)) for value in sorted(expected | predicted))
    return _Task(labels=labels, pairs=pairs, recode=recode, notes=notes)


def _values(path: Path) -> tuple[int, ...]:
    return values_in(cast("Integers", read_label(path).array))


# ---------------------------------------------------------------------------------------------------- scoring
def _score_all(task: _Task) -> Scores:
    if not task.pairs:
        raise AutosegError.at("evaluate", "no case to score", "check that references and predictions belong together")
    cases = tuple(_scored(pair, task) for pair in progress(task.pairs, what="scoring"))
    missing = [case.case for case in cases if case.prediction is None]
    notes = task.notes
    if missing:
        shown = ", ".join(missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
        notes += (f"{len(missing)} of {len(cases)} cases have no prediction and count as empty: {shown}",)
    return make_scores(task.labels, cases, notes, task.tolerance_mm)


def _scored(pair: _Pair, task: _Task) -> CaseScore:
    reference, grid = _reference(pair, task.dataset)
    prediction = _prediction(pair.prediction, grid, task)
    return CaseScore(
        case=pair.name,
        patient=pair.patient,
        prediction=None if pair.prediction is None else pair.prediction.name,
        labels=score_case(prediction, reference, task.labels, grid, task.tolerance_mm),
    )


def _reference(pair: _Pair, dataset: Dataset | None) -> tuple[Integers, Grid]:
    if pair.path is not None:
        volume = read_label(pair.path)
        return cast("Integers", volume.array[0]), volume.grid
    if dataset is None or pair.case is None:
        msg = f"case {pair.name} has neither a label map nor a dataset"
        raise ValueError(msg)
    grid = read_header(Path(dataset.folder) / pair.case.images[0]).grid
    return read_reference(dataset, pair.case, grid), grid


def _prediction(path: Path | None, grid: Grid, task: _Task) -> Integers:
    """Return the predicted label values on `grid`; all zero when there is no file."""
    if path is None:
        return np.zeros(grid.shape, dtype=np.uint8)
    array: Integers = load_label(path, grid)
    if task.recode:
        array = np.where(array == task.recode[0], task.recode[1], array)
    known = {0, *(value for label in task.labels for value in label.values)}
    unknown = [value for value in values_in(array) if value not in known]
    if unknown:
        raise AutosegError.at(path, f"value {unknown[0]} is no label", "give the references this model was trained on")
    return array


def _write(folder: Path, scores: Scores) -> None:
    write_record(folder / SCORES_JSON, scores)
    write_text(folder / SCORES_CSV, scores_csv(scores))
