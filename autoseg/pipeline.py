"""Every step in order: from a folder of labelled images to a trained model. Start reading at `plan_and_train`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from autoseg.core.files import locked, sweep_temporaries
from autoseg.core.ledger import Ledger
from autoseg.core.runtime import logged_step, say
from autoseg.core.selection import JOINED
from autoseg.core.traces import StepFiles
from autoseg.core.workspace import default_root, keep_seed, open_workspace, seed_of
from autoseg.datasets.inspection import refuse_errors
from autoseg.datasets.options import Options as Reading
from autoseg.groundwork import (
    chosen_configurations,
    fingerprinted,
    folded,
    forget,
    forget_stop,
    looked,
    planned,
    preprocessed,
    say_if_too_short,
)
from autoseg.learning.machine import choose_device
from autoseg.learning.measured import machine_of
from autoseg.learning.repeatable import repeatable_if
from autoseg.options import (
    PlanAndTrainOptions,
    choose_budget,
    parse_configurations,
    parse_folds,
    share_budget,
)
from autoseg.selecting import measure_presets_in_time, select
from autoseg.side_by_side import rounds
from autoseg.steps.begin import begin
from autoseg.steps.plan import PlanOptions
from autoseg.steps.report import report
from autoseg.texts import configuration_text, inspection_text
from autoseg.together import together
from autoseg.trainings import (
    CASCADE,
    Job,
    NetworkResult,
    at_once,
    network_count,
    networks_to_train,
    say_if_the_clock_decides,
    say_what_comes_before,
    split_count,
    train_networks,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What a run left: where things are, and what the networks reached; `configuration` is what predicts."""

    schema: ClassVar[str] = "autoseg.run/1"

    workspace: str
    model: str
    report: str
    configuration: str
    networks: tuple[NetworkResult, ...]


def plan_and_train(
    dataset: Path, options: PlanAndTrainOptions, reading: Reading, *, running_seconds: float = 0.0
) -> RunResult:
    """Make everything that is not made yet, and return where it is.

    `running_seconds` is how long the job already runs when this is called: the budget covers it too. Processes that
    torchrun started train each network together; only the first of them comes back from here.

    Raises:
        AutosegError: the dataset or an option is at fault.
        StoppedError: a signal asked to leave; the next call goes on from there.

    """
    with together() as workers, repeatable_if(options.deterministic):
        return _plan_and_train(replace(_settle(dataset, options, running_seconds), workers=workers), options, reading)


def _plan_and_train(job: Job, options: PlanAndTrainOptions, reading: Reading) -> RunResult:
    workspace = job.workspace
    with locked(workspace.lock("preparation")):  # another call on this workspace waits, and finds all done
        inspection = looked(workspace, reading)
        refuse_errors(inspection)
        say(inspection_text(inspection))
        fingerprinted(workspace)
        wanted = parse_configurations(options.configurations)
        folds = folded(workspace, parse_folds(options.folds, cascade=CASCADE in wanted), job.seed)
        networks = network_count(workspace, wanted, folds)
        per_network = share_budget(job.budget.budget, rounds(networks, at_once(job)))
        machine_of(workspace, job.device)
        if options.start_from is not None:
            begin(workspace, options.start_from, wanted, folds)
        begun = options.start_from is not None
        plan = planned(workspace, PlanOptions(recipe=options.recipe, budget=per_network, begun=begun))
        say_if_too_short(workspace, plan, per_network, networks)
        names = chosen_configurations(plan, wanted)
        trainings = networks_to_train(plan, names, folds, split_count(workspace))
        say_what_comes_before(trainings, names, folds)
        for name in dict.fromkeys(name for name, _ in trainings):
            say(f"plan {configuration_text(plan.configuration(name))}")
            if plan.configuration(name).previous is None:
                preprocessed(workspace, name)
    results = train_networks(job, trainings)
    selection = select(job, [each for each in results if each.configuration in names and each.fold in folds], names)
    measure_presets_in_time(job, results)
    with logged_step(workspace.run_log, "report", StepFiles(writes=(workspace.report,))):
        page = report(workspace)
    job.ledger.save()
    return RunResult(
        workspace=str(workspace.root),
        model=str(workspace.model),
        report=str(page),
        configuration=JOINED.join(selection.configurations),
        networks=results,
    )


def _settle(dataset: Path, options: PlanAndTrainOptions, running_seconds: float) -> Job:
    device = choose_device(options.device)
    budget = choose_budget(options.budget, options.steps, has_gpu=device.type != "cpu")
    why = {"cpu": "no CUDA found", "cuda": "found", "mps": "found"}[device.type]
    say(f"device {device.type} ({why if options.device == 'auto' else '--device'})")
    say(f"budget {budget.because}")
    say_if_the_clock_decides(budget, deterministic=options.deterministic)
    workspace = open_workspace(options.workspace or default_root(dataset), dataset, options.seed or 0)
    say(f"workspace {workspace.root}")
    forget_stop(workspace)
    sweep_temporaries(workspace.root)
    if options.force:
        forget(workspace)
    ledger = Ledger(workspace.budget, budget.budget.seconds, running_seconds)
    seed = seed_of(workspace, options.seed)
    keep_seed(workspace, seed)
    return Job(
        workspace=workspace,
        ledger=ledger,
        device=device,
        budget=budget,
        seed=seed,
        deterministic=options.deterministic,
    )


def describe(result: RunResult) -> str:
    """Return a run's result as lines for people."""
    lines = []
    for network in result.networks:
        dice = "undefined" if network.validation_dice is None else f"{network.validation_dice:.4f}"
        lines.append(
            f"{network.configuration} fold {network.fold}: mean Dice {dice} over {network.validation_cases} validation"
            f" cases, {network.steps} steps in {network.training_seconds:.0f} s"
        )
    return "\n".join([*lines, f"model   {result.model} ({result.configuration})", f"report  {result.report}"])
