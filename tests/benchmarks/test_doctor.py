"""The benchmarks of the doctor and of its speed, on small data."""

import nibabel as nib
import numpy as np
from scipy import ndimage

from autoseg.imaging.read import read_image
from benchmarks.doctor import run
from benchmarks.inspect_speed import bare_read, best_seconds


def test_faults_in_every_third_case_are_counted(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(9):
        label = np.zeros((14, 18, 22), np.uint8)
        label[2:7, 3 : 9 + index % 3, 4:10] = 1
        texture = ndimage.gaussian_filter(rng.normal(0, 1, label.shape), 2) * 80
        for kind, array in (("images", (100 * label + texture).astype(np.float32)), ("labels", label)):
            (tmp_path / kind).mkdir(exist_ok=True)
            nib.save(nib.Nifti1Image(array.transpose(2, 1, 0), np.eye(4)), tmp_path / kind / f"{index}.nii.gz")
    record = run(tmp_path, every=3)
    assert [(f.faulty, f.sound) for f in record.faults] == [(0, 9)] * 2 + [(3, 6)] * 7 + [(3, 9)] * 3
    assert [f.found for f in record.faults[2:]] == [3] * 10
    assert [f.accused for f in record.faults] == [0] * 12


def test_readers_take_turns_and_the_best_time_counts(tmp_path):
    path = tmp_path / "a.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.eye(4)), path)
    order = []
    best = best_seconds([lambda p: order.append(("ours", p)), lambda p: order.append(("theirs", p))], [path], 2)
    assert order == [("ours", path), ("theirs", path)] * 2
    assert len(best) == 2
    assert min(best_seconds([read_image, bare_read], [path], 1)) > 0
