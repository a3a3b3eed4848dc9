"""Records of what comes after training, made up: curves, selection, calibration, quality, suspect labels."""

from collections.abc import Sequence

import numpy as np

from autoseg.core.calibration import CALIBRATION_NAME, Calibration, Sampled, fit
from autoseg.core.observation import CaseObservation
from autoseg.core.quality import QUALITY_NAME, Quality, estimate_known, fit_quality
from autoseg.core.records import read_record, write_record
from autoseg.core.scores import Scores
from autoseg.core.suspects import SUSPECTS_NAME, Agreement, Suspect, rank
from autoseg.core.workspace import Workspace
from autoseg.imaging.selection import Selection
from autoseg.steps.select import choose_configurations
from tests.core.test_quality import structure
from tests.steps.test_report import write_progress

NETWORK = ("a" * 64,)


def write_judged(workspace: Workspace, configurations: Sequence[str]) -> None:
    """Write the records of a workspace whose fold 0 was trained and scored with all `configurations`; the last wins."""
    for name in configurations:
        write_progress(workspace.training(name, 0) / "progress.jsonl")
    chosen = configurations[-1]
    choice = choose_configurations(workspace, configurations, (0,))
    selection = Selection(folds=(0,), configurations=(chosen,), choice=choice, postprocessing=(), left_out=("2d+3d",))
    write_record(workspace.selection, selection)
    scores = read_record(workspace.validation(chosen, 0) / "scores.json", Scores)
    random = np.random.default_rng(3)
    write_record(workspace.root / CALIBRATION_NAME, a_calibration(len(scores.cases), random))
    cases = [observed(case.case, [(s.label, s.dice) for s in case.labels], random) for case in scores.cases]
    quality = fit_quality(cases, [[s.dice for s in case.labels] for case in scores.cases], (chosen,), NETWORK)
    write_record(workspace.root / QUALITY_NAME, quality)
    write_record(workspace.root / SUSPECTS_NAME, rank(suspects(scores, quality, cases, chosen)))


def observed(name: str, dice: Sequence[tuple[str, float | None]], random: np.random.Generator) -> CaseObservation:
    """Return what a network would have been seen to do that is about as sure as it is right."""
    sure = [(label, min(max((value or 0.0) + random.normal(0, 0.05), 0.02), 0.99)) for label, value in dice]
    return CaseObservation(
        case=name,
        model_digest="",
        structures=tuple(structure(label, sure=value, voxels=int(random.uniform(800, 1200))) for label, value in sure),
        image=tuple(random.normal(0, 1, 4).tolist()),
    )


def a_calibration(n_cases: int, random: np.random.Generator) -> Calibration:
    """Return a calibration fitted on voxels of a network that is too sure of itself."""
    cases = [a_sample(random) for _ in range(n_cases)]
    return Calibration(
        target="labels",
        configurations=("3d_fullres",),
        networks=NETWORK,
        n_cases=n_cases,
        n_voxels=sum(len(case.truth) for case in cases),
        temperatures=(fit("", cases),),
    )


def a_sample(random: np.random.Generator, voxels: int = 60) -> Sampled:
    said = random.uniform(0.5, 1.0, voxels)
    truth = (random.random(voxels) > 0.5 + 0.8 * (said - 0.5)).astype(np.int64)
    return Sampled(
        probabilities=np.stack([said, 1 - said], axis=1),
        truth=truth,
        weights=np.ones(voxels),
        near=np.ones(voxels, np.bool_),
    )


def suspects(
    scores: Scores, quality: Quality, cases: Sequence[CaseObservation], configuration: str
) -> tuple[Suspect, ...]:
    """Return each case with the Dice that it lacks as its score; the worst would agree better if shifted."""
    worst = min(range(len(cases)), key=lambda index: scores.per_case()[index] or 0.0)
    return tuple(
        Suspect(
            case=case.case,
            configuration=configuration,
            fold=0,
            score=1 - (scores.per_case()[index] or 0.0),
            structures=tuple(
                Agreement(label=score.label, dice=score.dice, foreseen=foreseen)
                for score, foreseen in zip(case.labels, estimate_known(quality, cases[index], index), strict=True)
            ),
            explanation="shifted by 4 voxels along x" if index == worst else "",
            gain=0.2 if index == worst else 0.0,
        )
        for index, case in enumerate(scores.cases)
    )
