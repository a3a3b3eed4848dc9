import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoseg.core.selection import Candidate, choose_simplest


def candidate(name, cost, *scores):
    """Return a candidate with a score for each case, or with a tuple of one for each label of a case."""
    rows = tuple(score if isinstance(score, tuple) else (score,) for score in scores)
    return Candidate(name=name, cost=cost, scores=rows)


def patients(count):
    return [f"p{index}" for index in range(count)]


def test_the_simpler_of_two_within_the_noise():
    # differences 0.02, -0.01, 0.02, -0.01: mean 0.005, standard deviation 0.01732, error 0.00866
    simple = candidate("2d", 1, 0.80, 0.81, 0.70, 0.91)
    better = candidate("2d + 3d", 2, 0.82, 0.80, 0.72, 0.90)
    choice = choose_simplest([better, simple], patients(4))
    assert choice.chosen == "2d"
    weighed = {found.name: found for found in choice.candidates}
    assert weighed["2d"].behind_best == pytest.approx(0.005)
    assert weighed["2d"].standard_error == pytest.approx(0.00866, abs=1e-5)
    assert "0.0050 below 2d + 3d" in choice.because


def test_the_better_where_it_is_better_every_time():
    simple = candidate("simple", 1, 0.80, 0.70, 0.60, 0.50)
    better = candidate("better", 9, 0.82, 0.72, 0.62, 0.52)
    assert choose_simplest([simple, better], patients(4)).chosen == "better"


def test_cases_of_one_patient_are_one_voice():
    # one patient with three scans pulls the mean; per patient the differences are 0.09, -0.01, -0.01: within the noise
    simple = candidate("simple", 1, 0.5, 0.5, 0.5, 0.81, 0.81)
    better = candidate("better", 2, 0.59, 0.59, 0.59, 0.80, 0.80)
    alone = choose_simplest([simple, better], patients(5))
    together = choose_simplest([simple, better], ["a", "a", "a", "b", "c"])
    assert alone.chosen == "better"
    assert together.chosen == "simple"
    assert together.n_patients == 3


def test_who_is_rightly_silent_scores_one_where_another_made_something_up():
    silent = candidate("silent", 2, None, None, 0.7, 0.6)
    inventing = candidate("inventing", 1, 0.0, 0.0, 0.7, 0.6)
    choice = choose_simplest([inventing, silent], patients(4))
    assert choice.chosen == "silent"
    assert (choice.n_cases, choice.n_left_out) == (4, 0)
    means = {found.name: found.mean for found in choice.candidates}
    assert means == {"silent": pytest.approx(3.3 / 4), "inventing": pytest.approx(1.3 / 4)}


def test_cases_without_a_score_for_any_candidate_are_left_out_and_counted():
    simple = candidate("simple", 1, None, 0.7, 0.6, 0.5, None)
    better = candidate("better", 2, None, 0.8, 0.7, 0.6, None)
    choice = choose_simplest([simple, better], patients(5))
    assert (choice.n_cases, choice.n_patients, choice.n_left_out) == (3, 3, 2)
    assert choice.chosen == "better"


def test_all_candidates_are_averaged_over_the_same_labels():
    # the second label is on neither side of one and made up by the other: 1 and 0, not left out and 0
    silent = candidate("silent", 1, (0.6, None), (0.6, None), (0.6, None))
    inventing = candidate("inventing", 2, (0.8, 0.0), (0.8, 0.0), (0.8, 0.0))
    means = {found.name: found.mean for found in choose_simplest([silent, inventing], patients(3)).candidates}
    assert means == {"silent": pytest.approx(0.8), "inventing": pytest.approx(0.4)}


def test_without_any_case_that_counts_the_simplest():
    choice = choose_simplest([candidate("b", 2, None), candidate("a", 1, None)], ["p"])
    assert (choice.chosen, choice.n_cases, choice.n_left_out) == ("a", 0, 1)
    assert "no case" in choice.because


def test_of_equal_cost_the_first():
    scores = (0.5, 0.6, 0.7)
    assert choose_simplest([candidate("b", 1, *scores), candidate("a", 1, *scores)], patients(3)).chosen == "b"


@given(st.lists(st.lists(st.floats(0, 1), min_size=6, max_size=6), min_size=1, max_size=5))
def test_what_is_chosen_is_within_one_error_and_nothing_simpler_is(table):
    candidates = [candidate(str(index), index, *scores) for index, scores in enumerate(table)]
    choice = choose_simplest(candidates, patients(6))
    if not choice.candidates:
        assert len(candidates) == 1
        return
    chosen = choice.candidates[int(choice.chosen)]
    assert chosen.behind_best <= chosen.standard_error + 1e-12
    for simpler in choice.candidates[: int(choice.chosen)]:
        assert simpler.behind_best > simpler.standard_error
    assert max(found.mean for found in choice.candidates) - chosen.mean == pytest.approx(chosen.behind_best, abs=1e-9)


def test_the_rule_rarely_takes_what_only_luck_made_better():
    random = np.random.default_rng(0)
    taken = 0
    for _ in range(300):
        base = random.normal(0.8, 0.1, 40)
        rivals = [candidate(str(i), i, *(base + random.normal(0, 0.02, 40))) for i in range(3)]
        taken += choose_simplest(rivals, patients(40)).chosen != "0"
    assert taken / 300 < 0.35  # the best of three would be another one in two thirds of the draws
