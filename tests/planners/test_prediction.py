"""Seconds to predict a case."""

from dataclasses import replace

import pytest

from planners.memory import network_of
from planners.prediction import prediction_seconds, window_count, window_seconds
from planners.recipe import Machine
from planners.schedule import network_seconds
from tests.builders import configuration
from tests.planners.fingerprints import case

MACHINE = Machine(device="cpu", cores=2, memory_bytes=1 << 30, bf16=False, flops_per_s=1e9)


def test_windows_overlap_by_half() -> None:
    assert window_count((36, 50, 35), (40, 56, 40)) == 1
    assert window_count((80, 57, 40), (40, 56, 40)) == 3 * 2 * 1


def test_a_2d_network_predicts_every_slice() -> None:
    assert window_count((10, 512, 512), (256, 256)) == 10 * 3 * 3


def test_more_outputs_and_larger_cases_take_longer() -> None:
    planned = configuration(3, count=3, edge=16)
    small, large = case("a", (16, 16, 16), (1.0, 1.0, 1.0)), case("b", (32, 16, 16), (1.0, 1.0, 1.0))
    few = prediction_seconds(small, planned, 1, 2, MACHINE)
    assert few is not None
    many, more = prediction_seconds(small, planned, 1, 9, MACHINE), prediction_seconds(large, planned, 1, 2, MACHINE)
    assert many is not None
    assert more is not None
    assert few < many
    assert few < more


def test_a_window_takes_a_third_of_a_step_and_a_little_more() -> None:
    network = network_of(configuration(3, count=3, edge=16), 1, 2)
    step = network_seconds(network, 1, MACHINE)
    assert step is not None
    assert window_seconds(network, 6, MACHINE) == pytest.approx(1.25 * 6 * step / 3)


def test_an_unmeasured_machine_has_no_seconds() -> None:
    unmeasured = replace(MACHINE, flops_per_s=None)
    assert prediction_seconds(case("a", (9, 9, 9), (1.0, 1.0, 1.0)), configuration(3), 1, 2, unmeasured) is None


def test_a_coarse_image_is_counted_on_the_networks_finer_grid() -> None:
    planned = configuration(3, count=3, edge=16)
    fine = prediction_seconds(case("a", (32, 32, 32), (1.0, 1.0, 1.0)), planned, 1, 2, MACHINE)
    coarse = prediction_seconds(case("b", (16, 16, 16), (2.0, 2.0, 2.0)), planned, 1, 2, MACHINE)
    assert fine is not None
    assert coarse is not None
    assert coarse == pytest.approx(fine - (32**3 - 16**3) * (2e-7 + 2 * 5e-9))
