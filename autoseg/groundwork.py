"""What comes before training, each step done once: look, fingerprint, plan, split. Without torch."""

import contextlib
import json
import math
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from autoseg.core.errors import AutosegError
from autoseg.core.files import copy_file, locked, sweep_temporaries, write_bytes
from autoseg.core.plans import read_plan
from autoseg.core.provenance import inputs_digest, is_done, mark_done
from autoseg.core.records import encode, read_record, write_record
from autoseg.core.runtime import has_cuda_driver, logged_step, say
from autoseg.core.starts import START_NAME, start_folder
from autoseg.core.traces import StepFiles
from autoseg.core.workspace import Workspace, WorkspaceRecord, default_root, open_workspace, remove_if_empty
from autoseg.datasets.dataset import Dataset, Folds
from autoseg.datasets.declaration import DECLARATION, propose
from autoseg.datasets.folds import make_folds, rare_labels
from autoseg.datasets.inspection import Inspection, refuse_errors
from autoseg.datasets.options import InspectCommand
from autoseg.datasets.options import Options as Reading
from autoseg.datasets.splits import is_split_of
from autoseg.options import FoldChoice, PlanCommand, choose_budget, describe_seconds
from autoseg.steps.fingerprint import make_fingerprint
from autoseg.steps.inspect import inspect
from autoseg.steps.mend import describe, mend
from autoseg.steps.plan import PlanOptions, plan, write_nnunet
from autoseg.steps.preprocess import preprocess
from planners.fingerprint import Fingerprint
from planners.plan import Plan
from planners.recipe import Budget, Machine
from planners.shortfall import shortfall

SPLITS = 5
"""Splits of the cases; each fold holds out a fifth. Source: nnU-Net, and most published cross-validations."""
SPLITS_OF_MANY = 10
HELD_OUT_OF_MANY = 20
"""A single fold holds out about this many cases, between a tenth and a fifth: training would miss more of them."""


def open_place(place: Path, workspace: Path | None = None, seed: int = 0) -> Workspace:
    """Return the workspace that `place` is, or the one of the dataset that `place` is.

    Raises:
        AutosegError: it is neither, or the workspace belongs to another dataset.

    """
    if (place / "workspace.json").is_file():
        return Workspace(place.absolute())
    return open_workspace(workspace or default_root(place), place, seed)


def existing_workspace(place: Path) -> Workspace:
    """Return the workspace that `place` is, or the one that stands here for the dataset `place`.

    Raises:
        AutosegError: there is none yet.

    """
    for root in (place, default_root(place)):
        if (root / "workspace.json").is_file():
            return Workspace(root.absolute())
    raise AutosegError.at(
        place, "no workspace", "make one with autoseg plan-and-train, or autoseg plan, of your dataset"
    )


def looked(workspace: Workspace, reading: Reading) -> Inspection:
    """Inspect the dataset; only files that changed since the last look are read again.

    Raises:
        AutosegError: the folder is not understood; a workspace that holds nothing yet is removed.

    """
    dataset = Path(read_record(workspace.record, WorkspaceRecord).dataset)
    try:
        files = StepFiles(writes=(workspace.dataset, workspace.findings, workspace.manifest))
        with logged_step(workspace.run_log, "inspect", files, **asdict(reading)):
            return inspect(dataset, workspace, reading)
    except AutosegError:
        remove_if_empty(workspace)
        raise


@contextlib.contextmanager
def scratch(place: Path, workspace: Path | None = None) -> Iterator[Workspace]:
    """Yield a copy of the records of the workspace that `open_place` would return; what is made in it is thrown away.

    Raises:
        AutosegError: as `open_place`.

    """
    root = place if (place / "workspace.json").is_file() else workspace or default_root(place)
    with tempfile.TemporaryDirectory(prefix="autoseg-") as folder:
        copy = Path(folder) / root.name
        copy.mkdir()
        if (root / "workspace.json").is_file():
            for record in root.glob("*.json"):
                copy_file(record, copy / record.name)
        yield Workspace(copy) if root == place else open_workspace(copy, place, 0)


def after_looking(workspace: Workspace, wanted: InspectCommand, reading: Reading) -> None:
    """Say where the page lies; propose an autoseg.json and write a mended copy where that is wanted.

    Raises:
        AutosegError: the copy's place is not a new or empty folder outside the dataset.

    """
    say(f"pictures: {workspace.inspection_page}")
    if wanted.write_json:
        proposal = workspace.root / DECLARATION
        write_bytes(proposal, encode(propose(read_record(workspace.dataset, Dataset))))
        say(f"proposal: {proposal}; correct it and put it beside the data, or name it with --declaration")
    if wanted.fix is not None:
        inspection = read_record(workspace.findings, Inspection)
        known = {fact.stamp: fact for fact in (*inspection.cases, *inspection.test_cases)}
        files = StepFiles(reads=(workspace.findings,), writes=(wanted.fix,))
        with logged_step(workspace.run_log, "mend", files, output=wanted.fix):
            say(describe(mend(Path(inspection.folder), wanted.fix, reading, known), wanted.fix))


def fingerprinted(workspace: Workspace, reading: Reading = Reading()) -> Fingerprint:  # noqa: B008 (frozen)
    """Return the fingerprint, made anew only when the dataset changed; a dataset is looked at again if it is said how.

    Raises:
        AutosegError: the dataset cannot be trained on; the message is its first error.

    """
    if reading != Reading() or not workspace.findings.exists():
        looked(workspace, reading)
    refuse_errors(read_record(workspace.findings, Inspection))
    inputs = inputs_digest(workspace.dataset, workspace.findings)
    if not (workspace.fingerprint.exists() and is_done(workspace.provenance, "fingerprint", inputs)):
        files = StepFiles(reads=(workspace.dataset, workspace.findings), writes=(workspace.fingerprint,))
        with logged_step(workspace.run_log, "fingerprint", files):
            make_fingerprint(workspace)
        mark_done(workspace.provenance, "fingerprint", inputs)
    return read_record(workspace.fingerprint, Fingerprint)


def planned(workspace: Workspace, options: PlanOptions) -> Plan:
    """Return the plan, made anew only when the fingerprint or the options changed, or the machine was measured first.

    Going on with another machine keeps the plan: it changes how many steps fit into the time, never the network.
    """
    measured = options.budget.steps is None and workspace.machine.exists()
    given = () if options.nnunet_plans is None else (Path(options.nnunet_plans),)
    given = (*given, start_folder(workspace.root) / START_NAME) if options.begun else given
    inputs = inputs_digest(workspace.fingerprint, f"measured {measured}", json.dumps(asdict(options)), *given)
    if not (workspace.plan.exists() and is_done(workspace.provenance, "plan", inputs)):
        files = StepFiles(reads=(workspace.fingerprint, workspace.machine, *given), writes=(workspace.plan,))
        with logged_step(workspace.run_log, "plan", files, **asdict(options)):
            plan(workspace, options)
        mark_done(workspace.provenance, "plan", inputs)
    return read_plan(workspace.plan)


_UNASKED = PlanCommand()


def planned_by_itself(workspace: Workspace, options: PlanCommand, reading: Reading) -> Plan:
    """Return the plan of `autoseg plan`: one network gets the whole budget.

    Where nothing is asked for, a plan of these data that exists is returned as it is: networks were trained by it.
    The device is the one that was measured, else a GPU if its driver is there: torch is not loaded for this.
    """
    before = inputs_digest(workspace.fingerprint)
    fingerprinted(workspace, reading)
    asked = replace(options, workspace=None, explain=False, dry_run=False, write_nnunet=None) != _UNASKED
    if workspace.plan.exists() and not asked and inputs_digest(workspace.fingerprint) == before:
        say("the plan as it is; --budget, --steps or --recipe make another")
        return _exported(workspace, options, read_plan(workspace.plan))
    measured = read_record(workspace.machine, Machine).device if workspace.machine.exists() else None
    has_gpu = has_cuda_driver() if measured is None else measured != "cpu"
    chosen = choose_budget(options.budget, options.steps, has_gpu=has_gpu)
    say(f"budget {chosen.because}")
    wanted = PlanOptions(
        recipe=options.recipe,
        budget=chosen.budget,
        nnunet_plans=None if options.from_nnunet is None else str(options.from_nnunet),
    )
    made = planned(workspace, wanted)
    say_if_too_short(workspace, made, wanted.budget, 1)
    return _exported(workspace, options, made)


def _exported(workspace: Workspace, options: PlanCommand, made: Plan) -> Plan:
    if options.write_nnunet is not None:
        say(f"wrote {write_nnunet(workspace, made, options.write_nnunet)}")
    return made


def say_if_too_short(workspace: Workspace, made: Plan, budget: Budget, networks: int) -> None:
    """Say so when `budget`, each network's share of the job's, is too small for any sensible model.

    The job goes on all the same: whoever gave so little time may want to see it run.
    """
    if budget.seconds is None or not workspace.machine.exists():
        return
    fingerprint, machine = read_record(workspace.fingerprint, Fingerprint), read_record(workspace.machine, Machine)
    short = shortfall(made, fingerprint, budget, machine)
    if short is not None:
        smallest = describe_seconds(60 * math.ceil(networks * short.smallest_seconds / 60))
        say(
            f"warning: budget {describe_seconds(networks * budget.seconds)}: too small for any sensible model here,"
            f" {short.steps} of the {short.steps_needed} steps that learning needs at least; the smallest that works is"
            f" --budget {smallest}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessedCases:
    """Where the prepared cases of a configuration lie."""

    configuration: str
    folder: str


def preprocessed(workspace: Workspace, configuration: str | None) -> PreprocessedCases:
    """Prepare every case for a configuration, by default the plan's first; finished cases are skipped.

    Raises:
        AutosegError: no plan yet, or the plan has no such configuration.

    """
    wanted = () if configuration is None else (configuration,)
    name = chosen_configurations(read_plan(workspace.plan), wanted)[0]
    sweep_temporaries(workspace.root)
    files = StepFiles(reads=(workspace.dataset, workspace.plan), writes=(workspace.preprocessed(name) / "*.json",))
    with logged_step(workspace.run_log, "preprocess", files, configuration=name):
        preprocess(workspace, name)
    return PreprocessedCases(configuration=name, folder=str(workspace.preprocessed(name)))


def files_of_training(workspace: Workspace, configuration: str, fold: int) -> StepFiles:
    """Return what a training reads and writes, cases and weights by the records that name their digests."""
    record = workspace.training(configuration, fold) / "training.json"
    cases = workspace.preprocessed(configuration) / "*.json"
    reads = (workspace.plan, workspace.folds, workspace.fingerprint, cases)
    return StepFiles(reads=reads, writes=(record, workspace.model / "model.json"))


def files_of_validation(workspace: Workspace, configuration: str, fold: int) -> StepFiles:
    """Return what a validation reads and writes: label maps, and their scores beside them."""
    reads = (workspace.model / "model.json", workspace.folds)
    return StepFiles(reads=reads, writes=(workspace.validation(configuration, fold),))


def folded(workspace: Workspace, choice: FoldChoice, seed: int) -> tuple[int, ...]:
    """Split the cases once and return the numbers of the folds to train.

    They are split anew when the dataset, the number, the seed, or which case holds which label changed.

    Raises:
        AutosegError: no fingerprint yet, or a fold number that the split does not have.

    """
    dataset = read_record(workspace.dataset, Dataset)
    rare = rare_labels(read_record(workspace.fingerprint, Fingerprint))
    number = max(SPLITS, choice.count or 0)
    if choice.count == 1:
        number = min(SPLITS_OF_MANY, max(SPLITS, len(dataset.cases) // HELD_OUT_OF_MANY))
    inputs = inputs_digest(workspace.dataset, f"{number} {seed}", *(json.dumps(asdict(label)) for label in rare))
    with locked(workspace.lock("folds")):  # two calls that begin at once have the same split
        if not (workspace.folds.exists() and is_done(workspace.provenance, "folds", inputs)):
            write_record(workspace.folds, make_folds(dataset, number, seed, rare=rare))
            mark_done(workspace.provenance, "folds", inputs)
    folds = read_record(workspace.folds, Folds)
    return _chosen_folds(folds, choice.numbers or tuple(range(min(choice.count or 1, len(folds.folds)))))


def fold_as_split(workspace: Workspace, number: int, seed: int) -> tuple[int, ...]:
    """Return one fold of the split that the workspace has, whoever made it; without one that fits, split by `seed`.

    Networks of two splits must not meet: what one has trained on, the other holds out.

    Raises:
        AutosegError: as `folded`.

    """
    folds = read_record(workspace.folds, Folds) if workspace.folds.exists() else None
    if folds is None or not is_split_of(folds, read_record(workspace.dataset, Dataset)):
        return folded(workspace, FoldChoice(count=None, numbers=(number,)), seed)
    return _chosen_folds(folds, (number,))


def _chosen_folds(folds: Folds, wanted: tuple[int, ...]) -> tuple[int, ...]:
    if not 0 <= min(wanted) <= max(wanted) < len(folds.folds):
        count = len(folds.folds)
        raise AutosegError.at(
            f"fold {','.join(map(str, wanted))}", f"there are {count} folds, numbered from 0", "choose among them"
        )
    say(f"folds: {folds.because}")
    return wanted


def chosen_configurations(made: Plan, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the configurations to train: those wanted, else the one the planner puts first.

    Raises:
        AutosegError: one that the plan does not have.

    """
    offered = [configuration.name for configuration in made.configurations]
    for name in wanted:
        if name not in offered:
            close = get_close_matches(name, offered, n=1)
            mend = f"did you mean {close[0]}?" if close else f"choose from {', '.join(offered)}"
            raise AutosegError.at(f"--configurations {','.join(wanted)}", f"no {name} in this dataset's plan", mend)
    return wanted or (offered[0],)


def forget(workspace: Workspace) -> None:
    """Remove what steps made, so that all of it is made anew; measurements of the machine stay."""
    for path in (workspace.root / "preprocessed", workspace.root / "training", workspace.root / "validation"):
        shutil.rmtree(path, ignore_errors=True)
    for path in (workspace.model, start_folder(workspace.root)):
        shutil.rmtree(path, ignore_errors=True)
    for path in (workspace.findings, workspace.fingerprint, workspace.plan, workspace.folds):
        path.unlink(missing_ok=True)
    for path in (workspace.provenance, workspace.budget, workspace.selection, workspace.report):
        path.unlink(missing_ok=True)


def forget_stop(workspace: Workspace) -> None:
    """Remove a request to finish that no training has seen: it was meant for an earlier call."""
    if workspace.stop_file.exists():
        say(f"{workspace.stop_file}: left from an earlier call, removed")
        workspace.stop_file.unlink(missing_ok=True)


def forget_training(workspace: Workspace, configuration: str, fold: int) -> None:
    """Remove one training, so that it starts anew."""
    shutil.rmtree(workspace.training(configuration, fold), ignore_errors=True)
