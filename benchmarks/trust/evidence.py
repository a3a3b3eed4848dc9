"""What the out-of-fold predictions of the benchmark show: coverage, flags, ranks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from autoseg.core.observation import CaseObservation
from autoseg.core.plans import read_plan
from autoseg.core.quality import PARTS, Quality, estimate, fit_quality
from autoseg.core.records import read_record, write_record
from autoseg.core.runtime import progress
from autoseg.core.scores import Scores
from autoseg.core.suspects import Agreement, Suspect, rank, score_of
from autoseg.core.workspace import Workspace
from autoseg.datasets.dataset import Case, Dataset
from autoseg.datasets.read_case import read_case
from autoseg.imaging.disagreement import explain
from autoseg.imaging.read import read_label
from autoseg.learning.inference import InferenceOptions, Segmenter, make_segmenter
from autoseg.learning.model_files import load_network
from autoseg.learning.observation import Watch
from autoseg.predicting.observing import observation_of, observation_path, seen
from autoseg.steps.evaluate import score_validation
from autoseg.steps.judge import Judgement, judge
from autoseg.steps.predict import predict_validation
from autoseg.steps.train import TrainingRecord
from benchmarks.record import Hardware, this_commit, this_hardware
from benchmarks.trust.corrupt import CORRUPTIONS, STRENGTHS
from benchmarks.trust.disturb import ENDING, disturb, kinds
from benchmarks.trust.networks import CONFIGURATION, FOLDS, disturbed

LABELS = (1, 2)
FALL = 0.1
"""Of the mean Dice: an image that costs more is one to be flagged."""
TOP = 15
DRAWS = 50
ENOUGH = 9
Labels = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """The 90 % interval of one structure; errors and widths in Dice."""

    label: str
    n: int
    covered: int
    median_width: float
    mean_error: float
    rank_correlation: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoilt:
    """Images spoilt in one way: how many were flagged, and what Dice they had (before: `mean_clean_dice`)."""

    kind: str
    n: int
    flagged: int
    mean_dice: float
    mean_clean_dice: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A label that was put wrong before training, and its rank among the suspects."""

    case: str
    kind: str
    detail: str
    rank: int
    explanation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRecord:
    """What was measured; `later_*` are labels put wrong after the training, in several draws.

    `intervals` are fitted on Dice against the published labels; `intervals_as_labelled`, `false_alarms` and `spoilt` on
    Dice against the labels of the training, ten of them wrong, which widens intervals. All are judged against the
    published labels, on cases that had no part in their fit.
    """

    schema: ClassVar[str] = "autoseg.benchmark-trust/1"

    commit: str
    hardware: Hardware
    steps: int
    n_cases: int
    mean_dice: float
    temperature: float
    error_before: float
    error_after: float
    intervals: tuple[Coverage, ...]
    intervals_as_labelled: tuple[Coverage, ...]
    false_alarms: int
    spoilt: tuple[Spoilt, ...]
    top: int
    disturbed: tuple[Ranked, ...]
    later_draws: int
    later_found: float
    later_nine: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoiltCase:
    """One image spoilt until its Dice fell by more than FALL."""

    kind: str
    clean_dice: float
    dice: float
    observation: CaseObservation


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoiltRecord:
    """What was seen of the spoilt images of one fold."""

    schema: ClassVar[str] = "autoseg.benchmark.spoilt/1"

    every: int
    cases: tuple[SpoiltCase, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Known:
    """A case: where it was unseen, what was observed, its Dice as labelled and as published, and both label maps."""

    name: str
    fold: int
    observation: CaseObservation
    given: tuple[float, ...]
    true: tuple[float, ...]
    published: Labels
    prediction: Labels


def gather(workspace: Workspace, source: Path, work: Path, every: int) -> TrustRecord:
    """Validate, judge, spoil, and count."""
    torch.set_num_threads(1)
    for fold in range(FOLDS):
        if not (workspace.validation(CONFIGURATION, fold) / "scores.json").exists():
            predict_validation(workspace, CONFIGURATION, fold, "cpu")
            score_validation(workspace, CONFIGURATION, fold)
    judged = judge(workspace, CONFIGURATION, range(FOLDS))
    cases = [case for fold in range(FOLDS) for case in _known(workspace, source, fold)]
    spoilt = [each for fold in range(FOLDS) for each in _spoilt(workspace, source, (work, fold), every)]
    calibrated = judged.calibration.temperatures[0]
    if calibrated.before is None or calibrated.after is None or calibrated.temperature is None:
        msg = "the benchmark has too few cases"
        raise ValueError(msg)
    found, nine = _later(cases, judged, {each.case for each in disturbed(work)})
    training = read_record(workspace.training(CONFIGURATION, 0) / "training.json", TrainingRecord)
    return TrustRecord(
        commit=this_commit(),
        hardware=this_hardware("cpu"),
        steps=training.steps,
        n_cases=len(cases),
        mean_dice=float(np.mean([case.true for case in cases])),
        temperature=calibrated.temperature,
        error_before=calibrated.before.calibration_error,
        error_after=calibrated.after.calibration_error,
        intervals=_coverage([replace(case, given=case.true) for case in cases]),
        intervals_as_labelled=_coverage(cases),
        false_alarms=_false_alarms(cases),
        spoilt=_flags(judged.quality, spoilt),
        top=TOP,
        disturbed=_ranks(judged, work),
        later_draws=DRAWS,
        later_found=found,
        later_nine=nine,
    )


def dice_of(first: Labels, second: Labels) -> tuple[float, ...]:
    """Return the Dice of both structures; every case of this dataset holds both."""
    return tuple(
        float(2 * np.count_nonzero((first == v) & (second == v)) / ((first == v).sum() + (second == v).sum()))
        for v in LABELS
    )


def _known(workspace: Workspace, source: Path, fold: int) -> list[Known]:
    folder = workspace.validation(CONFIGURATION, fold)
    found = []
    for score in read_record(folder / "scores.json", Scores).cases:
        published = read_label(source / "labels" / f"{score.case}{ENDING}").array[0]
        prediction = read_label(folder / f"{score.case}{ENDING}").array[0]
        found.append(
            Known(
                name=score.case,
                fold=fold,
                observation=read_record(observation_path(folder, score.case), CaseObservation),
                given=tuple(each.dice or 0.0 for each in score.labels),
                true=dice_of(published, prediction),
                published=published,
                prediction=prediction,
            )
        )
    return found


def _apart(cases: Sequence[Known]) -> list[tuple[Known, Quality]]:
    """Return each case with what was fitted, on the labels as given, without its tenth of the cases."""
    found = []
    for part in range(PARTS):
        rest = [case for index, case in enumerate(cases) if index % PARTS != part]
        quality = fit_quality([case.observation for case in rest], [case.given for case in rest], (), ())
        found += [(case, quality) for index, case in enumerate(cases) if index % PARTS == part]
    return found


def _coverage(cases: Sequence[Known]) -> tuple[Coverage, ...]:
    estimates = [(case.true, estimate(quality, case.observation).structures) for case, quality in _apart(cases)]
    found = []
    for position in range(len(LABELS)):
        rows = [(true[position], structures[position]) for true, structures in estimates]
        known = [(t, e.label, e.dice, e.lower, e.upper) for t, e in rows if None not in (e.dice, e.lower, e.upper)]
        true, label, dice, lower, upper = (np.array(column) for column in zip(*known, strict=True))
        found.append(
            Coverage(
                label=str(label[0]),
                n=len(known),
                covered=int(((lower <= true) & (true <= upper)).sum()),
                median_width=float(np.median(upper - lower)),
                mean_error=float(np.abs(dice - true).mean()),
                rank_correlation=float(spearmanr(dice, true).statistic),
            )
        )
    return tuple(found)


def _false_alarms(cases: Sequence[Known]) -> int:
    return sum(bool(estimate(quality, case.observation).flagged) for case, quality in _apart(cases))


def _flags(quality: Quality, spoilt: Sequence[SpoiltCase]) -> tuple[Spoilt, ...]:
    found = []
    for kind in CORRUPTIONS:
        own = [each for each in spoilt if each.kind == kind]
        if own:
            found.append(
                Spoilt(
                    kind=kind,
                    n=len(own),
                    flagged=sum(bool(estimate(quality, each.observation).flagged) for each in own),
                    mean_dice=float(np.mean([each.dice for each in own])),
                    mean_clean_dice=float(np.mean([each.clean_dice for each in own])),
                )
            )
    return tuple(found)


def _spoilt(workspace: Workspace, source: Path, where: tuple[Path, int], every: int) -> tuple[SpoiltCase, ...]:
    """Spoil every `every`th case of a fold, more and more, in each way; those that never cost so much are left out."""
    work, fold = where
    path = work / f"spoilt_{fold}.json"
    if path.exists() and (made := read_record(path, SpoiltRecord)).every == every:
        return made.cases
    dataset, plan = read_record(workspace.dataset, Dataset), read_plan(workspace.plan)
    network = load_network(workspace.model, CONFIGURATION, fold, torch.device("cpu"))
    segmenter = make_segmenter(plan, [network], InferenceOptions(configurations=(CONFIGURATION,)))
    scored = read_record(workspace.validation(CONFIGURATION, fold) / "scores.json", Scores)
    names = [score.case for score in scored.cases][::every]
    cases = []
    for index, case in enumerate(progress([c for c in dataset.cases if c.name in names], what="spoil")):
        cases += _spoilt_case(segmenter, (dataset, case), source, (index, fold))
    write_record(path, SpoiltRecord(every=every, cases=tuple(cases)))
    return tuple(cases)


def _spoilt_case(
    segmenter: Segmenter, of: tuple[Dataset, Case], source: Path, seed: tuple[int, int]
) -> list[SpoiltCase]:
    dataset, case = of
    image = read_case(dataset, case).image
    reference = read_label(source / "labels" / f"{case.name}{ENDING}").array[0]
    spacing_mm = image.grid.spacing_mm
    array = image.array[0].astype(np.float32)
    clean = float(np.mean(_observed(segmenter, array, reference, spacing_mm)[0]))
    found = []
    for kind, spoil in CORRUPTIONS.items():
        for strength in range(STRENGTHS):
            spoilt, moved = spoil(array, reference, strength, np.random.default_rng(seed))
            dice, observation = _observed(segmenter, spoilt, moved, spacing_mm)
            if np.mean(dice) < clean - FALL:
                mean = float(np.mean(dice))
                found.append(SpoiltCase(kind=kind, clean_dice=clean, dice=mean, observation=observation))
                break
    return found


def _observed(
    segmenter: Segmenter, image: NDArray[np.float32], reference: Labels, spacing_mm: tuple[float, float, float]
) -> tuple[tuple[float, ...], CaseObservation]:
    prepared = segmenter.prepare(image[None], spacing_mm)
    watch = Watch(len(LABELS) + 1, "labels")
    label_map = segmenter.segment(prepared, watch=watch)
    observation = observation_of(("", ""), segmenter.plan, label_map, spacing_mm, seen(watch, prepared))
    return dice_of(reference, label_map), observation


def _ranks(judged: Judgement, work: Path) -> tuple[Ranked, ...]:
    places = {each.case: (position, each) for position, each in enumerate(judged.suspects.cases, start=1)}
    return tuple(
        Ranked(
            case=each.case,
            kind=each.kind,
            detail=each.detail,
            rank=places[each.case][0],
            explanation=places[each.case][1].explanation,
        )
        for each in disturbed(work)
    )


def _later(cases: Sequence[Known], judged: Judgement, skipped: set[str]) -> tuple[float, float]:
    """Return the share of labels put wrong after training that are in the top, and of draws with nine or more there.

    What is foreseen for a case stays as it was: its own label has no part in that.
    """
    sound = [each for each in judged.suspects.cases if each.case not in skipped]
    known = {case.name: case for case in cases}
    counts = []
    for draw in range(DRAWS):
        random = np.random.default_rng([draw, 1])
        chosen = random.choice(len(sound), 10, replace=False).tolist()
        changed = {
            index: _again(sound[index], known[sound[index].case], kind, random)
            for index, kind in zip(chosen, kinds(chosen), strict=True)
        }
        ranked = rank([changed.get(index, each) for index, each in enumerate(sound)]).cases
        names = {sound[index].case for index in chosen}
        counts.append(sum(each.case in names for each in ranked[:TOP]))
    return float(np.mean(counts)) / 10, float(np.mean([count >= ENOUGH for count in counts]))


def _again(suspect: Suspect, case: Known, kind: Any, random: np.random.Generator) -> Suspect:
    """Return the suspect with its label put wrong."""
    labels, _ = disturb(case.published, kind, random)
    masks = [[array == value for value in LABELS] for array in (labels, case.prediction)]
    found = explain(masks[0], masks[1], [each.label for each in suspect.structures])
    structures = tuple(
        Agreement(label=each.label, dice=dice, foreseen=each.foreseen)
        for each, dice in zip(suspect.structures, dice_of(labels, case.prediction), strict=True)
    )
    score = score_of(structures, found.gain)
    return replace(suspect, structures=structures, score=score, gain=found.gain, explanation=found.words)
