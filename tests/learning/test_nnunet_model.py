"""A model in nnU-Net's results folder predicts what our own model with the same weights predicts."""

import json
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autoseg.core.errors import AutosegError
from autoseg.imaging.changes import Change
from autoseg.learning.inference import InferenceOptions, LabelMap, make_segmenter
from autoseg.learning.model_files import LoadedModel, find_model, load_networks
from autoseg.learning.nnunet_folder import CHECKPOINT, is_nnunet
from tests.core.test_pickle_reader import NNUNET_4
from tests.nnunet_results import (
    DATASET,
    REGIONS,
    TRAINER,
    Trained,
    checkpoint,
    made_plan,
    networks,
    write_ours,
    write_theirs,
)

CPU = torch.device("cpu")
FULL, FLAT = Trained(name="3d_fullres"), Trained(name="2d", mirror_axes=(1,))
LOWRES, CASCADE = Trained(name="3d_lowres"), Trained(name="3d_cascade_fullres", mirror_axes=None)


def segmented(model: LoadedModel) -> LabelMap:
    random = np.random.default_rng(3)
    image = random.standard_normal((1, 12, 14, 11)).cumsum(axis=1).astype(np.float32)
    image[:, :2] = 0
    options = InferenceOptions(
        mirror=model.record.mirror,
        dtype=torch.float32,
        postprocessing=model.record.postprocessing,
        configurations=model.configurations,
    )
    segmenter = make_segmenter(model.plan, model.networks, options)
    return segmenter.segment(segmenter.prepare(image, (1.3, 0.9, 0.9)))


def folder_of(results: Path, configuration: str = "3d_fullres") -> Path:
    return results / f"{TRAINER}__nnUNetPlans__{configuration}"


@pytest.mark.parametrize(
    ("architecture", "trained"),
    [
        ("plain-unet", replace(FULL, folds=2)),
        ("plain-unet", FLAT),
        ("residual-unet", replace(FULL, mirror_axes=None)),
        ("plain-unet", LOWRES),
    ],
    ids=["plain-two-folds", "2d", "residual-not-mirrored", "lowres"],
)
def test_it_predicts_what_ours_predicts(tmp_path: Path, architecture: str, trained: Trained) -> None:
    plan = made_plan(architecture=architecture)
    results = write_theirs(tmp_path / "theirs", plan, trained)
    theirs = load_networks(folder_of(results, trained.name), CPU)
    ours = load_networks(write_ours(tmp_path / "ours", plan, (trained.name,), trained), CPU)
    labels = segmented(ours)
    assert len(np.unique(labels)) > 1
    np.testing.assert_array_equal(segmented(theirs), labels)
    assert theirs.digest == ours.digest
    assert (theirs.configurations, len(theirs.networks)) == (ours.configurations, trained.folds)
    assert theirs.record.mirror == (trained.mirror_axes is not None)


def test_regions_are_written_by_their_order(tmp_path: Path) -> None:
    plan = made_plan(REGIONS)
    results = write_theirs(tmp_path / "theirs", plan, FULL)
    theirs = load_networks(results, CPU)
    ours = load_networks(write_ours(tmp_path / "ours", plan, ("3d_fullres",), FULL), CPU)
    np.testing.assert_array_equal(segmented(theirs), segmented(ours))
    assert [label.values for label in theirs.plan.labels] == [(2, 1), (1,)]


def test_labels_follow_their_values_wherever_they_stand(tmp_path: Path) -> None:
    plan = made_plan()
    shuffled = {"lesion": 2, "background": 0, "organ": 1}
    theirs = load_networks(write_theirs(tmp_path / "theirs", plan, FULL, labels=shuffled), CPU)
    assert [(label.name, label.values) for label in theirs.plan.labels] == [("organ", (1,)), ("lesion", (2,))]


def test_a_cascade_takes_the_stage_beside_it(tmp_path: Path) -> None:
    plan = made_plan()
    results = write_theirs(tmp_path / "theirs", plan, LOWRES, CASCADE)
    theirs = load_networks(folder_of(results, "3d_cascade_fullres"), CPU)
    ours = load_networks(write_ours(tmp_path / "ours", plan, ("3d_cascade_fullres",), LOWRES, CASCADE), CPU)
    np.testing.assert_array_equal(segmented(theirs), segmented(ours))
    assert {network.configuration for network in theirs.networks} == {"3d_lowres", "3d_cascade_fullres"}
    assert theirs.record.predicting == ("3d_cascade_fullres",)


def test_the_best_ensemble_predicts_with_its_postprocessing(tmp_path: Path) -> None:
    plan = made_plan()
    results = write_theirs(tmp_path / "theirs", plan, FULL, FLAT)
    models = [
        {"configuration": name, "trainer": TRAINER, "plans_identifier": "nnUNetPlans"} for name in ("2d", "3d_fullres")
    ]
    file = "/elsewhere/results/Dataset007_Balls/ensembles/ensemble___a___b___0/postprocessing.pkl"
    best = {"selected_model_or_models": models, "postprocessing_file": file}
    (results / "inference_information.json").write_text(json.dumps({"best_model_or_ensemble": best}))
    (results / "ensembles" / "ensemble___a___b___0").mkdir(parents=True)
    (results / "ensembles" / "ensemble___a___b___0" / "postprocessing.pkl").write_bytes(NNUNET_4)
    theirs = load_networks(results, CPU)
    assert theirs.record.predicting == ("2d", "3d_fullres")
    assert theirs.record.postprocessing == (Change(values=(1, 2)), Change(values=(1, 2)))
    theirs = replace(theirs, record=replace(theirs.record, postprocessing=()))
    ours = load_networks(write_ours(tmp_path / "ours", plan, ("2d", "3d_fullres"), FULL, FLAT), CPU)
    np.testing.assert_array_equal(segmented(theirs), segmented(ours))


def test_a_data_sets_folder_without_a_best_model_predicts_in_full_resolution(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = write_theirs(tmp_path, made_plan(), FLAT, LOWRES, FULL)
    assert load_networks(results, CPU).record.predicting == ("3d_fullres",)
    assert "3d_fullres predicts (default); 2d, 3d_lowres do too" in capsys.readouterr().err
    assert load_networks(results, CPU, ("2d",)).record.predicting == ("2d",)
    assert load_networks(results, CPU, ("2d", "3d_fullres")).record.predicting == ("2d", "3d_fullres")
    with pytest.raises(AutosegError, match="0 models 3d_huge"):
        load_networks(results, CPU, ("3d_huge",))


def test_postprocessing_of_the_same_folds_is_taken(tmp_path: Path) -> None:
    results = write_theirs(tmp_path, made_plan(), FULL)
    for folds in ("0", "0_1"):
        place = folder_of(results) / f"crossval_results_folds_{folds}"
        place.mkdir()
        (place / "postprocessing.pkl").write_bytes(NNUNET_4 if folds == "0" else b"damaged")
    assert load_networks(results, CPU).record.postprocessing[0] == Change(values=(1, 2))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pickle.dumps(([], [], [])), "no list of functions"),
        (pickle.dumps(([1], [{"labels_or_regions": 1}])), "a step that we do not know"),
        (NNUNET_4.replace(b"labels_or_regions", b"labels_or_something"[:17]), "a step that we do not know"),
        (b"cos\nsystem\n(S'touch executed'\ntR.", "refused pickle"),
    ],
)
def test_unknown_postprocessing_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    results = write_theirs(tmp_path, made_plan(), FULL)
    place = folder_of(results) / "crossval_results_folds_0"
    place.mkdir()
    (place / "postprocessing.pkl").write_bytes(data)
    with pytest.raises(AutosegError, match=message):
        load_networks(results, CPU)


def zipped(results: Path, path: Path, *extra: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(results.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(results.parent))
        for name in extra:
            archive.writestr(name, "outside")
    return path


def test_an_exported_zip_is_the_same_model(tmp_path: Path) -> None:
    results = write_theirs(tmp_path, made_plan(), LOWRES, CASCADE)
    archive = zipped(results, tmp_path / "model.zip")
    assert find_model(archive) == archive
    found = load_networks(archive, CPU, ("3d_cascade_fullres",))
    assert found.digest == load_networks(folder_of(results, "3d_cascade_fullres"), CPU).digest


def test_a_zip_that_leaves_its_folder_is_refused(tmp_path: Path) -> None:
    results = write_theirs(tmp_path / "in", made_plan(), FULL)
    with pytest.raises(AutosegError, match="leaves the archive"):
        load_networks(zipped(results, tmp_path / "model.zip", "../outside"), CPU)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "model.zip"]


def test_a_zip_of_something_else_is_named(tmp_path: Path) -> None:
    (tmp_path / DATASET).mkdir()
    (tmp_path / DATASET / "photo.txt").write_text("hello")
    with pytest.raises(AutosegError, match="no model of nnU-Net's"):
        load_networks(zipped(tmp_path / DATASET, tmp_path / "model.zip"), CPU)
    assert not is_nnunet(tmp_path)


def test_the_fingerprint_is_made_of_the_plans_where_it_is_missing(tmp_path: Path) -> None:
    results = write_theirs(tmp_path, made_plan(), FULL)
    before = load_networks(results, CPU)
    (folder_of(results) / "dataset_fingerprint.json").unlink()
    after = load_networks(results, CPU)
    assert after.fingerprint.cases[0].shape == (20, 20, 20)
    np.testing.assert_array_equal(segmented(after), segmented(before))


def test_a_configuration_of_another_name_takes_ours(tmp_path: Path) -> None:
    results = write_theirs(tmp_path, made_plan(), FULL)
    place = folder_of(results)
    plans = json.loads((place / "plans.json").read_text())
    plans["configurations"]["3d_fullres_fast"] = {"inherits_from": "3d_fullres"}
    (place / "plans.json").write_text(json.dumps(plans))
    module = networks(made_plan(), FULL)[0]
    torch.save(checkpoint(module, Trained(name="3d_fullres_fast")), place / "fold_0" / CHECKPOINT)
    place.rename(folder_of(results, "3d_fullres_fast"))
    assert load_networks(results, CPU).record.predicting == ("3d_fullres",)


def test_fold_all_alone_is_taken_and_unfinished_folds_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = write_theirs(tmp_path, made_plan(), FULL)
    place = folder_of(results)
    (place / "fold_0").rename(place / "fold_all")
    (place / "fold_3").mkdir()
    assert [network.fold for network in load_networks(results, CPU).networks] == [0]
    assert "fold_3 without checkpoint_final.pth, left out" in capsys.readouterr().err


def test_a_missing_fold_is_named(tmp_path: Path) -> None:
    results = write_theirs(tmp_path, made_plan(), FULL)
    (folder_of(results) / "fold_0" / CHECKPOINT).rename(folder_of(results) / "fold_0" / "checkpoint_latest.pth")
    with pytest.raises(AutosegError, match=r"no fold with checkpoint_final\.pth \(fold_0 without\)"):
        load_networks(results, CPU)


def test_a_missing_stage_is_named(tmp_path: Path) -> None:
    results = write_theirs(tmp_path, made_plan(), CASCADE)
    with pytest.raises(AutosegError, match="needs what 3d_lowres predicts"):
        load_networks(results, CPU)


class Evil:
    def __reduce__(self) -> Any:
        import os

        return os.mkdir, ("executed",)


_FIRST = "encoder.stages.0.0.convs.0"
CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "another trainer's network": (
        {"trainer_name": "nnUNetTrainerBN", "network_weights": {f"{_FIRST}.norm.running_mean": torch.ones(4)}},
        "trainer nnUNetTrainerBN made another network than its plans describe",
    ),
    "a network that is none of ours": (
        {"trainer_name": "nnUNet_Primus_S_Trainer", "network_weights": {"vit.blocks.0.attn": torch.ones(4)}},
        "trainer nnUNet_Primus_S_Trainer made another network",
    ),
    "weights that are no tensors": ({"network_weights": {"a": 3}}, "its weights are no tensors"),
    "what executes": ({"network_weights": Evil()}, "no checkpoint of nnU-Net's"),
    "no weights": ({"network_weights": None}, "no checkpoint of nnU-Net's"),
    "a configuration not in the plans": ({"init_args": {"configuration": "3d_huge"}}, "configuration 3d_huge"),
    "axes that it has not": ({"inference_allowed_mirroring_axes": (0, 5)}, "mirror_axes"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), CHANGES.values(), ids=CHANGES.keys())
def test_a_checkpoint_that_does_not_fit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    results = write_theirs(tmp_path, made_plan(), FULL)
    module = networks(made_plan(), FULL)[0]
    torch.save(checkpoint(module, FULL, **changes), folder_of(results) / "fold_0" / CHECKPOINT)
    with pytest.raises(AutosegError, match=message):
        load_networks(results, CPU)
    assert not (tmp_path / "executed").exists()


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    results = write_theirs(tmp_path, made_plan(), FULL)
    path = folder_of(results) / "fold_0" / CHECKPOINT
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(AutosegError, match=r"checkpoint_final\.pth: no checkpoint of nnU-Net's"):
        load_networks(results, CPU)


def test_folds_of_different_trainings_are_refused(tmp_path: Path) -> None:
    results = write_theirs(tmp_path, made_plan(), replace(FULL, folds=2))
    module = networks(made_plan(), FULL)[0]
    other = replace(FULL, mirror_axes=(0, 1, 2))
    torch.save(checkpoint(module, other), folder_of(results) / "fold_1" / CHECKPOINT)
    with pytest.raises(AutosegError, match=r"fold_1/checkpoint_final\.pth: is of 3d_fullres"):
        load_networks(results, CPU)


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(("reader", "orientation"), [("NibabelIOWithReorient", "RAS"), ("NibabelIO", None)])
def test_readers_that_turn_images_are_remembered(tmp_path: Path, reader: str, orientation: str | None) -> None:
    results = write_theirs(tmp_path, made_plan(), FULL)
    edit(folder_of(results) / "plans.json", image_reader_writer=reader)
    assert load_networks(results, CPU).record.orientation == orientation


def test_plans_that_ask_for_something_else_are_refused(tmp_path: Path) -> None:
    results = write_theirs(tmp_path, made_plan(), FULL)
    plans = folder_of(results) / "plans.json"
    edit(plans, image_reader_writer="MyReader")
    with pytest.raises(AutosegError, match="image_reader_writer is 'MyReader'"):
        load_networks(results, CPU)
    written = json.loads(plans.read_text()) | {"image_reader_writer": "SimpleITKIO"}
    written["configurations"]["3d_fullres"]["architecture"]["network_class_name"] = "os.system"
    plans.write_text(json.dumps(written))
    with pytest.raises(AutosegError, match=r"cannot be run: 3d_fullres: architecture 'os\.system'"):
        load_networks(results, CPU)
    plans.write_text("[1]")
    with pytest.raises(AutosegError, match="holds no JSON object"):
        load_networks(results, CPU)
    plans.write_text("{")
    with pytest.raises(AutosegError, match="not valid JSON"):
        load_networks(results, CPU)


def test_stages_in_a_circle_are_refused(tmp_path: Path) -> None:
    results = write_theirs(tmp_path, made_plan(), LOWRES, CASCADE)
    for name in ("3d_lowres", "3d_cascade_fullres"):
        place = folder_of(results, name) / "plans.json"
        plans = json.loads(place.read_text())
        plans["configurations"]["3d_lowres"]["previous_stage"] = "3d_cascade_fullres"
        place.write_text(json.dumps(plans))
    with pytest.raises(AutosegError, match="depend on each other in a circle"):
        load_networks(results, CPU)


def test_several_trainers_are_not_chosen_between(tmp_path: Path) -> None:
    results = write_theirs(tmp_path, made_plan(), FULL, FLAT)
    folder_of(results, "2d").rename(results / "MyTrainer__nnUNetPlans__2d")
    with pytest.raises(AutosegError, match="holds several models"):
        load_networks(results, CPU)


@pytest.mark.parametrize(
    ("information", "message"),
    [
        ({}, "names no best model"),
        ({"best_model_or_ensemble": {"selected_model_or_models": [], "postprocessing_file": "a/b"}}, "is not there"),
    ],
)
def test_a_choice_that_means_nothing_is_named(tmp_path: Path, information: Any, message: str) -> None:
    results = write_theirs(tmp_path, made_plan(), FULL, FLAT)
    (results / "inference_information.json").write_text(json.dumps(information))
    with pytest.raises(AutosegError, match=message):
        load_networks(results, CPU)
