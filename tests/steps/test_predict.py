"""`autoseg predict`: cases found, label maps on their own grids, failures listed, finished work kept.

The test model paints every voxel inside the crop with its last structure, whatever the image shows: its last layer has
no weights, only biases. What comes out is then known by hand: the label value inside the box of nonzero voxels.
"""

import csv
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
import torch
from pydicom.uid import generate_uid

import autoseg
from autoseg.core.errors import EXIT_PARTIAL, AutosegError, PartialError
from autoseg.core.files import write_atomically
from autoseg.core.records import read_record, write_record
from autoseg.core.runtime import digest_file
from autoseg.core.workspace import Workspace
from autoseg.datasets.dataset import Case, Fold, Folds
from autoseg.datasets.inputs import InputCase
from autoseg.imaging.changes import Change
from autoseg.imaging.dicom_labels import read_structure
from autoseg.imaging.dicom_sr_write import read_volumes_ml
from autoseg.imaging.geometry import corner_displacement_voxels
from autoseg.imaging.probabilities import ProbabilitiesRecord, read_probabilities
from autoseg.imaging.read import read_header, read_image
from autoseg.imaging.reading import ReadOptions
from autoseg.learning.model_files import (
    ModelRecord,
    TrainedNetwork,
    choose_prediction,
    load_model_record,
    load_networks,
    save_model,
    save_network,
)
from autoseg.learning.network import build_network
from autoseg.learning.presets import ready_model
from autoseg.predicting import cases, line
from autoseg.predicting.costs import reading_bytes, resident_bytes
from autoseg.predicting.records import CasePrediction, PredictionRecord
from autoseg.steps.predict import PredictOptions, predict, predict_validation
from planners.fingerprint import CaseFingerprint, ChannelFingerprint, Fingerprint, Label
from planners.plan import Configuration, Normalization, Plan
from tests.builders import configuration
from tests.imaging.test_dicom import save as save_series
from tests.imaging.test_dicom import series
from tests.records import a_dataset

AFFINE = np.diag([-0.5, 0.5, 2.0, 1.0])
AFFINE[:3, 3] = 10, -20, 30
LABELS = (Label(name="organ", values=(1,)), Label(name="lesion", values=(7,)))


def constant_network(planned, channels, outputs):
    """A network whose last output is always the largest."""
    torch.manual_seed(0)
    module = build_network(planned, channels, outputs).eval()
    heads = [
        m for m in module.modules() if isinstance(m, torch.nn.Conv3d | torch.nn.Conv2d) and m.out_channels == outputs
    ]
    for head in heads:
        torch.nn.init.zeros_(head.weight)
        head.bias.data = torch.arange(outputs, dtype=torch.float32)
    return module


def random_network(planned, channels, outputs):
    """A network as it is before training."""
    torch.manual_seed(0)
    return build_network(planned, channels, outputs).eval()


def make_model(folder: Path, *, dimensions=3, scheme="zscore", fold=0, **more) -> Path:
    """A model that paints its crop with the last label; with `random`, one that sees its image."""
    channels = more.get("channels", 1)
    names = tuple(f"channel_{index}" for index in range(channels))
    planned = replace(
        configuration(dimensions), normalizations=tuple(Normalization(channel=name, scheme=scheme) for name in names)
    )
    if scheme == "ct":
        ct = {"lower": -100.0, "upper": 200.0, "mean": 50.0, "std": 50.0}
        planned = replace(planned, normalizations=(Normalization(channel=names[0], scheme="ct", **ct),))
    made = random_network if more.get("random") else constant_network
    module = made(planned, channels, 1 + len(LABELS))
    trained = TrainedNetwork(
        configuration=planned.name, fold=fold, module=module, steps=1, seconds=1.0, validation_dice=None
    )
    plan = Plan(
        dataset="toy",
        recipe="auto",
        channels=names,
        labels=LABELS,
        target="labels",
        transpose=more.get("transpose", (0, 1, 2)),
        configurations=(planned,),
        decisions=(),
    )
    channel = ChannelFingerprint(
        name=names[0],
        modality="other",
        modality_reason="test",
        mean=50.0,
        std=50.0,
        minimum=-100.0,
        maximum=200.0,
        median=50.0,
        percentile_00_5=-100.0,
        percentile_99_5=200.0,
    )
    case = CaseFingerprint(
        name="a",
        dimensions=dimensions,
        shape=(8, 8, 8),
        shape_after_crop=(8, 8, 8),
        spacing_mm=(2.0, 0.5, 0.5),
        label_voxels=(3, 3),
        label_components=(1, 1),
    )
    fingerprint = Fingerprint(
        dataset="toy",
        channels=tuple(replace(channel, name=name) for name in names),
        labels=LABELS,
        overlapping=False,
        cases=(case,),
        median_relative_size_after_crop=1.0,
        n_training=1,
    )
    network = save_network(folder, trained)
    record = ModelRecord(dataset="toy", version="0", configuration=planned.name, networks=(network,), mirror_axes=())
    save_model(folder, record, plan, fingerprint)
    return folder


def edit_plan(folder: Path, **changes) -> None:
    """Change the model's configuration."""
    plan = read_record(folder / "plan.json", Plan)
    write_record(folder / "plan.json", replace(plan, configurations=(replace(plan.configurations[0], **changes),)))


def add_configuration(folder: Path, planned: Configuration) -> None:
    """Add a configuration with a network of random weights to the model."""
    plan, record = read_record(folder / "plan.json", Plan), load_model_record(folder)
    planned = replace(planned, normalizations=plan.configurations[0].normalizations)
    trained = TrainedNetwork(
        configuration=planned.name,
        fold=0,
        module=random_network(planned, len(plan.channels), 1 + len(LABELS)),
        steps=1,
        seconds=1.0,
        validation_dice=None,
    )
    networks = (*record.networks, save_network(folder, trained))
    write_record(folder / "plan.json", replace(plan, configurations=(*plan.configurations, planned)))
    write_record(folder / "model.json", replace(record, networks=networks))


def image(seed=0, shape=(9, 8, 6)):
    """A nibabel array (x, y, z) of noise in a frame of zeros one voxel wide."""
    values = np.random.default_rng(seed).integers(10, 100, shape).astype(np.int16)
    framed = np.zeros(shape, np.int16)
    framed[1:-1, 1:-1, 1:-1] = values[1:-1, 1:-1, 1:-1]
    return framed


def lying(upright: nib.Nifti1Image, codes: str) -> nib.Nifti1Image:
    """The image, which lies RAS, stored with axes that run as `codes` say."""
    wanted = nib.orientations.axcodes2ornt(codes)
    stored = upright.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(upright.affine), wanted))
    assert "".join(nib.aff2axcodes(stored.affine)) == codes
    return stored


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def options(tmp_path: Path, inputs, **more) -> PredictOptions:
    return PredictOptions(inputs=inputs, model=tmp_path / "model", output=tmp_path / "out", device="cpu", **more)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "model")


@pytest.mark.usefixtures("model")
class TestOneFile:
    def test_becomes_a_label_map_on_its_own_grid(self, tmp_path):
        path = save(tmp_path / "scan.nii.gz", image())
        record = predict(options(tmp_path, path))
        written = nib.load(tmp_path / "out" / "scan.nii.gz")
        expected = np.zeros((9, 8, 6))
        expected[1:-1, 1:-1, 1:-1] = 7
        np.testing.assert_array_equal(np.asarray(written.dataobj), expected)
        assert written.get_data_dtype() == np.uint8
        original = nib.load(path)
        np.testing.assert_array_equal(written.affine, original.affine)
        for name in ("sform_code", "qform_code", "pixdim"):
            np.testing.assert_array_equal(written.header[name], original.header[name])
        assert [case.case for case in record.cases] == ["scan"]
        assert (record.device, record.failed, record.skipped) == ("cpu", (), ())

    def test_is_measured(self, tmp_path):
        predict(options(tmp_path, save(tmp_path / "scan.nii.gz", image())))
        text = (tmp_path / "out" / "measurements.csv").read_text()
        organ, lesion = csv.DictReader(text.splitlines())
        assert (organ["structure"], organ["voxels"], organ["volume_ml"], organ["mean_channel_0"]) == (
            "organ",
            "0",
            "0",
            "",
        )
        assert (lesion["case"], lesion["structure"], lesion["components"]) == ("scan", "lesion", "1")
        assert float(lesion["volume_ml"]) == pytest.approx(7 * 6 * 4 * 0.5 / 1000)
        assert float(lesion["mean_channel_0"]) == pytest.approx(image()[1:-1, 1:-1, 1:-1].mean(), rel=1e-5)
        assert float(lesion["largest_diameter_mm"]) == pytest.approx(np.sqrt(3.5**2 + 3**2 + 8**2), rel=0.1)
        assert lesion["note"] == "research use, not a diagnosis"

    def test_leaves_records_that_read_back(self, tmp_path):
        path = save(tmp_path / "scan.nii.gz", image())
        record = predict(options(tmp_path, path))
        assert read_record(tmp_path / "out" / "prediction.json", PredictionRecord) == record
        case = read_record(tmp_path / "out" / "records" / "scan.json", CasePrediction)
        assert case == record.cases[0]
        assert case.inputs == (str(path),)
        assert case.seconds > 0
        assert case.peak_memory_bytes > 1 << 20
        assert (case.use, record.use) == ("research use, not a diagnosis",) * 2

    def test_of_another_format_keeps_it(self, tmp_path):
        source = SimpleITK.GetImageFromArray(image().astype(np.float32))
        source.SetSpacing((0.5, 0.5, 2.0))
        source.SetOrigin((1.0, 2.0, 3.0))
        SimpleITK.WriteImage(source, str(tmp_path / "scan.nrrd"))
        predict(options(tmp_path, tmp_path / "scan.nrrd"))
        written = SimpleITK.ReadImage(str(tmp_path / "out" / "scan.nrrd"))
        assert (written.GetSpacing(), written.GetOrigin()) == (source.GetSpacing(), source.GetOrigin())
        assert set(np.unique(SimpleITK.GetArrayFromImage(written))) == {0, 7}

    def test_is_mirrored_and_postprocessed_as_the_model_says(self, tmp_path):
        path = save(tmp_path / "scan.nii.gz", image())
        folder = tmp_path / "model"
        first = predict(options(tmp_path, path))
        assert not first.mirror
        edit_plan(folder, augmentation=replace(configuration(3).augmentation, mirror_axes=(2,)))
        write_record(folder / "model.json", replace(load_model_record(folder), mirror=True))
        second = predict(options(tmp_path, path))
        assert (second.mirror, second.skipped) == (True, ())
        assert not predict(options(tmp_path, path, mirror=False)).mirror
        steps = (Change(values=(7,)),)
        write_record(folder / "model.json", replace(load_model_record(folder), postprocessing=steps))
        third = predict(options(tmp_path, path))
        assert (third.skipped, third.cases[0].model_digest == second.cases[0].model_digest) == ((), False)

    def test_that_does_not_exist_is_an_error(self, tmp_path):
        with pytest.raises(AutosegError, match=r"none\.nii\.gz: does not exist; check the path"):
            predict(options(tmp_path, tmp_path / "none.nii.gz"))

    def test_is_never_overwritten(self, tmp_path):
        path = save(tmp_path / "scan.nii.gz", image())
        before = path.read_bytes()
        with pytest.raises(AutosegError, match="would be overwritten"):
            predict(replace(options(tmp_path, path), output=tmp_path))
        assert path.read_bytes() == before


@pytest.mark.usefixtures("model")
class TestFolders:
    def test_every_file_is_a_case(self, tmp_path):
        for name in ("b", "a", "c"):
            save(tmp_path / "scans" / f"{name}.nii.gz", image())
        record = predict(options(tmp_path, tmp_path / "scans"))
        assert [case.case for case in record.cases] == ["a", "b", "c"]
        assert sorted(path.name for path in (tmp_path / "out").glob("*.nii.gz")) == ["a.nii.gz", "b.nii.gz", "c.nii.gz"]

    def test_numbered_channels_are_put_together(self, tmp_path):
        make_model(tmp_path / "model", channels=2)
        for name in ("x_0000", "x_0001", "y_0000", "y_0001"):
            save(tmp_path / "scans" / f"{name}.nii.gz", image())
        record = predict(options(tmp_path, tmp_path / "scans"))
        assert [case.case for case in record.cases] == ["x", "y"]
        single = predict(replace(options(tmp_path, tmp_path / "scans" / "x_0000.nii.gz"), output=tmp_path / "one"))
        assert [Path(file).name for file in single.cases[0].inputs] == ["x_0000.nii.gz", "x_0001.nii.gz"]

    def test_numbers_that_are_no_channels_stay_in_the_name(self, tmp_path):
        for name in ("slice_0001", "slice_0002"):
            save(tmp_path / "scans" / f"{name}.nii.gz", image())
        record = predict(options(tmp_path, tmp_path / "scans"))
        assert [case.case for case in record.cases] == ["slice_0001", "slice_0002"]

    def test_of_a_dicom_series_give_one_nifti(self, tmp_path):
        folder = save_series(tmp_path / "patient" / "T1", series())
        record = predict(options(tmp_path, folder))
        written = read_image(tmp_path / "out" / "T1.nii.gz")
        assert corner_displacement_voxels(written.grid, read_header(folder).grid) < 1e-3
        assert set(np.unique(written.array)) <= {0, 7}
        assert [case.case for case in record.cases] == ["T1"]
        assert [case.case for case in predict(options(tmp_path, tmp_path / "patient")).cases] == ["patient"]

    def test_of_a_dicom_series_give_a_segmentation_of_the_same_voxels(self, tmp_path):
        slices = series()
        for dataset in slices:
            dataset.FrameOfReferenceUID = dataset.StudyInstanceUID = generate_uid(entropy_srcs=["frame"])
        folder = save_series(tmp_path / "patient" / "T1", slices)
        wanted = options(tmp_path, folder)
        predict(wanted)
        record = predict(replace(wanted, format="dicom-seg"))
        assert [case.file for case in record.cases] == ["T1.dcm"]
        nifti = read_image(tmp_path / "out" / "T1.nii.gz").array[0]
        found = read_structure(tmp_path / "out" / "T1.dcm#1", read_header(folder).grid)
        np.testing.assert_array_equal(found != 0, nifti != 0)

    def test_of_a_series_with_a_lost_slice_are_mended_and_marked_when_allowed(self, tmp_path):
        slices = series(8)
        for dataset in slices:
            dataset.FrameOfReferenceUID = dataset.StudyInstanceUID = generate_uid(entropy_srcs=["frame"])
        del slices[3]
        folder = save_series(tmp_path / "patient" / "T1", slices)
        wanted = options(tmp_path, folder)
        with pytest.raises(PartialError, match="missing slices: lacks 1 of 8 slices"):
            predict(wanted)
        allowed = ReadOptions(resample=True)
        record = predict(replace(wanted, reading=allowed, format="sr"))
        assert record.cases[0].warnings[0].startswith("missing slices: 1 of 8 slices are interpolated")
        predict(replace(wanted, reading=allowed))
        nifti = read_image(tmp_path / "out" / "T1.nii.gz")
        assert corner_displacement_voxels(read_header(folder, allowed).grid, nifti.grid) < 1e-5
        found = read_structure(tmp_path / "out" / "T1.dcm#1", nifti.grid)
        np.testing.assert_array_equal(found != 0, nifti.array[0] != 0)
        volumes = [measured.volume_ml for measured in record.cases[0].measurements]
        assert read_volumes_ml(tmp_path / "out" / "reports" / "T1.dcm") == pytest.approx(volumes, abs=1e-6)

    def test_of_a_dataset_gives_its_test_cases(self, tmp_path):
        label = (image() > 0).astype(np.uint8)
        for name in ("a", "b"):
            save(tmp_path / "set" / "imagesTr" / f"{name}_0000.nii.gz", image())
            save(tmp_path / "set" / "labelsTr" / f"{name}.nii.gz", label)
        save(tmp_path / "set" / "imagesTs" / "t_0000.nii.gz", image())
        (tmp_path / "set" / "dataset.json").write_text(
            '{"channel_names": {"0": "MR"}, "labels": {"background": 0, "organ": 1}, "numTraining": 2,'
            ' "file_ending": ".nii.gz"}'
        )
        record = predict(options(tmp_path, tmp_path / "set"))
        assert [case.case for case in record.cases] == ["t"]

    def test_with_nothing_in_it_are_an_error(self, tmp_path):
        (tmp_path / "scans").mkdir()
        with pytest.raises(AutosegError, match="no image in it"):
            predict(options(tmp_path, tmp_path / "scans"))

    def test_two_places_may_not_hold_one_name(self, tmp_path):
        first = save(tmp_path / "one" / "a.nii.gz", image())
        second = save(tmp_path / "two" / "a.nii.gz", image())
        with pytest.raises(AutosegError, match="has the same name as"):
            predict(options(tmp_path, (first, second)))


@pytest.mark.usefixtures("model")
class TestFailures:
    def test_a_fault_of_our_own_fails_the_case_alone(self, tmp_path, monkeypatch):
        for name in ("a", "b"):
            save(tmp_path / "scans" / f"{name}.nii.gz", image(seed=ord(name)))
        real = cases.measure

        def broken(label_map, grid, labels, array):
            if array.sum() == image(seed=ord("a")).sum():
                msg = "no such thing"
                raise KeyError(msg)
            return real(label_map, grid, labels, array)

        monkeypatch.setattr(cases, "measure", broken)
        with pytest.raises(PartialError, match=r"1 of 2 cases failed \(a\).*our own error: KeyError: 'no such thing'"):
            predict(options(tmp_path, tmp_path / "scans"))
        assert (tmp_path / "out" / "b.nii.gz").is_file()

    def test_one_bad_case_does_not_stop_the_others(self, tmp_path):
        save(tmp_path / "scans" / "a.nii.gz", image())
        bad = save(tmp_path / "scans" / "b.nii.gz", image())
        bad.write_bytes(bad.read_bytes()[:-20])
        save(tmp_path / "scans" / "c.nii.gz", image())
        with pytest.raises(PartialError, match=r"1 of 3 cases failed \(b\)") as caught:
            predict(options(tmp_path, tmp_path / "scans"))
        assert caught.value.exit_code == EXIT_PARTIAL
        record = read_record(tmp_path / "out" / "prediction.json", PredictionRecord)
        assert [case.case for case in record.cases] == ["a", "c"]
        assert [(failed.case, str(bad) in failed.error) for failed in record.failed] == [("b", True)]
        assert not (tmp_path / "out" / "b.nii.gz").exists()

    def test_another_number_of_channels_fails_the_case(self, tmp_path):
        make_model(tmp_path / "model", channels=2)
        path = save(tmp_path / "scan.nii.gz", image())
        with pytest.raises(PartialError, match="1 channels where the model takes 2"):
            predict(options(tmp_path, path))

    def test_too_little_memory_fails_the_case_with_numbers(self, tmp_path):
        path = save(tmp_path / "scan.nii.gz", image())
        with pytest.raises(PartialError, match=r"needs \d\.\d\d GiB, 0\.00 GiB are allowed"):
            predict(options(tmp_path, path, max_ram_bytes=1000))


@pytest.mark.usefixtures("model")
class TestWarnings:
    def test_a_spacing_far_from_training_is_said_with_numbers(self, tmp_path):
        path = save(tmp_path / "scan.nii.gz", image(), np.diag([0.5, 0.5, 8.0, 1.0]))
        record = predict(options(tmp_path, path))
        assert record.cases[0].warnings == (
            "spacing 8 mm along z; training images had 2 to 2 mm",
            "it covers 48 mm along z; training images covered 16 to 16 mm",
        )

    def test_an_image_in_other_units_is_said_with_numbers(self, tmp_path):
        make_model(tmp_path / "model", scheme="ct")
        path = save(tmp_path / "scan.nii.gz", image() + np.int16(2000))
        record = predict(options(tmp_path, path))
        (warning,) = record.cases[0].warnings
        assert warning.startswith("channel channel_0 has values 2000 to 2099; structures in training had -100 to 200")

    def test_an_image_like_training_gives_none(self, tmp_path):
        record = predict(options(tmp_path, save(tmp_path / "scan.nii.gz", image())))
        assert record.cases[0].warnings == ()

    def test_strict_refuses_the_case_and_does_the_others(self, tmp_path):
        save(tmp_path / "scans" / "a.nii.gz", image(), np.diag([0.5, 0.5, 8.0, 1.0]))
        save(tmp_path / "scans" / "b.nii.gz", image())
        with pytest.raises(PartialError, match=r"1 of 2 cases failed \(a\).*unlike the training data: spacing 8 mm"):
            predict(options(tmp_path, tmp_path / "scans", strict=True))
        record = read_record(tmp_path / "out" / "prediction.json", PredictionRecord)
        assert [case.case for case in record.cases] == ["b"]

    def test_strict_refuses_also_what_an_earlier_call_predicted_and_else_the_warning_is_said_again(
        self, tmp_path, capsys
    ):
        save(tmp_path / "scans" / "a.nii.gz", image(), np.diag([0.5, 0.5, 8.0, 1.0]))
        predict(options(tmp_path, tmp_path / "scans"))
        capsys.readouterr()
        assert predict(options(tmp_path, tmp_path / "scans")).skipped == ("a",)
        assert "a: spacing 8 mm along z" in capsys.readouterr().err
        with pytest.raises(PartialError, match=r"1 of 1 cases failed \(a\).*unlike the training data: spacing 8 mm"):
            predict(options(tmp_path, tmp_path / "scans", strict=True))
        assert (tmp_path / "out" / "a.nii.gz").exists()  # of this very input and model

    def test_a_case_that_fails_leaves_no_label_map_of_its_earlier_image(self, tmp_path):
        save(tmp_path / "scans" / "a.nii.gz", image())
        predict(options(tmp_path, tmp_path / "scans"))
        (tmp_path / "scans" / "a.nii.gz").write_bytes(b"<html>not found</html>")
        with pytest.raises(PartialError):
            predict(options(tmp_path, tmp_path / "scans"))
        assert not (tmp_path / "out" / "a.nii.gz").exists()
        assert not (tmp_path / "out" / "records" / "a.json").exists()

    def test_a_ct_given_to_a_model_of_mr_is_said(self, tmp_path):
        found = image().astype(np.int16) * 20 - 900
        record = predict(options(tmp_path, save(tmp_path / "scan.nii.gz", found)))
        (warning,) = record.cases[0].warnings
        assert "as CT in Hounsfield units; the model was trained on " in warning

    def test_left_right_along_another_axis_is_said(self, tmp_path):
        path = tmp_path / "model" / "fingerprint.json"
        fingerprint = read_record(path, Fingerprint)
        cases = tuple(replace(case, left_right_axis=0) for case in fingerprint.cases)
        write_record(path, replace(fingerprint, cases=cases))
        record = predict(options(tmp_path, save(tmp_path / "scan.nii.gz", image())))
        assert (
            "the patient's left-right lies along x by its header; in training images along z"
            in record.cases[0].warnings
        )

    def test_slices_along_another_axis_are_said(self, tmp_path):
        record = predict(options(tmp_path, save(tmp_path / "scan.nii.gz", image(), np.diag([2.0, 0.5, 0.5, 1.0]))))
        assert record.cases[0].warnings[0] == "slices of 2 mm lie along x; in training images along z"

    def test_ct_without_a_value_below_water_is_said(self, tmp_path):
        make_model(tmp_path / "model", scheme="ct")
        fingerprint = read_record(tmp_path / "model" / "fingerprint.json", Fingerprint)
        channels = tuple(replace(channel, modality="ct") for channel in fingerprint.channels)
        write_record(tmp_path / "model" / "fingerprint.json", replace(fingerprint, channels=channels))
        path = save(tmp_path / "scan.nii.gz", image())
        (warning,) = predict(options(tmp_path, path)).cases[0].warnings
        assert warning == (
            "channel channel_0 has values 0 to 99, none below 0;"
            " structures in training had -100 HU at least, air has -1000"
        )
        assert predict(options(tmp_path, save(path, image() - np.int16(20)))).cases[0].warnings == ()


@pytest.mark.usefixtures("model")
class TestCosts:
    def test_are_said_before_each_case_and_recorded(self, tmp_path, capfd):
        for name in ("a", "b"):
            save(tmp_path / "scans" / f"{name}.nii.gz", image())
        record = predict(options(tmp_path, tmp_path / "scans"))
        said = capfd.readouterr().err
        for case in record.cases:
            assert f"{case.case}: about {case.estimated_bytes / 2**30:.2g} GiB, " in said
            assert case.estimated_seconds > 0
            assert resident_bytes() / 2 < case.estimated_bytes < 2 * resident_bytes()
            assert (case.windows, case.windows_skipped) == (1, 0)

    def test_without_room_cases_follow_one_another(self, tmp_path, monkeypatch):
        """What reading needs is made huge: nothing is read while another case is held, and the results are the same."""
        for name in ("a", "b", "c"):
            save(tmp_path / "scans" / f"{name}.nii.gz", image(seed=ord(name)))
        beside: list[bool] = []
        read = line.read_case

        def watched(job, case, needed_bytes):
            beside.append(needed_bytes == 0)  # read ahead: the room was found before
            return read(job, case, needed_bytes)

        monkeypatch.setattr(line, "read_case", watched)
        first = predict(options(tmp_path, tmp_path / "scans"))
        monkeypatch.setattr(line, "reading_bytes", lambda *_: 1 << 30)
        monkeypatch.setattr(line, "base_bytes", lambda: 0)
        ceiling = (1 << 30) + 1000
        held = replace(options(tmp_path, tmp_path / "scans", max_ram_bytes=ceiling), output=tmp_path / "held")
        second = predict(held)
        assert beside == [False, True, True, False, False, False]
        assert [case.output_digest for case in first.cases] == [case.output_digest for case in second.cases]

    def test_of_reading_beyond_the_ceiling_fail_the_case_before_it_is_read(self, tmp_path, monkeypatch):
        monkeypatch.setattr(line, "reading_bytes", lambda *_: 1 << 40)
        monkeypatch.setattr(cases, "load_image_apart", None)
        with pytest.raises(PartialError, match=r"reading it needs 102\d\.\d\d GiB"):
            predict(options(tmp_path, save(tmp_path / "scan.nii.gz", image())))

    def test_of_reading_are_known_from_the_header(self, tmp_path):
        segmenter = ready_model(load_networks(tmp_path / "model", torch.device("cpu")), "default")
        path = save(tmp_path / "scan.nii.gz", np.zeros((100, 80, 60), np.int16), np.diag([2.0, 2.0, 2.0, 1.0]))
        voxels = 100 * 80 * 60
        assert reading_bytes(InputCase(name="a", images=(path,)), segmenter) == voxels * (2 + 2 + 4 + 4 * 8 + 4 * 8)
        assert reading_bytes(InputCase(name="a", images=(tmp_path / "none.nii",)), segmenter) == 0
        save_series(tmp_path / "series", series())
        size = sum(file.stat().st_size for file in (tmp_path / "series").rglob("*"))
        assert reading_bytes(InputCase(name="a", images=(tmp_path / "series",)), segmenter) > 2 * size


@pytest.mark.usefixtures("model")
class TestOrientation:
    def test_a_model_that_turns_images_sees_them_alike_however_they_are_stored(self, tmp_path):
        shutil.rmtree(tmp_path / "model")
        make_model(tmp_path / "model", random=True)
        stored = nib.Nifti1Image(image(shape=(20, 18, 16)), np.diag([0.5, 0.7, 2.0, 1.0]))
        turned = stored.as_reoriented(nib.orientations.axcodes2ornt("PIL"))
        (tmp_path / "scans").mkdir()
        nib.save(stored, tmp_path / "scans" / "a.nii.gz")
        nib.save(turned, tmp_path / "scans" / "b.nii.gz")
        for orientation, alike in ((None, False), ("RAS", True)):
            record = replace(load_model_record(tmp_path / "model"), orientation=orientation)
            write_record(tmp_path / "model" / "model.json", record)
            output = tmp_path / f"out-{orientation}"
            predict(replace(options(tmp_path, tmp_path / "scans"), output=output))
            a, b = (nib.load(output / f"{name}.nii.gz") for name in "ab")
            np.testing.assert_allclose(b.affine, turned.affine, atol=1e-5)
            found = nib.as_closest_canonical(b)
            np.testing.assert_allclose(found.affine, a.affine, atol=1e-5)
            assert np.array_equal(found.get_fdata(), a.get_fdata()) == alike
            assert len(np.unique(a.get_fdata())) > 1

    @pytest.mark.parametrize("transpose", [(0, 1, 2), (1, 2, 0)])
    def test_probabilities_of_such_a_model_lie_on_the_grid_of_the_input(self, tmp_path, transpose):
        """Against the same image turned by hand before, and its probabilities turned back by hand."""
        shutil.rmtree(tmp_path / "model")
        make_model(tmp_path / "model", random=True, transpose=transpose)
        upright = nib.Nifti1Image(image(shape=(20, 18, 13)), np.diag([0.5, 0.7, 2.0, 1.0]))
        save(tmp_path / "upright.nii.gz", np.asarray(upright.dataobj), upright.affine)
        predict(replace(options(tmp_path, tmp_path / "upright.nii.gz", probabilities=True), output=tmp_path / "known"))
        known = read_probabilities(tmp_path / "known" / "probabilities" / "upright.json").astype(np.float32)
        record = replace(load_model_record(tmp_path / "model"), orientation="RAS")
        write_record(tmp_path / "model" / "model.json", record)
        stored = lying(upright, "PIL")
        nib.save(stored, tmp_path / "lying.nii.gz")
        predict(options(tmp_path, tmp_path / "lying.nii.gz", probabilities=True))
        path = tmp_path / "out" / "probabilities" / "lying.json"
        found = read_probabilities(path)
        assert stored.shape == (18, 13, 20)
        # (z, y, x) of the file: x to the back, y down, z to the left; upright x to the right, y to the front, z up
        by_hand = np.flip(known.transpose(0, 3, 1, 2), axis=(1, 2, 3))
        assert found.shape == by_hand.shape == (3, 20, 13, 18)
        np.testing.assert_allclose(found.astype(np.float32), by_hand, atol=2 / 1024)
        assert by_hand[0].std() > 0.05
        labels = nib.load(tmp_path / "out" / "lying.nii.gz").get_fdata().T
        best = np.array([0, 1, 7])[found.argmax(axis=0)]
        assert (best == labels).mean() > 0.99  # multiples of 1/1024 make ties: 5 voxels of 4680
        assert read_record(path, ProbabilitiesRecord).shape == found.shape


@pytest.mark.usefixtures("model")
class TestLanes:
    def test_give_what_one_case_after_the_other_gives_and_leave_the_threads_alone(self, tmp_path, monkeypatch):
        shutil.rmtree(tmp_path / "model")
        make_model(tmp_path / "model", random=True)
        for name in "abcdefg":
            save(tmp_path / "scans" / f"{name}.nii.gz", image(seed=ord(name), shape=(20, 18, 16)))
        threads = torch.get_num_threads()
        beside = predict(options(tmp_path, tmp_path / "scans"))
        assert torch.get_num_threads() == threads
        monkeypatch.setattr(line, "_LANE_VOXELS", 0)
        torch.set_num_threads(1)  # as a lane has: more of them round sums in another order
        alone = predict(replace(options(tmp_path, tmp_path / "scans"), output=tmp_path / "alone"))
        torch.set_num_threads(threads)
        assert [case.case for case in beside.cases] == list("abcdefg")
        assert [case.output_digest for case in beside.cases] == [case.output_digest for case in alone.cases]
        assert len({case.output_digest for case in beside.cases}) > 1

    def test_fail_a_case_alone_in_the_order_of_the_cases(self, tmp_path, monkeypatch):
        for name in "abcd":
            save(tmp_path / "scans" / f"{name}.nii.gz", image())
        segment = line.segment_case

        def broken(job, segmenter, ready, estimate):
            if ready.case.name in "bd":
                raise AutosegError.at(ready.case.name, "broken", "mend it")
            return segment(job, segmenter, ready, estimate)

        monkeypatch.setattr(line, "segment_case", broken)
        with pytest.raises(PartialError, match=r"2 of 4 cases failed \(b, d\)"):
            predict(options(tmp_path, tmp_path / "scans"))
        record = read_record(tmp_path / "out" / "prediction.json", PredictionRecord)
        assert [case.case for case in record.cases] == ["a", "c"]


class TestProbabilities:
    def test_are_stored_on_the_native_grid_and_agree_with_the_label_map(self, tmp_path):
        make_model(tmp_path / "model", random=True)
        path = save(tmp_path / "scan.nii.gz", image(shape=(20, 24, 30)))
        plain = predict(options(tmp_path, path))
        record = predict(options(tmp_path, path, probabilities=True))
        assert record.skipped == ()
        assert record.cases[0].output_digest == plain.cases[0].output_digest
        assert record.cases[0].probabilities == "probabilities/scan.json"
        stored = tmp_path / "out" / "probabilities" / "scan.json"
        made = read_record(stored, ProbabilitiesRecord)
        assert (made.channels, made.shape) == (("background", "organ", "lesion"), (3, 30, 24, 20))
        assert made.sha256 == digest_file(stored.with_suffix(".b2nd"))
        values = read_probabilities(stored).astype(np.float64)
        np.testing.assert_allclose(values.sum(axis=0), 1, atol=3 * made.largest_error)
        labels = read_image(tmp_path / "out" / "scan.nii.gz").array[0]
        assert set(np.unique(labels)) == {0, 1, 7}
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as predict has for a small case: more of them round sums in another order
        exact = autoseg.load_model(tmp_path / "model", device="cpu").predict_probabilities(
            read_image(path).array, (2.0, 0.5, 0.5)
        )
        torch.set_num_threads(threads)
        assert np.abs(values - exact).max() <= made.largest_error + 1e-6
        best, second = np.sort(values, axis=0)[:-3:-1]
        clear = best - second > 2 * made.largest_error
        assert clear.mean() > 0.5
        np.testing.assert_array_equal(np.array([0, 1, 7])[values.argmax(axis=0)][clear], labels[clear])
        assert predict(options(tmp_path, path, probabilities=True)).skipped == ("scan",)
        stored.unlink()
        assert predict(options(tmp_path, path, probabilities=True)).skipped == ()


class TestPresets:
    def test_take_more_or_fewer_windows_views_and_networks(self, tmp_path):
        make_model(tmp_path / "model", random=True)
        edit_plan(tmp_path / "model", augmentation=replace(configuration(3).augmentation, mirror_axes=(0, 2)))
        record = load_model_record(tmp_path / "model")
        twice = (record.networks[0], replace(record.networks[0], fold=1))
        write_record(tmp_path / "model" / "model.json", replace(record, networks=twice))
        path = save(tmp_path / "scan.nii.gz", image(shape=(30, 24, 20)))
        found = {name: predict(options(tmp_path, path, preset=name)) for name in ("fast", "default", "best")}
        assert [(r.preset, r.mirror, r.networks) for r in found.values()] == [
            ("fast", False, 1),
            ("default", False, 2),
            ("best", True, 2),
        ]
        windows = [record.cases[0].windows for record in found.values()]
        assert windows[0] < windows[1] == windows[2]
        assert len({record.cases[0].model_digest for record in found.values()}) == 3

    def test_an_ensemble_is_chosen_from_what_the_model_holds(self, tmp_path):
        folder = make_model(tmp_path / "model", random=True)
        add_configuration(folder, replace(configuration(3), name="3d_lowres", spacing_mm=(2.0, 2.0, 2.0)))
        path = save(tmp_path / "scan.nii.gz", image(shape=(30, 24, 20)))
        alone = predict(options(tmp_path, path))
        assert alone.configurations == ("3d_fullres",)
        both = predict(options(tmp_path, path, configurations=("3d_fullres", "3d_lowres")))
        assert (both.configurations, both.networks, both.skipped) == (("3d_fullres", "3d_lowres"), 2, ())
        assert both.cases[0].output_digest != alone.cases[0].output_digest
        choose_prediction(folder, ("3d_fullres", "3d_lowres"), ())
        assert predict(options(tmp_path, path)).skipped == ("scan",)
        with pytest.raises(AutosegError, match="no network 2d; it has 3d_fullres, 3d_lowres"):
            predict(options(tmp_path, path, configurations=("2d",)))


@pytest.mark.usefixtures("model")
class TestSecondCall:
    def test_sweeps_what_a_killed_one_left_unless_it_lives(self, tmp_path):
        seen = []
        write_atomically(tmp_path / "a.nii.gz", lambda path: (seen.append(path.name), path.write_bytes(b"x"))[1])
        process = subprocess.Popen([sys.executable, "-c", ""])
        process.wait()
        dead = tmp_path / "out" / "records" / seen[0].replace(f"-{os.getpid()}-", f"-{process.pid}-")
        living = tmp_path / "out" / seen[0]
        dead.parent.mkdir(parents=True)
        for path in (dead, living):
            path.write_bytes(b"half")
        predict(options(tmp_path, save(tmp_path / "scan.nii.gz", image())))
        assert (dead.exists(), living.exists()) == (False, True)

    def test_skips_finished_cases(self, tmp_path, monkeypatch):
        for name in ("a", "b"):
            save(tmp_path / "scans" / f"{name}.nii.gz", image())
        first = predict(options(tmp_path, tmp_path / "scans"))
        table = (tmp_path / "out" / "measurements.csv").read_text()
        monkeypatch.setattr(cases, "load_image_apart", None)
        second = predict(options(tmp_path, tmp_path / "scans"))
        assert second.skipped == ("a", "b")
        assert second.cases == first.cases
        assert (tmp_path / "out" / "measurements.csv").read_text() == table

    def test_predicts_what_changed(self, tmp_path):
        for name in ("a", "b"):
            save(tmp_path / "scans" / f"{name}.nii.gz", image())
        predict(options(tmp_path, tmp_path / "scans"))
        save(tmp_path / "scans" / "b.nii.gz", image(seed=5))
        assert predict(options(tmp_path, tmp_path / "scans")).skipped == ("a",)
        assert predict(options(tmp_path, tmp_path / "scans", mirror=False)).skipped == ("a", "b")
        (tmp_path / "out" / "a.nii.gz").unlink()
        assert predict(options(tmp_path, tmp_path / "scans")).skipped == ("b",)


class TestValidation:
    @pytest.fixture
    def workspace(self, tmp_path: Path) -> Workspace:
        workspace = Workspace(tmp_path / "set.autoseg")
        make_model(workspace.model, fold=1)
        plan = load_networks(workspace.model, torch.device("cpu")).plan
        write_record(workspace.plan, plan)
        names = ("a", "b", "c")
        for name in names:
            save(tmp_path / "set" / f"{name}.nii.gz", image())
        cases = tuple(Case(name=name, images=(f"{name}.nii.gz",), references=(), group=name) for name in names)
        dataset = a_dataset(tmp_path / "set", cases, LABELS, name="set", layout="test", channels=("channel_0",))
        write_record(workspace.dataset, dataset)
        folds = (Fold(train=("b", "c"), validation=("a",)), Fold(train=("a",), validation=("b", "c")))
        write_record(workspace.folds, Folds(because="test", folds=folds))
        return workspace

    def test_writes_label_maps_of_the_held_out_cases(self, workspace):
        folder = predict_validation(workspace, "3d_fullres", 1, "cpu")
        assert folder == workspace.validation("3d_fullres", 1)
        assert sorted(path.name for path in folder.glob("*.nii.gz")) == ["b.nii.gz", "c.nii.gz"]
        assert set(np.unique(read_image(folder / "b.nii.gz").array)) == {0, 7}

    def test_removes_what_an_earlier_split_left(self, workspace):
        save(workspace.validation("3d_fullres", 1) / "a.nii.gz", image())
        folder = predict_validation(workspace, "3d_fullres", 1, "cpu")
        assert sorted(path.name for path in folder.glob("*.nii.gz")) == ["b.nii.gz", "c.nii.gz"]

    def test_needs_the_network_of_that_fold(self, workspace):
        with pytest.raises(AutosegError, match="no network 3d_fullres fold 0"):
            predict_validation(workspace, "3d_fullres", 0, "cpu")
