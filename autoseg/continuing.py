"""Train a finished network on: from its weights, at a lower rate that anneals again; kept if it validates no worse.

The new training lies in a workspace of its own inside the folder of the old one, and shares its prepared cases. Until
it has validated at least as well nothing of the old model is touched.
"""

import hashlib
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch

from autoseg.core.errors import AutosegError
from autoseg.core.files import copy_file, write_bytes
from autoseg.core.ledger import Ledger
from autoseg.core.plans import read_plan
from autoseg.core.provenance import mark_done
from autoseg.core.records import read_record, write_record
from autoseg.core.runtime import logged_step
from autoseg.core.scores import Scores
from autoseg.core.selection import JOINED
from autoseg.core.starts import START_NAME, StartNetwork, StartRecord, start_folder
from autoseg.core.traces import StepFiles
from autoseg.core.workspace import Workspace, seed_of
from autoseg.groundwork import chosen_configurations, forget_stop
from autoseg.imaging.selection import Selection
from autoseg.learning.machine import choose_device
from autoseg.learning.model_files import NetworkFile
from autoseg.learning.repeatable import repeatable_if
from autoseg.options import ChosenBudget, TrainCommand, describe_seconds, parse_configurations, parse_more
from autoseg.selecting import select
from autoseg.steps.evaluate import score_validation
from autoseg.steps.predict import predict_validation
from autoseg.steps.train import TrainingRecord, TrainOptions, train, write_model
from autoseg.trainings import Job, NetworkResult, validation_step
from planners.plan import Plan
from planners.recipe import Budget

RATE_SHARE = 0.5
"""Of the schedule's highest rate: a restart at all of it loses what the last annealing gained. Not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuation:
    """How one training on went: what it took, mean validation Dice before and after (None: undefined), what is kept."""

    configuration: str
    fold: int
    steps: int
    seconds: float
    dice_before: float | None
    dice_after: float | None
    kept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuations:
    """Every time that a finished network was trained on, whether or not the result was kept."""

    schema: ClassVar[str] = "autoseg.continuations/1"

    made: tuple[Continuation, ...] = ()


def train_more(workspace: Workspace, options: TrainCommand) -> Continuation:
    """Train a finished network on for `options.more`, and keep the result if it validates at least as well.

    An interrupted call goes on where it stopped when it is given again.

    Raises:
        AutosegError: there is no finished training, or an option is at fault.
        StoppedError: a signal asked to stop; the same command goes on.

    """
    budget = parse_more(options.more or "")
    if options.budget != "auto" or options.steps is not None or options.start_from is not None:
        raise AutosegError.at(f"--more {options.more}", "goes with no --budget, --steps or --from", "give it alone")
    plan = read_plan(workspace.plan)
    name = chosen_configurations(plan, parse_configurations(options.configuration or "auto"))[0]
    folder = workspace.training(name, options.fold)
    before = _finished(folder, name, options.fold)
    device = choose_device(options.device)
    forget_stop(workspace)
    history, seed = _history(folder), seed_of(workspace, options.seed)
    side = Workspace(folder / "more", shared=workspace.root)
    _forget_if_kept(side, before)
    _prepare(workspace, side, before, budget)
    task = TrainOptions(
        configuration=name,
        fold=options.fold,
        seconds=budget.seconds,
        steps=budget.steps,
        device=device.type,
        seed=seed + len(history.made) + 1,  # other batches than those it has seen
        deterministic=options.deterministic,
    )
    files = StepFiles(reads=(folder / "training.json", workspace.plan, workspace.folds))
    with logged_step(workspace.run_log, "train more", files, **asdict(task)), repeatable_if(options.deterministic):
        trained = train(side, task)
        predict_validation(side, name, options.fold, device.type)
        dice_after = score_validation(side, name, options.fold).summary().mean
    dice_before = _dice(workspace, before)
    kept = dice_before is None or (dice_after is not None and dice_after >= dice_before)
    made = Continuation(
        configuration=name,
        fold=options.fold,
        steps=trained.steps,
        seconds=trained.seconds,
        dice_before=dice_before,
        dice_after=dice_after,
        kept=kept,
    )
    if kept:
        _keep(workspace, side, before, replace(trained.network, validation_dice=dice_after))
    write_record(folder / "more.json", replace(history, made=(*history.made, made)))
    shutil.rmtree(side.root)
    if kept and workspace.selection.exists():
        _choose_again(workspace, device, seed)
    return made


def describe(made: Continuation) -> str:
    """Return how it went as a line for people."""
    before, after = ("undefined" if dice is None else f"{dice:.4f}" for dice in (made.dice_before, made.dice_after))
    took = f"{made.steps} steps in {describe_seconds(made.seconds)}"
    kept = "the model has it" if made.kept else "worse, so the model keeps the network it had"
    return f"{made.configuration} fold {made.fold}: {took}, mean Dice {before} before, {after} after: {kept}"


def _finished(folder: Path, name: str, fold: int) -> TrainingRecord:
    path = folder / "training.json"
    record = read_record(path, TrainingRecord) if path.exists() else None
    if record is None or not record.finished:
        what = "has not been trained" if record is None else "is not finished"
        raise AutosegError.at(f"{name} fold {fold}", what, "train it without --more first")
    return record


def _forget_if_kept(side: Workspace, before: TrainingRecord) -> None:
    """Remove the new training of an earlier call that was killed after the model had taken it up."""
    path = side.training(before.configuration, before.fold) / "training.json"
    if path.exists() and read_record(path, TrainingRecord).network.sha256 == before.network.sha256:
        shutil.rmtree(side.root)


def _history(folder: Path) -> Continuations:
    path = folder / "more.json"
    return read_record(path, Continuations) if path.exists() else Continuations()


def _dice(workspace: Workspace, record: TrainingRecord) -> float | None:
    path = workspace.validation(record.configuration, record.fold) / "scores.json"
    return read_record(path, Scores).summary().mean if path.exists() else record.network.validation_dice


def _prepare(workspace: Workspace, side: Workspace, before: TrainingRecord, budget: Budget) -> None:
    """Make the workspace of the new training: the same records, the finished weights to begin with, a lower rate."""
    plan = read_plan(workspace.plan)
    for path in (workspace.record, workspace.dataset, workspace.fingerprint, workspace.folds):
        copy_file(path, side.root / path.name)
    start = start_folder(side.root)
    weights = workspace.model / before.network.file
    copy_file(weights, start / "finished.safetensors")
    network = StartNetwork(
        configuration=before.configuration, fold=before.fold, file="finished.safetensors", sha256=before.network.sha256
    )
    record = StartRecord(source=f"itself after {before.steps} steps", kind="model", networks=(network,))
    write_record(start / side.plan.name, plan)
    write_record(start / START_NAME, record)
    write_record(side.plan, _restarted(plan, before.configuration, budget, record.digest))
    previous = plan.configuration(before.configuration).previous
    if previous is not None:  # it predicts what the cascade is validated with
        path = workspace.training(previous, before.fold) / "training.json"
        earlier = read_record(path, TrainingRecord)
        copy_file(path, side.training(previous, before.fold) / "training.json")
        copy_file(workspace.model / earlier.network.file, side.model / earlier.network.file)


def _restarted(plan: Plan, name: str, budget: Budget, start: str) -> Plan:
    """Return the plan with a schedule that begins again at a share of its highest rate and anneals to the end."""
    chosen = plan.configuration(name)
    schedule = replace(
        chosen.schedule,
        learning_rate=RATE_SHARE * chosen.schedule.learning_rate,
        steps=budget.steps,
        steps_per_epoch=max(1, min(chosen.schedule.steps_per_epoch, (budget.steps or 1000) // 10)),
        convergence=None,
    )
    changed = replace(chosen, schedule=schedule)
    others = tuple(changed if item.name == name else item for item in plan.configurations)
    return replace(plan, configurations=others, start=start)


def _keep(workspace: Workspace, side: Workspace, before: TrainingRecord, network: NetworkFile) -> None:
    """Put the new network and its predictions in the place of the old; a kill leaves one or the other whole."""
    data = (side.model / network.file).read_bytes()
    if hashlib.sha256(data).hexdigest() != network.sha256:
        raise AutosegError.at(side.model / network.file, "not what was written", "run the same command again")
    steps, seconds = before.steps + network.steps, round(before.seconds + network.seconds, 3)
    file = replace(
        network,
        file=f"{network.configuration}-fold_{network.fold}-after_{steps}.safetensors",
        steps=steps,
        seconds=seconds,
        schedule=f"{before.schedule}; then {network.schedule.removeprefix(f'{network.started}; ')}",
        started=before.network.started,
    )
    place = workspace.validation(before.configuration, before.fold)
    shutil.rmtree(place, ignore_errors=True)
    write_bytes(workspace.model / file.file, data)
    record = replace(before, steps=steps, seconds=seconds, schedule=file.schedule, network=file)
    write_record(workspace.training(before.configuration, before.fold) / "training.json", record)
    write_model(workspace)
    (workspace.model / before.network.file).unlink(missing_ok=True)
    shutil.copytree(side.validation(before.configuration, before.fold), place, copy_function=copy_file)
    step, inputs = validation_step(workspace, record)
    mark_done(workspace.provenance, step, inputs)


def _choose_again(workspace: Workspace, device: torch.device, seed: int) -> None:
    """Choose once more what predicts and what is done after it, now with the new network."""
    chosen = read_record(workspace.selection, Selection)
    paths = sorted((workspace.root / "training").glob("*/fold_*/training.json"))
    records = [read_record(path, TrainingRecord) for path in paths]
    compared = (*(candidate.name for candidate in chosen.choice.candidates), *chosen.configurations)
    names = {name for each in compared for name in each.split(JOINED)}
    results = [
        NetworkResult(
            configuration=record.configuration,
            fold=record.fold,
            steps=record.steps,
            training_seconds=record.seconds,
            validation_cases=0,
            validation_dice=record.network.validation_dice,
        )
        for record in records
        if record.configuration in names and record.fold in chosen.folds
    ]
    budget = ChosenBudget(budget=Budget(), because="none")
    ledger = Ledger(workspace.budget, None, 0.0)  # never saved: outside any job's time
    planned = {configuration.name for configuration in read_plan(workspace.plan).configurations}
    wanted = sorted(names | planned.intersection(chosen.left_out))
    select(Job(workspace=workspace, ledger=ledger, device=device, budget=budget, seed=seed), results, wanted)
