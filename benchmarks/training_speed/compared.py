"""What both sides train: nnU-Net's own network and patch for the hippocampus, with a smaller batch."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

from autoseg.core.errors import AutosegError
from autoseg.core.files import write_text
from autoseg.core.plans import read_plan
from autoseg.core.records import read_record
from autoseg.core.workspace import Workspace, open_workspace
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.options import Options as Reading
from autoseg.groundwork import fingerprinted, looked, planned, preprocessed
from autoseg.steps.plan import PlanOptions
from benchmarks.hippocampus.split import ENDING, case_names
from benchmarks.nnunet_raw import DATASET_ID, DATASET_NAME, channel_names, write_raw
from benchmarks.nnunet_training import Peer
from planners.fingerprint import Fingerprint
from planners.plan import Configuration, Plan
from planners.recipe import Budget

CONFIGURATION = "3d_fullres"
CASES = 25
BATCH = 2
"""Of the nine samples that nnU-Net plans for 200 cases, so that a run has enough steps to average over."""


def compared_configuration(plan: Plan) -> Configuration:
    """Return the configuration that is compared."""
    return replace(plan.configuration(CONFIGURATION), batch=BATCH)


def prepare_ours(source: Path, work: Path) -> Workspace:
    """Arrange, plan by nnU-Net's recipe and preprocess CASES cases."""
    data = work / "hippocampus"
    for folder in ("images", "labels"):
        (data / folder).mkdir(parents=True, exist_ok=True)
        for name in case_names(source)[:CASES]:
            shutil.copyfile(source / folder / f"{name}{ENDING}", data / folder / f"{name}{ENDING}")
    workspace = open_workspace(work / "speed.autoseg", data, 0)
    looked(workspace, Reading())
    fingerprinted(workspace)
    planned(workspace, PlanOptions(recipe="nnunet", budget=Budget(steps=1000)))
    preprocessed(workspace, CONFIGURATION)
    return workspace


def prepare_theirs(workspace: Workspace, peer: Peer) -> None:
    """Let nnU-Net plan and preprocess the same cases.

    Raises:
        AutosegError: its network is not ours.

    """
    dataset, fingerprint = read_record(workspace.dataset, Dataset), read_record(workspace.fingerprint, Fingerprint)
    write_raw(dataset, channel_names(fingerprint), peer.work / "raw" / DATASET_NAME)
    number, plans = str(DATASET_ID), peer.work / "preprocessed" / DATASET_NAME / "nnUNetPlans.json"
    words = ["-d", number, "-pl", "ExperimentPlanner", "--no_pp", "-npfp", "1", "-c", CONFIGURATION]
    peer.call(["plan", *words], loaders=1)
    made = json.loads(plans.read_bytes())
    configuration = made["configurations"][CONFIGURATION]
    configuration["batch_size"] = BATCH
    write_text(plans, json.dumps(made, indent=1))
    check_same(configuration, compared_configuration(read_plan(workspace.plan)))
    peer.call(["preprocess", "-d", number, "-plans_name", "nnUNetPlans", "-c", CONFIGURATION, "-np", "1"], loaders=1)


def check_same(theirs: dict[str, object], ours: Configuration) -> None:
    """Refuse a configuration of nnU-Net's plans that is another network than ours.

    Raises:
        AutosegError: it is.

    """
    architecture = theirs["architecture"]["arch_kwargs"]  # type: ignore[index]
    expected = {
        "patch_size": list(ours.patch),
        "features_per_stage": [stage.features for stage in ours.stages],
        "kernel_sizes": [list(stage.kernel) for stage in ours.stages],
        "strides": [list(stage.stride) for stage in ours.stages],
        "n_conv_per_stage": [stage.convolutions for stage in ours.stages],
        "n_conv_per_stage_decoder": [stage.decoder_convolutions for stage in ours.stages[:-1]],
    }
    found = {**architecture, "patch_size": theirs["patch_size"]}
    for key, value in expected.items():
        if found[key] != value:
            raise AutosegError.at(f"nnU-Net's {key}", f"is {found[key]}, ours {value}", "compare the same networks")
