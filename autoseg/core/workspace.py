"""Where everything that a run makes lies: one folder, every path named once."""

import shutil
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import ClassVar

from autoseg.core.errors import AutosegError
from autoseg.core.files import TEMPORARY_PREFIX
from autoseg.core.records import read_record, write_record

SUFFIX = ".autoseg"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceRecord:
    """Which dataset a workspace belongs to, and the seed that its steps take unless they are given another."""

    schema: ClassVar[str] = "autoseg.workspace/1"

    dataset: str
    seed: int


@dataclass(frozen=True, slots=True)
class Workspace:
    """The paths of a workspace; nothing is touched until a step writes.

    What does not depend on how a network is trained (prepared cases, the machine, the log, the wish to stop) lies in
    the workspace at `shared`, if that is given.
    """

    root: Path
    shared: Path | None = None

    @property
    def record(self) -> Path:
        """Identity of the workspace."""
        return self.root / "workspace.json"

    @property
    def dataset(self) -> Path:
        """The understood folder (Dataset)."""
        return self.root / "dataset.json"

    @property
    def findings(self) -> Path:
        """What is wrong with the folder (Inspection)."""
        return self.root / "inspection.json"

    @property
    def manifest(self) -> Path:
        """What the cases hold, as digests (Manifest)."""
        return self.root / "manifest.json"

    @property
    def previews(self) -> Path:
        """Small pictures of the cases (Previews)."""
        return self.root / "previews.json"

    @property
    def inspection_page(self) -> Path:
        """The inspection for people."""
        return self.root / "inspect.html"

    @property
    def fingerprint(self) -> Path:
        """The dataset in numbers (Fingerprint)."""
        return self.root / "fingerprint.json"

    @property
    def plan(self) -> Path:
        """Every number that training and prediction obey (Plan)."""
        return self.root / "plan.json"

    @property
    def folds(self) -> Path:
        """The splits (Folds)."""
        return self.root / "folds.json"

    @property
    def machine(self) -> Path:
        """What this machine was measured to do (Machine)."""
        return (self.shared or self.root) / "machine.json"

    @property
    def budget(self) -> Path:
        """How much of the time contract is spent (Spent)."""
        return self.root / "budget.json"

    @property
    def stop_file(self) -> Path:
        """A file that a user puts here to have the training that runs anneal shortly and finish."""
        return (self.shared or self.root) / "STOP"

    @property
    def provenance(self) -> Path:
        """Which steps are finished, with which inputs (Provenance)."""
        return self.root / "provenance.json"

    @property
    def run_log(self) -> Path:
        """One JSON line per step run: arguments, versions, seconds."""
        return (self.shared or self.root) / "run.jsonl"

    @property
    def selection(self) -> Path:
        """What predicts, and why (Selection)."""
        return self.root / "selection.json"

    @property
    def model_card(self) -> Path:
        """What the user has to say about the model; written once with its questions, then the user's."""
        return self.root / "model_card.toml"

    @property
    def report(self) -> Path:
        """The page that people look at."""
        return self.root / "report.html"

    @property
    def model(self) -> Path:
        """The self-contained, movable model."""
        return self.root / "model"

    def lock(self, name: str) -> Path:
        """Return the file that whoever changes `name` locks (`autoseg.core.files.locked`)."""
        return self.root / ".locks" / name

    def preprocessed(self, configuration: str) -> Path:
        """Folder of the stored cases of a configuration."""
        return (self.shared or self.root) / "preprocessed" / configuration

    def training(self, configuration: str, fold: int) -> Path:
        """Folder of one training: checkpoint, progress.jsonl, training.json."""
        return self.root / "training" / configuration / f"fold_{fold}"

    def validation(self, configuration: str, fold: int) -> Path:
        """Folder of the predictions of a fold's validation cases, with scores.json."""
        return self.root / "validation" / configuration / f"fold_{fold}"


def open_workspace(root: Path, dataset: Path, seed: int) -> Workspace:
    """Return the workspace at `root` for the folder `dataset`, making it when it does not exist.

    Raises:
        AutosegError: there is no such dataset, the workspace belongs to another one or lies inside the dataset, or
            `root` holds something else.

    """
    existing_folder(dataset)
    workspace = Workspace(root.absolute())
    folder = dataset.resolve()
    if workspace.root.resolve().is_relative_to(folder):
        raise AutosegError.at(root, "the workspace lies inside the dataset", "give --workspace another place")
    present = {path.name for path in workspace.root.iterdir()} if workspace.root.is_dir() else set()
    if workspace.record.exists():
        found = read_record(workspace.record, WorkspaceRecord)
        if Path(found.dataset) != folder:
            raise AutosegError.at(
                root, f"this workspace belongs to {found.dataset}", "give --workspace another name or that dataset"
            )
        return workspace
    own = {name for name in present if name.startswith((TEMPORARY_PREFIX, ".locks"))}  # another call just begins
    if present - own or (workspace.root.exists() and not workspace.root.is_dir()):
        raise AutosegError.at(root, "not a workspace, and not empty", "give --workspace a new name")
    write_record(workspace.record, WorkspaceRecord(dataset=str(folder), seed=seed))
    return workspace


def seed_of(workspace: Workspace, wanted: int | None) -> int:
    """Return the seed that is wanted, by default the workspace's."""
    return read_record(workspace.record, WorkspaceRecord).seed if wanted is None else wanted


def keep_seed(workspace: Workspace, seed: int) -> None:
    """Make `seed` the workspace's: what is called on it later goes on with the same."""
    record = read_record(workspace.record, WorkspaceRecord)
    if record.seed != seed:
        write_record(workspace.record, replace(record, seed=seed))


def remove_if_empty(workspace: Workspace) -> None:
    """Remove a workspace that holds nothing but its identity and its log."""
    known = {"workspace.json", "run.jsonl", ".locks"}
    if workspace.root.is_dir() and {p.name for p in workspace.root.iterdir()} <= known:
        shutil.rmtree(workspace.root / ".locks", ignore_errors=True)
        workspace.run_log.unlink(missing_ok=True)
        workspace.record.unlink(missing_ok=True)
        workspace.root.rmdir()


def default_root(dataset: Path) -> Path:
    """`./NAME.autoseg`, NAME being the dataset folder's name."""
    return Path.cwd() / f"{dataset.resolve().name}{SUFFIX}"


def existing_folder(path: Path) -> Path:
    """Return `path` if it is a folder.

    Raises:
        AutosegError: it is not; a neighbour with a similar name is suggested.

    """
    if path.is_dir():
        return path
    if path.exists():
        raise AutosegError.at(path, "a file, not a folder", "give the folder that holds the images")
    parent = path.absolute().parent
    names = [entry.name for entry in parent.iterdir() if entry.is_dir()] if parent.is_dir() else []
    close = get_close_matches(path.name, names, n=1)
    mend = f"did you mean {path.with_name(close[0])}?" if close else "check the path"
    raise AutosegError.at(path, "no such folder", mend)
