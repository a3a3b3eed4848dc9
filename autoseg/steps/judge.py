"""Judge: what cases that no network had seen say about the model's probabilities, its quality, and the labels.

Three records: calibration.json (temperatures), quality.json (what foresees Dice), both also in the model, and
suspects.json (labels to look at).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from autoseg.core.calibration import CALIBRATION_NAME, Calibration, Sampled, fit
from autoseg.core.observation import CaseObservation
from autoseg.core.plans import read_plan
from autoseg.core.quality import QUALITY_NAME, Quality, estimate_known, fit_quality
from autoseg.core.records import read_record, write_record
from autoseg.core.scores import CaseScore, Scores
from autoseg.core.selection import JOINED
from autoseg.core.suspects import SUSPECTS_NAME, Agreement, Suspect, Suspects, rank, score_of
from autoseg.core.workspace import Workspace
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.read_case import read_reference
from autoseg.imaging.disagreement import explain
from autoseg.imaging.read import read_header, read_label
from autoseg.learning.model_files import companions_written, load_model_record
from autoseg.learning.observation import Sample
from autoseg.learning.trust import networks_behind
from autoseg.predicting.observing import observation_path, read_samples
from planners.fingerprint import Label
from planners.plan import Plan

Integers = NDArray[np.integer[Any]]
MOST_EXPLAINED = 1 << 27
"""Voxels times structures of a case whose label is moved about: a few seconds."""
_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What was found; each part is also a record in the workspace."""

    calibration: Calibration
    quality: Quality
    suspects: Suspects


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Unseen:
    """A case, what the network that had not seen it was seen to do, and its reference at the sampled voxels."""

    fold: int
    score: CaseScore
    observation: CaseObservation
    sampled: tuple[Sampled, ...]
    explanation: tuple[str, float]


def judge(workspace: Workspace, name: str, folds: Sequence[int]) -> Judgement:
    """Judge the out-of-fold predictions of `name` (a configuration, or several joined), and write the records.

    Cases of which nothing was observed, by an older version say, are left out.

    Raises:
        AutosegError: a record, a prediction or a reference cannot be read.

    """
    dataset, plan = read_record(workspace.dataset, Dataset), read_plan(workspace.plan)
    cases = [case for fold in folds for case in _unseen(workspace, (dataset, plan), name, fold)]
    model = load_model_record(workspace.model)
    configurations = tuple(name.split(JOINED))
    networks = networks_behind(model, plan, configurations)
    outputs = [""] if plan.target == "labels" else [label.name for label in _foreground(plan)]
    temperatures = tuple(fit(of, [case.sampled[index] for case in cases]) for index, of in enumerate(outputs))
    calibration = Calibration(
        target=plan.target,
        configurations=configurations,
        networks=networks,
        n_cases=len(cases),
        n_voxels=sum(len(case.sampled[0].truth) for case in cases),
        temperatures=temperatures,
    )
    observations = [case.observation for case in cases]
    dice = [[score.dice for score in case.score.labels] for case in cases]
    quality = fit_quality(observations, dice, configurations, networks)
    suspects = rank(_suspects(cases, quality, name))
    with companions_written(workspace.model, CALIBRATION_NAME, QUALITY_NAME):
        for folder in (workspace.root, workspace.model):
            write_record(folder / CALIBRATION_NAME, calibration)
            write_record(folder / QUALITY_NAME, quality)
    write_record(workspace.root / SUSPECTS_NAME, suspects)
    return Judgement(calibration=calibration, quality=quality, suspects=suspects)


def words(found: Judgement) -> tuple[str, ...]:
    """Return what was found in sentences."""
    lines = []
    for each in found.calibration.temperatures:
        of = f" of {each.of}" if each.of else ""
        if each.temperature is None or each.before is None or each.after is None:
            lines.append(f"calibration{of}: none, {each.because}")
        else:
            before, after = each.before.calibration_error, each.after.calibration_error
            lines.append(
                f"calibration{of}: temperature {each.temperature:.3g}, error {before:.4f} before, {after:.4f} after"
            )
    unknown = sorted({each.because for each in found.quality.structures if not each.parts})
    lines += [f"quality of new cases: not known for some structures, {reason}" for reason in unknown]
    marked = [each.case for each in found.suspects.cases if each.suspect]
    if marked:
        shown = ", ".join(marked[:_SHOWN]) + (f" and {len(marked) - _SHOWN} more" if len(marked) > _SHOWN else "")
        lines.append(f"labels to look at: {shown}")
    return tuple(lines)


def _unseen(workspace: Workspace, of: tuple[Dataset, Plan], name: str, fold: int) -> list[Unseen]:
    """Return the validation cases of a fold that were observed and predicted."""
    dataset, plan = of
    folder = workspace.validation(name, fold)
    scores = read_record(folder / "scores.json", Scores)
    known = {case.name: case for case in dataset.cases}
    found = []
    for score in scores.cases:
        path = observation_path(folder, score.case)
        if score.prediction is None or score.case not in known or not path.is_file():
            continue
        case = known[score.case]
        grid = read_header(Path(dataset.folder) / case.images[0], dataset.reading).grid
        reference = read_reference(dataset, case, grid)
        samples = read_samples(folder, score.case)
        prediction = read_label(folder / Path(score.prediction).name).array[0]
        found.append(
            Unseen(
                fold=fold,
                score=score,
                observation=read_record(path, CaseObservation),
                sampled=_sampled(plan, reference, samples),
                explanation=_explained(plan, reference, prediction),
            )
        )
    return found


def _sampled(plan: Plan, reference: Integers, samples: tuple[Sample, Sample]) -> tuple[Sampled, ...]:
    """Return the sampled voxels with what is right there: one for all labels, or one for each region."""
    indexes = np.concatenate([sample.indexes for sample in samples])
    probabilities = np.concatenate([sample.probabilities for sample in samples]).astype(np.float64)
    near = np.concatenate([np.full(len(s.indexes), first) for s, first in zip(samples, (True, False), strict=True)])
    weights = np.concatenate([np.full(len(s.indexes), s.drawn_from / max(len(s.indexes), 1)) for s in samples])
    own = reference.reshape(*reference.shape[:-3], -1)[..., indexes]
    ignored = [value for label in plan.labels if label.role == "ignore" for value in label.values]
    kept = ~np.isin(own, ignored) if own.ndim == 1 else np.ones(len(indexes), np.bool_)
    labels = _foreground(plan)
    inside = np.stack([own[i] != 0 if own.ndim == 2 else np.isin(own, each.values) for i, each in enumerate(labels)])
    if plan.target == "labels":
        truth = np.where(inside.any(axis=0), inside.argmax(axis=0) + 1, 0)
        pairs = [(probabilities, truth)]
    else:
        pairs = [
            (np.stack([1 - p, p], axis=1), t.astype(np.int64)) for p, t in zip(probabilities.T, inside, strict=True)
        ]
    return tuple(
        Sampled(probabilities=p[kept], truth=truth[kept], weights=weights[kept], near=near[kept]) for p, truth in pairs
    )


def _explained(plan: Plan, reference: Integers, prediction: Integers) -> tuple[str, float]:
    """Return what change of the reference would agree better, and what it gains; nothing where looking takes long."""
    labels = _foreground(plan)
    ignored = [value for label in plan.labels if label.role == "ignore" for value in label.values]
    if ignored and reference.ndim == 3:
        hidden = np.isin(reference, ignored)
        reference, prediction = np.where(hidden, 0, reference), np.where(hidden, 0, prediction)
    box = ndimage.find_objects(((prediction != 0) | (reference.reshape(-1, *prediction.shape) != 0).any(axis=0)) * 1)
    if not box or prediction[box[0]].size * len(labels) > MOST_EXPLAINED:
        return "", 0.0
    own, seen = reference[(..., *box[0])], prediction[box[0]]
    references = [own[i] != 0 if own.ndim == 4 else np.isin(own, label.values) for i, label in enumerate(labels)]
    found = explain(references, [np.isin(seen, label.values) for label in labels], [label.name for label in labels])
    return found.words, found.gain


def _suspects(cases: Sequence[Unseen], quality: Quality, name: str) -> list[Suspect]:
    """Return every case with how far its label falls short of what was foreseen."""
    made = []
    usual = _usual(cases)
    for index, case in enumerate(cases):
        foreseen = estimate_known(quality, case.observation, index)
        structures = tuple(
            Agreement(label=score.label, dice=score.dice, foreseen=middle if value is None else value)
            for score, value, middle in zip(case.score.labels, foreseen, usual, strict=True)
        )
        explanation, gain = case.explanation
        made.append(
            Suspect(
                case=case.score.case,
                configuration=name,
                fold=case.fold,
                score=score_of(structures, gain),
                structures=structures,
                explanation=explanation,
                gain=gain,
            )
        )
    return made


def _usual(cases: Sequence[Unseen]) -> list[float | None]:
    """Return the median Dice of each structure."""
    columns = zip(*([score.dice for score in case.score.labels] for case in cases), strict=True)
    defined = [[value for value in column if value is not None] for column in columns]
    return [float(np.median(values)) if values else None for values in defined]


def _foreground(plan: Plan) -> list[Label]:
    return [label for label in plan.labels if label.role == "foreground"]
