"""Five small networks on hippocampus with ten labels put wrong, one for each fold: each case has one that is unseen.

The network is planned by autoseg and then made smaller, so that a busy machine trains it in minutes: what is judged
here is how well its mistakes are foreseen, not how few they are.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from autoseg.core.errors import AutosegError
from autoseg.core.plans import read_plan
from autoseg.core.records import read_record, write_record
from autoseg.core.workspace import Workspace
from autoseg.steps.train import TrainingRecord
from benchmarks.trust.disturb import Disturbance, DisturbedRecord, disturbed_copy
from planners.plan import Configuration

FOLDS = 5
DISTURBED = 10
SPACING_MM = (2.0, 2.0, 2.0)
PATCH = (16, 24, 16)
FEATURES = (16, 32, 64)
CONFIGURATION = "3d_fullres"


def prepare(source: Path, work: Path, seed: int) -> Workspace:
    """Copy the dataset with disturbed labels into `work`, plan, make the plan small, and preprocess."""
    workspace = Workspace(work / "hippocampus.autoseg")
    made = work / "disturbed.json"
    if not made.exists():
        write_record(
            made, DisturbedRecord(seed=seed, cases=disturbed_copy(source, work / "hippocampus", DISTURBED, seed))
        )
    if not any(workspace.preprocessed(CONFIGURATION).glob("*")):
        data, root = str(work / "hippocampus"), str(workspace.root)
        _autoseg("plan", data, "--workspace", root, "--steps", "300")
        plan = read_plan(workspace.plan)
        small = tuple(_small(each) if each.name == CONFIGURATION else each for each in plan.configurations)
        write_record(workspace.plan, replace(plan, configurations=small))
        _autoseg("preprocess", root, "--configuration", CONFIGURATION)
    return workspace


def train(workspace: Workspace, steps: int, at_once: int) -> None:
    """Train and validate every fold, `at_once` of them beside each other; those that are finished are skipped."""
    records = [workspace.training(CONFIGURATION, fold) / "training.json" for fold in range(FOLDS)]
    waiting = [fold for fold, path in enumerate(records) if not (path.exists() and _finished(path))]
    running: list[subprocess.Popen[bytes]] = []
    while waiting or running:
        while waiting and len(running) < at_once:
            command = ("train", str(workspace.root), "--configuration", CONFIGURATION, "--fold", str(waiting.pop(0)))
            running.append(subprocess.Popen(_command(*command, "--steps", str(steps)), env=_environment()))
        if running.pop(0).wait():
            raise AutosegError.at(workspace.root, "a training failed", "read what it said, and run this again")


def _finished(path: Path) -> bool:
    return read_record(path, TrainingRecord).finished


def disturbed(work: Path) -> tuple[Disturbance, ...]:
    """Return what `prepare` did to which cases."""
    return read_record(work / "disturbed.json", DisturbedRecord).cases


def _small(configuration: Configuration) -> Configuration:
    """Return the configuration at twice the voxel size, with three resolutions."""
    stages = tuple(
        replace(stage, features=features) for stage, features in zip(configuration.stages, FEATURES, strict=False)
    )
    last = replace(stages[-1], decoder_convolutions=0)
    return replace(
        configuration,
        spacing_mm=SPACING_MM,
        patch=PATCH,
        stages=(*stages[:-1], last),
        deep_supervision_weights=(1.0, 0.0),
    )


def _autoseg(*arguments: str) -> None:
    subprocess.run(_command(*arguments), check=True, env=_environment())


def _command(*arguments: str) -> Sequence[str]:
    return (sys.executable, "-m", "autoseg.cli", *arguments)


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
