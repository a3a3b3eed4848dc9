import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from autoseg.core.errors import AutosegError
from autoseg.core.records import read_record
from autoseg.core.workspace import open_workspace
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.inspection import Inspection, refuse_errors
from autoseg.datasets.options import Options
from autoseg.steps.inspect import inspect

PLAIN = Options()


def save(path, array, spacing=1.0, shift=0.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[0, 3] = shift
    nib.save(nib.Nifti1Image(array.transpose(2, 1, 0), affine), path)


def image(index):
    return np.random.default_rng(index).normal(100, 20, (6, 10, 12)).astype(np.float32)


def label():
    array = np.zeros((6, 10, 12), np.uint8)
    array[1:4, 2:6, 2:7] = 1
    return array


@pytest.fixture
def folder(tmp_path):
    for index in range(6):
        save(tmp_path / "data" / "images" / f"c{index}.nii.gz", image(index))
        save(tmp_path / "data" / "labels" / f"c{index}.nii.gz", label())
    return tmp_path / "data"


def looked(folder, options=PLAIN):
    workspace = open_workspace(folder.with_suffix(".autoseg"), folder, 0)
    return inspect(folder, workspace, options)


def test_a_sound_folder_has_no_findings_and_its_records_are_read_back(folder):
    inspection = looked(folder)
    assert inspection.findings == ()
    assert (inspection.n_cases, inspection.channels, inspection.labels) == (6, ("image",), ("label_1",))
    workspace = open_workspace(folder.with_suffix(".autoseg"), folder, 0)
    assert read_record(workspace.findings, Inspection) == inspection
    assert len(read_record(workspace.dataset, Dataset).cases) == 6
    refuse_errors(inspection)


def test_a_second_look_gives_the_same_bytes(folder):
    looked(folder)
    workspace = open_workspace(folder.with_suffix(".autoseg"), folder, 0)
    before = workspace.findings.read_bytes(), workspace.dataset.read_bytes()
    looked(folder)
    assert (workspace.findings.read_bytes(), workspace.dataset.read_bytes()) == before


def remove_label(folder):
    (folder / "labels" / "c2.nii.gz").unlink()


def resize_label(folder):
    save(folder / "labels" / "c2.nii.gz", np.ones((6, 10, 11), np.uint8))


def shift_label(folder):
    save(folder / "labels" / "c2.nii.gz", label(), shift=2.5)


def truncate_image(folder):
    path = folder / "images" / "c2.nii.gz"
    path.write_bytes(path.read_bytes()[:-200])


def flip_a_bit(folder):
    path = folder / "labels" / "c2.nii.gz"
    whole = bytearray(path.read_bytes())
    whole[-6] ^= 1  # in gzip's checksum
    path.write_bytes(bytes(whole))


def fraction_in_label(folder):
    array = label().astype(np.float32)
    array[0, 0, 0] = 0.5
    save(folder / "labels" / "c2.nii.gz", array)


def nan_in_image(folder):
    array = image(2)
    array[3, 4, 5] = np.nan
    save(folder / "images" / "c2.nii.gz", array)


def infinity_in_image(folder):
    array = image(2)
    array[3, 4, 5] = np.inf
    save(folder / "images" / "c2.nii.gz", array)


@pytest.mark.parametrize(
    ("fault", "where", "what"),
    [
        (remove_label, "images/c2.nii.gz", "image without label"),
        (resize_label, "labels/c2.nii.gz", "11 x 10 x 6"),
        (shift_label, "labels/c2.nii.gz", "2.5 mm"),
        (truncate_image, "images/c2.nii.gz", "ends too early"),
        (flip_a_bit, "labels/c2.nii.gz", "compressed data is damaged"),
        (fraction_in_label, "labels/c2.nii.gz", "0.5"),
        (nan_in_image, "images/c2.nii.gz", "(z, y, x) = (3, 4, 5)"),
        (infinity_in_image, "images/c2.nii.gz", "NaN or infinite"),
    ],
)
def test_a_fault_is_found_once_in_its_file_and_refused_in_one_line(folder, fault, where, what):
    fault(folder)
    inspection = looked(folder)
    assert [finding.where for finding in inspection.errors] == [where]
    assert what in inspection.errors[0].what
    assert inspection.errors[0].mend
    with pytest.raises(AutosegError) as caught:
        refuse_errors(inspection)
    assert str(caught.value).startswith(f"{where}: ")
    assert "\n" not in str(caught.value)


def test_an_undeclared_label_value_is_found(folder):
    array = label()
    array[5, 9, 9:12] = 9
    save(folder / "labels" / "c2.nii.gz", array)
    pairs = [{"image": f"images/c{i}.nii.gz", "label": f"labels/c{i}.nii.gz"} for i in range(6)]
    description = {"labels": {"0": "background", "1": "organ"}, "modality": {"0": "MR"}, "training": pairs}
    (folder / "dataset.json").write_text(json.dumps(description))
    (finding,) = looked(folder).errors
    assert (finding.where, finding.what) == (
        "labels/c2.nii.gz",
        "label values that are not declared: 9 (3 voxels)",
    )


def test_several_errors_are_counted_in_the_one_line(folder):
    remove_label(folder)
    (folder / "labels" / "c4.nii.gz").unlink()
    with pytest.raises(AutosegError, match=r"\(1 more: run autoseg inspect\)$"):
        refuse_errors(looked(folder))


def test_an_empty_label_is_a_warning(folder):
    save(folder / "labels" / "c1.nii.gz", np.zeros((6, 10, 12), np.uint8))
    inspection = looked(folder)
    assert [(f.severity, f.where, f.what) for f in inspection.findings] == [
        ("warning", "labels/c1.nii.gz", "empty label")
    ]
    refuse_errors(inspection)


def test_copies_are_found_by_content_also_in_the_test_images(folder):
    shutil.copy(folder / "images" / "c0.nii.gz", folder / "images" / "c3.nii.gz")
    (folder / "imagesTs").mkdir()
    shutil.copy(folder / "images" / "c5.nii.gz", folder / "imagesTs" / "new.nii.gz")
    assert [(f.where, f.what) for f in looked(folder).findings] == [
        ("images/c3.nii.gz", "the same image as images/c0.nii.gz"),
        ("imagesTs/new.nii.gz", "the same image as images/c5.nii.gz, which trains"),
    ]


def test_an_unusual_voxel_size_is_a_warning(folder):
    save(folder / "images" / "c4.nii.gz", image(4), spacing=10.0)
    save(folder / "labels" / "c4.nii.gz", label(), spacing=10.0)
    (finding,) = looked(folder).findings
    assert (finding.severity, finding.where) == ("warning", "images/c4.nii.gz")
    assert "10 x 10 x 10 mm (z, y, x) where 1 x 1 x 1 mm are usual" in finding.what


def test_an_image_of_one_value_is_a_warning(folder):
    save(folder / "images" / "c4.nii.gz", np.full((6, 10, 12), 7, np.int16))
    assert [f.what for f in looked(folder).findings] == ["every voxel is 7"]


def test_the_two_sides_of_a_body_are_noted(folder):
    pairs = [{"image": f"images/c{i}.nii.gz", "label": f"labels/c{i}.nii.gz"} for i in range(6)]
    labels = {"0": "background", "1": "kidney_left", "2": "kidney_right", "3": "bright"}
    (folder / "dataset.json").write_text(json.dumps({"labels": labels, "training": pairs}))
    notes = [f.what for f in looked(folder).findings if f.severity == "note"]
    assert notes == ["kidney_left and kidney_right are the two sides of a body"]


def test_flat_and_solid_images_together_are_refused(folder):
    flat = np.arange(120, dtype=np.int16).reshape(12, 10)
    nib.save(nib.Nifti1Image(flat, np.eye(4)), folder / "images" / "c4.nii.gz")
    nib.save(nib.Nifti1Image((flat > 50).astype(np.uint8), np.eye(4)), folder / "labels" / "c4.nii.gz")
    (finding,) = looked(folder).errors
    assert (finding.where, finding.what) == ("images/c4.nii.gz", "1 images are 2D and 5 are 3D")


def test_a_folder_that_is_not_understood_leaves_nothing_behind(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(AutosegError, match="no image in it"):
        looked(tmp_path / "data")
    workspace = open_workspace(tmp_path / "data.autoseg", tmp_path / "data", 0)
    assert not workspace.findings.exists()
    assert not workspace.dataset.exists()
