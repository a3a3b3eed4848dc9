"""The comparison of training speeds: turns, ratios and the table."""

import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from autoseg.core.errors import AutosegError
from benchmarks.record import this_hardware
from benchmarks.training_speed.__main__ import Child, Side, TrainingSpeed, ratios, table
from benchmarks.training_speed.compared import BATCH, check_same, compared_configuration
from planners.planner import make_plan
from planners.recipe import RECIPES, Budget
from tests.planners.fingerprints import fingerprint

# Counts every millisecond, and answers what was asked for and how far the count is.
SIDE = """
import json, sys, threading, time
count = [0]
def work():
    while True:
        count[0] += 1
        time.sleep(0.001)
threading.Thread(target=work, daemon=True).start()
print(json.dumps({"parameters": 1, "batch": 2}), flush=True)
for line in sys.stdin:
    wanted, before = float(line), count[0]
    time.sleep(wanted / 40)
    print(json.dumps({"steps": count[0] - before, "seconds": wanted, "data_s": count[0]}), flush=True)
"""


def side(name: str, *speeds: float) -> Side:
    return Side(name=name, samples_per_s=speeds, median_samples_per_s=sorted(speeds)[len(speeds) // 2], data_share=0.03)


def test_a_program_does_nothing_between_its_turns(tmp_path: Path) -> None:
    with Child("counter", [sys.executable, "-c", SIDE], {}, tmp_path / "log") as child:
        assert child.about == {"parameters": 1, "batch": 2}
        first = child.turn(4.0)
        time.sleep(0.6)
        second = child.turn(4.0)
    assert first["steps"] > 10
    between = second["data_s"] - second["steps"] - first["data_s"]
    assert between < 400  # the warm-up's tenth of a second, not the 0.6 s that it was stopped


def test_a_program_that_ends_is_named(tmp_path: Path) -> None:
    with pytest.raises(AutosegError, match=r"^crash: ended \(out of luck\)"):
        Child("crash", [sys.executable, "-c", "import sys; sys.exit('out of luck')"], {}, tmp_path / "log")


def test_ours_are_compared_with_the_best_of_nnunets() -> None:
    sides = (side("nnU-Net, 1 loaders", 0.8), side("nnU-Net, 2 loaders", 1.0), side("autoseg, float32", 1.2, 1.3, 1.4))
    assert ratios(sides) == (("autoseg, float32", 1.3),)
    record = TrainingSpeed(
        command="python -m benchmarks.training_speed",
        commit="0123456789abcdef",
        hardware=this_hardware("cpu"),
        versions=(),
        nnunet_version="2.8.1",
        patch=(40, 56, 40),
        batch=2,
        features=(32, 64),
        parameters=5_600_000,
        rounds=3,
        seconds_a_turn=10.0,
        sides=sides,
        ratios=ratios(sides),
    )
    lines = table(record).splitlines()
    assert lines[2] == "| nnU-Net, 1 loaders | 0.80 (0.80) | 3.0% | - |"
    assert lines[4] == "| autoseg, float32 | 1.30 (1.20, 1.30, 1.40) | 3.0% | 1.30 |"
    assert "commit 0123456789" in lines[-1]


def test_other_networks_are_not_compared() -> None:
    ours = compared_configuration(make_plan(fingerprint(), RECIPES["nnunet"], Budget(steps=10)))
    assert ours.batch == BATCH
    architecture = {
        "features_per_stage": [stage.features for stage in ours.stages],
        "kernel_sizes": [list(stage.kernel) for stage in ours.stages],
        "strides": [list(stage.stride) for stage in ours.stages],
        "n_conv_per_stage": [stage.convolutions for stage in ours.stages],
        "n_conv_per_stage_decoder": [stage.decoder_convolutions for stage in ours.stages[:-1]],
    }
    theirs = {"patch_size": list(ours.patch), "architecture": {"arch_kwargs": architecture}}
    check_same(theirs, ours)
    with pytest.raises(AutosegError, match="patch_size"):
        check_same(theirs, replace(ours, patch=(8, 8, 8)))
