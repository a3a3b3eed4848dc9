"""Models with drawn weights, whole folders of them, and images with a frame of zeros."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from autoseg.core.calibration import CALIBRATION_NAME, Calibration, Temperature
from autoseg.core.records import write_record
from autoseg.learning.inference import InferenceOptions, make_segmenter
from autoseg.learning.model_files import (
    ModelRecord,
    TrainedNetwork,
    companions_written,
    load_networks,
    save_model,
    save_network,
)
from autoseg.learning.network import build_network
from autoseg.learning.trust import load_trust, networks_behind
from autoseg.model import Model
from planners.fingerprint import CaseFingerprint, ChannelFingerprint, Fingerprint, Label
from planners.plan import Augmentation, Configuration, Normalization, Plan
from tests.builders import configuration

SPACING_MM = (2.5, 0.8, 0.9)
LABELS = (Label(name="organ", values=(1, 2)), Label(name="lesion", values=(2,)), Label(name="vessel", values=(300,)))
CHANNELS = ("t1", "t2")


def planned(dimensions=3, **changes) -> Configuration:
    """A configuration with another spacing than the images, one z-score inside the mask and one fixed scale."""
    spacing_mm = (2.0, 1.0, 1.1)[3 - dimensions :]
    base = replace(
        configuration(dimensions),
        spacing_mm=spacing_mm,
        patch=(8, 16, 16)[3 - dimensions :],
        normalizations=(
            Normalization(channel="t1", scheme="zscore", use_mask=True),
            Normalization(channel="t2", scheme="ct", lower=-1.0, upper=2.0, mean=0.5, std=0.7),
        ),
    )
    return replace(base, **changes)


def mirrored(base: Configuration, axes: tuple[int, ...]) -> Configuration:
    """The same configuration, mirrored along `axes`."""
    augmentation: Augmentation = replace(base.augmentation, mirror_axes=axes)
    return replace(base, augmentation=augmentation)


def make_model(folder: Path, *configurations: Configuration, folds=1, plan=None, record=None) -> Path:
    """Save a model with drawn weights; `plan` and `record` are changes of the plan and the model's record."""
    made = Plan(
        dataset="toy",
        recipe="auto",
        channels=CHANNELS,
        labels=LABELS,
        target="labels",
        transpose=(0, 1, 2),
        configurations=configurations,
        decisions=(),
    )
    made = replace(made, **(plan or {}))
    outputs = len(made.labels) + (made.target == "labels")
    values = len({value for label in made.labels for value in label.values})
    networks = []
    for index, each in enumerate(configurations):
        for fold in range(folds):
            torch.manual_seed(10 * index + fold)
            module = build_network(each, len(made.channels) + (values if each.previous else 0), outputs).eval()
            for parameter in module.parameters():
                parameter.data.add_(0.1 * torch.randn_like(parameter))
            trained = TrainedNetwork(
                configuration=each.name, fold=fold, module=module, steps=1, seconds=1.0, validation_dice=None
            )
            networks.append(save_network(folder, trained))
    saved = ModelRecord(
        dataset="toy", version="0", configuration=configurations[-1].name, networks=tuple(networks), mirror_axes=()
    )
    save_model(folder, replace(saved, **(record or {})), made, _fingerprint(made))
    return folder


def _fingerprint(plan: Plan) -> Fingerprint:
    channel = ChannelFingerprint(
        name="t1",
        modality="other",
        modality_reason="test",
        mean=None,
        std=None,
        minimum=None,
        maximum=None,
        median=None,
        percentile_00_5=None,
        percentile_99_5=None,
    )
    case = CaseFingerprint(
        name="a",
        dimensions=3,
        shape=(8, 8, 8),
        shape_after_crop=(8, 8, 8),
        spacing_mm=SPACING_MM,
        label_voxels=(3,) * len(plan.labels),
        label_components=(1,) * len(plan.labels),
    )
    return Fingerprint(
        dataset="toy",
        channels=tuple(replace(channel, name=name) for name in plan.channels),
        labels=plan.labels,
        overlapping=False,
        cases=(case,),
        median_relative_size_after_crop=1.0,
        n_training=1,
    )


def phantom(shape=(14, 40, 33), channels=2, seed=0) -> np.ndarray:
    """Coarse blobs with noise in a frame of zeros, a hole in them: (c, z, y, x) float32."""
    random = np.random.default_rng(seed)
    blobs = random.standard_normal((channels, *(-(-n // 4) for n in shape)))
    for axis, n in enumerate(shape, start=1):
        blobs = blobs.repeat(4, axis=axis).take(range(n), axis=axis)
    image = (blobs + 0.3 * random.standard_normal(blobs.shape)).astype(np.float32)
    framed = np.zeros_like(image)
    inside = (slice(None), slice(1, -2), slice(3, -1), slice(2, -4))
    framed[inside] = image[inside]
    framed[:, 5, 20:24, 10:15] = 0
    return framed


def torch_labels(folder: Path, image: np.ndarray, spacing_mm=SPACING_MM) -> np.ndarray:
    """What the engine makes of an image in float32, as the model's record says."""
    loaded = load_networks(folder, torch.device("cpu"))
    options = InferenceOptions(
        mirror=loaded.record.mirror,
        dtype=torch.float32,
        postprocessing=loaded.record.postprocessing,
        configurations=loaded.configurations,
    )
    segmenter = make_segmenter(loaded.plan, loaded.networks, options)
    return segmenter.segment(segmenter.prepare(image, spacing_mm))


def calibrate(folder: Path, temperatures: Sequence[float]) -> None:
    """Give a model temperatures, as selection does: one for labels, or one for each region."""
    loaded = load_networks(folder, torch.device("cpu"))
    found = Calibration(
        target=loaded.plan.target,
        configurations=loaded.configurations,
        networks=networks_behind(loaded.record, loaded.plan, loaded.configurations),
        n_cases=20,
        n_voxels=1000,
        temperatures=tuple(Temperature(of=str(i), temperature=t, because="test") for i, t in enumerate(temperatures)),
    )
    with companions_written(folder, CALIBRATION_NAME):
        write_record(folder / CALIBRATION_NAME, found)


def torch_probabilities(folder: Path, image: np.ndarray, spacing_mm=SPACING_MM) -> np.ndarray:
    """What the engine says of an image in float32: calibrated probabilities (k, z, y, x)."""
    loaded = load_networks(folder, torch.device("cpu"))
    options = InferenceOptions(mirror=loaded.record.mirror, dtype=torch.float32, configurations=loaded.configurations)
    segmenter = make_segmenter(loaded.plan, loaded.networks, options)
    return Model(segmenter=segmenter, trust=load_trust(folder, loaded)).predict_probabilities(image, spacing_mm)
