"""Label maps as DICOM SEG: bit for bit what was given, where the series lies, whatever its headers lack."""

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from autoseg.core.errors import AutosegError
from autoseg.datasets.options import Options
from autoseg.datasets.read_case import read_case
from autoseg.datasets.understand import understand
from autoseg.imaging.dicom_labels import describe_labels, read_structure
from autoseg.imaging.dicom_seg_write import write_segmentation
from autoseg.imaging.geometry import check_same_grid
from autoseg.imaging.read import read_header, read_label
from autoseg.imaging.write import write_label
from planners.fingerprint import Label
from tests.imaging.test_dicom import save, series

LABELS = (
    Label(name="liver", values=(1,)),
    Label(name="病変", values=(7,)),
    Label(name="absent", values=(3,)),
    Label(name="not sure", values=(9,), role="ignore"),
)
FRAME = generate_uid(entropy_srcs=["frame"])
STUDY = generate_uid(entropy_srcs=["study"])


def scan(folder, **options):
    slices = series(**options)
    for dataset in slices:
        dataset.FrameOfReferenceUID, dataset.StudyInstanceUID = FRAME, STUDY
    return save(folder, slices)


@pytest.fixture
def folder(tmp_path):
    return scan(tmp_path / "clinic" / "T1")


def label_map():
    array = np.random.default_rng(0).choice([0, 0, 1, 7], (8, 6, 7)).astype(np.uint8)
    array[0] = array[-1] = 0  # empty frames
    return array


def test_what_is_written_is_read_bit_for_bit(tmp_path, folder):
    out, array = tmp_path / "T1.dcm", label_map()
    write_segmentation(out, array, folder, LABELS)
    grid = read_header(folder).grid
    for number, value in ((1, 1), (2, 7)):
        np.testing.assert_array_equal(read_structure(tmp_path / f"T1.dcm#{number}", grid), array == value)


def test_the_file_says_what_it_is(tmp_path, folder):
    write_segmentation(tmp_path / "T1.dcm", label_map(), folder, LABELS)
    written = pydicom.dcmread(tmp_path / "T1.dcm")
    assert (written.Modality, written.SegmentationType) == ("SEG", "BINARY")
    assert int(written.NumberOfFrames) == 16  # every slice, also the empty ones
    assert [segment.SegmentLabel for segment in written.SegmentSequence] == ["liver", "病変"]
    assert written.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeValue == "10200004"
    assert "research use" in written.SeriesDescription
    found = describe_labels(tmp_path / "T1.dcm", written)
    assert found.frame_of_reference == FRAME
    assert found.series == (pydicom.dcmread(folder / "IM001").SeriesInstanceUID,)


def test_segmentation_and_nifti_describe_the_same_voxels(tmp_path, folder):
    array = label_map()
    write_segmentation(tmp_path / "clinic" / "seg" / "T1.dcm", array, folder, LABELS)
    write_label(tmp_path / "T1.nii.gz", array, folder)
    dataset = understand(tmp_path / "clinic", Options())
    case = read_case(dataset, dataset.cases[0])
    assert [label.name for label in dataset.labels] == ["liver", "病変"]
    nifti = read_label(tmp_path / "T1.nii.gz")
    check_same_grid(case.image.grid, nifti.grid, "T1.nii.gz")
    np.testing.assert_array_equal(case.label, np.array([0, 1, 0, 0, 0, 0, 0, 2])[nifti.array[0]])


def test_an_empty_prediction_names_every_structure(tmp_path, folder):
    write_segmentation(tmp_path / "T1.dcm", np.zeros((8, 6, 7), np.uint8), folder, LABELS)
    assert len(pydicom.dcmread(tmp_path / "T1.dcm").SegmentSequence) == 3


def test_regions_that_share_voxels_are_segments_of_their_own(tmp_path, folder):
    labels = (Label(name="whole", values=(1, 7)), Label(name="core", values=(7,)))
    array = label_map()
    write_segmentation(tmp_path / "T1.dcm", array, folder, labels)
    grid = read_header(folder).grid
    np.testing.assert_array_equal(read_structure(tmp_path / "T1.dcm#1", grid), array > 0)
    np.testing.assert_array_equal(read_structure(tmp_path / "T1.dcm#2", grid), array == 7)


def test_a_series_without_frame_of_reference_is_refused(tmp_path):
    folder = save(tmp_path / "T1", series())
    with pytest.raises(AutosegError, match="has no frame of reference"):
        write_segmentation(tmp_path / "T1.dcm", label_map(), folder, LABELS)
    assert not (tmp_path / "T1.dcm").exists()


def test_equal_predictions_have_equal_identifiers(tmp_path, folder):
    for name in ("a.dcm", "b.dcm"):
        write_segmentation(tmp_path / name, label_map(), folder, LABELS)
    a, b = (pydicom.dcmread(tmp_path / name) for name in ("a.dcm", "b.dcm"))
    assert (a.SOPInstanceUID, a.SeriesInstanceUID) == (b.SOPInstanceUID, b.SeriesInstanceUID)
    assert a.SeriesInstanceUID != pydicom.dcmread(folder / "IM001").SeriesInstanceUID
