"""plan: from the fingerprint to every number that training and prediction obey."""

import json
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from autoseg.core.errors import AutosegError
from autoseg.core.files import write_text
from autoseg.core.plans import read_plan
from autoseg.core.records import read_record, write_record
from autoseg.core.starts import START_NAME, StartRecord, start_folder
from autoseg.core.workspace import Workspace
from planners.check import check_plan
from planners.fine_tuning import plan_after
from planners.fingerprint import Fingerprint
from planners.nnunet_format import fingerprint_to_nnunet, plan_to_nnunet
from planners.nnunet_import import plan_from_nnunet
from planners.plan import Plan
from planners.planner import make_plan
from planners.recipe import RECIPES, Budget, Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """The recipe's name, and what the training of one network and all around it may use.

    With `nnunet_plans`, a file of nnU-Net's, the networks are those in it, and recipe and budget do not matter. Where
    training is `begun` with weights in the workspace's `start/`, the networks are those of the model they are from.
    """

    recipe: str
    budget: Budget
    nnunet_plans: str | None = None
    begun: bool = False


def plan(workspace: Workspace, options: PlanOptions) -> Plan:
    """Plan the dataset that `workspace` has a fingerprint of, and write plan.json.

    Raises:
        AutosegError: no fingerprint yet, an unknown recipe, or a file of nnU-Net's that does not suit the data.

    """
    if options.begun:
        made = _begun(workspace, options)
    elif options.nnunet_plans is None:
        made = _made(workspace, options)
    else:
        made = _imported(workspace, options.nnunet_plans)
    write_record(workspace.plan, made)
    return made


def write_nnunet(workspace: Workspace, made: Plan, folder: Path) -> Path:
    """Write a plan and the fingerprint into `folder` as nnU-Net has them, and return the path of the plans.

    Raises:
        AutosegError: the plan has something that nnU-Net has not.

    """
    fingerprint = read_record(workspace.fingerprint, Fingerprint)
    try:
        plans = plan_to_nnunet(made, fingerprint)
    except ValueError as error:
        raise AutosegError.at(f"--write-nnunet {folder}", str(error), "plan with --recipe nnunet") from error
    path = folder / f"{plans['plans_name']}.json"
    write_text(path, json.dumps(plans, indent=4, allow_nan=False) + "\n")
    found = fingerprint_to_nnunet(fingerprint)
    write_text(folder / "dataset_fingerprint.json", json.dumps(found, indent=4, allow_nan=False) + "\n")
    return path


def _imported(workspace: Workspace, file: str) -> Plan:
    fingerprint = read_record(workspace.fingerprint, Fingerprint)
    try:
        made = plan_from_nnunet(fingerprint, json.loads(Path(file).read_bytes()))
    except OSError as error:
        raise AutosegError.at(file, f"cannot be read ({error.strerror})", "give a nnUNetPlans.json") from error
    except (ValueError, RecursionError) as error:
        raise AutosegError.at(file, f"no plans of nnU-Net ({error})", "give a nnUNetPlans.json") from error
    for problem in check_plan(made):
        raise AutosegError.at(file, f"{problem.field}: {problem.what}", "give the plans of this dataset")
    return made


def _begun(workspace: Workspace, options: PlanOptions) -> Plan:
    """Return the plan of networks that begin with other weights: the model's own, or for an encoder the planner's."""
    folder = start_folder(workspace.root)
    record = read_record(folder / START_NAME, StartRecord)
    if record.kind == "encoder":
        return replace(_made(workspace, options), start=record.digest)
    names = [network.configuration for network in record.networks]
    try:
        made = plan_after(
            read_plan(folder / workspace.plan.name),
            names,
            read_record(workspace.fingerprint, Fingerprint),
            options.budget,
        )
    except ValueError as error:
        raise AutosegError.at(f"--from {record.source}", str(error), "give a model of images like these") from error
    return replace(made, start=record.digest)


def _made(workspace: Workspace, options: PlanOptions) -> Plan:
    """Return the plan that the planner makes. With a budget of steps the machine is not looked at."""
    if options.recipe not in RECIPES:
        close = get_close_matches(options.recipe, RECIPES, n=1)
        mend = f"did you mean {close[0]}?" if close else f"choose from {', '.join(RECIPES)}"
        raise AutosegError.at(f"--recipe {options.recipe}", "no such recipe", mend)
    fingerprint = read_record(workspace.fingerprint, Fingerprint)
    machine = None
    if options.budget.steps is None and workspace.machine.exists():
        machine = read_record(workspace.machine, Machine)
    return make_plan(fingerprint, RECIPES[options.recipe], options.budget, machine)
