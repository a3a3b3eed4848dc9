"""plan: from the fingerprint to every number that training and prediction obey."""

from dataclasses import dataclass
from difflib import get_close_matches

from autoseg.core.errors import AutosegError
from autoseg.core.records import read_record, write_record
from autoseg.core.workspace import Workspace
from planners.fingerprint import Fingerprint
from planners.plan import Plan
from planners.planner import make_plan
from planners.recipe import RECIPES, Budget, Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """The recipe's name, and what the training of one network and all around it may use."""

    recipe: str
    budget: Budget


def plan(workspace: Workspace, options: PlanOptions) -> Plan:
    """Plan the dataset that `workspace` has a fingerprint of, and write plan.json.

    Raises:
        AutosegError: no fingerprint yet, or an unknown recipe.

    """
    made = draft(workspace, options)
    write_record(workspace.plan, made)
    return made


def draft(workspace: Workspace, options: PlanOptions) -> Plan:
    """Return the plan without writing it. With a budget of steps the machine is not looked at.

    Raises:
        AutosegError: as `plan`.

    """
    if options.recipe not in RECIPES:
        close = get_close_matches(options.recipe, RECIPES, n=1)
        mend = f"did you mean {close[0]}?" if close else f"choose from {', '.join(RECIPES)}"
        raise AutosegError.at(f"--recipe {options.recipe}", "no such recipe", mend)
    fingerprint = read_record(workspace.fingerprint, Fingerprint)
    machine = None
    if options.budget.steps is None and workspace.machine.exists():
        machine = read_record(workspace.machine, Machine)
    return make_plan(fingerprint, RECIPES[options.recipe], options.budget, machine)
