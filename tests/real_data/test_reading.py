"""Every file of the public data sets is read, or refused for the reason that its owner's notes give."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from autoseg.core.errors import AutosegError
from autoseg.imaging.geometry import check_same_grid, corner_displacement_voxels, oriented_like
from autoseg.imaging.read import ending_of, read_header, read_image, read_label, series_folders
from autoseg.imaging.write import label_ending, write_label


def folder_of(datasets_dir: Path, name: str) -> Path:
    folder = datasets_dir / name
    if not folder.is_dir():
        pytest.skip(f"{name} is not among the data sets")
    return folder


@pytest.mark.parametrize(("modality", "tolerance"), [("CT", 0), ("MR_T1", 0), ("PET", 1e-6)])
def test_dicom_series_equals_its_nifti(datasets_dir, modality, tolerance):
    folder = folder_of(datasets_dir, "sts-ct-mr-pet")
    series = read_image(folder / "dicom" / "STS_019" / modality / "image")
    nifti = read_image(folder / "nifti" / "STS_019" / f"{modality}_image.nii.gz")
    assert series.array.shape == nifti.array.shape
    assert np.abs(series.array.astype(np.float64) - nifti.array).max() <= tolerance
    assert corner_displacement_voxels(nifti.grid, series.grid) < 1e-4


@pytest.mark.parametrize("name", [
    *("drive-retina", "dsb2018-nuclei", "isbi2012-em", "jsrt-chestxray", "msd-hippocampus", "nuclei3d-stardist"),
    *("pyradiomics-nrrd", "sem-axon-bids", "sts-ct-mr-pet", "totalseg-tests"),
])  # fmt: skip
def test_every_image_is_read_and_its_header_agrees(datasets_dir, name):
    files = [path for path in sorted(folder_of(datasets_dir, name).rglob("*")) if ending_of(path)]
    assert files
    for path in files[:: max(1, len(files) // 60)]:
        volume, header = read_image(path), read_header(path)
        assert (header.grid, header.channels, header.dtype) == (
            volume.grid,
            len(volume.array),
            volume.array.dtype.name,
        )


@pytest.mark.parametrize(("name", "pattern", "values"), [
    ("msd-hippocampus", "labels/*.nii.gz", {0, 1, 2}),
    ("isbi2012-em", "train/label/*.png", {0, 255}),
    ("jsrt-chestxray", "masks/masks/heart/*.gif", {0, 255}),
    ("drive-retina", "DRIVE/datasets/testing/1st_manual/*.gif", {0, 255}),
    ("drive-retina", "DRIVE/datasets/testing/2nd_manual/*.gif", {0, 1}),
    ("pyradiomics-nrrd", "data/prostate_phantom_subvolume-label.nrrd", {0, 1, 7, 8, 9}),
    ("sem-axon-bids", "derivatives/labels/sub-rat1/micr/*axonmyelin*.png", {0, 127, 255}),
])  # fmt: skip
def test_labels_hold_the_values_that_their_owner_names(datasets_dir, name, pattern, values):
    files = sorted(folder_of(datasets_dir, name).glob(pattern))[:10]
    assert files
    assert set().union(*(set(np.unique(read_label(path).array).tolist()) for path in files)) == values


def test_inverted_palette_of_the_radiographs_is_applied(datasets_dir):
    path = folder_of(datasets_dir, "jsrt-chestxray") / "jsrt_images/images/JPCLN001.IMG.png"
    assert read_image(path).array.shape == (1, 1, 2048, 2048)
    from PIL import Image

    with Image.open(path) as image:
        indexes = np.asarray(image)
    np.testing.assert_array_equal(read_image(path).array[0, 0], 255 - indexes)


def test_label_on_a_flipped_grid_fits_its_series_after_turning(datasets_dir):
    folder = folder_of(datasets_dir, "totalseg-tests")
    image = read_image(folder / "example_ct_dicom")
    label = read_label(folder / "example_seg_dicom.nii.gz")
    with pytest.raises(AutosegError, match="away from its image"):
        check_same_grid(image.grid, label.grid, "example_seg_dicom")
    turned = oriented_like(label, image.grid)
    check_same_grid(image.grid, turned.grid, "example_seg_dicom")
    bone = image.array[0][np.isin(turned.array[0], range(25, 51))]  # vertebrae in the published list of structures
    assert np.median(bone) > np.median(image.array[0][turned.array[0] > 0])


@pytest.mark.parametrize(("folder", "reason"), [
    ("dicom-awkward/dcm_qa_ct/In/GE", "slice distances vary"),
    ("dicom-awkward/pydicom/dicomdirtests/77654033/CT2", "lacks 161 of 165 slices"),
    ("dicom-awkward/pydicom/dicomdirtests/98892003/MR2", "holds 3 series"),
    ("dicom-awkward/pydicom/dicomdirtests/98892003/MR700", "mixes directions"),
    ("dicom-awkward/pydicom/MR_truncated.dcm", "truncated file"),
    ("dicom-awkward/pydicom/JPEG2000-embedded-sequence-delimiter.dcm", "cannot be decoded"),
    ("dicom-awkward/pydicom/rtstruct.dcm", "only RTSTRUCT"),
    ("dicom-awkward/pydicom-data/emri_small.dcm", "film of 10 frames"),
    ("dicom-seg/dcmqi/data/segmentations/24x38x3/seg", "only SEG"),
    ("brain-mr-dicom", "holds 4 series"),
])  # fmt: skip
def test_awkward_dicom_is_refused_for_the_right_reason(datasets_dir, folder, reason):
    if not (datasets_dir / folder).exists():
        pytest.skip(f"{folder} is not among the data sets")
    with pytest.raises(AutosegError, match=reason):
        read_image(datasets_dir / folder)


@pytest.mark.parametrize(("folder", "shape"), [
    ("brain-mr-dicom/Study3/11-T1post-18670", (1, 22, 320, 280)),
    ("totalseg-tests/example_ct_dicom", (1, 20, 512, 512)),
    ("dicom-seg/breast-dce-mr/UCSF-BR-06/image_dce_ser", (1, 60, 256, 256)),
    ("dicom-awkward/pydicom-data/eCT_Supplemental.dcm", (1, 2, 512, 512)),
    ("dicom-awkward/pydicom/JPGExtended.dcm", (1, 1, 1024, 256)),
])  # fmt: skip
def test_series_is_read_and_its_label_lies_on_it(datasets_dir, tmp_path, folder, shape):
    if not (datasets_dir / folder).exists():
        pytest.skip(f"{folder} is not among the data sets")
    volume = read_image(datasets_dir / folder)
    assert volume.array.shape == shape
    out = tmp_path / f"label{label_ending(datasets_dir / folder)}"
    write_label(out, np.ones(shape[1:], dtype=np.uint8), datasets_dir / folder)
    check_same_grid(volume.grid, read_label(out).grid, out)


def test_folders_of_series_are_found(datasets_dir):
    names = Counter(path.name for path in series_folders(folder_of(datasets_dir, "brain-mr-dicom")))
    assert names == Counter({"13_HCropVolume": 1, "14_HCropVolume": 1, "11_HCropVolume": 1, "11-T1post-18670": 1})
