"""verify: is every file that autoseg made still what it wrote? Digests are compared, records read strictly."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from autoseg.core.errors import AutosegError
from autoseg.core.files import TEMPORARY_PREFIX
from autoseg.core.ledger import Spent
from autoseg.core.plans import read_plan
from autoseg.core.provenance import Provenance
from autoseg.core.records import decode, read_record
from autoseg.core.runtime import RunEntry, digest_file
from autoseg.core.scores import Scores
from autoseg.core.starts import START_NAME, StartRecord, start_folder
from autoseg.core.workspace import Workspace, WorkspaceRecord
from autoseg.datasets.dataset import Dataset, Folds
from autoseg.datasets.examine import stamp_of
from autoseg.datasets.inspection import Inspection
from autoseg.imaging.selection import Selection
from autoseg.imaging.store import CaseStore
from planners.fingerprint import Fingerprint
from planners.recipe import Machine

_RECORDS: tuple[tuple[str, type], ...] = (
    ("workspace.json", WorkspaceRecord),
    ("dataset.json", Dataset),
    ("inspection.json", Inspection),
    ("fingerprint.json", Fingerprint),
    ("folds.json", Folds),
    ("machine.json", Machine),
    ("budget.json", Spent),
    ("selection.json", Selection),
    ("provenance.json", Provenance),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A file that is not what was written, and what to do."""

    file: str
    what: str
    mend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What `autoseg verify` found; `checked` counts files and cases looked at."""

    schema: ClassVar[str] = "autoseg.verification/1"

    place: str
    checked: int
    problems: tuple[Problem, ...]


Check = tuple[Path, Problem | None]


def verify(place: Path) -> Verification:
    """Check everything in a workspace, a model folder or a folder of predictions against its digests.

    Nothing is changed. Images of the dataset are compared by name, size and time, as the steps do; everything that
    was made, by its bytes.

    Raises:
        AutosegError: `place` is none of these.

    """
    if (place / "workspace.json").is_file():
        found = list(_workspace(Workspace(place)))
    elif (place / "model.json").is_file():
        found = list(_model(place))
    elif (place / "prediction.json").is_file():
        found = list(_predictions(place))
    else:
        raise AutosegError.at(
            place, "nothing to verify here", "give a workspace, a model folder or a folder of predictions"
        )
    problems = tuple(problem for _, problem in found if problem is not None)
    return Verification(place=str(place), checked=len(found), problems=problems)


def describe(verification: Verification) -> str:
    """Return the outcome as lines for people."""
    lines = [f"{problem.file}: {problem.what}; {problem.mend}" for problem in verification.problems]
    damaged = f"{len(lines)} not as written" if lines else "all as written"
    return "\n".join([*lines, f"{verification.checked} files and cases checked, {damaged}"])


def _workspace(workspace: Workspace) -> Iterator[Check]:
    for name, kind in _RECORDS:
        if (workspace.root / name).exists():
            yield _readable(workspace.root / name, kind)
    if workspace.plan.exists():
        yield workspace.plan, _refusal(workspace.plan, lambda: read_plan(workspace.plan))
    if workspace.run_log.exists():
        yield workspace.run_log, _log_problem(workspace.run_log)
    if workspace.dataset.exists() and workspace.findings.exists():
        yield from _dataset(workspace)
    for folder in sorted((workspace.root / "preprocessed").glob("*")):
        yield from _stored(folder)
    yield from _start(workspace)
    for folder in sorted((workspace.root / "training").glob("*/fold_*")):
        yield from _training(folder)
    for scores in sorted((workspace.root / "validation").glob("*/fold_*/scores.json")):
        yield _readable(scores, Scores)
        yield from _predictions(scores.parent)
    if (workspace.model / "model.json").is_file():
        yield from _model(workspace.model)
    for path in sorted(workspace.root.rglob(f"{TEMPORARY_PREFIX}*")):
        yield path, Problem(file=str(path), what="left by a killed process", mend="remove it; nothing reads it")


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
            yield path, Problem(file=str(path), what=f"cannot be read ({error.strerror})", mend="restore the dataset")
            continue
        changed = Problem(
            file=str(path), what="case changed since it was read", mend="run plan-and-train again, or restore it"
        )
        yield path, None if same else changed


def _stored(folder: Path) -> Iterator[Check]:
    """Yield the preprocessed cases of a configuration."""
    store = CaseStore(folder)
    for name in store.names:
        path = folder / f"{name}.json"
        refused = _refusal(path, lambda name=name: store.record(name))  # type: ignore[misc]
        if refused is None and not store.complete(name, store.record(name).case.digest):
            refused = Problem(
                file=str(path), what="preprocessed case is damaged", mend="run plan-and-train again: it is made anew"
            )
        yield path, refused


def _start(workspace: Workspace) -> Iterator[Check]:
    """Yield the weights that trainings begin with."""
    folder = start_folder(workspace.root)
    if not (folder / START_NAME).exists():
        return
    checked = _readable(folder / START_NAME, StartRecord)
    yield checked
    if checked[1] is None:
        for network in read_record(folder / START_NAME, StartRecord).networks:
            yield folder / network.file, _differs(folder / network.file, network.sha256, "give --from again")


def _training(folder: Path) -> Iterator[Check]:
    """Yield a training's record and checkpoints."""
    from autoseg.learning.checkpoint import checkpoint_digests
    from autoseg.steps.train import TrainingRecord

    if (folder / "training.json").exists():
        yield _readable(folder / "training.json", TrainingRecord)
    for path, digest in checkpoint_digests(folder):
        yield path, _differs(path, digest, "training goes on from the checkpoint before it")


def _model(folder: Path) -> Iterator[Check]:
    """Yield the files of a model."""
    from autoseg.learning.model_files import FINGERPRINT_NAME, MODEL_NAME, PLAN_NAME, load_model_record

    refused = _refusal(folder / MODEL_NAME, lambda: load_model_record(folder))
    yield folder / MODEL_NAME, refused
    yield folder / PLAN_NAME, _refusal(folder / PLAN_NAME, lambda: read_plan(folder / PLAN_NAME))
    yield _readable(folder / FINGERPRINT_NAME, Fingerprint)
    if refused is None:
        for network in load_model_record(folder).networks:
            yield (
                folder / network.file,
                _differs(folder / network.file, network.sha256, "copy or train the model again"),
            )


def _predictions(folder: Path) -> Iterator[Check]:
    """Yield the label maps of a folder of predictions that have a record."""
    from autoseg.predicting.records import RECORDS, CasePrediction

    for path in sorted((folder / RECORDS).glob("*.json")):
        refused = _refusal(path, lambda path=path: read_record(path, CasePrediction))  # type: ignore[misc]
        if refused is not None:
            yield path, refused
            continue
        record = read_record(path, CasePrediction)
        if record.output_digest:
            yield folder / record.file, _differs(folder / record.file, record.output_digest, "run predict again")


def _log_problem(path: Path) -> Problem | None:
    """Return what is wrong with a log of JSON lines; a last line cut by a crash is no fault, as readers skip it."""
    *lines, last = path.read_bytes().split(b"\n")
    for number, line in enumerate([*lines, last] if last.endswith(b"}") else lines, start=1):
        try:
            decode(line, RunEntry, path)
        except AutosegError as error:
            return Problem(
                file=str(path), what=f"line {number}: {error.what}", mend="nothing reads it; keep or remove it"
            )
    return None


def _readable(path: Path, kind: type) -> Check:
    return path, _refusal(path, lambda: read_record(path, kind))


def _refusal(path: Path, read: Callable[[], object]) -> Problem | None:
    """Return what `read` complains about, None if it succeeds."""
    try:
        read()
    except AutosegError as error:
        return Problem(file=str(path), what=error.what, mend=error.mend)
    return None


def _differs(path: Path, digest: str, mend: str) -> Problem | None:
    if not path.is_file():
        return Problem(file=str(path), what="missing", mend=mend)
    if digest_file(path) != digest:
        return Problem(file=str(path), what="not the bytes that were written", mend=mend)
    return None
