"""What is compared with nnU-Net's prediction: the inputs, our step from logits to labels, the verdict."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from benchmarks.inference import ours
from benchmarks.inference.inputs import ORGANS, body, label_map, structured_logits, unstructured_logits
from benchmarks.inference.parts import PARTS, _margin
from benchmarks.inference.record import Comparison, InferenceRecord, Target, table
from benchmarks.record import Hardware

PART = Comparison(
    part="logits-20",
    what="20 classes",
    memory_counted="resident",
    our_s=0.5,
    their_s=6.0,
    our_peak_bytes=30 << 20,
    their_peak_bytes=100 << 20,
    equal=0.99995,
    worst=None,
    target=Target(faster=10, memory=0.25, equal=0.9999),
    note="",
    date="2026-01-01",
    commit="0",
    load=1.0,
)


def test_a_missed_target_is_named():
    assert PART.missed == ("memory",)
    assert replace(PART, our_s=0.7, equal=0.99).missed == ("speed", "memory", "labels")
    assert replace(PART, our_peak_bytes=25 << 20).missed == ()


def test_the_table_has_a_line_per_part():
    hardware = Hardware(cpu="c", cores=2, memory_bytes=1, bf16=True, gpu=None)
    image = replace(PART, part="image", equal=None, worst=2e-7, target=Target(faster=2))
    record = InferenceRecord(hardware=hardware, versions=(), nnunet_versions=(), parts=(PART, image))
    lines = table(record).splitlines()
    expected = "| 20 classes | 0.50 s | 6.00 s | 12.0 x | 30 MiB | 100 MiB | 0.30 | 99.9950% equal | memory |"
    assert lines[2] == expected
    assert lines[3].endswith("| worst 2.0e-07 of the range | - |")


@pytest.mark.parametrize("make", [structured_logits, unstructured_logits])
def test_our_labels_of_given_logits_are_those_of_the_largest_interpolated_logit(make, tmp_path):
    given = make(5, (6, 10, 8), 0)
    np.save(tmp_path / "given.npy", given)
    task = {
        "input": tmp_path / "given.npy",
        "output": tmp_path / "labels.npy",
        "shape": [12, 20, 16],
        "spacing_mm": [1.5, 1.5, 1.5],
        "network_spacing_mm": [3.0, 3.0, 3.0],
    }
    found = ours.logits(task)
    assert found["seconds"] > 0
    zoomed = ndimage.zoom(given.astype(float), (1, 2, 2, 2), order=1, mode="nearest", grid_mode=True)
    best, second = np.sort(zoomed, axis=0)[:-3:-1]
    labels = np.load(tmp_path / "labels.npy")
    assert (labels == zoomed.argmax(axis=0))[best - second > 1e-4].all()
    assert len(np.unique(labels)) > 2


def test_label_maps_and_bodies_hold_every_label():
    assert np.unique(label_map(60, (40, 48, 48), 0)).tolist() == list(range(61))
    volume, label = body((50, 64, 64), (9.0, 6.0, 6.0), 0, noise_hu=0.0)
    coarse, small = body((25, 32, 32), (18.0, 12.0, 12.0), 0)
    assert len(np.unique(label)) > ORGANS // 2
    assert volume.array.dtype == np.int16
    assert volume.array.min() == -1000
    assert np.mean(label[::2, ::2, ::2] == small) > 0.95  # the same organs at another spacing
    assert coarse.grid.spacing_mm == (18.0, 12.0, 12.0)


def test_ties_are_where_two_labels_weigh_the_same():
    label = np.zeros((2, 2, 2), np.uint8)
    label[1] = 1
    margin = _margin(label, (3, 2, 2))
    assert margin[:, 0, 0].tolist() == [1.0, 0.0, 1.0]


def test_every_part_of_the_issue_is_there():
    assert {"logits-20", "logits-118", "image", "labels-1", "labels-20", "labels-60", "hippocampus", "ct"} <= set(PARTS)


def test_a_task_is_plain_json(tmp_path, monkeypatch):
    given = label_map(3, (8, 9, 10), 0)
    np.save(tmp_path / "given.npy", given)
    task = {"kind": "resample", "input": f"{tmp_path}/given.npy", "output": f"{tmp_path}/out.npy"}
    (tmp_path / "task.json").write_text(
        json.dumps(task | {"report": f"{tmp_path}/report.json", "order": 1, "shape": [12, 9, 10]})
    )
    monkeypatch.setattr("sys.argv", ["ours", str(tmp_path / "task.json")])
    assert ours.main() == 0
    assert json.loads((tmp_path / "report.json").read_text()).keys() == {"seconds", "peak_bytes"}
    assert np.load(tmp_path / "out.npy").shape == (12, 9, 10)
