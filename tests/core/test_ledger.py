import pytest

from autoseg.core.ledger import Ledger, Spent
from autoseg.core.records import read_record


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_training_gets_what_the_rest_leaves(tmp_path):
    clock = Clock()
    ledger = Ledger(tmp_path / "budget.json", 900.0, 10.0, clock)
    clock.now += 50
    assert ledger.overhead_seconds == 60
    assert ledger.training_seconds(trained_seconds=0, networks_left=1, after_seconds=40) == 800
    assert ledger.training_seconds(trained_seconds=0, networks_left=2, after_seconds=40) == 400


def test_training_time_is_no_overhead_and_is_counted_once(tmp_path):
    clock = Clock()
    ledger = Ledger(tmp_path / "budget.json", 900.0, 0.0, clock)
    clock.now += 100
    with ledger.training():
        clock.now += 300
    clock.now += 20
    assert ledger.overhead_seconds == 120
    assert ledger.training_seconds(trained_seconds=300, networks_left=1, after_seconds=30) == 450


def test_a_second_call_goes_on_with_the_time_the_first_left(tmp_path):
    clock = Clock()
    first = Ledger(tmp_path / "budget.json", 900.0, 0.0, clock)
    clock.now += 100
    with first.validation():
        clock.now += 7
    first.save()
    second = Ledger(tmp_path / "budget.json", 900.0, 2.0, Clock())
    assert second.overhead_seconds == 109
    assert second.validation_seconds == 7
    assert not second.budget_changed
    assert read_record(tmp_path / "budget.json", Spent).overhead_seconds == 107


def test_training_killed_without_a_word_leaves_its_overhead_on_disk(tmp_path):
    clock = Clock()
    ledger = Ledger(tmp_path / "budget.json", 900.0, 0.0, clock)
    clock.now += 100
    block = ledger.training()
    block.__enter__()
    clock.now += 500
    assert Ledger(tmp_path / "budget.json", 900.0, 0.0, Clock()).overhead_seconds == 100


def test_another_budget_is_another_job(tmp_path):
    clock = Clock()
    first = Ledger(tmp_path / "budget.json", 900.0, 0.0, clock)
    clock.now += 100
    first.save()
    second = Ledger(tmp_path / "budget.json", 1800.0, 0.0, Clock())
    assert second.budget_changed
    assert second.overhead_seconds == 0


def test_training_gets_a_tenth_even_when_preparation_took_everything(tmp_path):
    clock = Clock()
    ledger = Ledger(tmp_path / "budget.json", 600.0, 0.0, clock)
    clock.now += 5000
    assert ledger.training_seconds(trained_seconds=0, networks_left=1, after_seconds=20) == 60


def test_without_a_budget_there_is_no_clock(tmp_path):
    ledger = Ledger(tmp_path / "budget.json", None, 0.0, Clock())
    assert ledger.training_seconds(trained_seconds=0, networks_left=1, after_seconds=20) is None
    assert ledger.validation_seconds is None


def test_a_failed_validation_is_not_measured(tmp_path):
    ledger = Ledger(tmp_path / "budget.json", 600.0, 0.0, Clock())
    with pytest.raises(ZeroDivisionError), ledger.validation():
        raise ZeroDivisionError
    assert ledger.validation_seconds is None
