"""A model folder can be moved, and refuses to be damaged."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from autoseg.core.errors import AutosegError
from autoseg.learning.model_files import (
    ModelRecord,
    TrainedNetwork,
    find_model,
    load_networks,
    save_model,
    save_network,
)
from autoseg.learning.network import build_network
from planners.fingerprint import CaseFingerprint, ChannelFingerprint, Fingerprint, Label
from planners.plan import Plan
from tests.builders import configuration

LABEL = Label(name="ball", values=(1,))


def model(folder: Path) -> torch.nn.Module:
    planned = configuration(3)
    module = build_network(planned, 1, 2).eval()
    trained = TrainedNetwork(
        configuration=planned.name, fold=0, module=module, steps=3, seconds=1.0, validation_dice=None
    )
    network = save_network(folder, trained)
    plan = Plan(
        dataset="balls",
        recipe="auto",
        channels=("image",),
        labels=(LABEL,),
        target="labels",
        transpose=(0, 1, 2),
        configurations=(planned,),
        decisions=(),
    )
    channel = ChannelFingerprint(
        name="image",
        modality="mr",
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
        spacing_mm=(1.0, 1.0, 1.0),
        label_voxels=(3,),
        label_components=(1,),
    )
    fingerprint = Fingerprint(
        dataset="balls",
        channels=(channel,),
        labels=(LABEL,),
        overlapping=False,
        cases=(case,),
        median_relative_size_after_crop=1.0,
        n_training=1,
    )
    record = ModelRecord(dataset="balls", version="0", configuration=planned.name, networks=(network,), mirror_axes=())
    save_model(folder, record, plan, fingerprint)
    return module


def test_a_moved_model_gives_the_same_logits(tmp_path: Path) -> None:
    module = model(tmp_path / "w" / "model")
    shutil.move(tmp_path / "w", tmp_path / "elsewhere")
    loaded = load_networks(tmp_path / "elsewhere", torch.device("cpu"))
    image = torch.randn(1, 1, 8, 8, 8)
    assert torch.equal(loaded.networks[0].module(image), module(image))
    assert not loaded.networks[0].module.training


def test_the_digest_follows_the_weights(tmp_path: Path) -> None:
    model(tmp_path / "a")
    model(tmp_path / "b")
    digests = {load_networks(tmp_path / name, torch.device("cpu")).digest for name in "ab"}
    assert len(digests) == 2


def test_a_folder_without_a_model_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(AutosegError, match="no trained model here"):
        find_model(tmp_path)


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    model(tmp_path)
    path = next(tmp_path.glob("*.safetensors"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(AutosegError, match="damaged"):
        load_networks(tmp_path, torch.device("cpu"))


def test_missing_weights_are_named(tmp_path: Path) -> None:
    model(tmp_path)
    next(tmp_path.glob("*.safetensors")).unlink()
    with pytest.raises(AutosegError, match=r"fold_0.safetensors: missing"):
        load_networks(tmp_path, torch.device("cpu"))


def test_weights_outside_the_folder_are_refused(tmp_path: Path) -> None:
    model(tmp_path)
    record = json.loads((tmp_path / "model.json").read_text())
    record["networks"][0]["file"] = "../other.safetensors"
    (tmp_path / "model.json").write_text(json.dumps(record))
    with pytest.raises(AutosegError, match="lie elsewhere"):
        load_networks(tmp_path, torch.device("cpu"))


def test_weights_of_another_plan_are_refused(tmp_path: Path) -> None:
    model(tmp_path)
    plan = json.loads((tmp_path / "plan.json").read_text())
    plan["configurations"][0]["stages"][0]["features"] = 6
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(AutosegError, match="do not fit the plan"):
        load_networks(tmp_path, torch.device("cpu"))
