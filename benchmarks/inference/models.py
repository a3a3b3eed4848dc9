"""Models in nnU-Net's format, trained for a few steps by nnU-Net's network, for both sides to predict with."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autoseg.core.files import write_text
from autoseg.imaging.preparation import prepare_image, prepare_label
from autoseg.imaging.read import read_image, read_label
from autoseg.imaging.volume import Volume
from benchmarks.inference.inputs import ORGANS, Shape, body
from benchmarks.inference.run import Setting, theirs
from planners.fingerprint import CaseFingerprint, ChannelFingerprint, Fingerprint, Label, Modality
from planners.nnunet_format import plan_to_nnunet
from planners.plan import Plan
from planners.planner import make_plan
from planners.recipe import RECIPES, Budget

CT_SPACING_MM = (1.5, 1.5, 1.5)
_TRAINING_CASES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """How briefly a model is trained, on patches of which size, with how many base features; None for the plan's."""

    steps: int
    patch: Shape | None = None
    features: int | None = None


def plans_folder(setting: Setting, name: str, fingerprint: Fingerprint, plan: Plan) -> Path:
    """Write what nnU-Net reads of a model beside its weights; return the folder."""
    folder = setting.work / "models" / name
    description = {
        "channel_names": {"0": "CT" if fingerprint.channels[0].modality == "ct" else "MRI"},
        "labels": {"background": 0} | {label.name: label.values[0] for label in fingerprint.labels},
        "numTraining": fingerprint.n_training,
        "file_ending": ".nii.gz",
    }
    write_text(folder / "dataset.json", json.dumps(description, indent=1))
    write_text(folder / "plans.json", json.dumps(plan_to_nnunet(plan, fingerprint), indent=1))
    return folder


def hippocampus_model(setting: Setting, images: Sequence[Path], labels: Sequence[Path], brief: Brief) -> Path:
    """Return the model folder for MSD hippocampus, with the network that nnU-Net plans for it."""
    pairs = list(zip(images, labels, strict=True))
    cases = [(read_image(image), read_label(label).array[0]) for image, label in pairs]
    fingerprint = given_fingerprint("hippocampus", "mr", [image.grid.shape for image, _ in cases], (1.0, 1.0, 1.0), 2)
    return _trained(setting, "hippocampus", fingerprint, cases[:_TRAINING_CASES], brief)


def ct_model(setting: Setting, shape: Shape, brief: Brief) -> Path:
    """Return the model folder for the CT-like body: nnU-Net's plan with a quarter of its features."""
    fingerprint = given_fingerprint("ct", "ct", [shape], CT_SPACING_MM, ORGANS)
    cases = [body(shape, CT_SPACING_MM, seed) for seed in (1, 2, 3, 4)]
    return _trained(setting, "ct", fingerprint, cases, brief)


def resampling_model(setting: Setting, classes: int, shape: Shape, spacing_mm: tuple[float, float, float]) -> Path:
    """Return a model folder without weights, for the step from logits to labels."""
    fingerprint = given_fingerprint("resampling", "ct", [shape], spacing_mm, classes - 1)
    plan = make_plan(fingerprint, RECIPES["nnunet"], Budget())
    return plans_folder(setting, f"resampling_{classes}", fingerprint, plan)


def given_fingerprint(
    name: str, modality: Modality, shapes: Sequence[Shape], spacing_mm: tuple[float, float, float], labels: int
) -> Fingerprint:
    """Return a fingerprint of one channel with the given shapes and number of labels; intensities as of a CT."""
    channel = ChannelFingerprint(
        name="CT" if modality == "ct" else "MRI",
        modality=modality,
        modality_reason="given",
        mean=300.0,
        std=300.0,
        minimum=-1024.0,
        maximum=3071.0,
        median=300.0,
        percentile_00_5=-200.0,
        percentile_99_5=1100.0,
    )
    voxels = (1000,) * labels
    cases = tuple(
        CaseFingerprint(
            name=f"case_{index}",
            dimensions=3,
            shape=shape,
            shape_after_crop=shape,
            spacing_mm=spacing_mm,
            label_voxels=voxels,
            label_components=(1,) * labels,
        )
        for index, shape in enumerate(shapes)
    )
    return Fingerprint(
        dataset=name,
        channels=(channel,),
        labels=tuple(Label(name=f"structure_{value}", values=(value,)) for value in range(1, labels + 1)),
        overlapping=False,
        cases=cases,
        median_relative_size_after_crop=1.0,
        n_training=len(cases),
    )


def _trained(
    setting: Setting,
    name: str,
    fingerprint: Fingerprint,
    cases: Sequence[tuple[Volume, NDArray[np.integer]]],
    brief: Brief,
) -> Path:
    plan = make_plan(fingerprint, RECIPES["nnunet"], Budget())
    planned = plan.configuration("3d_fullres")
    if brief.features is not None:
        share = planned.stages[0].features // brief.features
        stages = tuple(replace(stage, features=stage.features // share) for stage in planned.stages)
        planned = replace(planned, stages=stages)
    plan = replace(plan, configurations=(planned,))
    folder = plans_folder(setting, name, fingerprint, plan)
    if (folder / "fold_0" / "checkpoint_final.pth").exists():
        return folder
    files = []
    for index, (volume, label) in enumerate(cases):
        prepared = prepare_image(volume.array, volume.grid.spacing_mm, plan, planned)
        target = prepare_label(label, prepared.mapping, plan, prepared.mask)[0].clip(0)
        files.append(setting.work / f"{name}_{index}.npz")
        np.savez(files[-1], image=prepared.image, label=target.astype(np.uint8))
    patch = brief.patch or planned.patch
    theirs(setting, kind="train", model=folder, cases=files, patch=patch, steps=brief.steps)
    return folder
