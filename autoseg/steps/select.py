"""Choose what predicts and what is done to its label maps, by the predictions of cases that no network had seen."""

import time
from collections.abc import Sequence
from dataclasses import replace
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

    Structures that overlap are left as they are: a label map cannot hold them. `until` is a time of time.monotonic.

    Raises:
        AutosegError: a prediction or a reference can no longer be read.

    """
    dataset, plan = read_record(workspace.dataset, Dataset), read_plan(workspace.plan)
    if plan.target != "labels":
        return ()
    labels = [label for label in plan.labels if label.role == "foreground"]
    ignored = tuple(value for label in plan.labels if label.role == "ignore" for value in label.values)
    parts: list[tuple[Parts, ...]] = []
    patients: list[str] = []
    for fold in folds:
        scores = read_record(workspace.validation(name, fold) / "scores.json", Scores)
        known = {case.name: case for case in dataset.cases}
        for scored in scores.cases:
            if until is not None and time.monotonic() > until:
                return None
            if scored.prediction is not None and scored.case in known:
                prediction = workspace.validation(name, fold) / Path(scored.prediction).name
                parts.append(_parts_of(dataset, known[scored.case], prediction, labels, ignored))
                patients.append(scored.patient)
    return tuple(
        _choose_change(label, [case[position] for case in parts], patients) for position, label in enumerate(labels)
    )


def _parts_of(
    dataset: Dataset, case: Case, prediction: Path, labels: Sequence[Label], ignored: tuple[int, ...]
) -> tuple[Parts, ...]:
    grid = read_header(Path(dataset.folder) / case.images[0], dataset.reading).grid
    reference = read_reference(dataset, case, grid)
    predicted = read_label(prediction).array[0]
    if ignored:
        predicted = np.where(np.isin(reference, ignored), 0, predicted)
    voxel_mm3 = float(np.prod(grid.spacing_mm))
    return tuple(
        measure_parts(predicted, np.isin(reference, label.values), (label.values[0],), voxel_mm3) for label in labels
    )


def _choose_change(label: Label, parts: Sequence[Parts], patients: Sequence[str]) -> LabelPostprocessing:
    changes = changes_to_try(parts, (label.values[0],))
    tried = [(AS_IT_IS, 0, None), *((str(change), 1, change) for change in changes)]
    candidates = [
        Candidate(name=words, cost=cost, scores=tuple((part.dice(change),) for part in parts))
        for words, cost, change in tried
    ]
    choice = choose_simplest(candidates, patients)
    change = next(change for words, _, change in tried if words == choice.chosen)
    return LabelPostprocessing(label=label.name, choice=choice, change=change)
