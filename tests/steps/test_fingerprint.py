from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from autoseg.core.errors import AutosegError
from autoseg.core.records import read_record, write_record
from autoseg.core.workspace import Workspace, open_workspace
from autoseg.datasets.dataset import Case, Dataset
from autoseg.datasets.options import Options
from autoseg.imaging.read import read_image
from autoseg.imaging.write import write_label
from autoseg.steps.fingerprint import make_fingerprint
from autoseg.steps.inspect import inspect
from planners.fingerprint import Fingerprint, Label
from tests.imaging.test_dicom import save as save_series
from tests.imaging.test_dicom import series
from tests.records import a_dataset


def save(path, array, spacing_xyz):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array.transpose(2, 1, 0), np.diag([*spacing_xyz, 1.0])), path)


@pytest.fixture
def workspace(tmp_path):
    """Two cases: the image is zero outside a box of 4 x 6 x 8; labels 1 (two parts, one outside the box) and 2."""
    folder = tmp_path / "data"
    for index in range(2):
        image = np.zeros((6, 10, 12), np.float32)
        image[1:5, 2:8, 3:11] = np.random.default_rng(index).uniform(1, 100 * (index + 1), (4, 6, 8))
        label = np.zeros(image.shape, np.uint8)
        label[1:3, 2:5, 3:6] = 1
        label[0, 0, 0] = 1
        label[4, 7, 10] = 2 if index == 0 else 0
        save(folder / "images" / f"c{index}.nii.gz", image, (0.5, 0.75, 3.0))
        save(folder / "labels" / f"c{index}.nii.gz", label, (0.5, 0.75, 3.0))
    opened = open_workspace(tmp_path / "data.autoseg", folder, 0)
    inspect(folder, opened, Options())
    return opened


def test_cases_are_measured_before_and_after_the_crop(workspace):
    fingerprint = make_fingerprint(workspace)
    case = fingerprint.cases[0]
    assert (case.shape, case.shape_after_crop, case.dimensions) == ((6, 10, 12), (4, 6, 8), 3)
    assert case.spacing_mm == (3.0, 0.75, 0.5)
    assert fingerprint.median_relative_size_after_crop == pytest.approx(4 * 6 * 8 / (6 * 10 * 12))
    assert fingerprint.n_training == 2


def test_volume_and_components_of_each_label_are_counted(workspace):
    cases = make_fingerprint(workspace).cases
    assert [(case.label_voxels, case.label_components) for case in cases] == [((19, 1), (2, 1)), ((19, 0), (2, 0))]


def test_intensities_are_those_of_the_labelled_voxels_inside_the_crop(workspace):
    (channel,) = make_fingerprint(workspace).channels
    inside = []
    for index in range(2):
        box = np.random.default_rng(index).uniform(1, 100 * (index + 1), (4, 6, 8)).astype(np.float32)
        inside.append(np.concatenate([box[:2, :3, :3].ravel(), box[3, 5, 7:8] if index == 0 else box[:0, 0, 0]]))
    assert channel.minimum == min(values.min() for values in inside)
    assert channel.maximum == max(values.max() for values in inside)
    assert channel.mean == pytest.approx(np.mean([values.mean() for values in inside]), rel=1e-6)
    second_moment = np.mean([np.mean(values.astype(np.float64) ** 2) for values in inside])
    assert channel.std == pytest.approx(np.sqrt(second_moment - channel.mean**2), rel=1e-6)
    assert (channel.modality, channel.modality_reason[:2]) == ("mr", "3D")


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (("MR", "MR"), ("mr", True, "the DICOM tag Modality is MR")),
        (("PT", "PT"), ("pet", True, "the DICOM tag Modality is PT")),
        (("MR", "OT"), ("mr", False, "taken as MR")),
        (("OT", "OT"), ("mr", False, "taken as MR")),
    ],
)
def test_the_modality_that_all_dicom_series_name_is_known(tmp_path, tags, expected):
    folder = tmp_path / "data"
    for name, tag in zip("ab", tags, strict=True):
        slices = series()
        for dataset in slices:
            dataset.Modality = tag
        image = read_image(save_series(folder / name, slices))
        write_label(folder / f"{name}_label.nii.gz", np.ones(image.grid.shape, np.uint8), image)
    cases = tuple(Case(name=n, images=(n,), references=(f"{n}_label.nii.gz",), group=n) for n in "ab")
    opened = Workspace(tmp_path / "data.autoseg")
    labels = (Label(name="all", values=(1,)),)
    write_record(opened.dataset, a_dataset(folder, cases, labels, name="data", layout="test", channels=("image",)))
    (channel,) = make_fingerprint(opened).channels
    assert (channel.modality, channel.modality_known) == expected[:2]
    assert channel.modality_reason.endswith(expected[2])


def test_the_record_is_written_and_twice_the_same(workspace):
    first = make_fingerprint(workspace)
    data = workspace.fingerprint.read_bytes()
    assert read_record(workspace.fingerprint, Fingerprint) == first
    make_fingerprint(workspace)
    assert workspace.fingerprint.read_bytes() == data


def test_without_an_inspection_the_missing_step_is_named(tmp_path):
    (tmp_path / "data").mkdir()
    opened = open_workspace(tmp_path / "data.autoseg", tmp_path / "data", 0)
    with pytest.raises(AutosegError, match=r"dataset.json: cannot be read .*; run the step that makes it"):
        make_fingerprint(opened)


def remade(workspace, **changes):
    """Make the fingerprint of the dataset with some of its fields replaced."""
    write_record(workspace.dataset, replace(read_record(workspace.dataset, Dataset), **changes))
    return make_fingerprint(workspace)


def test_a_region_counts_all_its_values(workspace):
    labels = (Label(name="whole", values=(1, 2)), Label(name="core", values=(2,)))
    assert remade(workspace, labels=labels).cases[0].label_voxels == (20, 1)


def test_an_ignore_label_is_counted_as_foreground_intensity_as_nnunet_does(workspace):
    (before,) = make_fingerprint(workspace).channels
    labels = (Label(name="a", values=(1,)), Label(name="ignore", values=(2,), role="ignore"))
    assert remade(workspace, labels=labels).channels == (before,)


def test_overlapping_structures_are_counted_each(tmp_path):
    folder = tmp_path / "data"
    image = np.random.default_rng(0).uniform(1, 9, (4, 5, 6)).astype(np.float32)
    save(folder / "images" / "a.nii.gz", image, (1.0, 1.0, 1.0))
    for name, rows in (("heart", slice(0, 3)), ("lung", slice(2, 4))):
        mask = np.zeros(image.shape, np.uint8)
        mask[rows] = 1
        save(folder / "masks" / name / "a.nii.gz", mask, (1.0, 1.0, 1.0))
    opened = open_workspace(tmp_path / "data.autoseg", folder, 0)
    inspect(folder, opened, Options())
    fingerprint = make_fingerprint(opened)
    assert fingerprint.overlapping
    assert fingerprint.cases[0].label_voxels == (90, 60)
    assert fingerprint.channels[0].mean == pytest.approx(float(image.mean()), rel=1e-6)
