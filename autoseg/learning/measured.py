"""What a workspace remembers of its machine: measured once, and what turned out on the way."""

from dataclasses import replace

import torch

from autoseg.core.files import locked
from autoseg.core.workspace import Workspace
from autoseg.learning.machine import measure_machine
from planners.recipe import Machine


def machine_of(workspace: Workspace, device: torch.device) -> Machine:
    """Return what this machine can do: measured once per workspace and device, then read."""
    from autoseg.core.records import write_record

    machine = _measured(workspace, device)
    if machine is None:
        with locked(workspace.lock("machine")):  # two that measure at once see half a machine each
            machine = _measured(workspace, device) or measure_machine(device)
            write_record(workspace.machine, machine)
    return machine


def remember_halved(workspace: Workspace, machine: Machine, configuration: str) -> None:
    """Note that memory did not hold a whole batch of a configuration."""
    from autoseg.core.records import write_record

    halved = tuple(sorted({*machine.halved, configuration}))
    with locked(workspace.lock("machine")):
        write_record(workspace.machine, replace(machine, halved=halved))


def _measured(workspace: Workspace, device: torch.device) -> Machine | None:
    from autoseg.core.records import read_record

    machine = read_record(workspace.machine, Machine) if workspace.machine.exists() else None
    return machine if machine is not None and machine.device == str(device) else None
