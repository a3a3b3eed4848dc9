"""The demonstrations of `--max-ram`: their models can be read and run, and the limit is one."""

import resource
from dataclasses import replace

import numpy as np
import pytest
import torch

from autoseg.core.errors import AutosegError
from autoseg.learning.model_files import load_networks
from benchmarks.inference.inputs import ORGANS, body
from benchmarks.memory_ceiling import (
    DEMONSTRATIONS,
    GIB,
    SMALLER,
    Kept,
    MemoryCeiling,
    Same,
    describe,
    make_model,
    predict_within,
)
from benchmarks.record import Hardware


def test_the_demonstrations_are_the_two_of_the_issue_below_their_limits():
    whole, planes = DEMONSTRATIONS
    assert (whole.shape, whole.classes, whole.limit_bytes) == ((800, 512, 512), 118, 4 * GIB)
    assert (sorted(planes.shape), planes.classes, planes.limit_bytes) == ([512, 512, 1024], 100, 6 * GIB)


@pytest.mark.slow
def test_a_model_has_all_classes_and_a_plan_that_is_taken(tmp_path):
    for demonstration in (*DEMONSTRATIONS, SMALLER):
        model = load_networks(make_model(tmp_path / demonstration.name, demonstration), torch.device("cpu"))
        with torch.inference_mode():
            logits = model.networks[0].module(torch.zeros(1, 1, 16, 16, 16))
        assert logits.shape == (1, demonstration.classes, 16, 16, 16)


def test_the_table_says_limits_and_peaks():
    hardware = Hardware(cpu="c", cores=2, memory_bytes=1, bf16=True, gpu=None)
    kept = Kept(
        name="whole-body",
        shape=(800, 512, 512),
        spacing_mm=(1.0, 0.75, 0.75),
        network_spacing_mm=1.5,
        classes=118,
        labels_found=9,
        logits_at_native_bytes=1,
        limit_bytes=4 * GIB,
        max_ram="2G",
        peak_resident_bytes=2 * GIB,
        peak_address_space_bytes=3 * GIB,
        seconds=100.0,
        date="2026-01-01",
        commit="0",
    )
    same = Same(shape=(2, 2, 2), classes=3, max_ram="1G", voxels=8, differing_voxels=0)
    text = describe(MemoryCeiling(hardware=hardware, versions=(), demonstrations=(kept,), same=same))
    assert "| 800x512x512 | 118 (9 found) | 4 GiB | 2G | 2.00 GiB | 3.00 GiB | 100 s |" in text
    assert text.endswith("With 1G and without: 0 of 8 voxels differ.")


@pytest.mark.slow
def test_too_low_a_limit_is_an_error_and_enough_is_counted(tmp_path):
    from autoseg.imaging.write import write_image

    small = replace(SMALLER, shape=(40, 48, 48), classes=1 + ORGANS)
    model = make_model(tmp_path / "model", small)
    write_image(tmp_path / "a.nii.gz", body(small.shape, small.spacing_mm, 0)[0])
    words = [str(tmp_path / "a.nii.gz"), "--model", str(model), "--output", str(tmp_path / "out"), "--device", "cpu"]
    with pytest.raises(AutosegError):
        predict_within(GIB // 4, words, tmp_path)
    found = predict_within(4 * GIB, words, tmp_path)
    assert 0 < found["VmHWM"] < found["VmPeak"] <= 4 * GIB
    assert np.isfinite(found["seconds"])
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY
