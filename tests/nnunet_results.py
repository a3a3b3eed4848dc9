"""Results folders as nnU-Net 2 leaves them, with random weights, and the same models as folders of ours."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from autoseg.learning.model_files import (
    ModelRecord,
    NetworkFile,
    TrainedNetwork,
    plan_inputs,
    plan_outputs,
    save_model,
    save_network,
)
from autoseg.learning.network import build_network
from planners.fingerprint import CaseFingerprint, ChannelFingerprint, Fingerprint, Label
from planners.nnunet_format import fingerprint_to_nnunet, plan_to_nnunet
from planners.plan import Configuration, Normalization, Plan
from tests.builders import configuration

TRAINER = "nnUNetTrainer"
DATASET = "Dataset007_Balls"
LABELS = (Label(name="organ", values=(1,)), Label(name="lesion", values=(2,)))
REGIONS = (Label(name="whole", values=(2, 1)), Label(name="core", values=(1,)))
_PART = {"0": "conv", "1": "norm"}
_THEIRS = (
    (r"stem\.(\d)\.(\w+)", lambda m: f"encoder.stem.convs.0.{_PART[m[1]]}.{m[2]}"),
    (
        r"encoder\.(\d+)\.(\d+)\.(first|second)\.(\d)\.(\w+)",
        lambda m: f"encoder.stages.{m[1]}.blocks.{m[2]}.conv{1 + (m[3] == 'second')}.{_PART[m[4]]}.{m[5]}",
    ),
    (
        r"encoder\.(\d+)\.(\d+)\.skip\.(\d)\.(weight|bias)",
        lambda m: f"encoder.stages.{m[1]}.blocks.{m[2]}.skip.1.{_PART[str(int(m[3]) - 1)]}.{m[4]}",
    ),
    (
        r"encoder\.(\d+)\.(\d+)\.(\d)\.(\w+)",
        lambda m: f"encoder.stages.{m[1]}.0.convs.{m[2]}.{_PART[m[3]]}.{m[4]}",
    ),
    (
        r"decoder\.(\d+)\.blocks\.(\d+)\.(\d)\.(\w+)",
        lambda m: f"decoder.stages.{m[1]}.convs.{m[2]}.{_PART[m[3]]}.{m[4]}",
    ),
    (r"decoder\.(\d+)\.up\.(\w+)", lambda m: f"decoder.transpconvs.{m[1]}.{m[2]}"),
    (r"heads\.(\d+)\.(\w+)", lambda m: f"decoder.seg_layers.{m[1]}.{m[2]}"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A configuration of PLAN and its networks."""

    name: str
    folds: int = 1
    mirror_axes: tuple[int, ...] | None = (0, 2)


def their_weights(module: nn.Module) -> dict[str, Tensor]:
    """Return the state dict of `module` under nnU-Net's names, with the second names that it keeps as well."""
    found = {}
    for name, tensor in module.state_dict().items():
        pattern, build = next((p, b) for p, b in _THEIRS if re.fullmatch(p, name))
        match = re.fullmatch(pattern, name)
        assert match is not None
        theirs = build(match)
        found[theirs] = tensor
        found[re.sub(r"\.conv\.(\w+)$", r".all_modules.0.\1", theirs)] = tensor
        if theirs.startswith("encoder."):
            found[f"decoder.{theirs}"] = tensor
    return found


def made_plan(labels: tuple[Label, ...] = LABELS, architecture: str = "plain-unet") -> Plan:
    """A plan with all configurations: full resolution at 1 mm, coarse at 2 mm, cascade and slices."""
    normalization = (Normalization(channel="MRI", scheme="zscore"),)
    residual = architecture == "residual-unet"

    def planned(dimensions: int) -> Configuration:
        found = replace(configuration(dimensions), normalizations=normalization, architecture=architecture)
        if not residual:
            return found
        stages = (replace(s, decoder_convolutions=min(1, s.decoder_convolutions)) for s in found.stages)
        return replace(found, stages=tuple(stages))

    full = planned(3)
    return Plan(
        dataset=DATASET,
        recipe="nnunet",
        channels=("MRI",),
        labels=labels,
        target="regions" if any(len(label.values) > 1 for label in labels) else "labels",
        transpose=(0, 1, 2),
        configurations=(
            full,
            planned(2),
            replace(full, name="3d_lowres", spacing_mm=(2.0, 2.0, 2.0)),
            replace(full, name="3d_cascade_fullres", previous="3d_lowres"),
        ),
        decisions=(),
    )


def made_fingerprint(labels: tuple[Label, ...] = LABELS) -> Fingerprint:
    """One case of 20 voxels of 1 mm an edge."""
    channel = ChannelFingerprint(
        name="MRI", modality="other", modality_reason="test", mean=1.0, std=1.0, minimum=0.0, maximum=2.0,
        median=1.0, percentile_00_5=0.1, percentile_99_5=1.9,
    )  # fmt: skip
    case = CaseFingerprint(
        name="a", dimensions=3, shape=(20, 20, 20), shape_after_crop=(20, 20, 20), spacing_mm=(1.0, 1.0, 1.0),
        label_voxels=(), label_components=(),
    )  # fmt: skip
    return Fingerprint(
        dataset=DATASET, channels=(channel,), labels=labels, overlapping=False, cases=(case,),
        median_relative_size_after_crop=1.0, n_training=1,
    )  # fmt: skip


def networks(plan: Plan, trained: Trained) -> tuple[nn.Module, ...]:
    """Return a network for each fold, with weights that make every label appear."""
    planned = plan.configuration(trained.name)
    made = []
    for fold in range(trained.folds):
        torch.manual_seed(sum(map(ord, trained.name)) + fold)
        module = build_network(planned, plan_inputs(plan, trained.name), plan_outputs(plan)).eval()
        for parameter in module.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
        made.append(module)
    return tuple(made)


def checkpoint(module: nn.Module, trained: Trained, **changes: Any) -> dict[str, Any]:
    """Return what nnU-Net keeps of a training: numbers of NumPy's among it."""
    return {
        "network_weights": their_weights(module),
        "optimizer_state": {"state": {}, "param_groups": [{"lr": 0.01}]},
        "grad_scaler_state": None,
        "logging": {"mean_fg_dice": [np.float32(0.3), np.float64(0.4)], "epochs": np.int64(2)},
        "_best_ema": np.float32(0.35),
        "current_epoch": 2,
        "init_args": {"configuration": trained.name, "fold": 0, "device": torch.device("cpu")},
        "trainer_name": TRAINER,
        "inference_allowed_mirroring_axes": trained.mirror_axes,
        **changes,
    }


def write_theirs(results: Path, plan: Plan, *trained: Trained, labels: Mapping[str, Any] | None = None) -> Path:
    """Write nnU-Net's results folder of a data set; return it."""
    folder = results / DATASET
    named = {"background": 0} | {
        label.name: sorted(label.values) if len(label.values) > 1 else label.values[0] for label in plan.labels
    }
    description = {
        "channel_names": {"0": "MRI"},
        "labels": dict(labels or named),
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    if plan.target == "regions":
        description["regions_class_order"] = [label.values[0] for label in plan.labels]
    fingerprint = made_fingerprint(plan.labels)
    for item in trained:
        place = folder / f"{TRAINER}__nnUNetPlans__{item.name}"
        place.mkdir(parents=True)
        (place / "dataset.json").write_text(json.dumps(description))
        (place / "plans.json").write_text(json.dumps(plan_to_nnunet(plan, fingerprint)))
        (place / "dataset_fingerprint.json").write_text(json.dumps(fingerprint_to_nnunet(fingerprint)))
        for fold, module in enumerate(networks(plan, item)):
            (place / f"fold_{fold}").mkdir()
            torch.save(checkpoint(module, item), place / f"fold_{fold}" / "checkpoint_final.pth")
    return folder


def write_ours(folder: Path, plan: Plan, predicting: tuple[str, ...], *trained: Trained) -> Path:
    """Write the same as a model folder of ours; return it."""
    files: list[NetworkFile] = []
    for item in trained:
        for fold, module in enumerate(networks(plan, item)):
            saved = TrainedNetwork(
                configuration=item.name, fold=fold, module=module, steps=0, seconds=0.0, validation_dice=None
            )
            files.append(save_network(folder, saved))
    axes = {item.name: item.mirror_axes or () for item in trained}
    mirrored = tuple(
        replace(c, augmentation=replace(c.augmentation, mirror_axes=axes.get(c.name, ()))) for c in plan.configurations
    )
    record = ModelRecord(
        dataset=plan.dataset,
        version="0",
        configuration=predicting[0],
        networks=tuple(files),
        mirror_axes=axes[predicting[0]],
        ensemble=predicting if len(predicting) > 1 else (),
        mirror=True,
    )
    save_model(folder, record, replace(plan, configurations=mirrored), made_fingerprint(plan.labels))
    return folder
