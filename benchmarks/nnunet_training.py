"""nnU-Net's side of a comparison of models: small networks trained, and cases predicted, by nnunetv2 itself.

Everything runs in the environment of a given Python, on its CPU device. nnU-Net's own plan is made narrower and given
smaller patches by edits, and a trainer with few steps and no augmentation is put where nnU-Net looks for trainers.
"""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autoseg.core.errors import AutosegError
from autoseg.core.files import write_text
from autoseg.datasets.dataset import Dataset
from benchmarks.nnunet_raw import DATASET_ID, DATASET_NAME, write_raw

TRAINER = "nnUNetTrainerShort"
_TRAINER = f"""
import pathlib

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerNoDA import nnUNetTrainerNoDA


class {TRAINER}(nnUNetTrainer):
    def __init__(self, plans: dict, configuration: str, fold: int, dataset_json: dict,
                 device: torch.device = torch.device("cuda")):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs, self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = 1, {{steps}}, 1
        self.oversample_foreground_percent = 0.5

    get_training_transforms = staticmethod(nnUNetTrainerNoDA.get_training_transforms)

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self):
        rotation, dummy, _, mirror_axes = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        return rotation, dummy, self.configuration_manager.patch_size, mirror_axes

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.network.parameters(), 3e-3)
        return optimizer, torch.optim.lr_scheduler.PolynomialLR(optimizer, self.num_epochs, 0.9)

    def perform_actual_validation(self, save_probabilities: bool = False):
        if self.configuration_manager.next_stage_names:  # the next stage is trained on what this predicts
            super().perform_actual_validation(save_probabilities)
        folder = pathlib.Path(self.output_folder, "validation")
        folder.mkdir(exist_ok=True)
        (folder / "summary.json").write_text("{{{{}}}}")
"""
_ENTRIES = {
    "plan": "nnunetv2.experiment_planning.plan_and_preprocess_entrypoints:plan_and_preprocess_entry",
    "preprocess": "nnunetv2.experiment_planning.plan_and_preprocess_entrypoints:preprocess_entry",
    "train": "nnunetv2.run.run_training:run_training_entry",
    "predict": "nnunetv2.inference.predict_from_raw_data:predict_entry_point",
    "export": "nnunetv2.model_sharing.entry_points:export_pretrained_model_entry",
    "ensemble": "nnunetv2.ensembling.ensemble:entry_point_ensemble_folders",
    "postprocess": "nnunetv2.postprocessing.remove_connected_components:entry_point_apply_postprocessing",
}

_RUN = """
import importlib, json, sys
commands = json.loads(sys.argv[1])
for module, function, *words in commands:
    sys.argv[1:] = words
    getattr(importlib.import_module(module), function)()
"""
# nnU-Net adds weighted logits in float16; its other sums are float32 on a CPU.
_FLOAT32 = "import torch; torch.half = torch.float16 = torch.float32"
_POSTPROCESSING = """
import sys
from batchgenerators.utilities.file_and_folder_operations import save_pickle
from nnunetv2.postprocessing.remove_connected_components import remove_all_but_largest_component_from_segmentation as f
import numpy as np
save_pickle(([f, f], [{"labels_or_regions": [np.int64(1), np.int64(2)]}, {"labels_or_regions": 1}]), sys.argv[1])
"""

Json = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One nnU-Net installation and the folder that its files are kept in."""

    python: Path
    work: Path

    @property
    def results(self) -> Path:
        """Folder of the trained models."""
        return self.work / "results" / DATASET_NAME

    @property
    def judged(self) -> Path:
        """Folder of the images to predict."""
        return self.work / "judged" / "imagesTr"

    def model(self, configuration: str, plans: str) -> Path:
        """Return the folder of a trained configuration."""
        return self.results / f"{TRAINER}__{plans}__{configuration}"

    def call(self, *commands: Sequence[str], loaders: int = 0) -> None:
        """Run nnU-Net's commands (entry, words ...) one after the other in one process: importing it takes long.

        Raises:
            AutosegError: one of them failed.

        """
        if commands:
            named = [[*_ENTRIES[entry].split(":"), *words] for entry, *words in commands]
            self.run("-c", _RUN, json.dumps(named), loaders=loaders)

    def run(self, *words: str, loaders: int = 0) -> None:
        """Run the environment's Python with so many processes that load data.

        Raises:
            AutosegError: it failed.

        """
        places = {f"nnUNet_{name}": str(self.work / name) for name in ("raw", "preprocessed", "results")}
        own = {"nnUNet_n_proc_DA": str(loaders), "nnUNet_def_n_proc": "1", "nnUNet_compile": "f"}
        environment = os.environ | places | own | {"nnUNet_extTrainer": str(self.work / "trainers")}
        command = [str(self.python), *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=self.work)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise AutosegError.at(words[-1][:200], f"nnU-Net ended with {done.returncode} ({last})", "mend that first")


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How to train: nnU-Net's planner, its plans' name, configurations in order, folds, length, and edits of plans."""

    planner: str = "ExperimentPlanner"
    plans: str = "nnUNetPlans"
    configurations: tuple[str, ...]
    folds: tuple[str, ...]
    steps: int
    edits: Mapping[str, Mapping[str, Json]]
    labels: Mapping[str, Json] | None = None
    regions_class_order: tuple[int, ...] | None = None


def train_and_predict(
    peer: Peer, datasets: tuple[Dataset, Dataset], channels: tuple[str, ...], training: Training
) -> Mapping[str, Path]:
    """Let nnU-Net plan, preprocess and train on the first dataset and predict the second, with probabilities.

    What is finished is kept. Returns for each configuration where its predictions are.

    Raises:
        AutosegError: one of its commands failed.

    """
    preprocessed, number = peer.work / "preprocessed" / DATASET_NAME, str(DATASET_ID)
    write_text(peer.work / "trainers" / f"{TRAINER}.py", _TRAINER.format(steps=training.steps))
    plans = preprocessed / f"{training.plans}.json"
    commands: list[list[str]] = []
    if not (preprocessed / "ready").exists():
        write_described(datasets[0], channels, training, peer.work / "raw" / DATASET_NAME)
        # Its planner sets as many threads as loaders, so that 0 makes it fail (2.8.1); elsewhere 0 saves processes.
        peer.call(["plan", "-d", number, "-pl", training.planner, "--no_pp", "-npfp", "1", "-c", "2d"], loaders=1)
        write_text(plans, json.dumps(edited(json.loads(plans.read_bytes()), training.edits), indent=1))
        # A cascade's second stage is trained on what was preprocessed for full resolution.
        wanted = [{"3d_cascade_fullres": "3d_fullres"}.get(name, name) for name in training.configurations]
        words = ["-plans_name", training.plans, "-c", *wanted, "-np", *("1" for _ in wanted)]
        commands.append(["preprocess", "-d", number, *words])
    for configuration in training.configurations:
        for fold in training.folds:
            finished = peer.model(configuration, training.plans) / f"fold_{fold}"
            if not (finished / "validation" / "summary.json").exists():
                words = ["-tr", TRAINER, "-p", training.plans, "-device", "cpu"]
                commands.append(["train", number, configuration, fold, *words])
    outputs = {name: peer.work / "predicted" / name for name in training.configurations}
    write_described(datasets[1], channels, training, peer.work / "judged")
    commands += [_prediction(peer, output, training) for output in outputs.values() if not (output / "done").exists()]
    peer.call(*commands)
    for marker in (preprocessed / "ready", *(output / "done" for output in outputs.values())):
        write_text(marker, "finished\n")
    return outputs


def predict_in_float32(peer: Peer, configuration: str, training: Training) -> Path:
    """Let nnU-Net predict again, with its sums in float32 instead of float16; return where.

    Raises:
        AutosegError: it failed.

    """
    output = peer.work / "predicted-float32" / configuration
    if not (output / "done").exists():
        _, *words = _prediction(peer, output, training)
        command = [[*_ENTRIES["predict"].split(":"), *words]]
        peer.run("-c", f"{_FLOAT32}\n{_RUN}", json.dumps(command))
        write_text(output / "done", "finished\n")
    return output


def _prediction(peer: Peer, output: Path, training: Training) -> list[str]:
    """Return the command that predicts the judged cases with the configuration that `output` is called after."""
    words = ["-i", str(peer.judged), "-o", str(output), "-d", str(DATASET_ID), "-c", output.name]
    words += ["-p", training.plans, "-tr", TRAINER, "-f", *training.folds, "-device", "cpu"]
    stage = ["-prev_stage_predictions", str(output.parent / "3d_lowres")] if "cascade" in output.name else []
    return ["predict", *words, "-npp", "0", "-nps", "0", "--save_probabilities", *stage]


def postprocess(peer: Peer, configuration: str, training: Training, predicted: Path) -> Path:
    """Let nnU-Net write a postprocessing.pkl beside its model and apply it to `predicted`; return where.

    All foreground keeps its largest component, then the first label keeps its own.

    Raises:
        AutosegError: it failed.

    """
    output = peer.work / "predicted" / f"{configuration}-postprocessed"
    folder = peer.model(configuration, training.plans) / f"crossval_results_folds_{'_'.join(training.folds)}"
    if not (output / "done").exists():
        folder.mkdir(exist_ok=True)
        peer.run("-c", _POSTPROCESSING, str(folder / "postprocessing.pkl"))
        words = ["-i", str(predicted), "-o", str(output), "-pp_pkl_file", str(folder / "postprocessing.pkl")]
        peer.call(["postprocess", *words, "-np", "1"])
        write_text(output / "done", "postprocessed\n")
    return output


def ensemble(peer: Peer, folders: tuple[Path, ...]) -> Path:
    """Let nnU-Net average the probabilities in `folders`; return where.

    Raises:
        AutosegError: it failed.

    """
    output = peer.work / "predicted" / "ensemble"
    if not (output / "done").exists():
        peer.call(["ensemble", "-i", *map(str, folders), "-o", str(output), "-np", "1", "--save_npz"])
        write_text(output / "done", "averaged\n")
    return output


def export(peer: Peer, training: Training) -> Path:
    """Let nnU-Net export the trained configurations into a zip; return it.

    Raises:
        AutosegError: it failed.

    """
    path = peer.work / "exported.zip"
    if not path.exists():
        words = ["-d", str(DATASET_ID), "-o", str(path), "-c", *training.configurations, "-tr", TRAINER]
        peer.call(["export", *words, "-p", training.plans, "-f", *training.folds])
    return path


def write_described(dataset: Dataset, channels: tuple[str, ...], training: Training, folder: Path) -> None:
    """Write `dataset` as nnU-Net's raw data, with the labels or regions of `training`."""
    write_raw(dataset, channels, folder)
    if training.labels is not None:
        description = json.loads((folder / "dataset.json").read_bytes()) | {"labels": dict(training.labels)}
        if training.regions_class_order is not None:
            description["regions_class_order"] = list(training.regions_class_order)
        write_text(folder / "dataset.json", json.dumps(description, indent=1))


def edited(plans: Json, edits: Mapping[str, Mapping[str, Json]]) -> Json:
    """Return nnU-Net's `plans` with changed configurations.

    `edits` gives per configuration new values; `features` caps the first stage's features (they double), `like` names
    the configuration that a new one is a copy of.
    """
    configurations = dict(plans["configurations"])
    for name, changes in edits.items():
        source = configurations.get(changes.get("like", name), {})
        made = json.loads(json.dumps(source)) | {
            key: value for key, value in changes.items() if key not in ("like", "features")
        }
        if "like" in changes:
            made["data_identifier"] = f"{plans['plans_name']}_{name}"
        if "features" in changes:
            stages = made["architecture"]["arch_kwargs"]
            first = changes["features"]
            stages["features_per_stage"] = [min(first << i, 8 * first) for i in range(stages["n_stages"])]
        configurations[name] = made
    return plans | {"configurations": configurations}


def split(dataset: Dataset, training: int, judged: int) -> tuple[Dataset, Dataset]:
    """Return the first cases of `dataset` to train on and the next ones to predict."""
    cases = dataset.cases
    return replace(dataset, cases=cases[:training]), replace(dataset, cases=cases[training : training + judged])
