"""The ablation compares what is equal in cost, seed by seed and case by case."""

from dataclasses import replace

import pytest

from benchmarks.ablation.__main__ import known, table, verdicts
from benchmarks.ablation.arms import ARMS, BASE_STEPS, BASELINE, steps_of
from benchmarks.ablation.runs import AblationRun
from planners.recipe import RECIPES
from tests.builders import configuration


def run_of(arm: str, seed: int, dice: tuple[float, ...], *, mirrored: tuple[float, ...] | None = None) -> AblationRun:
    return AblationRun(
        arm=arm,
        seed=seed,
        steps=BASE_STEPS,
        processor_s=1.0,
        dice=dice,
        without_average=sum(dice) / len(dice) - 0.01,
        mirrored=mirrored,
        commit="0",
    )


@pytest.mark.parametrize("name", [name for name in ARMS if name != BASELINE])
def test_an_arm_differs_from_the_default(name: str) -> None:
    default = replace(configuration(count=4, batch=4), augmentation=RECIPES["auto"].augmentation)
    assert ARMS[name].change(default) != default
    assert ARMS[BASELINE].change(default) == default


def test_what_costs_more_trains_fewer_steps() -> None:
    default = configuration(count=4, batch=4)
    steps = {name: steps_of(arm.change(default), default, 1, 3) for name, arm in ARMS.items()}
    assert steps[BASELINE] == steps["rate-4e-3"] == steps["mirror"] == BASE_STEPS
    assert steps["batch-2"] == 2 * BASE_STEPS
    assert steps["batch-8"] == BASE_STEPS // 2
    assert steps["width-2"] < BASE_STEPS < steps["decoder-1"]


def test_arms_are_compared_over_the_seeds_that_both_have() -> None:
    runs = (
        run_of(BASELINE, 0, (0.8, 0.9, 0.7)),
        run_of(BASELINE, 1, (0.6, 0.7, 0.5)),
        run_of("rate-4e-3", 0, (0.81, 0.92, 0.73)),
        run_of("rate-4e-3", 7, (0.1, 0.1, 0.1)),
    )
    found = {verdict.arm: verdict for verdict in verdicts(runs)}
    assert found[BASELINE].seeds == (0, 1)
    assert found[BASELINE].mean == pytest.approx(0.7)
    assert found[BASELINE].seed_sd == pytest.approx(0.2 / 2**0.5)
    assert found["rate-4e-3"].seeds == (0,)
    assert found["rate-4e-3"].difference.mean == pytest.approx(0.02)


def test_what_was_trained_mirrored_is_judged_mirrored() -> None:
    runs = (
        run_of(BASELINE, 0, (0.8, 0.9)),
        run_of("mirror", 0, (0.5, 0.5), mirrored=(0.9, 1.0)),
    )
    lines = table(runs).splitlines()
    assert lines[2].startswith("| mirror |")  # best first
    assert "+0.1000" in lines[2]
    assert lines[-1] == "Mirrored copies when predicting, for what was trained so: +0.4500."
    assert "-0.0100 Dice over 2 runs" in table(runs)


def test_without_runs_there_is_no_table() -> None:
    assert table(()) == "No run has been recorded yet.\n"


def test_every_run_of_the_record_is_of_an_arm() -> None:
    assert {run.arm for run in known(None)} <= set(ARMS)
