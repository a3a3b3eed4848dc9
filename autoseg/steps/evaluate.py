"""Predictions against references, paired by name: scores.json, scores.csv and a table.

A reference without a prediction is scored as if nothing had been predicted; a prediction without a reference, or on
another grid, is an error. So nobody's mean rises by leaving out a hard case.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoseg.core.definitions import ENDLESS, Metric, parse_metrics, title_of
from autoseg.core.errors import AutosegError
from autoseg.core.files import write_text
from autoseg.core.pairing import pair_names
from autoseg.core.presets import EvaluateOptions, Preset, Rules, checked_rules, preset_named
from autoseg.core.records import read_record, write_record
from autoseg.core.runtime import digest_bytes, progress
from autoseg.core.scores import DICE_ONLY, CaseScore, Scores, make_scores, scores_csv
from autoseg.core.seals import FileDigest, digests_of
from autoseg.core.workspace import Workspace
from autoseg.datasets.dataset import Case, Dataset, Folds
from autoseg.datasets.examine import files_of
from autoseg.datasets.label_sources import Source, find_sources, grid_of, names_in, read_source, values_of
from autoseg.datasets.names import group_of
from autoseg.datasets.options import Options
from autoseg.datasets.patients import patients_of
from autoseg.datasets.read_case import read_reference
from autoseg.datasets.understand import understand
from autoseg.imaging.dicom_labels import file_of
from autoseg.imaging.read import read_header
from autoseg.imaging.scoring import score_case, values_in
from autoseg.imaging.volume import Grid
from autoseg.predicting.records import RECORDS, TRAINING_IMAGE, CasePrediction
from planners.fingerprint import Label
from planners.plan import Plan

SCORES_JSON = "scores.json"
SCORES_CSV = "scores.csv"

Integers = NDArray[np.integer[Any]]
_SHOWN = 5
_DEFAULT: tuple[Metric, ...] = ("dice", "hd95_mm", "assd_mm")
"""One overlap and one boundary metric, as Metrics Reloaded asks for, and the mean beside the extreme."""
_VALIDATION = Rules(metrics=("dice", "hd95_mm"), most_apart=1 << 22)
"""HD95 of an organ in 300x512x512 voxels takes a second; of noise, 12 us a voxel, so that a case is under a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """One case: its reference is a label file (`source`) or a case of the dataset; `prediction` may be None."""

    name: str
    patient: str
    prediction: Source | None
    source: Source | None = None
    case: Case | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """All cases and what scoring them needs; `recode` is (value in the predictions, label value) where they differ."""

    labels: tuple[Label, ...]
    pairs: tuple[_Pair, ...]
    dataset: Dataset | None = None
    recode: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()
    rules: Rules = DICE_ONLY
    preset: str | None = None


_PLAIN = EvaluateOptions()


def evaluate(
    predictions: Path, references: Path, output: Path | None = None, options: EvaluateOptions = _PLAIN
) -> Scores:
    """Score label maps against references; write scores.json and scores.csv into `output`.

    Args:
        predictions: a folder of label maps in any format or of DICOM SEG, of folders with a file for each structure, or
            one file.
        references: the same, a labelled dataset in any layout, or a workspace.
        output: where the scores go; beside the predictions when None.
        options: metrics and rules.

    Raises:
        AutosegError: nothing to pair, a prediction without reference, two files of one name, another grid, a value in
            a prediction that is no label, or options that make no sense.

    """
    preset = preset_named(options.preset) if options.preset else None
    rules = rules_of(options, preset)
    sources = find_sources(predictions, folders=True)
    if not sources:
        raise AutosegError.at(predictions, "holds no label map", "give the folder that `autoseg predict` wrote")
    task = _task(references, sources, preset.labels if preset else ())
    if options.partial:
        task = replace(task, pairs=tuple(pair for pair in task.pairs if pair.prediction))
    task = _with_patients(task, references, options.groups)
    rules = checked_rules(rules, sum(label.role == "foreground" for label in task.labels))
    notes = (*task.notes, *_seen_in_training(sources))
    scores = _score_all(replace(task, rules=rules, preset=options.preset, notes=notes))
    return _write(output or (predictions if predictions.is_dir() else predictions.parent), scores)


def _seen_in_training(predictions: Sequence[Source]) -> tuple[str, ...]:
    """Return a note where the records beside the predictions say that the model was trained on some of the images."""
    seen = [p.name for p in predictions if TRAINING_IMAGE in _warnings_of(p)]
    if not seen:
        return ()
    some = ", ".join(seen[:_SHOWN]) + (", ..." if len(seen) > _SHOWN else "")
    return (f"{len(seen)} of {len(predictions)} images ({some}) were in the training data: these scores flatter",)


def _warnings_of(prediction: Source) -> tuple[str, ...]:
    path = prediction.path.parent / RECORDS / f"{prediction.name}.json"
    try:
        return read_record(path, CasePrediction).warnings if path.is_file() else ()
    except AutosegError:  # of another program or version
        return ()


def rules_of(options: EvaluateOptions, preset: Preset | None) -> Rules:
    """Return what the options ask for, on top of the preset.

    Raises:
        AutosegError: an unknown metric, a tolerance that is no distance, or a metric without what it needs.

    """
    rules = preset.rules if preset else Rules(metrics=_DEFAULT)
    if options.tolerance_mm is not None:
        rules = replace(rules, tolerances_mm=_tolerances(options.tolerance_mm))
    if options.metrics is not None:
        rules = replace(rules, metrics=parse_metrics(options.metrics, tolerance=bool(rules.tolerances_mm)))
    elif preset is None and rules.tolerances_mm:
        rules = replace(rules, metrics=(*rules.metrics, "nsd"))
    if options.empty_is_one:
        rules = replace(rules, both_empty=1.0)
    return checked_rules(rules)


def _tolerances(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        mend = "give millimetres, such as 1, or one for each label, such as 1,2.5"
        raise AutosegError.at("tolerance", f"{text} mm is no distance", mend) from None


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
    pairs = _paired_cases(cases, find_sources(folder, folders=False))
    scores = _score_all(_by_stack(_Task(labels=plan.labels, pairs=pairs, dataset=dataset, rules=_VALIDATION)))
    return _write(folder, scores)


# ---------------------------------------------------------------------------------------------------- pairing
def _task(references: Path, predictions: Sequence[Source], given: tuple[Label, ...]) -> _Task:
    """Find out what kind of references these are, and pair them; `given` labels replace those found."""
    sources = find_sources(references, folders=predictions[0].kind == "folder")
    if sources:
        return _with_labels_found(_paired_sources(sources, predictions), given)
    record = Workspace(references).dataset
    known = record.is_file() and Dataset.schema.encode() in record.read_bytes()[:100]  # others have a dataset.json, too
    dataset = read_record(record, Dataset) if known else understand(references, Options())
    if given and dataset.overlapping:
        mend = "leave --preset out, or give references as label maps"
        raise AutosegError.at(references, "has one mask for each structure, the preset wants label values", mend)
    tests = tuple(case for case in dataset.test_cases if case.references)
    of_tests = bool(tests) and not pair_names([case.name for case in tests], [p.name for p in predictions]).extra
    cases = tests if of_tests else tuple(case for case in dataset.cases if case.references)
    return _Task(labels=given or dataset.labels, pairs=_paired_cases(cases, predictions), dataset=dataset)


def _with_patients(task: _Task, references: Path, groups: str | None) -> _Task:
    """Take each case's patient from the list, where there is one, and note who counts as a patient.

    Slices of a stack that the dataset tells count as one patient, unless it or the list tells patients of them.
    """
    folder = references if references.is_dir() else references.parent
    stack_of = _stack_of(task.dataset)
    patients = patients_of({pair.name: pair.patient for pair in _by_stack(task).pairs}, groups, folder)
    slices = sum(name in stack_of and patients.of[name] == stack_of[name] for name in patients.of)
    of_stacks = f"{slices} files are slices of a stack, which counts as one patient" if slices > 1 else ""
    pairs = tuple(replace(pair, patient=patients.of[pair.name]) for pair in task.pairs)
    return replace(task, pairs=pairs, notes=(*task.notes, *filter(None, [patients.note, of_stacks])))


def _by_stack(task: _Task) -> _Task:
    """Let slices of a stack count as one patient where nothing else tells patients of them."""
    stack_of = _stack_of(task.dataset)
    of = {
        pair.name: stack_of.get(pair.name, pair.name) if pair.patient == pair.name else pair.patient
        for pair in task.pairs
    }
    return replace(task, pairs=tuple(replace(pair, patient=of[pair.name]) for pair in task.pairs))


def _stack_of(dataset: Dataset | None) -> dict[str, str]:
    """Return the first slice of its stack for each slice of one."""
    return {name: stack[0] for stack in (dataset.stacks if dataset else ()) for name in stack}


def _paired_sources(references: Sequence[Source], predictions: Sequence[Source]) -> tuple[_Pair, ...]:
    found = _predictions([reference.name for reference in references], predictions)
    return tuple(
        _Pair(
            name=reference.name,
            patient=group_of(reference.name) or reference.name,
            prediction=prediction,
            source=reference,
        )
        for reference, prediction in zip(references, found, strict=True)
    )


def _paired_cases(cases: Sequence[Case], predictions: Sequence[Source]) -> tuple[_Pair, ...]:
    found = _predictions([case.name for case in cases], predictions)
    return tuple(
        _Pair(name=case.name, patient=case.group, prediction=prediction, case=case)
        for case, prediction in zip(cases, found, strict=True)
    )


def _predictions(names: Sequence[str], predictions: Sequence[Source]) -> tuple[Source | None, ...]:
    """Return the prediction of each name, None where there is none; refuse predictions that are left over."""
    pairing = pair_names(names, [prediction.name for prediction in predictions])
    by_name = {prediction.name: prediction for prediction in predictions}
    if pairing.extra:
        others = f" and {len(pairing.extra) - 1} more like it" if len(pairing.extra) > 1 else ""
        raise AutosegError.at(
            by_name[pairing.extra[0]].path,
            f"no reference is called {pairing.extra[0]}{others}",
            "name predictions like their references, or remove them",
        )
    return tuple(None if name is None else by_name[name] for _, name in pairing.pairs)


def _with_labels_found(pairs: tuple[_Pair, ...], given: tuple[Label, ...]) -> _Task:
    """Find the labels: by name where both sides have names, else by value, for plain label maps come without a list."""
    if given:
        return _Task(labels=given, pairs=pairs)
    sources = [source for pair in pairs for source in (pair.source, pair.prediction) if source]
    names = names_in(sources)
    if names and all(source.kind != "map" for source in sources):
        labels = tuple(Label(name=name, values=(number,)) for number, name in enumerate(names, start=1))
        return _Task(labels=labels, pairs=pairs)
    return _with_values_found(pairs, {s.number: s.name for source in sources for s in source.structures if s.number})


def _with_values_found(pairs: tuple[_Pair, ...], names: dict[int, str]) -> _Task:
    """Read which values occur; `names` are those that DICOM segments give to their numbers.

    One foreground value on each side, not the same (a mask of 255 against a prediction of 1), is the same label.
    """
    expected: set[int] = set()
    predicted: set[int] = set()
    for pair in progress(pairs, what="looking for labels"):
        if pair.source:
            expected.update(values_of(pair.source))
        if pair.prediction:
            predicted.update(values_of(pair.prediction))
    expected, predicted = expected - {0}, predicted - {0}
    recode: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()
    if len(expected) == len(predicted) == 1 and expected != predicted:
        recode = (min(predicted), min(expected))
        notes = (f"value {recode[0]} of the predictions was compared with value {recode[1]} of the references",)
        predicted = expected
    elif names:
        notes = ("numbers of DICOM segments were compared with the values of label maps, which have no names",)
    if not expected | predicted:
        raise AutosegError.at("evaluate", "every label map is empty", "check that these are the right folders")
    labels = tuple(
        Label(name=names.get(value, f"label_{value}"), values=(value,)) for value in sorted(expected | predicted)
    )
    return _Task(labels=labels, pairs=pairs, recode=recode, notes=notes)


# ---------------------------------------------------------------------------------------------------- scoring
def _score_all(task: _Task) -> Scores:
    if not task.pairs:
        raise AutosegError.at("evaluate", "no case to score", "check that references and predictions belong together")
    cases = tuple(_scored(pair, task) for pair in progress(task.pairs, what="scoring"))
    missing = [case.case for case in cases if case.prediction is None]
    notes: tuple[str, ...] = task.notes
    if missing:
        shown = ", ".join(missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
        notes = (f"{len(missing)} of {len(cases)} cases have no prediction and count as empty: {shown}", *notes)
    notes += tuple(_unmeasured(case, task.rules) for case in cases if _unmeasured(case, task.rules))
    return make_scores(task.labels, cases, notes, task.rules, task.preset)


def _unmeasured(case: CaseScore, rules: Rules) -> str:
    """Return a note on a case whose distances would have taken too long, nothing for others."""
    distances = [metric for metric in rules.metrics if metric in ENDLESS]
    held = [label for label in case.labels if label.tp + label.fp + label.fn]
    if not any(getattr(label, metric) is None for label in held for metric in distances):
        return ""
    names = ", ".join(title_of(metric).removesuffix(" (mm)") for metric in distances)
    return f"{names} of {case.case} would take minutes, so much does its prediction differ: undefined, and Dice counts"


def _scored(pair: _Pair, task: _Task) -> CaseScore:
    reference, grid = _reference(pair, task)
    prediction = _prediction(pair.prediction, grid, task)
    return CaseScore(
        case=pair.name,
        patient=pair.patient,
        prediction=None if pair.prediction is None else pair.prediction.path.name,
        labels=score_case(prediction, reference, task.labels, grid, task.rules),
        prediction_files=_files_of(pair.prediction),
        reference_files=_files_of_reference(pair, task),
    )


def _files_of(source: Source | None) -> tuple[FileDigest, ...]:
    """Return the files of a case's labels with their digests."""
    if source is None:
        return ()
    paths = [structure.path for structure in source.structures] if source.kind == "folder" else [source.path]
    return digests_of((file for path in paths for file in files_of(path)), source.path.parent)


def _files_of_reference(pair: _Pair, task: _Task) -> tuple[FileDigest, ...]:
    """Return the files of a case's reference, those of a dataset by their paths in its folder."""
    if task.dataset is None or pair.case is None:
        return _files_of(pair.source)
    folder = Path(task.dataset.folder)
    named = dict.fromkeys(file_of(folder / name) for name in pair.case.references if name)
    return digests_of((file for path in named for file in files_of(path)), folder)


def _reference(pair: _Pair, task: _Task) -> tuple[Integers, Grid]:
    if pair.source is not None:
        grid = grid_of([source for source in (pair.source, pair.prediction) if source])
        return read_source(pair.source, grid, task.labels), grid
    if task.dataset is None or pair.case is None:
        msg = f"case {pair.name} has neither a label map nor a dataset"
        raise ValueError(msg)
    grid = read_header(Path(task.dataset.folder) / pair.case.images[0], task.dataset.reading).grid
    return read_reference(task.dataset, pair.case, grid), grid


def _prediction(source: Source | None, grid: Grid, task: _Task) -> Integers:
    """Return the predicted labels on `grid`; all zero when there is no file."""
    if source is None:
        return np.zeros(grid.shape, dtype=np.uint8)
    array = read_source(source, grid, task.labels)
    if array.ndim == 4:
        return array
    if task.recode:
        array = np.where(array == task.recode[0], task.recode[1], array)
    known = {0, *(value for label in task.labels for value in label.values)}
    unknown = [value for value in values_in(array) if value not in known]
    if unknown:
        mend = "give the references this model was trained on"
        raise AutosegError.at(source.path, f"value {unknown[0]} is no label", mend)
    return array


def _write(folder: Path, scores: Scores) -> Scores:
    """Write a record that names the table, then the table; a kill between them leaves no table of other scores."""
    table = scores_csv(scores)
    named = replace(scores, table=FileDigest(file=SCORES_CSV, sha256=digest_bytes(table.encode())))
    (folder / SCORES_CSV).unlink(missing_ok=True)
    write_record(folder / SCORES_JSON, named)
    write_text(folder / SCORES_CSV, table)
    return named
