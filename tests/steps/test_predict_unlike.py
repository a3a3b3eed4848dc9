"""Images unlike the training data: the DICOM tag Modality, and no warning about what nobody knows of the training."""

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from autoseg.core.errors import PartialError
from autoseg.core.records import read_record, write_record
from autoseg.datasets.load import load_image
from autoseg.learning.model_files import load_model_record, load_networks
from autoseg.learning.unlike import unlike_training
from autoseg.predicting.records import PredictionRecord
from autoseg.steps.import_nnunet import import_nnunet
from autoseg.steps.predict import PredictOptions, predict
from autoseg.steps.show import model_card
from planners.fingerprint import Fingerprint
from planners.plan import Plan
from tests.imaging.test_dicom import save as save_series
from tests.imaging.test_dicom import series
from tests.nnunet_results import Trained, made_plan, write_theirs
from tests.steps.test_predict import image, lying, make_model, save


def options(tmp_path: Path, inputs: Path, **more) -> PredictOptions:
    return PredictOptions(inputs=inputs, model=tmp_path / "model", output=tmp_path / "out", device="cpu", **more)


def trained_on(folder: Path, name: str, **changes) -> None:
    """Name the model's channel, and say what is known of it."""
    plan = read_record(folder / "plan.json", Plan)
    normalizations = tuple(replace(each, channel=name) for each in plan.configurations[0].normalizations)
    configuration = replace(plan.configurations[0], normalizations=normalizations)
    write_record(folder / "plan.json", replace(plan, channels=(name,), configurations=(configuration,)))
    fingerprint = read_record(folder / "fingerprint.json", Fingerprint)
    channel = replace(fingerprint.channels[0], name=name, **changes)
    write_record(folder / "fingerprint.json", replace(fingerprint, channels=(channel,)))


def scanned(place: Path, modality: str) -> Path:
    """A series with values from -50 to 1000, as nobody would take for that modality or another by them."""
    slices = series(slope=1, intercept=0)
    for dataset in slices:
        dataset.Modality = modality
    return save_series(place, slices)


def tag_warnings(tmp_path: Path, folder: Path) -> list[str]:
    (case,) = predict(options(tmp_path, folder)).cases
    return [warning for warning in case.warnings if "Modality" in warning]


class TestModality:
    def test_of_a_ct_series_given_to_a_model_of_mr_is_said_with_both(self, tmp_path):
        trained_on(make_model(tmp_path / "model"), "T1", modality="mr")
        expected = "the DICOM tag Modality of channel T1 is CT (CT); the model was trained on MR"
        assert tag_warnings(tmp_path, scanned(tmp_path / "scan", "CT")) == [expected]

    def test_of_an_mr_series_given_to_a_model_of_ct_is_said_and_refused_when_strict(self, tmp_path):
        trained_on(make_model(tmp_path / "model"), "abdomen", modality="ct", modality_known=True)
        folder = scanned(tmp_path / "scan", "MR")
        expected = "the DICOM tag Modality of channel abdomen is MR (MR); the model was trained on CT"
        assert tag_warnings(tmp_path, folder) == [expected]
        with pytest.raises(
            PartialError, match=r"unlike the training data: .*is MR \(MR\); the model was trained on CT"
        ):
            predict(options(tmp_path, folder, strict=True))

    def test_of_the_same_kind_or_an_unknown_one_is_not_said(self, tmp_path):
        trained_on(make_model(tmp_path / "model"), "T1", modality="mr")
        assert tag_warnings(tmp_path, scanned(tmp_path / "same", "MR")) == []
        assert tag_warnings(tmp_path, scanned(tmp_path / "unknown", "OT")) == []

    def test_that_was_guessed_in_training_is_not_compared(self, tmp_path):
        trained_on(make_model(tmp_path / "model"), "abdomen", modality="mr")
        assert tag_warnings(tmp_path, scanned(tmp_path / "scan", "CT")) == []
        trained_on(tmp_path / "model", "abdomen", modality="mr", modality_known=True)
        assert len(tag_warnings(tmp_path, scanned(tmp_path / "again", "CT"))) == 1

    def test_of_each_channel_is_its_own(self, tmp_path):
        model = load_networks(two_channels(tmp_path / "model"), torch.device("cpu"))
        for name, kind in (("a", "CT"), ("b", "MR")):
            scanned(tmp_path / name, kind)
        save(tmp_path / "c.nii.gz", np.zeros((7, 6, 8), np.int16))
        assert load_image(tmp_path, ("c.nii.gz",)).modalities == ()
        volume = load_image(tmp_path, ("a", "b"))
        assert volume.modalities == ("CT", "MR")
        expected = "the DICOM tag Modality of channel channel_1 is MR (MR); the model was trained on PET"
        assert [warning for warning in unlike_training(model, volume) if "Modality" in warning] == [expected]


def two_channels(folder: Path) -> Path:
    """A model of CT and PET."""
    make_model(folder, channels=2)
    fingerprint = read_record(folder / "fingerprint.json", Fingerprint)
    kinds = zip(fingerprint.channels, ("ct", "pet"), strict=True)
    channels = tuple(replace(channel, modality=kind, modality_known=True) for channel, kind in kinds)
    write_record(folder / "fingerprint.json", replace(fingerprint, channels=channels))
    return folder


class TestModelOfNnunets:
    @pytest.fixture
    def results(self, tmp_path: Path) -> Path:
        return write_theirs(tmp_path / "results", made_plan(), Trained(name="3d_fullres", mirror_axes=None))

    @pytest.fixture
    def scan(self, tmp_path: Path) -> Path:
        """A scan with other voxels and another field of view than training: 20 voxels of 1 mm an edge."""
        return save(tmp_path / "scan_0000.nii.gz", image(shape=(12, 12, 6)), np.diag([4.0, 4.0, 9.0, 1.0]))

    def warnings(self, tmp_path: Path, model: Path, scan: Path) -> tuple[str, ...]:
        wanted = PredictOptions(inputs=scan, model=model, output=tmp_path / f"out-{model.name}", device="cpu")
        predict(wanted)
        return read_record(wanted.output / "prediction.json", PredictionRecord).cases[0].warnings

    def test_warns_by_its_fingerprint(self, tmp_path, results, scan):
        assert "spacing 9 mm along z; training images had 1 to 1 mm" in self.warnings(tmp_path, results, scan)

    def test_without_its_fingerprint_warns_of_nothing_that_is_not_known(self, tmp_path, results, scan):
        (found,) = results.rglob("dataset_fingerprint.json")
        found.unlink()
        (described,) = results.rglob("dataset.json")
        described.write_text(described.read_text().replace('"numTraining": 1,', '"numTraining": 31,'))
        assert self.warnings(tmp_path, results, scan) == ()
        import_nnunet(results, tmp_path / "imported")
        assert self.warnings(tmp_path, tmp_path / "imported", scan) == ()
        assert model_card(tmp_path / "imported").n_cases == 31

    def test_does_not_warn_of_a_larger_field_where_its_cases_are_known_cropped_alone(self, tmp_path, results, scan):
        import_nnunet(results, tmp_path / "imported")
        path = tmp_path / "imported" / "fingerprint.json"
        fingerprint = read_record(path, Fingerprint)
        assert fingerprint.cases_from == "crops"
        covering = "it covers 48 mm along y; training images covered 20 to 20 mm"
        assert covering in self.warnings(tmp_path, tmp_path / "imported", scan)
        write_record(path, replace(fingerprint, median_relative_size_after_crop=0.5))
        (tmp_path / "out-imported" / "records" / "scan.json").unlink()
        found = self.warnings(tmp_path, tmp_path / "imported", scan)
        assert found
        assert covering not in found

    def test_that_turns_images_compares_them_as_they_are_turned(self, tmp_path, results):
        """Thick slices, stored along x in one file and along z in the other, are one image to such a model."""
        import_nnunet(results, tmp_path / "imported")
        path = tmp_path / "imported" / "fingerprint.json"
        fingerprint = read_record(path, Fingerprint)
        case = replace(fingerprint.cases[0], spacing_mm=(9.0, 4.0, 4.0), shape=(6, 12, 12))
        write_record(path, replace(fingerprint, cases=(case,)))
        upright = nib.Nifti1Image(image(shape=(12, 12, 6)), np.diag([4.0, 4.0, 9.0, 1.0]))
        stored = lying(upright, "SRA")
        nib.save(stored, tmp_path / "lying.nii.gz")
        assert stored.header.get_zooms() == (9, 4, 4)
        model = tmp_path / "imported" / "model.json"
        for orientation, expected in (("RAS", ()), (None, ("slices of 9 mm lie along x; in training images along z",))):
            write_record(model, replace(load_model_record(tmp_path / "imported"), orientation=orientation))
            found = self.warnings(tmp_path, tmp_path / "imported", tmp_path / "lying.nii.gz")
            assert found[:1] == expected
            (tmp_path / "out-imported" / "records" / "lying.json").unlink()
