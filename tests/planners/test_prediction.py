"""Windows and seconds of a prediction."""

import pytest

from planners.memory import network_of
from planners.prediction import prediction_seconds, window_count
from planners.recipe import Machine
from planners.schedule import forward_operations
from tests.builders import configuration
from tests.planners.fingerprints import case

MACHINE = Machine(device="cpu", cores=2, memory_bytes=1 << 30, bf16=False, flops_per_s=1e9)


@pytest.mark.parametrize(
    ("shape", "patch", "windows"),
    [
        ((16, 16, 16), (16, 16, 16), 1),
        ((8, 16, 16), (16, 16, 16), 1),
        ((24, 16, 16), (16, 16, 16), 2),
        ((25, 16, 16), (16, 16, 16), 3),
        ((32, 32, 32), (16, 16, 16), 27),
        ((10, 32, 16), (16, 16), 30),
        ((1, 32, 32), (16, 16), 9),
    ],
)
def test_windows_overlap_by_half_and_slices_stand_alone(shape, patch, windows):
    assert window_count(shape, patch) == windows


def test_seconds_are_windows_times_operations_and_a_share_for_reading_and_writing():
    planned = configuration(3, count=3, edge=16)
    spacing = planned.spacing_mm
    small = prediction_seconds(case("a", (16, 16, 16), spacing), planned, 1, 2, MACHINE)
    large = prediction_seconds(case("b", (32, 32, 32), spacing), planned, 1, 2, MACHINE)
    one = forward_operations(network_of(planned, 1, 2)) / 0.5e9
    assert small == pytest.approx(one + 16**3 * (2e-7 + 1e-8))
    assert large == pytest.approx(27 * one + 32**3 * (2e-7 + 1e-8))


def test_a_finer_image_is_counted_on_the_networks_grid():
    planned = configuration(3, count=3, edge=16)
    coarse = tuple(2 * s for s in planned.spacing_mm)
    assert window_count((32, 32, 32), planned.patch) == 27
    seconds = prediction_seconds(case("a", (16, 16, 16), coarse), planned, 1, 2, MACHINE)
    one = forward_operations(network_of(planned, 1, 2)) / 0.5e9
    assert seconds == pytest.approx(27 * one + 16**3 * (2e-7 + 1e-8))


def test_a_2d_network_predicts_every_slice():
    planned = configuration(2, count=3, edge=16)
    seconds = prediction_seconds(case("a", (5, 16, 16), (3.0, *planned.spacing_mm[-2:])), planned, 1, 2, MACHINE)
    one = forward_operations(network_of(planned, 1, 2)) / 0.5e9
    assert seconds == pytest.approx(5 * one + 5 * 256 * (2e-7 + 1e-8))


def test_nothing_is_promised_of_a_machine_that_was_not_measured():
    planned = configuration(3, count=3, edge=16)
    unmeasured = Machine(device="cpu", cores=2, memory_bytes=1 << 30, bf16=False)
    assert prediction_seconds(case("a", (16, 16, 16), (1.0, 1.0, 1.0)), planned, 1, 2, unmeasured) is None
