import pytest

from autoseg.core.errors import AutosegError
from autoseg.options import (
    FoldChoice,
    choose_budget,
    describe_seconds,
    parse_budget,
    parse_configurations,
    parse_folds,
    share_budget,
)
from planners.recipe import Budget


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30m", 1800), ("3h", 10800), ("1h30m", 5400), ("90s", 90), ("0.5h", 1800), ("2d", 172800), ("none", None)],
)
def test_times_are_written_as_people_write_them(text, seconds):
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["30", "m", "30 m", "-5m", "1h30", "", "soon", "1e3s", "0s"])
def test_what_is_no_time_is_refused_with_an_example(text):
    with pytest.raises(AutosegError, match=r"--budget .*: (not a time; write it like 30m|less than a second)"):
        parse_budget(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(5400, "1h30m"), (900, "15m"), (45, "45s"), (3661, "1h1m1s"), (0.2, "0s"), (None, "none")]
)
def test_times_are_printed_as_they_are_written(seconds, text):
    assert describe_seconds(seconds) == text


@pytest.mark.parametrize(
    ("text", "count", "numbers"),
    [("auto", 1, ()), ("1", 1, ()), ("5", 5, ()), ("0,2", None, (0, 2)), ("3,", None, (3,))],
)
def test_folds_are_a_count_or_a_list(text, count, numbers):
    assert parse_folds(text) == FoldChoice(count=count, numbers=numbers)


@pytest.mark.parametrize("text", ["0", "all", "-1", "1.5", ",", "a,b"])
def test_what_is_no_choice_of_folds_is_refused(text):
    with pytest.raises(AutosegError, match="write auto, a number such as 5, or a list such as 0,2"):
        parse_folds(text)


def test_configurations_are_a_list_without_repeats():
    assert parse_configurations("auto") == ()
    assert parse_configurations("2d, 3d_fullres,2d") == ("2d", "3d_fullres")


def test_the_default_budget_says_where_it_comes_from():
    assert choose_budget("auto", None, has_gpu=False).budget == Budget(seconds=3600)
    assert choose_budget("auto", None, has_gpu=False).because == "1h (default on a CPU)"
    assert choose_budget("auto", None, has_gpu=True).budget == Budget()
    assert choose_budget("20m", None, has_gpu=True).because == "20m (--budget)"
    assert choose_budget("auto", 50, has_gpu=False).budget == Budget(steps=50)


@pytest.mark.parametrize(("budget", "steps"), [("10m", 5), ("none", 5), ("auto", 0), ("auto", -3)])
def test_contradicting_budgets_are_refused(budget, steps):
    with pytest.raises(AutosegError, match=r"give one of them|give 1 or more"):
        choose_budget(budget, steps, has_gpu=False)


def test_networks_share_time_but_not_steps():
    assert share_budget(Budget(seconds=100), 5) == Budget(seconds=20)
    assert share_budget(Budget(steps=100), 5) == Budget(steps=100)


def test_for_a_cascade_one_fold_is_the_first_of_the_usual_split():
    assert parse_folds("auto", cascade=True) == parse_folds("1", cascade=True) == FoldChoice(count=None, numbers=(0,))
    assert parse_folds("3", cascade=True) == FoldChoice(count=3, numbers=())
