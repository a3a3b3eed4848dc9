"""What a job trains, in which order; and one that ends well before its time says why."""

from dataclasses import replace

import pytest
import torch

from autoseg.core.ledger import Ledger
from autoseg.core.records import write_record
from autoseg.core.workspace import Workspace
from autoseg.datasets.dataset import Fold, Folds
from autoseg.options import ChosenBudget
from autoseg.selecting import complete_configurations
from autoseg.trainings import (
    Job,
    NetworkResult,
    _say_if_early,
    network_count,
    networks_to_train,
    say_what_comes_before,
)
from planners.plan import Plan
from planners.recipe import Budget
from tests.builders import configuration


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


FULL = configuration()
PLAN = Plan(
    dataset="d",
    recipe="auto",
    channels=("image",),
    labels=(),
    target="labels",
    transpose=(0, 1, 2),
    configurations=(
        FULL,
        replace(FULL, name="3d_lowres"),
        replace(FULL, name="3d_cascade_fullres", previous="3d_lowres"),
    ),
    decisions=(),
)


@pytest.mark.parametrize("names", [("3d_cascade_fullres",), ("3d_cascade_fullres", "3d_lowres")])
def test_a_cascade_comes_after_its_stage_before_in_every_fold(names, capsys):
    wanted = networks_to_train(PLAN, names, (1,), 3)
    before = [("3d_lowres", 0), ("3d_lowres", 1), ("3d_lowres", 2)]
    assert wanted == [*before, ("3d_cascade_fullres", 1)]
    say_what_comes_before(wanted, names, (1,))
    extra = "0, 2" if "3d_lowres" in names else "0, 1, 2"
    assert f"also trains 3d_lowres fold {extra}: the cascade learns" in capsys.readouterr().err


def test_without_a_cascade_networks_come_as_they_were_asked_for(capsys):
    wanted = networks_to_train(PLAN, ("3d_lowres", "3d_fullres"), (0, 2), 3)
    assert wanted == [("3d_lowres", 0), ("3d_lowres", 2), ("3d_fullres", 0), ("3d_fullres", 2)]
    say_what_comes_before(wanted, ("3d_lowres", "3d_fullres"), (0, 2))
    assert capsys.readouterr().err == ""


BOTH = ("3d_lowres", "3d_cascade_fullres", "2d")


@pytest.mark.parametrize(
    ("wanted", "networks"), [((), 2), (("2d", "3d_fullres"), 4), (("3d_cascade_fullres",), 5), (BOTH, 7)]
)
def test_a_budget_is_shared_by_all_that_is_trained(tmp_path, wanted, networks):
    workspace = Workspace(tmp_path)
    write_record(workspace.folds, Folds(because="three", folds=(Fold(train=("a",), validation=("b",)),) * 3))
    folds = (0, 1)
    assert network_count(workspace, wanted, folds) == networks


def test_configurations_without_all_folds_are_told_as_left_out():
    def trained(name, fold):
        return NetworkResult(
            configuration=name, fold=fold, steps=9, training_seconds=1.0, validation_cases=1, validation_dice=0.5
        )

    results = [trained("3d_fullres", 0), trained("3d_fullres", 1), trained("2d", 0)]
    found = complete_configurations(results, ["2d", "3d_fullres", "3d_lowres"])
    assert found == (("3d_fullres",), (0, 1), ("2d", "3d_lowres"))
    assert complete_configurations(results[:2], ["3d_fullres"]) == (("3d_fullres",), (0, 1), ())
