from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoseg.core.errors import AutosegError
from autoseg.datasets.dataset import Case, Dataset
from autoseg.datasets.folds import make_folds
from planners.fingerprint import Label


def dataset_of(groups, stack=False):
    """One case per entry; equal entries are one patient."""
    cases = tuple(
        Case(name=f"c{i:03d}", images=(f"{i}.nii",), references=(f"{i}.nii",), group=group)
        for i, group in enumerate(groups)
    )
    return Dataset(
        name="d",
        folder="/d",
        layout="folders",
        channels=("image",),
        labels=(Label(name="a", values=(1,)),),
        value_map=(),
        overlapping=False,
        cases=cases,
        test_cases=(),
        inferences=(),
        stacks=(tuple(case.name for case in cases),) if stack else (),
    )


@given(st.lists(st.integers(0, 30), min_size=2, max_size=60), st.integers(2, 7), st.integers(0, 5))
def test_every_case_is_held_out_once_and_patients_stay_together(groups, number, seed):
    dataset = dataset_of([f"p{group}" for group in groups])
    if len(set(groups)) == 1:
        return
    folds = make_folds(dataset, number, seed).folds
    group = {case.name: case.group for case in dataset.cases}
    held_out = [name for fold in folds for name in fold.validation]
    assert sorted(held_out) == sorted(group)
    assert len(folds) == min(number, len(set(groups)))
    for fold in folds:
        assert not {group[n] for n in fold.train} & {group[n] for n in fold.validation}
        assert sorted((*fold.train, *fold.validation)) == sorted(group)


@pytest.mark.parametrize("n", [10, 11, 24, 97, 150, 200])
def test_the_first_of_five_folds_holds_out_at_most_a_fifth(n):
    fold = make_folds(dataset_of([str(i) for i in range(n)]), 5, 0).folds[0]
    assert 0.8 * n / 5 <= len(fold.validation) <= 0.2 * n


def test_a_seed_gives_the_same_folds_and_another_seed_others():
    dataset = dataset_of([str(i) for i in range(20)])
    assert make_folds(dataset, 5, 3) == make_folds(dataset, 5, 3)
    assert make_folds(dataset, 5, 3) != make_folds(dataset, 5, 4)


def test_one_case_trains_and_judges_and_it_is_said():
    folds = make_folds(dataset_of(["a"]), 5, 0)
    assert folds.folds[0].train == folds.folds[0].validation == ("c000",)
    assert "its scores say nothing of new cases" in folds.because


@pytest.mark.parametrize("n", [2, 3, 4])
def test_fewer_cases_than_folds_are_each_held_out_once(n):
    folds = make_folds(dataset_of([str(i) for i in range(n)]), 5, 0)
    assert [len(fold.validation) for fold in folds.folds] == [1] * n
    assert "5 folds were asked for" in folds.because


def test_a_stack_is_cut_into_blocks_with_a_slice_left_out_between():
    folds = make_folds(dataset_of([str(i) for i in range(24)], stack=True), 5, 0).folds
    assert len(folds[0].validation) == 4
    for fold in folds:
        held_out = sorted(int(name[1:]) for name in fold.validation)
        trained = {int(name[1:]) for name in fold.train}
        assert held_out == list(range(held_out[0], held_out[-1] + 1))
        assert not trained & {held_out[0] - 1, held_out[-1] + 1}
    assert sum(len(fold.validation) for fold in folds) == 24


def test_cases_of_one_patient_alone_are_cut_into_blocks():
    folds = make_folds(dataset_of(["p"] * 10), 5, 0)
    assert "all 10 cases are of one group" in folds.because
    assert folds.folds[0].validation == ("c000", "c001")
    assert folds.folds[0].train == tuple(f"c{i:03d}" for i in range(3, 10))


def test_named_cases_are_held_out():
    dataset = dataset_of([str(i) for i in range(5)])
    folds = make_folds(dataset, 5, 0, ("c003", "c001"))
    assert [(fold.train, fold.validation) for fold in folds.folds] == [(("c000", "c002", "c004"), ("c001", "c003"))]


def test_wrong_names_to_hold_out_are_refused():
    dataset = dataset_of(["a", "b"])
    with pytest.raises(AutosegError, match="no case c009 to validate on; choose among c000, c001"):
        make_folds(dataset, 5, 0, ("c009",))
    with pytest.raises(AutosegError, match="all cases are held out"):
        make_folds(replace(dataset), 5, 0, ("c000", "c001"))
