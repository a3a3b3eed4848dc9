"""Intervals agree with SciPy's bootstrap, respect patients, and stay silent where they would mislead."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from autoseg.core import statistics


def dice_like(n: int, seed: int) -> list[float]:
    generator = np.random.default_rng(seed)
    return [float(v) for v in np.where(generator.random(n) < 0.88, generator.beta(18, 2, n), 0.2)]


@pytest.mark.parametrize("n", [10, 52, 200])
def test_bca_interval_of_a_mean_equals_scipy(n: int) -> None:
    values = dice_like(n, n)
    peer = stats.bootstrap(
        (values,), np.mean, n_resamples=statistics.RESAMPLES, method="BCa", rng=np.random.default_rng(statistics.SEED)
    ).confidence_interval
    ours = statistics.bca_interval(values)
    assert ours is not None
    assert (ours.lower, ours.upper) == pytest.approx((peer.low, peer.high), abs=1e-4)


@pytest.mark.parametrize("n", [10, 51])
def test_percentile_interval_of_a_median_equals_scipy(n: int) -> None:
    values = dice_like(n, n)
    peer = stats.bootstrap(
        (values,),
        np.median,
        n_resamples=statistics.RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(statistics.SEED),
    ).confidence_interval
    ours = statistics.percentile_interval(values)
    assert ours is not None
    assert (ours.lower, ours.upper) == pytest.approx((peer.low, peer.high), abs=1e-9)


def test_no_interval_is_given_for_nine_patients() -> None:
    assert statistics.bca_interval(dice_like(9, 0)) is None
    assert statistics.percentile_interval(dice_like(9, 0)) is None


def test_slices_of_nine_patients_are_nine_patients() -> None:
    values = dice_like(90, 1)
    patients = [f"p{i % 9}" for i in range(90)]
    assert statistics.bca_interval(values, patients) is None


def test_repeating_every_case_of_a_patient_changes_nothing() -> None:
    values = dice_like(40, 2)
    names = [f"p{i}" for i in range(40)]
    once = statistics.bca_interval(values, names)
    thrice = statistics.bca_interval(values * 3, names * 3)
    assert once is not None
    assert thrice is not None
    assert (thrice.lower, thrice.upper) == pytest.approx((once.lower, once.upper), abs=1e-12)


def test_equal_values_give_an_interval_without_width() -> None:
    assert statistics.bca_interval([0.1] * 12) == statistics.Interval(lower=0.1, upper=0.1)


def test_interval_covers_the_true_mean_as_often_as_simulated_before() -> None:
    truth = 0.88 * 0.9 + 0.12 * 0.2
    hits = 0
    for seed in range(200):
        interval = statistics.bca_interval(dice_like(50, 1000 + seed))
        assert interval is not None
        hits += interval.lower <= truth <= interval.upper
    assert 0.88 <= hits / 200 <= 0.99


@given(st.lists(st.integers(0, 20), min_size=1, max_size=12), st.integers(0, 1000))
@settings(deadline=None)
def test_weighted_median_is_the_median_of_repeated_values(values: list[int], seed: int) -> None:
    weights = np.random.default_rng(seed).integers(0, 4, (3, len(values)))
    weights[:, 0] += 1
    array = np.asarray(values, dtype=np.float64)
    expected = [np.median(np.repeat(array, row)) for row in weights]
    assert statistics.weighted_median(array, weights).tolist() == expected


def test_paired_difference_reports_size_interval_and_wilcoxon() -> None:
    a, b = dice_like(30, 3), dice_like(30, 4)
    result = statistics.paired_difference(a, b)
    assert result.n == 30
    assert result.mean == pytest.approx(np.mean(a) - np.mean(b))
    assert result.median == pytest.approx(np.median(np.subtract(a, b)))
    assert result.wilcoxon_p == pytest.approx(stats.wilcoxon(a, b).pvalue)
    assert result.mean_interval is not None
    assert result.mean_interval.lower < result.mean < result.mean_interval.upper


def test_a_result_compared_with_itself_has_no_p_value() -> None:
    a = dice_like(12, 5)
    alike = statistics.paired_difference(a, a)
    assert (alike.wilcoxon_p, alike.sign_flip_p, alike.p, alike.test) == (None, None, None, None)


def test_slices_of_one_patient_count_once_in_the_test() -> None:
    a, b = dice_like(20, 6), dice_like(20, 7)
    names = [f"p{i}" for i in range(20)]
    once = statistics.paired_difference(a, b, names)
    thrice = statistics.paired_difference(a * 3, b * 3, names * 3)
    assert (thrice.n, thrice.patients) == (60, 20)
    assert thrice.wilcoxon_p == pytest.approx(once.wilcoxon_p)
    assert thrice.sd == pytest.approx(once.sd)
    assert once.sd == pytest.approx(np.subtract(a, b).std(ddof=1))


def test_under_twenty_patients_signs_are_flipped_and_from_twenty_on_ranks_decide() -> None:
    few, many = dice_like(19, 8), dice_like(20, 9)
    below = statistics.paired_difference(few, [0.8] * 19)
    assert (below.test, below.wilcoxon_p, below.p) == ("sign flip", None, below.sign_flip_p)
    enough = statistics.paired_difference(many, [0.8] * 20)
    assert (enough.test, enough.sign_flip_p, enough.p) == ("Wilcoxon", None, enough.wilcoxon_p)
    slices = statistics.paired_difference(many * 2, [0.8] * 40, [f"p{i % 10}" for i in range(40)])
    assert (slices.patients, slices.test) == (10, "sign flip")


def test_sign_flips_are_those_counted_by_hand() -> None:
    # 2 + 1 and 2 - 1, with either sign: 3 and -3 are as far from zero as 3, 1 and -1 are not
    assert statistics.sign_flip([2, 1]) == 0.5
    assert statistics.sign_flip([2, -1]) == 1.0
    assert statistics.sign_flip([1] * 6) == 2 / 2**6
    assert statistics.sign_flip([0.3, -0.1, -0.2]) == 1.0  # a sum of zero, but for rounding
    assert statistics.sign_flip([0.0, 0.0]) is None
    assert statistics.sign_flip([0.0, 2, 1]) == 0.5
    assert statistics.sign_flip([1, 1, 1, 1], ["a", "a", "b", "b"]) == 0.5  # 2 + 2 and -2 - 2 of four


@given(st.lists(st.integers(-20, 20), min_size=2, max_size=8).filter(any))
@settings(max_examples=25, deadline=None)
def test_sign_flips_are_scipys_exact_permutations_of_paired_samples(differences: list[int]) -> None:
    peer = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True
    ).pvalue
    assert statistics.sign_flip(differences) == pytest.approx(peer)
    assert statistics.sign_flip([-d for d in differences]) == statistics.sign_flip(differences)


def test_equal_results_are_called_different_no_more_often_than_the_test_promises() -> None:
    draws = np.random.default_rng(1).normal(0, 1, (1000, 8))
    p = [statistics.sign_flip([float(v) for v in row]) or 1.0 for row in draws]
    assert np.mean(np.less_equal(p, statistics.SIGNIFICANCE)) == pytest.approx(12 / 256, abs=0.02)


def order(first: list[float], second: list[float]) -> float:
    return float(np.mean([(b > a) + (b == a) / 2 for a in first for b in second]))


@pytest.mark.parametrize(
    ("baseline", "alternative", "published", "paired"),
    [
        ([0, 1, 2], [1, 2, 3], 0.25, 0.25),
        ([4, 1, 2], [1, 2, 3], 0.7, 1.0),
        ([0.92, 0.94, 0.95, 0.81, 0.82, 0.86], [0.96, 0.91, 0.90, 0.85, 0.81, 0.80], 0.7218614718614719, 0.5625),
    ],
)
def test_picais_permutations_ask_of_two_groups_what_ours_ask_of_pairs(
    baseline: list[float], alternative: list[float], published: float, paired: float
) -> None:
    # picai_eval's test_statistical_helper: all ways to deal the values out, one-sided, by the share of ordered pairs
    values, found = baseline + alternative, order(baseline, alternative)
    dealt = [
        order([values[i] for i in chosen], [v for i, v in enumerate(values) if i not in chosen])
        for chosen in combinations(range(len(values)), len(baseline))
    ]
    assert np.mean(np.asarray(dealt) >= found - 1e-9) == pytest.approx(published)
    assert statistics.paired_difference(alternative, baseline).p == pytest.approx(paired)


def test_holm_is_that_computed_by_hand() -> None:
    # sorted 0.005, 0.01, 0.03, 0.04: x4, x3, x2, x1, then never below the one before
    assert statistics.holm([0.04, 0.01, 0.03, 0.005]) == pytest.approx((0.06, 0.03, 0.06, 0.02))
    assert statistics.holm([0.9, 0.8]) == (1.0, 1.0)
    assert statistics.holm([]) == ()


@given(values=st.lists(st.none() | st.floats(0, 1), max_size=12))
def test_holm_never_lowers_a_p_value_keeps_order_and_stays_under_bonferroni(values: list[float | None]) -> None:
    adjusted = statistics.holm(values)
    tests = sum(p is not None for p in values)
    pairs = [(p, q) for p, q in zip(values, adjusted, strict=True) if p is not None and q is not None]
    assert [q is None for q in adjusted] == [p is None for p in values]
    assert all(p <= q <= min(1.0, p * tests) + 1e-12 for p, q in pairs)
    assert all(q <= other for p, q in pairs for o, other in pairs if p < o)


def test_the_sample_size_is_the_textbook_one() -> None:
    # (1.959964 + 0.841621)^2 = 7.848879; at sd = 4 means: 7.848879 x 16 = 125.6
    assert statistics.patients_needed(0.01, 0.04) == 126
    assert statistics.patients_needed(-0.01, 0.04) == 126
    assert statistics.patients_needed(0.01, 0.04, tests=2) == 153  # z(0.9875) = 2.241403: 9.505388 x 16 = 152.1
    assert statistics.patients_needed(0.0, 0.04) is None
    assert statistics.patients_needed(0.01, None) is None
    assert statistics.patients_needed(0.01, 0.0) is None


def test_a_study_of_the_computed_size_finds_the_difference_four_times_in_five() -> None:
    needed = statistics.patients_needed(0.5, 1.0)
    assert needed == 32
    draws = np.random.default_rng(0).normal(0.5, 1.0, (2000, needed))
    found = np.mean(stats.ttest_1samp(draws, 0.0, axis=1).pvalue < statistics.SIGNIFICANCE)
    assert found == pytest.approx(statistics.POWER, abs=0.03)


@pytest.mark.parametrize("values", [[], [0.5, float("nan")]])
def test_undefined_values_are_refused_not_dropped(values: list[float]) -> None:
    with pytest.raises(ValueError, match="leave undefined values out and count them"):
        statistics.bca_interval(values)


def test_results_of_different_length_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="2 values cannot be paired with 1"):
        statistics.paired_difference([0.1, 0.2], [0.1])
