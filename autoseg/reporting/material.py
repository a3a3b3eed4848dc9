"""What a workspace holds for the report, each part None or empty when it is not there yet."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import msgspec

from autoseg.core.calibration import CALIBRATION_NAME, Calibration
from autoseg.core.definitions import in_order, title_of
from autoseg.core.errors import AutosegError
from autoseg.core.quality import QUALITY_NAME, Quality
from autoseg.core.records import read_record
from autoseg.core.runtime import RunEntry, digest_file
from autoseg.core.scores import CaseScore, Scores, make_scores
from autoseg.core.suspects import SUSPECTS_NAME, Suspects
from autoseg.core.workspace import Workspace
from autoseg.datasets.dataset import Case, Dataset, Folds
from autoseg.datasets.inspection import Inspection
from autoseg.imaging.selection import Selection
from planners.fingerprint import Fingerprint
from planners.plan import Plan
from planners.recipe import Machine

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPoint:
    """What the report takes from one line of progress.jsonl."""

    step: int
    seconds: float
    train_loss: float | None
    learning_rate: float
    validation_dice: float | None
    validation_dice_per_label: tuple[float | None, ...]
    data_seconds: float
    compute_seconds: float
    samples_per_s: float
    peak_memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingCurve:
    """One training, finished or not; `schedule` says how the learning rate went and why it ended, once it has."""

    configuration: str
    fold: int
    points: tuple[TrainingPoint, ...]
    schedule: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ending:
    """What the report takes from training.json."""

    schedule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Validated:
    """The validation cases of a configuration, pooled over its folds; `predictions` has a path or None for each."""

    configuration: str
    folds: tuple[int, ...]
    scores: Scores
    predictions: tuple[Path | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """A file of the workspace (its path below the root) and its SHA-256."""

    file: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Everything that the report shows."""

    root: Path
    dataset: Dataset | None
    inspection: Inspection | None
    fingerprint: Fingerprint | None
    plan: Plan | None
    folds: Folds | None
    machine: Machine | None
    trainings: tuple[TrainingCurve, ...]
    validated: tuple[Validated, ...]
    selection: Selection | None
    runs: tuple[RunEntry, ...]
    digests: tuple[Digest, ...]
    calibration: Calibration | None = None
    quality: Quality | None = None
    suspects: Suspects | None = None

    @property
    def name(self) -> str:
        """Name of the dataset."""
        for part in (self.dataset, self.fingerprint, self.plan):
            if isinstance(part, Dataset):
                return part.name
            if part is not None:
                return part.dataset
        return self.root.stem

    def case(self, name: str) -> Case | None:
        """Return a case of the dataset by name."""
        return next((c for c in self.dataset.cases if c.name == name), None) if self.dataset else None


def gather(workspace: Workspace) -> Material:
    """Read what is there.

    Raises:
        AutosegError: a record is damaged, or the folder holds none.

    """
    material = Material(
        root=workspace.root,
        dataset=_optional(workspace.dataset, Dataset),
        inspection=_optional(workspace.findings, Inspection),
        fingerprint=_optional(workspace.fingerprint, Fingerprint),
        plan=_optional(workspace.plan, Plan),
        folds=_optional(workspace.folds, Folds),
        machine=_optional(workspace.machine, Machine),
        trainings=_trainings(workspace.root / "training"),
        validated=_validated(workspace.root / "validation"),
        selection=_optional(workspace.selection, Selection),
        runs=_lines(workspace.run_log, RunEntry),
        digests=_digests(workspace.root),
        calibration=_optional(workspace.root / CALIBRATION_NAME, Calibration),
        quality=_optional(workspace.root / QUALITY_NAME, Quality),
        suspects=_optional(workspace.root / SUSPECTS_NAME, Suspects),
    )
    parts = (material.dataset, material.inspection, material.fingerprint, material.plan)
    if all(part is None for part in parts):
        raise AutosegError.at(workspace.root, "nothing to report", "run `autoseg plan-and-train DATASET` first")
    return material


def _optional(path: Path, kind: type[T]) -> T | None:
    return read_record(path, kind) if path.is_file() else None


def _trainings(folder: Path) -> tuple[TrainingCurve, ...]:
    return tuple(
        TrainingCurve(
            configuration=path.parent.parent.name,
            fold=_fold(path.parent),
            points=_lines(path, TrainingPoint),
            schedule=_schedule(path.with_name("training.json")),
        )
        for path in sorted(folder.glob("*/fold_*/progress.jsonl"))
    )


def _schedule(path: Path) -> str:
    return msgspec.json.decode(path.read_bytes(), type=_Ending).schedule if path.is_file() else ""


def _validated(folder: Path) -> tuple[Validated, ...]:
    paths = sorted(folder.glob("*/fold_*/scores.json"))
    names = dict.fromkeys(path.parent.parent.name for path in paths)
    return tuple(_pooled(name, [path for path in paths if path.parent.parent.name == name]) for name in names)


def _pooled(configuration: str, paths: list[Path]) -> Validated:
    """Pool the cases of several folds: each was predicted by a network that had not seen it.

    Notes about single cases are kept; those about the number of patients are made anew for all folds together.
    """
    found = [(path.parent, read_record(path, Scores)) for path in paths]
    cases = {case.case: (folder, case) for folder, scores in found for case in scores.cases}
    first = found[0][1]
    notes = dict.fromkeys(note for _, scores in found for note in scores.notes_on_cases)
    metrics = in_order({metric for _, scores in found for metric in scores.metrics})
    for folder, scores in found:
        absent = ", ".join(title_of(metric) for metric in metrics if metric not in scores.metrics)
        if absent:
            notes[f"fold {_fold(folder)} was validated without {absent}: undefined there"] = None
    rules = replace(first.rules, metrics=metrics)
    pooled = make_scores(first.labels, [case for _, case in cases.values()], tuple(notes), rules, first.preset)
    return Validated(
        configuration=configuration,
        folds=tuple(_fold(path.parent) for path in paths),
        scores=pooled,
        predictions=tuple(_prediction(*cases[case.case]) for case in pooled.cases),
    )


def _prediction(folder: Path, case: CaseScore) -> Path | None:
    return folder / case.prediction if case.prediction and (folder / case.prediction).is_file() else None


def _fold(folder: Path) -> int:
    return int(folder.name.rpartition("_")[2])


def _lines(path: Path, kind: type[T]) -> tuple[T, ...]:
    """Return the lines that are whole; keys that `kind` does not know are left out, as is a line cut off by a kill."""
    if not path.is_file():
        return ()
    result = []
    for line in path.read_bytes().splitlines():
        try:
            result.append(msgspec.json.decode(line, type=kind))
        except msgspec.DecodeError:
            continue
    return tuple(result)


def _digests(root: Path) -> tuple[Digest, ...]:
    names = ("dataset.json", "folds.json", "fingerprint.json", "plan.json", "model/model.json")
    weights = sorted(str(path.relative_to(root)) for path in root.glob("model/**/*.safetensors"))
    files = [name for name in (*names, *weights) if (root / name).is_file()]
    return tuple(Digest(file=name, sha256=digest_file(root / name)) for name in files)
