"""One run of the ablation: train an arm with a seed on 110 hippocampus cases, judge it on 40 others."""

import copy
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from autoseg.core.records import encode, write_record
from autoseg.core.workspace import Workspace, open_workspace
from autoseg.datasets.options import Options as Reading
from autoseg.groundwork import fingerprinted, looked, planned, preprocessed
from autoseg.imaging.metrics import confusion_counts, dice
from autoseg.imaging.store import CaseStore
from autoseg.learning.checkpoint import load_checkpoint
from autoseg.learning.feeding import Feeder, FeedOptions, MemorySource
from autoseg.learning.model_files import plan_outputs
from autoseg.learning.sliding_window import WindowPredictor
from autoseg.learning.training import Hooks, TrainingTask, train_network
from autoseg.steps.plan import PlanOptions
from benchmarks.ablation.arms import ARMS, BASE_STEPS, MACHINE, steps_of
from benchmarks.hippocampus.split import arrange, case_names, make_split
from benchmarks.record import this_commit
from planners.plan import Plan
from planners.recipe import Budget

CONFIGURATION = "3d_fullres"
PLANNED_S = 600.0
"""The budget that the default network is planned for."""
JUDGED = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationRun:
    """One arm with one seed: Dice (mean over labels) of each judged case, and what it cost.

    `without_average` is the mean Dice of the weights as they were last, not averaged over steps; `mirrored` that of
    the average predicting with mirrored copies as well, for arms that mirror (their `dice` is without).
    """

    schema: ClassVar[str] = "autoseg.ablation-run/1"

    arm: str
    seed: int
    steps: int
    processor_s: float
    dice: tuple[float, ...]
    without_average: float
    mirrored: tuple[float, ...] | None
    commit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What all runs share."""

    workspace: Workspace
    plan: Plan
    train: tuple[str, ...]
    judged: tuple[str, ...]


def prepare(source: Path, work: Path) -> Bench:
    """Arrange, fingerprint, plan and preprocess the cases that benchmarks/hippocampus does not judge."""
    names = make_split(case_names(source)).train
    data = work / "data"
    if not (data / "hippocampus").exists():
        arrange(source, make_split(case_names(source)), data)
    workspace = open_workspace(work / "ablation.autoseg", data / "hippocampus", 0)
    write_record(workspace.machine, MACHINE)
    looked(workspace, Reading())
    fingerprinted(workspace)
    plan = planned(workspace, PlanOptions(recipe="auto", budget=Budget(seconds=PLANNED_S)))
    preprocessed(workspace, CONFIGURATION)
    ordered = sorted(names, key=lambda name: hashlib.sha256(f"ablation {name}".encode()).hexdigest())
    return Bench(
        workspace=workspace, plan=plan, train=tuple(sorted(ordered[JUDGED:])), judged=tuple(sorted(ordered[:JUDGED]))
    )


def run(bench: Bench, arm: str, seed: int, folder: Path, base_steps: int = BASE_STEPS) -> AblationRun:
    """Train and judge; `folder` keeps the training's checkpoints, from which a run that was ended goes on."""
    default = bench.plan.configuration(CONFIGURATION)
    configuration = ARMS[arm].change(default)
    channels, outputs = len(bench.plan.channels), plan_outputs(bench.plan)
    steps = steps_of(configuration, default, channels, outputs, base_steps)
    task = TrainingTask(
        configuration=configuration,
        channels=channels,
        outputs=outputs,
        target=bench.plan.target,
        device=torch.device("cpu"),
        dtype=torch.bfloat16 if MACHINE.bf16 else torch.float32,
        seed=seed,
        steps=steps,
        seconds=None,
        folder=folder,
        identity=hashlib.sha256(encode(configuration) + f"{seed} {steps}".encode()).hexdigest(),
    )
    source = MemorySource(CaseStore(bench.workspace.preprocessed(CONFIGURATION)))
    feed = FeedOptions(
        configuration=configuration,
        names=bench.train,
        channels=channels,
        classes=outputs,
        device=task.device,
        seed=seed,
        stream=0,
    )
    hooks = Hooks(
        validate=lambda _network, _step: None,
        log=lambda _epoch: None,
        stop=lambda: None,
        peak_memory_bytes=lambda: 0,
    )
    began = time.process_time()
    with Feeder(source, feed) as feeder:
        result = train_network(task, feeder, hooks)
    spent = time.process_time() - began
    last = _last_weights(task, result.network)
    axes = configuration.augmentation.mirror_axes
    return AblationRun(
        arm=arm,
        seed=seed,
        steps=result.steps,
        processor_s=round(spent, 1),
        dice=_judge(task, source, bench.judged, result.network, ()),
        without_average=float(np.mean(_judge(task, source, bench.judged, last, ()))),
        mirrored=_judge(task, source, bench.judged, result.network, axes) if axes else None,
        commit=this_commit(),
    )


def _last_weights(task: TrainingTask, averaged: nn.Module) -> nn.Module:
    """Return a copy of the network with the weights of the last step instead of their average."""
    checkpoint = load_checkpoint(task.folder, task.identity)
    if checkpoint is None:
        msg = f"{task.folder} has no checkpoint of the finished training"
        raise ValueError(msg)
    last = copy.deepcopy(averaged)
    start = "network."
    last.load_state_dict({k.removeprefix(start): v for k, v in checkpoint.tensors.items() if k.startswith(start)})
    return last.eval()


def _judge(
    task: TrainingTask, source: MemorySource, names: Sequence[str], network: nn.Module, axes: tuple[int, ...]
) -> tuple[float, ...]:
    """Return the Dice of each case, mean over labels; the network's grid is the images' own here (1 mm)."""
    predictor = WindowPredictor(
        (network.eval(),), task.configuration, task.outputs, task.device, task.dtype, axes, target=task.target
    )
    values = []
    for name in names:
        shape = source.shape(name)
        predicted = predictor.logits(source.read_image(name, (0, 0, 0), shape)).argmax(0)
        reference = np.maximum(source.read_label(name, (0, 0, 0), shape)[0], 0)
        counts = confusion_counts(predicted, reference, task.outputs)
        each = [dice(*(int(counts[kind][label]) for kind in range(3))) for label in range(1, task.outputs)]
        values.append(float(np.mean([value for value in each if value is not None])))
    return tuple(round(value, 5) for value in values)
