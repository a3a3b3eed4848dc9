"""SEG and RTSTRUCT of public collections equal the masks that their owners give beside them."""

import numpy as np
import pytest

from autoseg.core.errors import AutosegError
from autoseg.datasets.load import load_label
from autoseg.datasets.options import Options
from autoseg.datasets.read_case import read_case
from autoseg.datasets.understand import study
from autoseg.imaging.read import read_header, read_label


def place(datasets_dir, *parts):
    path = datasets_dir.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{path.name} is not among the data sets")
    return path


@pytest.mark.parametrize(("modality", "voxels"), [("CT", 5564), ("MR_T1", 3856), ("PET", 239)])
def test_contours_of_a_tumour_are_exactly_the_given_mask(datasets_dir, modality, voxels):
    patient = place(datasets_dir, "sts-ct-mr-pet", "dicom", "STS_019", modality)
    given = read_label(datasets_dir / "sts-ct-mr-pet/nifti/STS_019" / f"{modality}_mask.nii.gz").array[0]
    drawn = load_label(patient / "mask" / "RS.dcm#1", read_header(patient / "image").grid)
    assert drawn.sum() == given.sum() == voxels
    np.testing.assert_array_equal(drawn, given)


@pytest.mark.parametrize(("series", "reference", "nrrd", "value"), [
    ("23x38x3/image", "23x38x3/seg/label.seg#1", "23x38x3/nrrd/label.nrrd", 1),  # frames do not end on a byte
    ("24x38x3/image", "24x38x3/seg/label.seg#1", "24x38x3/nrrd/label.nrrd", 1),
    ("23x38x3/multiframe/mf.dcm", "23x38x3/seg/label.seg#1", "23x38x3/nrrd/label.nrrd", 1),
    ("ct-3slice", "liver.dcm#1", "liver_seg.nrrd", 1),
    ("ct-3slice", "partial_overlaps.dcm#1", "partial_overlaps-1.nrrd", 1),
    ("ct-3slice", "partial_overlaps.dcm#2", "partial_overlaps-2.nrrd", 2),
    ("ct-3slice", "partial_overlaps.dcm#3", "partial_overlaps-3.nrrd", 3),
    ("ct-3slice", "partial_overlaps.dcm#4", "partial_overlaps-1.nrrd", 4),
    ("ct-3slice", "partial_overlaps.dcm#5", "partial_overlaps-1.nrrd", 5),
    ("24x38x3/image", "sparse-labelmap-noppv.dcm#1", "sparse_labelmap_noppv_seg.nrrd", 1),  # a frame is absent
    ("24x38x3/image", "sparse-labelmap-ppv5.dcm#1", "sparse_labelmap_ppv5_seg.nrrd", 1),
])  # fmt: skip
def test_segments_are_exactly_the_given_masks(datasets_dir, series, reference, nrrd, value):
    folder = place(datasets_dir, "dicom-seg", "dcmqi", "data", "segmentations")
    grid = read_header(folder / series).grid
    given = load_label(folder / nrrd, grid) == value
    assert given.any()
    np.testing.assert_array_equal(load_label(folder / reference, grid) != 0, given)


def test_several_segments_of_one_name_are_their_union(datasets_dir):
    folder = place(datasets_dir, "dicom-seg", "dcmqi", "data", "segmentations")
    grid = read_header(folder / "ct-3slice").grid
    parts = [load_label(folder / f"partial_overlaps.dcm#{number}", grid) for number in (1, 2)]
    np.testing.assert_array_equal(load_label(folder / "partial_overlaps.dcm#1+2", grid), parts[0] | parts[1])


def test_a_fractional_segmentation_lies_on_its_series(datasets_dir):
    folder = place(datasets_dir, "dicom-seg", "breast-dce-mr")
    dataset = study(folder, Options(), {}).dataset
    label = read_case(dataset, dataset.cases[0]).label
    assert label.sum() == 82527  # stored values of 255 in its 42 frames
    assert ("labels", "at least one half is foreground") in [(i.what, i.value) for i in dataset.inferences]


def test_contours_on_the_slices_of_another_series_are_refused(datasets_dir):
    patient = place(datasets_dir, "sts-ct-mr-pet", "dicom", "STS_019")
    grid = read_header(place(datasets_dir, "totalseg-tests", "example_ct_dicom")).grid
    with pytest.raises(AutosegError, match="mm beyond the image's slices"):
        load_label(patient / "CT" / "mask" / "RS.dcm#1", grid)


def test_segments_on_the_grid_of_another_series_are_refused(datasets_dir):
    folder = place(datasets_dir, "dicom-seg", "dcmqi", "data", "segmentations")
    grid = read_header(place(datasets_dir, "totalseg-tests", "example_ct_dicom")).grid
    with pytest.raises(AutosegError, match="do not lie on the voxels of the image"):
        load_label(folder / "liver.dcm#1", grid)
