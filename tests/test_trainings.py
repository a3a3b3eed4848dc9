"""A job that ends well before its time says why."""

import pytest
import torch

from autoseg.core.ledger import Ledger
from autoseg.core.workspace import Workspace
from autoseg.options import ChosenBudget
from autoseg.trainings import Job, NetworkResult, _say_if_early
from planners.recipe import Budget


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def ended(tmp_path, *, training_s, validation_s, budget_s=1000.0):
    """Return a job of 100 s of preparation, a training and a validation, and its result."""
    clock = Clock()
    ledger = Ledger(tmp_path / "budget.json", budget_s, 0.0, clock)
    clock.now += 100
    with ledger.training():
        clock.now += training_s
    with ledger.validation():
        clock.now += validation_s
    job = Job(
        workspace=Workspace(tmp_path),
        ledger=ledger,
        device=torch.device("cpu"),
        budget=ChosenBudget(budget=Budget(seconds=budget_s), because="it was given"),
        seed=0,
    )
    result = NetworkResult(
        configuration="2d", fold=0, steps=9, training_seconds=training_s, validation_cases=1, validation_dice=0.5
    )
    return job, [result]


def test_validation_that_was_quicker_than_expected_is_the_reason(tmp_path, capsys):
    _say_if_early(*ended(tmp_path, training_s=585, validation_s=30), 300.0)
    assert capsys.readouterr().err == (
        "ends after 12m10s of 16m40s: validation took 30s of the 5m kept for it; more time would gain nothing,"
        " as the schedule has annealed to its end\n"
    )


@pytest.mark.parametrize(("training_s", "budget_s"), [(735, 1000.0), (10, None)])
def test_a_job_on_time_or_without_a_time_says_nothing(tmp_path, capsys, training_s, budget_s):
    job, results = ended(tmp_path, training_s=training_s, validation_s=1)
    if budget_s is None:
        job = Job(
            workspace=job.workspace,
            ledger=job.ledger,
            device=job.device,
            budget=ChosenBudget(budget=Budget(), because="none"),
            seed=0,
        )
    _say_if_early(job, results, 2.0)
    assert capsys.readouterr().err == ""
