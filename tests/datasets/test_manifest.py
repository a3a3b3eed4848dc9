"""A dataset is what its cases hold, and a model knows what it was trained on."""

import gzip
import shutil

import numpy as np
import pytest

from autoseg.core.records import read_record, write_record
from autoseg.core.workspace import open_workspace
from autoseg.datasets.manifest import Manifest, TrainingCases, read_training_cases, training_cases_of
from autoseg.datasets.options import Options
from autoseg.imaging.content import content_digest
from autoseg.imaging.read import read_image, read_label
from autoseg.imaging.write import write_label
from autoseg.steps.inspect import inspect


def looked(folder):
    workspace = open_workspace(folder.with_suffix(".autoseg"), folder, 0)
    inspect(folder, workspace, Options())
    return workspace, read_record(workspace.manifest, Manifest)


@pytest.fixture
def other(scans):
    """The same three cases otherwise compressed, in other formats and under other names."""
    folder = scans(3)
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    image = copy / "images" / "case_00.nii.gz"
    (copy / "images" / "case_00.nii").write_bytes(gzip.decompress(image.read_bytes()))
    image.unlink()
    label = copy / "labels" / "case_01.nii.gz"
    write_label(copy / "labels" / "case_01.nrrd", read_label(label).array[0], read_image(label))
    label.unlink()
    for kind in ("images", "labels"):
        (copy / kind / "case_02.nii.gz").rename(copy / kind / "renamed.nii.gz")
    return folder, copy


def test_the_identity_survives_formats_compression_and_names(other):
    one, same = (looked(folder)[1] for folder in other)
    assert one.identity == same.identity
    assert {case.content for case in one.cases} == {case.content for case in same.cases}
    assert len({case.content for case in one.cases}) == 3


@pytest.mark.parametrize("kind", ["images", "labels"])
def test_one_voxel_makes_another_dataset(scans, nifti, kind):
    folder = scans(3)
    before = looked(folder)[1].identity
    path = folder / kind / "case_01.nii.gz"
    array = read_image(path).array[0].copy()
    array[2, 3, 4] += 1
    nifti(path, array)
    assert looked(folder)[1].identity != before


def test_another_place_makes_another_dataset(scans, nifti):
    folder = scans(1)
    before = looked(folder)[1].identity
    for kind in ("images", "labels"):
        path = folder / kind / "case_00.nii.gz"
        nifti(path, read_image(path).array[0], (1.0, 1.0, 1.001))
    assert looked(folder)[1].identity != before


def test_values_are_compared_and_not_how_they_are_stored():
    values = np.arange(24).reshape(2, 3, 4)
    digests = {content_digest(values.astype(kind)) for kind in (np.uint8, np.int16, ">i4", np.float32, np.float64)}
    assert len(digests) == 1
    assert content_digest(values.astype(np.int16).reshape(2, 4, 3)) not in digests
    assert content_digest(np.array([-0.0])) == content_digest(np.array([0.0]))


def test_a_model_keeps_digests_and_no_names(scans, tmp_path):
    workspace, _ = looked(scans(3))
    write_record(tmp_path / "training_cases.json", training_cases_of(workspace.findings))
    seen = read_training_cases(tmp_path)
    assert seen == {content_digest(read_image(path).array) for path in (tmp_path / "data" / "images").iterdir()}
    assert read_record(tmp_path / "training_cases.json", TrainingCases).images == tuple(sorted(seen))
    assert "case_00" not in (tmp_path / "training_cases.json").read_text(encoding="utf-8")
    assert read_training_cases(tmp_path / "elsewhere") == frozenset()
