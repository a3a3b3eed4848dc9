"""What is written of public series: SEG and report conform, and SEG and NIfTI describe the same voxels in space."""

import numpy as np
import pytest

from autoseg.imaging.dicom_labels import read_structure
from autoseg.imaging.dicom_seg_write import write_segmentation
from autoseg.imaging.dicom_sr_write import read_volumes_ml, write_report
from autoseg.imaging.geometry import check_same_grid
from autoseg.imaging.measurements import measure
from autoseg.imaging.read import read_header, read_image, read_label
from autoseg.imaging.reading import ReadOptions
from autoseg.imaging.write import write_label
from planners.fingerprint import Label
from tests.imaging.test_dicom_sr_write import conformance_errors

LABELS = (
    Label(name="liver", values=(1,)),
    Label(name="kidney_left", values=(2,)),
    Label(name="absent thing", values=(3,)),
)
FEW = (
    "dicom-seg/dcmqi/data/segmentations/ct-3slice",
    "dicom-seg/dcmqi/data/segmentations/24x38x3/multiframe",  # enhanced
    "totalseg-tests/example_ct_dicom",  # identifiers emptied
)
ALL = (
    *FEW,
    "brain-mr-dicom/Study1/13_HCropVolume",
    "brain-mr-dicom/Study2/14_HCropVolume",
    "brain-mr-dicom/Study3/11_HCropVolume",
    "brain-mr-dicom/Study3/11-T1post-18670",
    "dicom-awkward/pydicom/dicomdirtests/98892001/CT5N",
    "dicom-seg/breast-dce-mr/UCSF-BR-06/image_dce_ser",
    "dicom-seg/dcmqi/data/segmentations/23x38x3/image",
    "dicom-seg/dcmqi/data/segmentations/23x38x3/multiframe",
    "dicom-seg/dcmqi/data/segmentations/24x38x3/image",
    "sts-ct-mr-pet/dicom/STS_019/CT/image",  # a StudyID that is too long
    "sts-ct-mr-pet/dicom/STS_019/MR_T1/image",
    "sts-ct-mr-pet/dicom/STS_019/PET/image",
)


def check(series, out):
    if not series.exists():
        pytest.skip(f"{series.name} is not among the data sets")
    grid = read_header(series).grid
    label_map = np.zeros(grid.shape, np.uint8)
    z, y, x = grid.shape
    label_map[z // 3 : 2 * z // 3 + 1, y // 3 : y // 2, x // 3 : x // 2] = 1
    label_map[z // 2, y // 2 : y // 2 + 2, x // 2 :] = 2
    write_segmentation(out / "seg.dcm", label_map, series, LABELS)
    measured = measure(label_map, grid, LABELS)
    write_report(out / "sr.dcm", out / "seg.dcm", series, LABELS, measured)
    for name in ("seg.dcm", "sr.dcm"):
        assert conformance_errors(out / name) == []
    assert read_volumes_ml(out / "sr.dcm") == [round(found.volume_ml, 6) for found in measured]
    write_label(out / "map.nii.gz", label_map, series)
    nifti = read_label(out / "map.nii.gz")
    check_same_grid(grid, nifti.grid, "map.nii.gz")
    for number in (1, 2):
        np.testing.assert_array_equal(read_structure(out / f"seg.dcm#{number}", nifti.grid), nifti.array[0] == number)


@pytest.mark.parametrize("series", FEW)
def test_segmentation_and_report_conform(datasets_dir, tmp_path, series):
    check(datasets_dir / series, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("series", ALL)
def test_segmentation_and_report_of_every_series_conform(datasets_dir, tmp_path, series):
    check(datasets_dir / series, tmp_path)


def test_a_real_tilted_head_with_uneven_slices_is_mended(datasets_dir):
    folder = datasets_dir / "dicom-awkward" / "dcm_qa_ct" / "In" / "GE"
    if not folder.exists():
        pytest.skip("dcm_qa_ct is not among the data sets")
    head = read_image(folder, ReadOptions(resample=True))
    assert [note.partition(":")[0] for note in head.notes] == ["variable spacing", "gantry tilt of 18.5 degrees"]
    matrix = np.asarray(head.grid.affine)[:3, :3] / head.grid.spacing_mm
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(3), atol=1e-4)
    bone = head.array[0] > 300
    assert bone.any()
    # Upright, the middle of the skull does not drift from slice to slice by the tilt's 0.33 mm a millimetre.
    rows = [np.average(np.arange(plane.shape[0]), weights=plane.sum(axis=1)) for plane in bone if plane.any()]
    drift = np.polyfit(np.arange(len(rows)) * head.grid.spacing_mm[0], np.array(rows) * head.grid.spacing_mm[1], 1)[0]
    assert abs(drift) < 0.2
