"""verify: is every file that autoseg made still what it wrote? Digests are compared, records and logs read strictly."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from autoseg.core.calibration import CALIBRATION_NAME, Calibration
from autoseg.core.errors import AutosegError
from autoseg.core.files import TEMPORARY_PREFIX
from autoseg.core.ledger import Spent
from autoseg.core.observation import CaseObservation
from autoseg.core.plans import read_plan
from autoseg.core.provenance import Provenance
from autoseg.core.quality import QUALITY_NAME, Quality
from autoseg.core.records import decode, read_record
from autoseg.core.runtime import RunEntry, digest_file
from autoseg.core.scores import Scores
from autoseg.core.seals import FileDigest, state_of
from autoseg.core.starts import START_NAME, StartRecord, start_folder
from autoseg.core.suspects import SUSPECTS_NAME, Suspects
from autoseg.core.workspace import Workspace, WorkspaceRecord
from autoseg.datasets.dataset import Dataset, Folds
from autoseg.datasets.declaration import DECLARATION
from autoseg.datasets.examine import stamp_of
from autoseg.datasets.inspection import Inspection, Previews
from autoseg.datasets.manifest import TRAINING_CASES, Manifest, TrainingCases
from autoseg.imaging.probabilities import ProbabilitiesRecord
from autoseg.imaging.selection import Selection
from autoseg.imaging.store import CaseRecord, CaseStore
from planners.fingerprint import Fingerprint
from planners.plan import Plan
from planners.recipe import Machine

_SHOWN = 5
_EDITED = "edited since it was made"
_OTHER = "not the bytes that were written"
_COPY = "copy or train the model again"
_PREDICT = "run predict again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A file that is not what was written, and what to do."""

    file: str
    what: str
    mend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What `autoseg verify` found; `checked` counts files and cases looked at.

    No digest is known of the files in `unknown`, which an older version wrote: they are read, and no more.
    """

    schema: ClassVar[str] = "autoseg.verification/1"

    place: str
    checked: int
    problems: tuple[Problem, ...]
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """A file that was looked at, what is wrong with it, and whether a digest of it is known."""

    path: Path
    problem: Problem | None = None
    known: bool = True


def verify(place: Path) -> Verification:
    """Check everything in a workspace, a model folder or a folder of predictions against its digests.

    Nothing is changed. Images of the dataset are compared by name, size and time, as the steps do; everything that
    was made, by its bytes; logs are read line by line, as they grow.

    Raises:
        AutosegError: `place` is none of these.

    """
    if (place / "workspace.json").is_file():
        found = list(_workspace(Workspace(place)))
    elif (place / "model.json").is_file():
        found = [*_records(place.glob("*.json")), *_model(place)]
    elif (place / "prediction.json").is_file():
        found = [*_records(place.rglob("*.json")), *_predictions(place), *_tables(place)]
    else:
        raise AutosegError.at(
            place, "nothing to verify here", "give a workspace, a model folder or a folder of predictions"
        )
    problems: dict[str, Problem] = {}
    for check in found:
        if check.problem is not None:
            problems.setdefault(check.problem.file, check.problem)
    unknown = {str(check.path) for check in found if not check.known}
    return Verification(
        place=str(place),
        checked=len({check.path for check in found}),
        problems=tuple(problems.values()),
        unknown=tuple(sorted(unknown - set(problems))),
    )


def describe(verification: Verification) -> str:
    """Return the outcome as lines for people."""
    lines = [f"{problem.file}: {problem.what}; {problem.mend}" for problem in verification.problems]
    found = f"{len(lines)} not as written" if lines else "all as written"
    if verification.unknown:
        some = ", ".join(verification.unknown[:_SHOWN]) + (", ..." if len(verification.unknown) > _SHOWN else "")
        lines.append(f"no digest known of {len(verification.unknown)}, which an older version wrote: {some}")
        found = found if verification.problems else "all that is known as written"
    return "\n".join([*lines, f"{verification.checked} files and cases checked, {found}"])


def _workspace(workspace: Workspace) -> Iterator[Check]:
    yield from _records(path for path in sorted(workspace.root.rglob("*.json")) if path.name != DECLARATION)
    for page in (workspace.inspection_page, workspace.report):
        if page.exists():
            yield _sealed(page)
    if workspace.run_log.exists():
        yield Check(workspace.run_log, _log_problem(workspace.run_log, RunEntry))
    if workspace.dataset.exists() and workspace.findings.exists():
        yield from _dataset(workspace)
    for folder in sorted((workspace.root / "preprocessed").glob("*")):
        yield from _stored(folder)
    yield from _start(workspace)
    for folder in sorted((workspace.root / "training").glob("*/fold_*")):
        yield from _training(folder)
    for folder in sorted((workspace.root / "validation").glob("*/fold_*")):
        yield from _predictions(folder)
        yield from _tables(folder)
    if (workspace.model / "model.json").is_file():
        yield from _model(workspace.model)
    for path in sorted(workspace.root.rglob(f"{TEMPORARY_PREFIX}*")):
        yield Check(path, Problem(file=str(path), what="left by a killed process", mend="remove it; nothing reads it"))


# ---------------------------------------------------------------------------------------------------- records
@cache
def _kinds() -> dict[str, type[Any]]:
    """Return the classes of records by name, or by the name of their folder and a slash."""
    from autoseg.learning.model_files import MODEL_NAME, ModelRecord
    from autoseg.predicting.observing import OBSERVATIONS
    from autoseg.predicting.records import PRESETS_NAME, RECORDS, CasePrediction, PredictionRecord, PresetsRecord
    from autoseg.steps.train import TrainingRecord

    return {
        "workspace.json": WorkspaceRecord,
        "dataset.json": Dataset,
        "inspection.json": Inspection,
        "manifest.json": Manifest,
        "previews.json": Previews,
        "fingerprint.json": Fingerprint,
        "plan.json": Plan,
        "folds.json": Folds,
        "machine.json": Machine,
        "budget.json": Spent,
        "selection.json": Selection,
        "provenance.json": Provenance,
        CALIBRATION_NAME: Calibration,
        QUALITY_NAME: Quality,
        SUSPECTS_NAME: Suspects,
        START_NAME: StartRecord,
        "training.json": TrainingRecord,
        "scores.json": Scores,
        "prediction.json": PredictionRecord,
        MODEL_NAME: ModelRecord,
        PRESETS_NAME: PresetsRecord,
        TRAINING_CASES: TrainingCases,
        f"{RECORDS}/": CasePrediction,
        f"{OBSERVATIONS}/": CaseObservation,
        "probabilities/": ProbabilitiesRecord,
        "preprocessed/": CaseRecord,
    }


def _records(paths: Iterable[Path]) -> Iterator[Check]:
    """Yield the records among JSON files: read strictly, and compared with their seals."""
    from autoseg.learning.checkpoint import COPY_NAME, INDEX_NAME

    for path in paths:
        if not path.name.startswith(TEMPORARY_PREFIX) and path.name not in (INDEX_NAME, COPY_NAME):
            kind = _kind_of(path)
            problem = None if kind is None else _refusal(path, _reader(path, kind))
            yield _sealed(path) if problem is None else Check(path, problem)


def _kind_of(path: Path) -> type[Any] | None:
    """Return the class of a record; None for one that is not read here."""
    stored = path.parent.parent.name
    for folder in (path.parent.name, stored if stored == "preprocessed" else ""):
        if f"{folder}/" in _kinds():
            return _kinds()[f"{folder}/"]
    return _kinds().get(path.name)


def _reader(path: Path, kind: type[Any]) -> Callable[[], object]:
    return (lambda: read_plan(path)) if kind is Plan else (lambda: read_record(path, kind))


def _sealed(path: Path) -> Check:
    """Compare a record or a page with its seal."""
    state = state_of(path.read_bytes())
    meant = path.name == "plan.json" and path.parent.name not in ("model", "start")
    mend = "restore it or, if it was meant, leave it: every step obeys it" if meant else "restore it or make it anew"
    edited = Problem(file=str(path), what=_EDITED, mend=mend)
    return Check(path, edited if state == "edited" else None, known=state != "unsealed")


# ------------------------------------------------------------------------------------------------ other files
def _dataset(workspace: Workspace) -> Iterator[Check]:
    """Yield the cases of the dataset, compared with what the inspection saw."""
    try:
        dataset, inspection = read_record(workspace.dataset, Dataset), read_record(workspace.findings, Inspection)
    except AutosegError:
        return  # reported with the record itself
    stamps = {fact.name: fact.stamp for fact in inspection.cases}
    for case in dataset.cases:
        path = Path(dataset.folder) / case.images[0]
        try:
            same = stamp_of(Path(dataset.folder), case, dataset.reference_kind) == stamps.get(case.name)
        except OSError as error:
            what = f"cannot be read ({error.strerror})"
            yield Check(path, Problem(file=str(path), what=what, mend="restore the dataset"))
            continue
        changed = Problem(
            file=str(path), what="case changed since it was read", mend="run plan-and-train again, or restore it"
        )
        yield Check(path, None if same else changed)


def _stored(folder: Path) -> Iterator[Check]:
    """Yield the preprocessed cases of a configuration; their records are checked with the others."""
    store = CaseStore(folder)
    for name in store.names:
        path = folder / f"{name}.json"
        refused = _refusal(path, lambda name=name: store.record(name))  # type: ignore[misc]
        if refused is None and not store.complete(name, store.record(name).case.digest):
            refused = Problem(
                file=str(path), what="preprocessed case is damaged", mend="run plan-and-train again: it is made anew"
            )
        yield Check(path, refused)


def _start(workspace: Workspace) -> Iterator[Check]:
    """Yield the weights that trainings begin with."""
    folder = start_folder(workspace.root)
    if not (folder / START_NAME).exists():
        return
    if _refusal(folder / START_NAME, _reader(folder / START_NAME, StartRecord)) is None:
        for network in read_record(folder / START_NAME, StartRecord).networks:
            yield _compared(folder / network.file, network.sha256, "give --from again")


def _training(folder: Path) -> Iterator[Check]:
    """Yield the log and the checkpoints of a training, and their indexes."""
    from autoseg.learning.checkpoint import COPY_NAME, INDEX_NAME, checkpoint_digests
    from autoseg.learning.training_task import Epoch

    log = folder / "progress.jsonl"
    if log.exists():
        yield Check(log, _log_problem(log, Epoch))
    index, copy = folder / INDEX_NAME, folder / COPY_NAME
    for path in (index, copy):
        if path.exists():
            mend = f"training reads {copy.name if path == index else index.name} instead"
            unread = Problem(file=str(path), what="not valid JSON", mend=mend)
            yield Check(path, None if _checkpoints(path) else unread)
    named, again = _checkpoints(index), _checkpoints(copy)
    if named and again and again[0] not in named:  # a kill may leave the copy of the index before
        yield Check(copy, Problem(file=str(copy), what=f"other than {INDEX_NAME}", mend="it is written anew"))
    for path, digest in checkpoint_digests(folder):
        yield _compared(path, digest, "training goes on from the checkpoint before it")


def _checkpoints(index: Path) -> list[object]:
    try:
        found = json.loads(index.read_bytes()) if index.is_file() else {}
    except (ValueError, RecursionError):
        return []
    entries = found.get("checkpoints") if isinstance(found, dict) else None
    return entries if isinstance(entries, list) else []


def _model(folder: Path) -> Iterator[Check]:
    """Yield the files that a model's record names."""
    from autoseg.learning.model_files import FINGERPRINT_NAME, MODEL_NAME, PLAN_NAME, load_model_record

    refused = _refusal(folder / MODEL_NAME, lambda: load_model_record(folder))
    yield Check(folder / MODEL_NAME, refused)
    for name in (PLAN_NAME, FINGERPRINT_NAME):
        if not (folder / name).is_file():
            yield _compared(folder / name, "", _COPY)
    if refused is None:
        record = load_model_record(folder)
        weights = (FileDigest(file=network.file, sha256=network.sha256) for network in record.networks)
        for file in (*weights, *record.companions):
            yield _compared(folder / file.file, file.sha256, _COPY)


def _predictions(folder: Path) -> Iterator[Check]:
    """Yield what the records of a folder of predictions name."""
    from autoseg.predicting.records import RECORDS, CasePrediction

    for path in sorted((folder / RECORDS).glob("*.json")):
        if _refusal(path, _reader(path, CasePrediction)) is None:
            record = read_record(path, CasePrediction)
            yield _compared(folder / record.file, record.output_digest, _PREDICT)
            for file in record.files:
                yield _compared(folder / file.file, file.sha256, _PREDICT)
    for path in sorted((folder / "probabilities").glob("*.json")):
        if _refusal(path, _reader(path, ProbabilitiesRecord)) is None:
            stored = read_record(path, ProbabilitiesRecord)
            yield _compared(path.with_name(stored.file), stored.sha256, f"{_PREDICT} with --probabilities")


def _tables(folder: Path) -> Iterator[Check]:
    """Yield the tables beside records, which name them; a kill may leave none."""
    for name in ("scores.json", "prediction.json"):
        path, kind = folder / name, _kinds()[name]
        if path.is_file() and _refusal(path, _reader(path, kind)) is None:
            table: FileDigest | None = read_record(path, kind).table
            if table is not None and (folder / table.file).is_file():
                yield _compared(folder / table.file, table.sha256, "restore it or make it anew")


def _log_problem(path: Path, kind: type) -> Problem | None:
    """Return what is wrong with a log of JSON lines; a last line cut by a crash is no fault, as readers skip it."""
    *lines, last = path.read_bytes().split(b"\n")
    for number, line in enumerate([*lines, last] if last.endswith(b"}") else lines, start=1):
        try:
            decode(line, kind, path)
        except AutosegError as error:
            return Problem(
                file=str(path), what=f"line {number}: {error.what}", mend="nothing reads it; keep or remove it"
            )
    return None


def _refusal(path: Path, read: Callable[[], object]) -> Problem | None:
    """Return what `read` complains about, None if it succeeds."""
    try:
        read()
    except AutosegError as error:
        return Problem(file=str(path), what=error.what, mend=error.mend)
    return None


def _compared(path: Path, digest: str, mend: str) -> Check:
    """Compare a file with its digest, "" for none."""
    if not path.is_file():
        return Check(path, Problem(file=str(path), what="missing", mend=mend))
    same = not digest or digest_file(path) == digest
    return Check(path, None if same else Problem(file=str(path), what=_OTHER, mend=mend), known=bool(digest))
