"""Images and labels whose names say nothing, paired by where their voxels lie."""

import nibabel as nib
import numpy as np
import pytest

from autoseg.core.errors import AutosegError
from autoseg.datasets.options import Options
from autoseg.datasets.read_case import read_case
from autoseg.datasets.understand import study, understand

NAMES = Options(images="scans/*.nii.gz", labels="drawn/*.nii.gz")


def save(path, array, affine):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)


def scan(folder, name, origin):
    rng = np.random.default_rng(len(name))
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    affine[:3, 3] = origin
    array = rng.normal(size=(6, 7, 5)).astype(np.float32)
    save(folder / "scans" / f"{name}.nii.gz", array, affine)
    return affine


def flipped_label(folder, name, affine):
    """Save a label whose y axis runs the other way: the same voxels in space."""
    label = np.zeros((6, 7, 5), np.uint8)
    label[1:3, 4:6, 2] = 1
    turned = affine @ np.array([[1, 0, 0, 0], [0, -1, 0, 6], [0, 0, 1, 0], [0, 0, 0, 1]])
    save(folder / "drawn" / f"{name}.nii.gz", label[:, ::-1], turned)


def test_flipped_labels_find_their_images(tmp_path):
    flipped_label(tmp_path, "second", scan(tmp_path, "alpha", (0, 0, 0)))
    flipped_label(tmp_path, "first", scan(tmp_path, "beta", (10, 0, 0)))
    dataset = understand(tmp_path, NAMES)
    pairs = {(case.images[0], case.references[0]) for case in dataset.cases}
    assert pairs == {
        ("scans/alpha.nii.gz", "drawn/second.nii.gz"),
        ("scans/beta.nii.gz", "drawn/first.nii.gz"),
    }
    assert ("pairing", "the same voxels in space") in [(i.what, i.because) for i in dataset.inferences]
    label = read_case(dataset, dataset.cases[0]).label
    assert label[2, 4:6, 1:3].all()
    assert label.sum() == 4


def test_a_label_a_tenth_of_a_voxel_away_is_not_paired(tmp_path):
    affine = scan(tmp_path, "alpha", (0, 0, 0))
    scan(tmp_path, "beta", (50, 0, 0))
    affine[0, 3] += 0.2
    flipped_label(tmp_path, "first", affine)
    flipped_label(tmp_path, "second", affine)
    with pytest.raises(AutosegError, match="no label has the name of an image"):
        understand(tmp_path, NAMES)


def test_two_labels_on_one_grid_are_a_question(tmp_path):
    affine = scan(tmp_path, "alpha", (0, 0, 0))
    scan(tmp_path, "beta", (50, 0, 0))
    flipped_label(tmp_path, "first", affine)
    flipped_label(tmp_path, "second", affine)
    with pytest.raises(AutosegError, match=r"on the grid of scans/alpha.nii.gz: drawn/first.nii.gz, drawn/second"):
        understand(tmp_path, NAMES)


def test_of_several_labels_on_one_grid_the_plainest_name_is_taken_and_the_others_are_told(tmp_path):
    flipped_label(tmp_path, "seg", scan(tmp_path, "alpha", (0, 0, 0)))
    flipped_label(tmp_path, "seg_fast", scan(tmp_path, "alpha", (0, 0, 0)))
    flipped_label(tmp_path, "other", scan(tmp_path, "beta", (50, 0, 0)))
    found = study(tmp_path, NAMES, {})
    assert [case.references for case in found.dataset.cases] == [("drawn/seg.nii.gz",), ("drawn/other.nii.gz",)]
    assert [(f.severity, f.where) for f in found.findings] == [("warning", "drawn/seg_fast.nii.gz")]


def test_images_on_one_grid_are_a_question(tmp_path):
    affine = scan(tmp_path, "alpha", (0, 0, 0))
    scan(tmp_path, "beta", (0, 0, 0))
    flipped_label(tmp_path, "first", affine)
    flipped_label(tmp_path, "second", affine)
    with pytest.raises(AutosegError, match=r"drawn/first.nii.gz lies on the grid of several images: scans/alpha"):
        understand(tmp_path, NAMES)
