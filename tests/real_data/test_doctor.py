"""Faults put into real cases, one kind in each: every one is found, once, in its file; no sound case is accused."""

import gzip
import shutil

import nibabel as nib
import numpy as np
import pytest

from autoseg.core.workspace import open_workspace
from autoseg.datasets.options import Options
from autoseg.datasets.understand import study
from autoseg.steps.inspect import inspect
from autoseg.steps.mend import mend

CASES = 40


@pytest.fixture(scope="module")
def faulty(datasets_dir, tmp_path_factory):  # noqa: PLR0915 (a list of faults)
    """Forty hippocampi with seventeen faults, and what must be told of each file."""
    folder = tmp_path_factory.mktemp("faults") / "data"
    names = sorted(path.name for path in (datasets_dir / "msd-hippocampus" / "images").iterdir())[:CASES]
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
        for name in names:
            shutil.copy(datasets_dir / "msd-hippocampus" / kind / name, folder / kind / name)
    expected: dict[str, tuple[str, str]] = {}

    def change(index, kind, severity, what, alter):
        path = folder / kind / names[index]
        image = nib.load(path)
        array, affine = alter(np.asarray(image.dataobj), image.affine.copy())
        path.unlink()
        nib.save(nib.Nifti1Image(array, affine), path)
        expected[f"{kind}/{path.name}"] = (severity, what)

    def moved(mm):
        return lambda array, affine: (array, affine + mm * np.eye(4)[:, [3, 3, 3, 0]] * [0, 0, 0, 1])

    change(0, "labels", "warning", "0.3 mm (0.3 voxels) away", moved(0.3))
    change(1, "labels", "error", "2 mm (2 voxels) away", moved(2.0))
    change(2, "labels", "warning", "when mirrored along x", lambda a, m: (a[::-1], m))
    change(3, "labels", "warning", "when mirrored along y", lambda a, m: (a[:, ::-1], m))
    change(4, "labels", "warning", "when mirrored along z", lambda a, m: (a[:, :, ::-1], m))
    change(5, "labels", "warning", "when mirrored along y and x", lambda a, m: (a[::-1, ::-1], m))
    change(6, "labels", "warning", "empty label", lambda a, m: (a * 0, m))
    shutil.copy(folder / "images" / names[10], folder / "images" / names[7])
    shutil.copy(folder / "labels" / names[10], folder / "labels" / names[7])
    expected[f"images/{names[10]}"] = ("warning", f"the same image as images/{names[7]}")
    source = np.asarray(nib.load(folder / "images" / names[11]).dataobj)
    noise = np.random.default_rng(0).normal(0, 0.05 * source.std(), source.shape)
    shutil.copy(folder / "labels" / names[11], folder / "labels" / names[8])
    change(8, "images", "", "", lambda _, m: ((source * 2 + noise).astype(np.float32), m))
    del expected[f"images/{names[8]}"]
    expected[f"images/{names[11]}"] = ("warning", f"nearly the same image as images/{names[8]}")
    nan = lambda a, m: (np.where(np.arange(a.size).reshape(a.shape) < 5, np.nan, a).astype(np.float32), m)  # noqa: E731
    change(9, "images", "error", "5 of", nan)
    path = folder / "images" / names[12]
    path.write_bytes(path.read_bytes()[:-500])
    expected[f"images/{path.name}"] = ("error", "ends too early")
    path = folder / "labels" / names[13]
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 4
    path.write_bytes(bytes(whole))
    expected[f"labels/{path.name}"] = ("error", "damaged")
    path = folder / "images" / names[14]
    data = bytearray(gzip.decompress(path.read_bytes()))
    data[40:48] = np.array([3, 30000, 30000, 30000], "<i2").tobytes()
    path.write_bytes(gzip.compress(bytes(data)))
    expected[f"images/{path.name}"] = ("error", "more than")
    wide = np.diag([4.0, 4, 4, 1])
    for kind in ("images", "labels"):
        change(15, kind, "warning", "voxels of 4 x 4 x 4 mm", lambda a, _: (a, wide))
    del expected[f"labels/{names[15]}"]
    turned = np.diag([-1.0, -1, 1, 1])
    for kind in ("images", "labels"):
        change(16, kind, "warning", "its axes point to LPS", lambda a, _: (a, turned))
    del expected[f"labels/{names[16]}"]
    skewed = np.eye(4)
    skewed[0, 1] = 0.2
    for kind in ("images", "labels"):
        change(17, kind, "error", "its axes are not at right angles", lambda a, _: (a, skewed))
    del expected[f"labels/{names[17]}"]
    (folder / "imagesTs").mkdir()
    shutil.copy(folder / "images" / names[20], folder / "imagesTs" / "new.nii.gz")
    expected["imagesTs/new.nii.gz"] = ("warning", f"the same image as images/{names[20]}, which trains")
    return folder, expected


def test_every_fault_is_found_once_and_no_sound_case_is_accused(faulty, tmp_path):
    folder, expected = faulty
    findings = inspect(folder, open_workspace(tmp_path / "w.autoseg", folder, 0), Options()).findings
    told = {f.where: (f.severity, f.what) for f in findings if f.severity != "note"}
    assert set(told) == set(expected)
    for where, (severity, what) in expected.items():
        assert (told[where][0], what in told[where][1]) == (severity, True), (where, told[where])
    assert len([f for f in findings if f.severity != "note"]) == len(expected) == 17


def test_a_mended_copy_has_no_errors_left(faulty, tmp_path):
    folder, _ = faulty
    log = mend(folder, tmp_path / "mended", Options(), {})
    assert (log.cases, log.test_cases, len(log.changed)) == (CASES - 6, 0, 2)
    found = study(tmp_path / "mended", Options(), {})
    assert [f for f in found.findings if f.severity == "error"] == []
