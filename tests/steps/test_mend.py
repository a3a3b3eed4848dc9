"""A mended copy: faults of every kind go in, the copy is sound, the log tells each, the original keeps every byte."""

import hashlib
import shutil

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from autoseg.cli import run
from autoseg.core.errors import AutosegError
from autoseg.core.records import read_record
from autoseg.datasets.options import Options
from autoseg.datasets.read_case import read_case
from autoseg.datasets.understand import study, understand
from autoseg.steps.mend import Mended, describe, mend

PLAIN = Options()


def image(index):
    return np.random.default_rng(index).normal(100, 20, (6, 10, 12)).astype(np.float32)


def label():
    array = np.zeros((6, 10, 12), np.uint8)
    array[1:4, 2:6, 2:7] = 1
    return array


def save(path, array, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array.transpose(2, 1, 0), np.eye(4) if affine is None else affine), path)


def bytes_of(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def folder(tmp_path):
    for index in range(7):
        save(tmp_path / "data" / "images" / f"c{index}.nii.gz", image(index))
        save(tmp_path / "data" / "labels" / f"c{index}.nii.gz", label())
    (tmp_path / "data" / "README.md").write_text("from the scanner")
    return tmp_path / "data"


def test_faults_are_mended_or_left_out_and_told_and_the_original_is_untouched(folder, tmp_path):
    moved = np.eye(4)
    moved[0, 3] = 0.3
    save(folder / "labels" / "c1.nii.gz", label(), moved)
    holed = image(2)
    holed[3, 4, 5:7] = np.nan, np.inf
    save(folder / "images" / "c2.nii.gz", holed)
    skewed = np.eye(4)
    skewed[1, 2] = 0.05
    save(folder / "images" / "c3.nii.gz", image(3), skewed)
    save(folder / "labels" / "c3.nii.gz", label(), skewed)
    shutil.copy(folder / "images" / "c0.nii.gz", folder / "images" / "c4.nii.gz")
    (folder / "images" / "c5.nii.gz").write_bytes((folder / "images" / "c5.nii.gz").read_bytes()[:-300])
    (folder / "labels" / "c6.nii.gz").unlink()
    save(folder / "images" / "c7.nii.gz", image(7))
    save(folder / "labels" / "c7.nii.gz", np.ones((6, 10, 11), np.uint8))
    before = bytes_of(folder)
    log = mend(folder, tmp_path / "mended", PLAIN, {})
    assert bytes_of(folder) == before
    assert (log.cases, log.test_cases) == (4, 0)
    assert [(change.where, change.what) for change in log.changed] == [
        ("labels/c1.nii.gz", "given the geometry of its image, 0.3 mm (0.3 voxels) away"),
        ("images/c2.nii.gz", "2 NaN or infinite voxels are the channel's minimum"),
        ("images/c3.nii.gz", log.changed[2].what),
        ("labels/c3.nii.gz", log.changed[3].what),
    ]
    assert log.changed[2].what.startswith("axes set at right angles; corners moved by 0.1")
    assert [change.where for change in log.left_out] == [f"images/c{index}.nii.gz" for index in (4, 5, 7, 6)]
    assert (log.left_out[0].what, log.left_out[3].what) == ("the same image as images/c0.nii.gz", "image without label")
    assert read_record(tmp_path / "mended" / "mended.json", Mended) == log
    after = bytes_of(tmp_path / "mended")
    same = ("README.md", "images/c0.nii.gz", "labels/c0.nii.gz", "images/c1.nii.gz", "labels/c2.nii.gz")
    assert all(after[name] == before[name] for name in same)
    found = study(tmp_path / "mended", PLAIN, {})
    assert (found.findings, [case.name for case in found.dataset.cases]) == ((), ["c0", "c1", "c2", "c3"])
    arrays = read_case(found.dataset, found.dataset.cases[2])
    assert arrays.image.array[0, 3, 4, 5] == arrays.image.array[0, 3, 4, 6] == holed[np.isfinite(holed)].min()
    np.testing.assert_array_equal(arrays.label, label())
    assert "left out images/c5.nii.gz" in describe(log, tmp_path / "mended")


def test_gray_levels_and_stray_values_become_label_values(tmp_path):
    levels = np.array([[0, 0, 255, 255, 3], [0, 255, 255, 250, 0]], np.uint8).repeat(40, 0).repeat(40, 1)
    levels[:40, 160:] = 0
    levels[0, 0], levels[40, 120] = 3, 250
    levels[40:, 120:160] = 255
    levels[41, 121] = 250
    for index in range(2):
        for kind, array in (("images", np.roll(levels, index, 0)), ("labels", levels)):
            (tmp_path / "data" / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(tmp_path / "data" / kind / f"{index}.png")
    with pytest.raises(AutosegError, match="stray label values"):
        understand(tmp_path / "data", PLAIN)
    log = mend(tmp_path / "data", tmp_path / "mended", PLAIN, {})
    assert len(log.changed) == 2
    dataset = understand(tmp_path / "mended", PLAIN)
    assert dataset.value_map == ()
    mended = np.asarray(Image.open(tmp_path / "mended" / "labels" / "0.png"))
    np.testing.assert_array_equal(mended, (levels > 127).astype(np.uint8))


def test_a_place_inside_the_dataset_or_with_something_in_it_is_refused(folder, tmp_path):
    with pytest.raises(AutosegError, match="lies inside the dataset"):
        mend(folder, folder / "mended", PLAIN, {})
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    with pytest.raises(AutosegError, match="exists and is not empty"):
        mend(folder, tmp_path / "full", PLAIN, {})


def test_the_command_line_proposes_mends_and_leaves_1_for_findings_and_2_for_no_understanding(
    folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert run(["inspect", "data", "--write-json", "-q"]) == 0
    assert '"label_1": 1' in (tmp_path / "data.autoseg" / "autoseg.json").read_text()
    save(folder / "labels" / "c1.nii.gz", label() * 0)
    assert run(["inspect", "data", "--fix", "sound", "--workspace", "w.autoseg"]) == 1
    assert "mended: sound (7 labelled cases, 0 unlabelled)" in capsys.readouterr().err
    (tmp_path / "none").mkdir()
    assert run(["inspect", "none", "-q"]) == 2
