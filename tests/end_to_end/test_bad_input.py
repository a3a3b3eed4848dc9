"""What a user may get wrong ends with one line that names file, place and mend, exit code 2, nothing half-written."""

import gzip

import nibabel as nib
import numpy as np
import pytest

from autoseg import cli
from tests.end_to_end.conftest import write_dataset

CASE = "case_01.nii.gz"


@pytest.fixture
def dataset(tmp_path):
    return write_dataset(tmp_path / "tiny", 3)


def change(path, edit, dtype=None):
    """Rewrite a NIfTI file with `edit(array)`."""
    image = nib.load(path)
    array = edit(np.asanyarray(image.dataobj).copy())
    nib.save(nib.Nifti1Image(array.astype(dtype or array.dtype), image.affine), path)


def without_label(folder):
    (folder / "labels" / CASE).unlink()
    return CASE, "label"


def another_shape(folder):
    change(folder / "labels" / CASE, lambda array: array[:-2])
    return CASE, "voxels (x, y, z)"


def another_place(folder):
    image = nib.load(folder / "labels" / CASE)
    moved = image.affine.copy()
    moved[:3, 3] += 30
    nib.save(nib.Nifti1Image(np.asanyarray(image.dataobj), moved), folder / "labels" / CASE)
    return CASE, "mm"


def truncated(folder):
    path = folder / "images" / CASE
    path.write_bytes(path.read_bytes()[:-2000])
    return CASE, "ends too early"


def truncated_inside(folder):
    path = folder / "images" / CASE
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-5000]))
    return CASE, "bytes"


def not_integer(folder):
    change(folder / "labels" / CASE, lambda array: array * 0.5, np.float32)
    return CASE, "whole numbers"


def not_a_number(folder):
    def edit(array):
        array = array.astype(np.float32)
        array[3, 4, 5] = np.nan
        return array

    change(folder / "images" / CASE, edit)
    return CASE, "NaN"


def empty(folder):
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    return folder.name, "no "


def absent(folder):
    empty(folder)
    folder.rmdir()
    return folder.name, "no such folder"


def undeclared_value(folder):
    import json

    cases = [{"image": f"./images/{p.name}", "label": f"./labels/{p.name}"} for p in (folder / "images").iterdir()]
    names = {"0": "background", "1": "liver", "2": "kidney", "3": "vertebra", "4": "lesion"}
    document = {"name": "x", "modality": {"0": "CT"}, "labels": names, "training": cases}
    (folder / "dataset.json").write_text(json.dumps(document))
    change(folder / "labels" / CASE, lambda array: np.where(array == 4, 9, array), np.uint8)
    return CASE, "9"


FAULTS = (
    without_label, another_shape, another_place, truncated, truncated_inside, not_integer, not_a_number,
    empty, absent, undeclared_value,
)  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_faulty_dataset_is_refused_before_anything_is_made(fault, dataset, tmp_path, capsys):
    name, word = fault(dataset)
    workspace = tmp_path / "w.autoseg"
    code = cli.run(["plan-and-train", str(dataset), "--workspace", str(workspace), "--steps", "5", "--device", "cpu"])
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert (code, len(errors)) == (2, 1), lines
    assert lines[-1] == errors[0]
    assert name in errors[0]
    assert word in errors[0]
    assert errors[0].count("; ") >= 1, "no mend"
    made = {path.name for path in workspace.rglob("*") if path.is_file() and path.parent.name != ".locks"}
    looked = {"dataset.json", "inspection.json", "inspect.html", "previews.json", "manifest.json"}
    assert made <= {"workspace.json", "run.jsonl"} | looked


@pytest.mark.parametrize("fault", [without_label, not_a_number, empty], ids=lambda fault: fault.__name__)
def test_inspect_finds_it_too(fault, dataset, tmp_path, capsys):
    name, word = fault(dataset)
    code = cli.run(["inspect", str(dataset), "--workspace", str(tmp_path / "w.autoseg")])
    shown = capsys.readouterr()
    assert code in {1, 2}
    assert name in shown.out + shown.err
    assert word in shown.out + shown.err


@pytest.mark.parametrize("fault", [truncated, not_a_number], ids=lambda fault: fault.__name__)
def test_one_bad_case_does_not_stop_the_prediction_of_others(fault, tiny_run, tmp_path, capsys):
    dataset = write_dataset(tmp_path / "new", 3)
    name, _ = fault(dataset)
    out = tmp_path / "out"
    images = str(dataset / "images")
    code = cli.run(["predict", images, "--model", str(tiny_run.workspace), "-o", str(out), "--device", "cpu"])
    assert code == 3
    assert name.partition(".")[0] in capsys.readouterr().err.splitlines()[-1]
    assert sorted(path.name for path in out.glob("*.nii.gz")) == ["case_00.nii.gz", "case_02.nii.gz"]
