"""When the curve of validation Dice says that training on gains nothing: on curves whose truth is known."""

import math
import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.convergence import end_of, published_dice
from planners.convergence import Outlook, Point, latest_annealing, outlook, rhythm
from planners.plan import Convergence
from planners.recipe import RECIPES, Budget
from planners.schedule import schedule
from tests.builders import SHORT_SCHEDULE

PLANNED = schedule(Budget(), RECIPES["auto"])
assert PLANNED.convergence is not None
RULE: Convergence = PLANNED.convergence

Curve = Callable[[float], float]


def saturating(step: float) -> float:
    """Like Hippocampus by our prototype: Dice 0.88 after 3000 steps, 0.888 at the end."""
    return 0.888 - 25.0 / (step + 30)


def points(curve: Curve, steps: int, noise: float = 0.0, every: int = 200, seed: int = 0) -> list[Point]:
    drawn = random.Random(seed)
    found = []
    for step in range(every, steps + 1, every):
        dice = min(1.0, max(0.0, curve(step) + drawn.gauss(0.0, noise)))
        found.append(Point(step=step, dice=dice, weakest=dice))
    return found


def end(seen: list[Point]) -> tuple[int | None, Outlook]:
    """Return the first step at which a training with these validations would begin to anneal."""
    said = Outlook(enough=False, because="nothing")
    for count in range(1, len(seen) + 1):
        said = outlook(seen[:count], RULE)
        if said.enough:
            return seen[count - 1].step, said
    return None, said


@pytest.mark.parametrize("noise", [0.0, 0.001, 0.004])
def test_a_saturating_curve_ends_near_its_plateau(noise: float) -> None:
    step, said = end(points(saturating, 20_000, noise))
    assert step is not None
    assert 2000 <= step <= 12_000
    left = saturating(2 * step) - saturating(step)
    assert left <= 2 * max(noise, RULE.noise_min)
    assert said.asymptote == pytest.approx(0.888, abs=0.01)
    assert said.noise is not None
    assert said.noise == pytest.approx(max(noise, RULE.noise_min), rel=0.6)
    assert said.because.startswith(f"after {step} steps the curve of validation Dice tends to 0.8")
    assert "2 times the steps would add at most 0.00" in said.because


def test_a_curve_that_still_rises_goes_on() -> None:
    def logarithmic(step: float) -> float:
        return 0.2 + 0.045 * math.log(step)

    step, said = end(points(logarithmic, 12_000, 0.003))
    assert step is None
    assert said.gain is not None
    assert said.gain > 0.01
    assert "more than its noise" in said.because


def test_nothing_learned_yet_is_no_plateau() -> None:
    def late(step: float) -> float:
        return 0.0 if step < 5000 else 0.8 * (1 - math.exp(-(step - 5000) / 500))

    seen = points(late, 5000)
    assert end(seen)[0] is None
    assert "it has not begun to be learned" in outlook(seen, RULE).because
    assert end(points(late, 7000))[0] is None


def test_a_structure_not_learned_yet_keeps_a_training_going() -> None:
    flat = [replace(point, weakest=0.01) for point in points(lambda _: 0.6, 6000, 0.001)]
    assert end(flat)[0] is None
    assert "a structure is at Dice 0.010 after 6000 steps" in outlook(flat, RULE).because


def test_a_rise_after_an_early_plateau_is_seen() -> None:
    def stepwise(step: float) -> float:
        return 0.5 if step < 1500 else 0.8 - 0.3 * math.exp(-(step - 1500) / 1500)

    step, _ = end(points(stepwise, 20_000, 0.002))
    assert step is not None
    assert stepwise(step) > 0.78


def test_a_late_rise_counts_though_the_whole_curve_looks_flat() -> None:
    def rising_again(step: float) -> float:
        return 0.80 if step < 6000 else 0.80 + 0.02 * math.log2(step / 6000)

    said = outlook(points(rising_again, 8000), RULE)
    assert not said.enough
    assert "the curve is still rising" in said.because or "more than its noise" in said.because


def test_few_points_and_few_steps_say_nothing() -> None:
    assert outlook([], RULE).because == "0 of the 8 validations that a curve needs"
    few = points(lambda _: 0.9, 7000, every=1000)
    assert outlook(few, RULE).because == "7 of the 8 validations that a curve needs"
    early = outlook(points(lambda _: 0.9, 1900, every=100), RULE)
    assert early.because == "fewer than the 2000 steps of which a curve can be trusted"
    assert early.gain is not None


def test_one_lucky_validation_does_not_end_a_training() -> None:
    seen = points(saturating, 20_000)
    alone = replace(RULE, agreeing=1)
    first = next(count for count in range(8, len(seen)) if outlook(seen[:count], alone).enough)
    said = outlook(seen[:first], RULE)
    assert not said.enough
    assert said.because.endswith("but not yet by 3 validations in a row")
    assert outlook(seen[: first + 2], RULE).enough


def test_outliers_move_the_noise_little() -> None:
    clean = points(saturating, 8000, 0.002)
    spoilt = [replace(point, dice=0.3) if index in {21, 33} else point for index, point in enumerate(clean)]
    with_them, without = outlook(spoilt, RULE), outlook(clean, RULE)
    assert with_them.noise is not None
    assert without.noise is not None
    assert with_them.noise < 1.5 * without.noise


def test_a_falling_curve_promises_nothing() -> None:
    said = outlook(points(lambda step: 0.9 - step / 1e6, 8000), RULE)
    assert said.enough
    assert said.gain is not None
    assert said.gain < RULE.noise_min


def test_a_perfect_curve_is_enough() -> None:
    assert end(points(lambda _: 1.0, 4000))[0] == 2400


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30),
    st.integers(1, 500),
)
def test_whatever_is_seen_the_numbers_are_sane(dice: list[float], every: int) -> None:
    seen = [Point(step=every * (i + 1), dice=value, weakest=value) for i, value in enumerate(dice)]
    said = outlook(seen, RULE)
    assert said == outlook(tuple(seen), RULE)
    assert said.because
    if said.gain is not None:
        assert said.noise is not None
        assert said.gain >= 0
        assert RULE.noise_min <= said.noise <= RULE.noise_max
        assert math.isfinite(said.gain)
    if said.enough:
        assert said.gain is not None
        assert said.noise is not None
        assert said.gain <= said.noise
        assert seen[-1].step >= RULE.steps_min
        assert seen[-1].weakest >= RULE.unlearned


@settings(max_examples=15, deadline=None)
@given(st.floats(0.1, 0.6), st.floats(0.05, 0.4), st.sampled_from([0.5, 1.0]))
def test_a_longer_look_ahead_promises_no_less(level: float, height: float, exponent: float) -> None:
    seen = points(lambda step: level + height - height * (100 / (step + 100)) ** exponent, 5000, 0.002)
    near, far = outlook(seen, RULE), outlook(seen, replace(RULE, horizon=4.0))
    assert near.gain is not None
    assert far.gain is not None
    assert near.gain <= far.gain


class TestRhythm:
    def test_all_cases_where_they_are_cheap(self) -> None:
        # 64 windows / (0.05 x 3 x batch 4) = 107 steps, in whole epochs of 100.
        assert rhythm([8] * 8, 4, PLANNED).cases == 8
        assert rhythm([8] * 8, 4, PLANNED).every_steps == 200

    def test_fewer_cases_where_they_are_dear(self) -> None:
        found = rhythm([500] * 8, 2, PLANNED)
        # The longest training has 50000 steps; with 40 validations one every 1250: 375 windows. Not even one case.
        assert (found.cases, found.every_steps) == (1, 1700)
        assert rhythm([100] * 8, 2, PLANNED).cases == 3

    def test_no_case_no_rhythm(self) -> None:
        assert rhythm([], 2, PLANNED).cases == 0


def test_annealing_begins_in_time_to_end_with_the_longest_training() -> None:
    assert latest_annealing(PLANNED, RULE) == 40_000
    assert latest_annealing(replace(SHORT_SCHEDULE, steps=1), RULE) == 1


class TestPublishedCurves:
    def test_hippocampus_ends_a_tenth_of_the_way_and_misses_nothing(self) -> None:
        epochs = end_of("Hippocampus", 0.005, seed=0)
        assert epochs is not None
        assert epochs <= 100
        assert published_dice("Hippocampus", epochs) >= published_dice("Hippocampus", 1000)

    def test_liver_tumours_are_not_stopped_early(self) -> None:
        assert end_of("Liver", 0.005, seed=0) is None

    def test_published_points_are_met(self) -> None:
        assert published_dice("Lung", 500) == pytest.approx(0.710)
        assert published_dice("Lung", 1000) == pytest.approx(0.754)
