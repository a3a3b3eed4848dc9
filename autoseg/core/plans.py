"""plan.json as a plan that holds together, also where somebody edited it."""

from pathlib import Path

from autoseg.core.errors import AutosegError
from autoseg.core.records import read_record
from planners.check import check_plan
from planners.plan import Plan


def read_plan(path: Path) -> Plan:
    """Read the plan at `path`.

    Raises:
        AutosegError: the file is absent or no plan, or a value in it can train no network; the message names its
            field, and how many more there are.

    """
    plan = read_record(path, Plan)
    problems = check_plan(plan)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise AutosegError.at(
            path, f"{problems[0].field}: {problems[0].what}{more}", "mend this value or remove the file"
        )
    return plan
