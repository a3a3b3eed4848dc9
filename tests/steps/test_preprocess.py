import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from autoseg.core.errors import EXIT_RESOURCES, AutosegError, FullDiskError
from autoseg.core.labels import OUTSIDE
from autoseg.core.records import read_record, write_record
from autoseg.core.runtime import digest_file
from autoseg.core.workspace import open_workspace
from autoseg.datasets.dataset import Dataset, Fold, Folds
from autoseg.datasets.options import Options
from autoseg.imaging.store import CaseStore
from autoseg.predicting.records import CasePrediction
from autoseg.steps.fingerprint import make_fingerprint
from autoseg.steps.inspect import inspect
from autoseg.steps.preprocess import preprocess
from planners.plan import Plan
from tests.builders import configuration


def save(path, array, spacing_xyz):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array.transpose(2, 1, 0), np.diag([*spacing_xyz, 1.0])), path)


@pytest.fixture
def workspace(tmp_path):
    """Three cases at 1 x 1 x 2 mm (x, y, z), nonzero in 8 x 8 x 5 voxels, and a plan for 1 mm."""
    folder = tmp_path / "data"
    for index in range(3):
        image = np.zeros((6, 10, 12), np.float32)
        image[1:, 2:, 4:] = np.random.default_rng(index).uniform(1, 100, (5, 8, 8))
        image[1, 2, 4] = 0
        label = np.zeros(image.shape, np.uint8)
        label[2:5, 4:9, 5:9] = 1
        label[3, 8, 9:12] = 5
        save(folder / "images" / f"c{index}.nii.gz", image, (1.0, 1.0, 2.0))
        save(folder / "labels" / f"c{index}.nii.gz", label, (1.0, 1.0, 2.0))
    opened = open_workspace(tmp_path / "data.autoseg", folder, 0)
    inspect(folder, opened, Options())
    fingerprint = make_fingerprint(opened)
    plan = Plan(
        dataset="data",
        recipe="auto",
        channels=("image",),
        labels=fingerprint.labels,
        target="labels",
        transpose=(0, 1, 2),
        configurations=(configuration(3), configuration(2)),
        decisions=(),
    )
    write_record(opened.plan, plan)
    return opened


@pytest.fixture
def cascade(workspace):
    """The same with a cascade, and what the stage before predicted: the reference one voxel further in x, value 5."""
    full = configuration(3)
    steps = (full, replace(full, name="3d_lowres"), replace(full, name="3d_cascade_fullres", previous="3d_lowres"))
    write_record(workspace.plan, replace(read_record(workspace.plan, Plan), configurations=steps))
    folds = tuple(Fold(train=(f"c{(i + 1) % 3}",), validation=(f"c{i}",)) for i in range(3))
    write_record(workspace.folds, Folds(because="three", folds=folds))
    for index in range(3):
        output = workspace.validation("3d_lowres", index)
        predicted = np.zeros((6, 10, 12), np.uint8)
        predicted[2:5, 4:9, 6:10] = 5
        save(output / f"c{index}.nii.gz", predicted, (1.0, 1.0, 2.0))
        record = CasePrediction(
            case=f"c{index}",
            file=f"c{index}.nii.gz",
            output_digest=digest_file(output / f"c{index}.nii.gz"),
            inputs=(),
            input_digest="",
            model_digest="",
            seconds=1.0,
            peak_memory_bytes=1,
            warnings=(),
            measurements=(),
        )
        write_record(output / "records" / f"c{index}.json", record)
    return workspace


def stored(workspace, name="3d_fullres"):
    return CaseStore(workspace.preprocessed(name))


def test_every_case_lies_cropped_and_resampled_in_the_store(workspace):
    preprocess(workspace, "3d_fullres")
    store = stored(workspace)
    assert store.names == ("c0", "c1", "c2")
    assert store.shape("c0") == (10, 8, 8)
    mapping = store.mapping("c0")
    assert (mapping.crop_lower, mapping.crop_upper) == ((1, 2, 4), (6, 10, 12))
    image = store.read_image("c0", (0, 0, 0), (10, 8, 8))
    assert image.shape == (1, 10, 8, 8)
    assert abs(float(image.mean())) < 0.1
    assert 0.7 < float(image.std()) < 1.1


def test_labels_are_class_indexes_and_their_places_are_remembered(workspace):
    preprocess(workspace, "3d_fullres")
    store = stored(workspace)
    label = store.read_label("c1", (0, 0, 0), (10, 8, 8))
    assert set(np.unique(label)) == {OUTSIDE, 0, 1, 2}, "value 5 is the second label"
    first, second = store.locations("c1")
    assert len(first) == (label == 1).sum()
    assert (label[0][tuple(second.T)] == 2).all()


def test_a_2d_configuration_leaves_the_slices_alone(workspace):
    preprocess(workspace, "2d")
    assert stored(workspace, "2d").shape("c0") == (5, 8, 8)


def written(workspace):
    folder = workspace.preprocessed("3d_fullres")
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.json")}


def test_a_second_call_makes_only_what_changed(workspace):
    preprocess(workspace, "3d_fullres")
    before = written(workspace)
    preprocess(workspace, "3d_fullres")
    assert written(workspace) == before

    image = workspace.preprocessed("3d_fullres") / "c1.image.b2nd"
    image.write_bytes(image.read_bytes()[:-1])
    dataset = read_record(workspace.dataset, Dataset)
    label = nib.load(f"{dataset.folder}/labels/c2.nii.gz")
    nib.save(nib.Nifti1Image(np.asarray(label.dataobj) * 0 + 1, label.affine), f"{dataset.folder}/labels/c2.nii.gz")
    preprocess(workspace, "3d_fullres")
    after = written(workspace)
    assert {name for name in after if after[name] != before[name]} == {"c1.json", "c2.json"}
    assert set(np.unique(stored(workspace).read_label("c2", (0, 0, 0), (10, 8, 8)))) == {1}


def test_another_plan_makes_all_cases_anew_but_another_batch_does_not(workspace):
    preprocess(workspace, "3d_fullres")
    before = written(workspace)
    plan = read_record(workspace.plan, Plan)
    larger = replace(plan.configurations[0], batch=7)
    write_record(workspace.plan, replace(plan, configurations=(larger,)))
    preprocess(workspace, "3d_fullres")
    assert written(workspace) == before
    coarser = replace(larger, spacing_mm=(2.0, 2.0, 2.0))
    write_record(workspace.plan, replace(plan, configurations=(coarser,)))
    preprocess(workspace, "3d_fullres")
    assert stored(workspace).shape("c2") == (5, 4, 4)
    assert set(written(workspace)) == set(before)


def test_two_runs_give_the_same_bytes(workspace):
    preprocess(workspace, "3d_fullres")
    folder = workspace.preprocessed("3d_fullres")
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    for path in folder.iterdir():
        path.unlink()
    preprocess(workspace, "3d_fullres")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first


def test_worker_processes_give_what_one_process_gives(workspace, monkeypatch):
    preprocess(workspace, "3d_fullres")
    folder = workspace.preprocessed("3d_fullres")
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    for path in folder.iterdir():
        path.unlink()
    monkeypatch.setattr("autoseg.steps.preprocess._WORTH_WORKERS_VOXELS", 0)
    monkeypatch.setattr("autoseg.steps.preprocess.cores", lambda: 2)
    preprocess(workspace, "3d_fullres")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first


def test_an_unknown_configuration_is_refused_with_those_that_exist(workspace):
    with pytest.raises(AutosegError, match="no configuration 3d_lowres; choose among 3d_fullres, 2d"):
        preprocess(workspace, "3d_lowres")


def test_a_case_that_broke_after_the_inspection_is_named(workspace):
    folder = read_record(workspace.dataset, Dataset).folder
    path = workspace.root.parent / "data" / "images" / "c1.nii.gz"
    assert str(path).startswith(folder)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(AutosegError, match=r"c1.nii.gz: the compressed data ends too early"):
        preprocess(workspace, "3d_fullres")
    assert not (workspace.preprocessed("3d_fullres") / "c1.json").exists()


def test_a_cascades_case_holds_what_was_predicted_for_it_out_of_fold(cascade):
    preprocess(cascade, "3d_cascade_fullres")
    preprocess(cascade, "3d_fullres")
    store, plain = stored(cascade, "3d_cascade_fullres"), stored(cascade)
    label = store.read_label("c1", (0, 0, 0), (10, 8, 8))
    assert label.shape == (2, 10, 8, 8)
    np.testing.assert_array_equal(label[:1], plain.read_label("c1", (0, 0, 0), (10, 8, 8)))
    expected = np.zeros((10, 8, 8), bool)
    expected[2:8, 2:7, 2:6] = True  # twice as many slices, cropped by (1, 2, 4)
    np.testing.assert_array_equal(label[1] == 5, expected)
    for ours, theirs in zip(store.locations("c1"), plain.locations("c1"), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_new_prediction_makes_its_case_anew_and_no_other(cascade):
    preprocess(cascade, "3d_cascade_fullres")
    folder = cascade.preprocessed("3d_cascade_fullres")
    first = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    output = cascade.validation("3d_lowres", 2)
    save(output / "c2.nii.gz", np.zeros((6, 10, 12), np.uint8), (1.0, 1.0, 2.0))
    (folder / "c2.json").unlink()
    with pytest.raises(AutosegError, match=r"c2\.nii\.gz: missing or not what was predicted"):
        preprocess(cascade, "3d_cascade_fullres")
    path = output / "records" / "c2.json"
    record = replace(read_record(path, CasePrediction), output_digest=digest_file(output / "c2.nii.gz"))
    write_record(path, record)
    preprocess(cascade, "3d_cascade_fullres")
    changed = {path.name for path in folder.iterdir() if path.stat().st_mtime_ns != first[path.name]}
    assert {name[:2] for name in changed} == {"c2"}


def test_a_cascade_waits_for_every_fold_of_the_stage_before(cascade):
    (cascade.validation("3d_lowres", 1) / "records" / "c1.json").unlink()
    with pytest.raises(AutosegError, match="3d_lowres has not predicted c1 out of fold 1; train every fold"):
        preprocess(cascade, "3d_cascade_fullres")


@pytest.mark.parametrize(("name", "voxels"), [("3d_fullres", 8 * 8 * 10), ("2d", 8 * 8 * 5)])
def test_a_disk_without_room_for_all_cases_is_told_before_the_first(workspace, monkeypatch, name, voxels):
    needed = int(1.2 * 3 * voxels * (4 + 2))  # three cases of a float32 channel and an int16 label map
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, needed - 1))
    match = rf"preprocess {name} of 3 cases needs about {needed:,} bytes on this disk, {needed - 1:,} are free"
    with pytest.raises(FullDiskError, match=match) as caught:
        preprocess(workspace, name)
    assert caught.value.exit_code == EXIT_RESOURCES
    assert "\n" not in str(caught.value)
    assert not list(workspace.preprocessed(name).glob("*"))
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 0, 10**9))
    preprocess(workspace, name)
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 0))
    preprocess(workspace, name)  # nothing is left to write
