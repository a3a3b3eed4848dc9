"""Choose what predicts and what is done to its label maps, by the predictions of cases that no network had seen."""

import time
from collections.abc import Callable, Sequence
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
from autoseg.imaging.postprocessing import Parts, Structure, measure_parts, removals_to_try, structures_of
from autoseg.imaging.read import read_header, read_label
from autoseg.imaging.selection import LabelPostprocessing

AS_IT_IS = "as it is"

_Named = tuple[str, Structure]
_Known = dict[tuple[_Named, tuple[Change, ...]], list[Parts]]
"""The parts of structures, of each case, in label maps after some changes."""


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
    whether holes are filled. Without time for the second, no holes are filled. Of regions the outer come first: what is
    cut off from one is no part of those inside it, and what one inside loses is still the outer's.
    Structures that overlap at will are left as they are. `until` is a time of time.monotonic.

    Raises:
        AutosegError: a prediction or a reference can no longer be read.

    """
    plan = read_plan(workspace.plan)
    dataset = read_record(workspace.dataset, Dataset)
    if dataset.overlapping:
        return ()
    labels = tuple(label for label in plan.labels if label.role == "foreground")
    found = zip(labels, structures_of([label.values for label in labels]), strict=True)
    named = tuple((label.name, structure) for label, structure in found if structure is not None)
    ignored = tuple(value for label in plan.labels if label.role == "ignore" for value in label.values)
    task = _Task(dataset=dataset, scored=_predicted(workspace, name, folds, dataset), ignored=ignored, until=until)
    apart = (named,) if plan.target == "labels" else tuple((each,) for each in named)
    return _chosen_changes(task, apart)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """Predicted cases with label map and patient, values of references that count for nothing, and the time to stop."""

    dataset: Dataset
    scored: Sequence[tuple[Case, Path, str]]
    ignored: tuple[int, ...]
    until: float | None

    @property
    def patients(self) -> list[str]:
        """The patient of each case."""
        return [patient for _, _, patient in self.scored]


def _chosen_changes(task: _Task, apart: Sequence[Sequence[_Named]]) -> tuple[LabelPostprocessing, ...] | None:
    """Choose for structures that change nothing of each other at once, for others one after the other."""
    known: _Known = {}
    removals, done = _choose_each(task, apart, removals_to_try, ((), known))
    if len(removals) < sum(map(len, apart)):
        return None
    fillings, _ = _choose_each(task, apart, _filling, (done, known))
    together = zip(removals, fillings, strict=False)
    both = tuple(replace(removal, filling=fill.choice, fill=fill.change) for removal, fill in together)
    return (*both, *removals[len(both) :])


def _filling(_parts: Sequence[Parts], structure: Structure) -> tuple[Change, ...]:
    return (structure.change("fill-holes"),)


def _choose_each(
    task: _Task,
    apart: Sequence[Sequence[_Named]],
    tries: Callable[[Sequence[Parts], Structure], tuple[Change, ...]],
    before: tuple[tuple[Change, ...], _Known],
) -> tuple[list[LabelPostprocessing], tuple[Change, ...]]:
    """Return what was chosen for each structure for which there was time, and all changes so far."""
    found: list[LabelPostprocessing] = []
    done, known = before
    for group in apart:
        if not _measure(task, group, done, known):
            break
        for each in group:
            parts = known[each, done]
            found.append(_choose(each[0], tries(parts, each[1]), parts, task.patients))
        done += tuple(chosen.change for chosen in found[-len(group) :] if chosen.change is not None)
    return found, done


def _predicted(workspace: Workspace, name: str, folds: Sequence[int], dataset: Dataset) -> list[tuple[Case, Path, str]]:
    """Return each predicted case of the folds, its label map and its patient."""
    known = {case.name: case for case in dataset.cases}
    return [
        (known[scored.case], workspace.validation(name, fold) / Path(scored.prediction).name, scored.patient)
        for fold in folds
        for scored in read_record(workspace.validation(name, fold) / "scores.json", Scores).cases
        if scored.prediction is not None and scored.case in known
    ]


def _measure(task: _Task, group: Sequence[_Named], changes: tuple[Change, ...], known: _Known) -> bool:
    """Find the parts of structures in all cases after `changes`, once; False when the time did not suffice."""
    if all((each, changes) in known for each in group):
        return True
    found: list[list[Parts]] = [[] for _ in group]
    for case, prediction, _ in task.scored:
        if task.until is not None and time.monotonic() > task.until:
            return False
        for own, part in zip(found, _parts_of(task, group, case, (prediction, changes)), strict=True):
            own.append(part)
    known |= {(each, changes): own for each, own in zip(group, found, strict=True)}
    return True


def _parts_of(
    task: _Task, group: Sequence[_Named], case: Case, predicted_as: tuple[Path, Sequence[Change]]
) -> tuple[Parts, ...]:
    prediction, changes = predicted_as
    grid = read_header(Path(task.dataset.folder) / case.images[0], task.dataset.reading).grid
    reference = read_reference(task.dataset, case, grid)
    predicted = read_label(prediction).array[0]
    voxel_mm3 = float(np.prod(grid.spacing_mm))
    for change in changes:
        predicted = apply_change(predicted, change, voxel_mm3)
    if task.ignored:
        predicted = np.where(np.isin(reference, task.ignored), 0, predicted)
    return tuple(
        measure_parts(predicted, np.isin(reference, structure.values), structure, voxel_mm3) for _, structure in group
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
