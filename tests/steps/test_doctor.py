"""Each fault is put into realistic cases and the findings are counted: all of the faulty ones, none of the others."""

import gzip
import json

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from autoseg.core.workspace import open_workspace
from autoseg.datasets.options import Options
from autoseg.steps.inspect import inspect

SHAPE = (16, 24, 20)
CASES = 12


def organ(index):
    """An image of a bright ellipsoid off the centre, of another size and texture in each case, with its label."""
    rng = np.random.default_rng(index)
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    radii = rng.uniform(3, 5, 3)
    centre = np.array([6, 9, 7]) + rng.uniform(-1, 1, 3)
    label = sum(((a - c) / r) ** 2 for a, c, r in zip((z, y, x), centre, radii, strict=True)) < 1
    texture = ndimage.gaussian_filter(rng.normal(0, 1, SHAPE), 2) * 60
    image = 100 + 80 * label + texture + rng.normal(0, 5, SHAPE)
    image[:, -6:] = rng.normal(0, 5, image[:, -6:].shape)  # air
    return image.astype(np.float32), label.astype(np.uint8)


def save(path, array, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array.transpose(2, 1, 0), np.eye(4) if affine is None else affine), path)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("doctor") / "data"
    for index in range(CASES):
        image, label = organ(index)
        save(folder / "images" / f"c{index:02d}.nii.gz", image)
        save(folder / "labels" / f"c{index:02d}.nii.gz", label)
    return folder


@pytest.fixture
def folder(template, tmp_path):
    """The sound cases under a name of this test's own; links, so that nothing is written anew."""
    for path in template.rglob("*.nii.gz"):
        link = tmp_path / "data" / path.relative_to(template)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.hardlink_to(path)
    return tmp_path / "data"


def put(folder, kind, index, array, affine=None):
    path = folder / kind / f"c{index:02d}.nii.gz"
    path.unlink()
    save(path, array, affine)
    return f"{kind}/{path.name}"


def put_both(folder, index, affine=None, part=(slice(None),) * 3):
    image, label = organ(index)
    put(folder, "labels", index, label[part].copy(), affine)
    return put(folder, "images", index, image[part].copy(), affine)


def found(folder):
    workspace = open_workspace(folder.with_suffix(".autoseg"), folder, 0)
    return inspect(folder, workspace, Options()).findings


def told(folder):
    return [(f.severity, f.where) for f in found(folder)]


def test_sound_cases_have_no_findings(folder):
    assert found(folder) == ()


def test_every_turned_label_is_found_and_no_other(folder):
    turned = {
        put(folder, "labels", 1, organ(1)[1][::-1]): "mirrored along z",
        put(folder, "labels", 4, organ(4)[1][:, ::-1]): "mirrored along y",
        put(folder, "labels", 7, organ(7)[1][:, :, ::-1]): "mirrored along x",
        put(folder, "labels", 9, organ(9)[1][:, ::-1, ::-1]): "mirrored along y and x",
    }
    assert {f.where: f.what.split(" when ")[1].split(":")[0] for f in found(folder)} == turned


def test_a_dataset_of_turned_labels_is_told_once(folder):
    for index in range(CASES):
        put(folder, "labels", index, organ(index)[1][:, :, ::-1])
    (finding,) = found(folder)
    assert (finding.where, finding.what) == (
        "labels",
        "100% of the labels lie better on the edges of their images mirrored along x",
    )


@pytest.mark.parametrize(
    ("shift_mm", "severity"), [(0.09, None), (0.11, "warning"), (0.49, "warning"), (0.51, "error"), (3.0, "error")]
)
def test_a_displaced_label_is_accepted_told_or_refused_by_tenths_and_halves_of_a_voxel(folder, shift_mm, severity):
    affine = np.eye(4)
    affine[1, 3] = shift_mm
    where = put(folder, "labels", 3, organ(3)[1], affine)
    findings = found(folder)
    assert [(f.severity, f.where) for f in findings] == ([] if severity is None else [(severity, where)])
    if severity:
        assert f"{shift_mm:.3g} mm ({shift_mm:.3g} voxels)" in findings[0].what


def test_noisy_and_rescaled_copies_are_found_also_among_test_images(folder):
    rng = np.random.default_rng(0)
    copy = put(folder, "images", 5, organ(2)[0] + rng.normal(0, 3, SHAPE).astype(np.float32))
    leak = folder / "imagesTs" / "new.nii.gz"
    save(leak, organ(8)[0][:, :, ::-1] * 3 + 7, np.diag([-1.0, 1, 1, 1]))  # the same place, stored the other way
    put(folder, "labels", 5, organ(2)[1])
    findings = found(folder)
    assert [(f.severity, f.where) for f in findings] == [("warning", copy), ("warning", "imagesTs/new.nii.gz")]
    assert "nearly the same image as images/c02.nii.gz (correlation 0.99" in findings[0].what
    assert findings[1].what.startswith("nearly the same image as images/c08.nii.gz")
    assert findings[1].what.endswith("which trains")


def test_unusual_spacing_field_orientation_and_intensity_are_told_once_each(folder):
    spacing = put_both(folder, 1, np.diag([3.0, 3, 3, 1]))
    small = put_both(folder, 2, part=(slice(8, 15), slice(8, 24), slice(3, 12)))
    axes = put_both(folder, 3, np.diag([-1.0, -1, 1, 1]))
    bright = put(folder, "images", 4, organ(4)[0] * 40)
    whats = [(f.where, f.what.partition(" where ")[0]) for f in found(folder)]
    assert sorted(whats) == [
        (spacing, "voxels of 3 x 3 x 3 mm (z, y, x)"),
        (small, "a field of view of 7 x 16 x 9 mm (z, y, x)"),
        (axes, "its axes point to LPS (x, y, z)"),
        (bright, next((what for where, what in whats if where == bright), "")),
    ]


def test_a_second_kind_of_image_is_a_note_and_no_outlier(folder):
    for index in (1, 2, 3):
        put(folder, "images", index, organ(index)[0] * 40)
    (finding,) = found(folder)
    assert finding.severity == "note"
    assert "(so are 2 more of 12: no outliers but a second kind)" in finding.what


@pytest.mark.parametrize(("shear", "severity"), [(0.001, None), (0.02, "warning"), (0.2, "error")])
def test_axes_that_are_not_at_right_angles_are_told_or_refused(folder, shear, severity):
    affine = np.eye(4)
    affine[1, 2] = shear
    where = put_both(folder, 6, affine)
    assert told(folder) == ([] if severity is None else [(severity, where)])


def test_a_header_bomb_is_refused_without_allocating(folder):
    path = folder / "images" / "c06.nii.gz"
    path.unlink()
    data = bytearray(nib.Nifti1Image(np.zeros((2, 2, 2), np.float32), np.eye(4)).to_bytes())
    data[40:56] = np.array([3, 32000, 32000, 32000, 1, 1, 1, 1], "<i2").tobytes()  # dim: 131 TB of float32
    path.write_bytes(gzip.compress(bytes(data)))
    (finding,) = [f for f in found(folder) if f.severity == "error"]
    assert (finding.where, "more than" in finding.what) == ("images/c06.nii.gz", True)


def test_left_and_right_are_noted_and_an_empty_label_is_told(folder):
    put(folder, "labels", 2, np.zeros(SHAPE, np.uint8))
    pairs = [{"image": f"images/c{i:02d}.nii.gz", "label": f"labels/c{i:02d}.nii.gz"} for i in range(CASES)]
    labels = {"0": "background", "1": "kidney_left", "2": "kidney_right"}
    (folder / "dataset.json").write_text(json.dumps({"labels": labels, "training": pairs}))
    assert told(folder) == [("warning", "labels/c02.nii.gz"), ("note", "labels")]
