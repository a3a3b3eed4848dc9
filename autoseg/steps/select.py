"""Choose what predicts and what is done to its label maps, by the predictions of cases that no network had seen."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from autoseg.core.plans import read_plan
from autoseg.core.records import read_record
from autoseg.core.scores import Scores
from autoseg.core.selection import JOINED, Candidate, Choice, choose_simplest
from autoseg.core.workspace import Workspace
from autoseg.datasets.dataset import Case, Dataset
from autoseg.datasets.read_case import read_reference
from autoseg.imaging.changes import Change, apply_change
from autoseg.imaging.postprocessing import Parts, changes_to_try, measure_parts
from autoseg.imaging.read import read_header, read_label
from autoseg.imaging.selection import LabelPostprocessing
from planners.fingerprint import Label

AS_IT_IS = "as it is"


def ensembles_of(configurations: Sequence[str], previous: Sequence[str | None]) -> tuple[tuple[str, ...], ...]:
    """Return all sets of two or more configurations, small ones first; a stage before a cascade is in none with it.

    >>> ensembles_of(("2d", "3d_fullres"), (None, None))
    (('2d', '3d_fullres'),)
    >>> ensembles_of(("3d_lowres", "3d_cascade_fullres"), (None, "3d_lowres"))
    ()

    """
    before = dict(zip(configurations, previous, strict=True))
    return tuple(
        chosen
        for size in range(2, len(configurations) + 1)
        for chosen in combinations(configurations, size)
        if not any(before[name] in chosen for name in chosen)
    )


def choose_configurations(workspace: Workspace, names: Sequence[str], folds: Sequence[int]) -> Choice:
    """Return the choice among candidates (configurations, or joined names of ensembles) that were scored out of fold.

    Raises:
        AutosegError: a candidate has no scores for one of the folds.

    """
    by_case: list[dict[str, tuple[float | None, ...]]] = []
    patients: dict[str, str] = {}
    for name in names:
        found: dict[str, tuple[float | None, ...]] = {}
        for fold in folds:
            scores = read_record(workspace.validation(name, fold) / "scores.json", Scores)
            found |= {case.case: tuple(label.dice for label in case.labels) for case in scores.cases}
            patients |= {case.case: case.patient for case in scores.cases}
        by_case.append(found)
    cases = [case for case in sorted(patients) if all(case in found for found in by_case)]
    candidates = [
        Candidate(name=name, cost=1 + name.count(JOINED), scores=tuple(found[case] for case in cases))
        for name, found in zip(names, by_case, strict=True)
    ]
    choice = choose_simplest(candidates, [patients[case] for case in cases])
    return replace(choice, n_left_out=choice.n_left_out + len(patients) - len(cases))


def choose_postprocessing(
    workspace: Workspace, name: str, folds: Sequence[int], until: float | None
) -> tuple[LabelPostprocessing, ...] | None:
    """Return what to do to each structure that candidate `name` predicts; None when the time did not suffice.

    Greedy, in the order in which it is done: which parts of each structure go, then, in label maps without those parts,
    whether holes are filled. Without time for the second, no holes are filled.
    Regions and structures that overlap are left as they are. `until` is a time of time.monotonic.

    Raises:
        AutosegError: a prediction or a reference can no longer be read.

    """
    plan = read_plan(workspace.plan)
    if plan.target != "labels":
        return ()
    labels = tuple(label for label in plan.labels if label.role == "foreground")
    ignored = tuple(value for label in plan.labels if label.role == "ignore" for value in label.values)
    task = _Task(dataset=read_record(workspace.dataset, Dataset), labels=labels, ignored=ignored)
    scored = _predicted(workspace, name, folds, task.dataset)
    patients = [patient for _, _, patient in scored]
    parts = _measured(task, scored, (), until)
    if parts is None:
        return None
    removals = [
        _choose(label.name, changes_to_try(own, (label.values[0],)), own, patients)
        for label, own in zip(labels, parts, strict=True)
    ]
    removed = tuple(found.change for found in removals if found.change is not None)
    after = _measured(task, scored, removed, until) if removed else parts
    if after is None:
        return tuple(removals)
    filled = [
        _choose(label.name, (Change(kind="fill-holes", values=(label.values[0],)),), own, patients)
        for label, own in zip(labels, after, strict=True)
    ]
    return tuple(
        replace(removal, filling=fill.choice, fill=fill.change) for removal, fill in zip(removals, filled, strict=True)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """The structures to look at, and the values of references whose voxels count for nothing."""

    dataset: Dataset
    labels: tuple[Label, ...]
    ignored: tuple[int, ...]


def _predicted(workspace: Workspace, name: str, folds: Sequence[int], dataset: Dataset) -> list[tuple[Case, Path, str]]:
    """Return each predicted case of the folds, its label map and its patient."""
    known = {case.name: case for case in dataset.cases}
    return [
        (known[scored.case], workspace.validation(name, fold) / Path(scored.prediction).name, scored.patient)
        for fold in folds
        for scored in read_record(workspace.validation(name, fold) / "scores.json", Scores).cases
        if scored.prediction is not None and scored.case in known
    ]


def _measured(
    task: _Task, scored: Sequence[tuple[Case, Path, str]], changes: Sequence[Change], until: float | None
) -> list[list[Parts]] | None:
    """Return the parts (label, case) in label maps after `changes`; None when the time did not suffice."""
    found: list[list[Parts]] = [[] for _ in task.labels]
    for case, prediction, _ in scored:
        if until is not None and time.monotonic() > until:
            return None
        for own, part in zip(found, _parts_of(task, case, prediction, changes), strict=True):
            own.append(part)
    return found


def _parts_of(task: _Task, case: Case, prediction: Path, changes: Sequence[Change]) -> tuple[Parts, ...]:
    grid = read_header(Path(task.dataset.folder) / case.images[0], task.dataset.reading).grid
    reference = read_reference(task.dataset, case, grid)
    predicted = read_label(prediction).array[0]
    voxel_mm3 = float(np.prod(grid.spacing_mm))
    for change in changes:
        predicted = apply_change(predicted, change, voxel_mm3)
    if task.ignored:
        predicted = np.where(np.isin(reference, task.ignored), 0, predicted)
    return tuple(
        measure_parts(predicted, np.isin(reference, label.values), (label.values[0],), voxel_mm3)
        for label in task.labels
    )


def _choose(
    label: str, changes: Sequence[Change], parts: Sequence[Parts], patients: Sequence[str]
) -> LabelPostprocessing:
    """Return the choice between `changes` of one structure and none."""
    tried = [(AS_IT_IS, 0, None), *((str(change), 1, change) for change in changes)]
    candidates = [
        Candidate(name=words, cost=cost, scores=tuple((part.dice(change),) for part in parts))
        for words, cost, change in tried
    ]
    choice = choose_simplest(candidates, patients)
    change = next(change for words, _, change in tried if words == choice.chosen)
    return LabelPostprocessing(label=label, choice=choice, change=change)
