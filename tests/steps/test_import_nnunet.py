"""`autoseg import-nnunet` and `autoseg predict` on a results folder of nnU-Net's."""

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from autoseg import cli
from autoseg.core.errors import AutosegError
from autoseg.core.records import read_record
from autoseg.learning.model_files import load_model_record
from autoseg.predicting.records import PredictionRecord
from autoseg.steps.import_nnunet import import_nnunet
from autoseg.steps.show import show
from tests.nnunet_results import Trained, made_plan, write_theirs


def test_an_imported_model_predicts_the_same_without_nnunets_folder(tmp_path: Path) -> None:
    results = write_theirs(tmp_path / "results", made_plan(), Trained(name="3d_fullres", folds=2))
    image = np.random.default_rng(0).standard_normal((9, 10, 11)).cumsum(axis=0).astype(np.float32)
    (tmp_path / "images").mkdir()
    nib.save(nib.Nifti1Image(image, np.eye(4)), tmp_path / "images" / "belly_0000.nii.gz")
    predict = ["predict", str(tmp_path / "images"), "--device", "cpu", "-q"]
    assert cli.run([*predict, "--model", str(results), "-o", str(tmp_path / "a")]) == 0
    assert cli.run(["import-nnunet", str(results), "--output", str(tmp_path / "model"), "-q"]) == 0
    shutil.rmtree(results)
    assert cli.run([*predict, "--model", str(tmp_path / "model"), "-o", str(tmp_path / "b")]) == 0
    first, second = (nib.load(tmp_path / name / "belly.nii.gz").get_fdata() for name in "ab")
    np.testing.assert_array_equal(first, second)
    assert first.shape == image.shape
    records = [read_record(tmp_path / name / "prediction.json", PredictionRecord) for name in "ab"]
    assert records[0].model_digest == records[1].model_digest
    assert records[0].mirror
    assert [network.fold for network in load_model_record(tmp_path / "model").networks] == [0, 1]


def test_the_configurations_that_are_named_are_imported(tmp_path: Path) -> None:
    trained = (Trained(name=name, mirror_axes=None) for name in ("2d", "3d_lowres", "3d_fullres"))
    results = write_theirs(tmp_path / "results", made_plan(), *trained)
    words = ["import-nnunet", str(results), "--configurations", "2d,3d_lowres", "-q", "--output"]
    assert cli.run([*words, str(tmp_path / "two")]) == 0
    record = load_model_record(tmp_path / "two")
    assert record.predicting == ("2d", "3d_lowres")
    assert {network.configuration for network in record.networks} == {"2d", "3d_lowres"}
    assert cli.run(["import-nnunet", str(results), "-q", "--output", str(tmp_path / "usual")]) == 0
    assert load_model_record(tmp_path / "usual").predicting == ("3d_fullres",)
    words[3] = "3d_huge"
    assert cli.run([*words, str(tmp_path / "none")]) == 2
    assert not (tmp_path / "none").exists()


def test_nothing_is_written_over(tmp_path: Path) -> None:
    results = write_theirs(tmp_path / "results", made_plan(), Trained(name="2d", mirror_axes=None))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.txt").write_text("mine")
    with pytest.raises(AutosegError, match="model: is there already"):
        import_nnunet(results, tmp_path / "model")
    with pytest.raises(AutosegError, match=r"no trained model|no model of nnU-Net's"):
        import_nnunet(tmp_path / "nowhere", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_model_of_nnunets_is_shown_from_its_folder_and_from_its_zip(tmp_path: Path) -> None:
    results = write_theirs(tmp_path / "results", made_plan(), Trained(name="3d_fullres", folds=2))
    archive = shutil.make_archive(str(tmp_path / "exported"), "zip", tmp_path / "results")
    for place in (results, Path(archive)):
        text = show(place).text
        assert "network        3d_fullres fold 1" in text
        assert "a model of nnU-Net's" in text
        assert "presets        not measured" in text
