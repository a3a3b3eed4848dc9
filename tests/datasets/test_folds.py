from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoseg.core.errors import AutosegError
from autoseg.datasets.dataset import Case, Dataset
from autoseg.datasets.folds import RareLabel, make_folds, rare_labels
from planners.fingerprint import Label
from tests.planners.fingerprints import case as case_fingerprint
from tests.planners.fingerprints import fingerprint


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


def label_in(*cases, name="stone"):
    return RareLabel(name=name, cases=tuple(f"c{i:03d}" for i in cases))


def shares(folds, label):
    """How many validation cases of each fold hold the label."""
    return [len(set(fold.validation) & set(label.cases)) for fold in folds.folds]


def test_a_label_in_five_of_sixty_cases_is_in_each_of_five_folds():
    stone = label_in(3, 4, 5, 6, 50)
    plain = make_folds(dataset_of([str(i) for i in range(60)]), 5, 0)
    folds = make_folds(dataset_of([str(i) for i in range(60)]), 5, 0, rare=(stone,))
    assert 0 in shares(plain, stone)
    assert shares(folds, stone) == [1] * 5
    assert [len(fold.validation) for fold in folds.folds] == [12] * 5
    assert folds.because == (
        "5 folds over 60 cases, shuffled with seed 0; dealt by the labels that some cases lack, the rarest first:"
        " stone (in 5)"
    )


def test_images_with_and_without_a_label_are_held_out_in_proportion():
    tumour = label_in(*range(8))
    folds = make_folds(dataset_of([str(i) for i in range(24)]), 4, 0, rare=(tumour,))
    assert shares(folds, tumour) == [2] * 4
    assert [len(fold.validation) for fold in folds.folds] == [6] * 4


def test_the_single_fold_judges_a_label_too_rare_for_all_folds():
    stone = label_in(8, 9)
    folds = make_folds(dataset_of([str(i) for i in range(20)]), 5, 0, rare=(stone,))
    assert shares(folds, stone) == [1, 1, 0, 0, 0]
    assert folds.because.endswith("stone (in 2); not in every fold's validation: stone")


def test_the_single_fold_trains_on_a_label_of_one_case():
    stone = label_in(7)
    folds = make_folds(dataset_of([str(i) for i in range(11)]), 5, 0, rare=(stone,))
    assert shares(folds, stone) == [0, 0, 0, 0, 1]
    assert folds.because.endswith("; fold 4 has none to train on of stone")


def test_cases_that_alone_hold_a_label_share_a_fold_so_that_the_others_train_on_all():
    labels = [label_in(i, name=f"stone {i}") for i in range(4)]
    folds = make_folds(dataset_of([str(i) for i in range(20)]), 5, 0, rare=labels)
    assert [sum(shares(folds, label)[i] for label in labels) for i in range(5)] == [0, 0, 0, 0, 4]
    assert [len(fold.validation) for fold in folds.folds] == [4] * 5


def test_two_such_cases_are_parted_where_they_alone_hold_another_label():
    labels = [label_in(0, name="a"), label_in(1, name="b"), label_in(0, 1, name="both")]
    folds = make_folds(dataset_of([str(i) for i in range(20)]), 5, 0, rare=labels)
    assert sorted(shares(folds, labels[2])) == [0, 0, 0, 1, 1]


def test_the_patient_with_most_cases_of_a_label_comes_first():
    tumour = label_in(0, 1, 2, 4, 5)
    folds = make_folds(dataset_of(["p", "p", "p", "q", "q", "r", "s", "t"]), 2, 0, rare=(tumour,))
    assert sorted(shares(folds, tumour)) == [2, 3]
    assert [len(fold.validation) for fold in folds.folds] == [4, 4]


def test_of_many_rare_labels_five_are_named():
    labels = [label_in(*range(5 + i), name=f"label {i}") for i in range(8)]
    because = make_folds(dataset_of([str(i) for i in range(20)]), 5, 0, rare=labels[::-1]).because
    assert because.endswith("label 0 (in 5), label 1 (in 6), label 2 (in 7), label 3 (in 8), label 4 (in 9) and 3 more")


def test_rare_labels_are_the_structures_that_some_cases_hold_and_others_lack():
    voxels = ((9, 1, 0, 3), (9, 0, 0, 0), (9, 0, 0, 0))
    labels = tuple(Label(name=name, values=(i,)) for i, name in enumerate(("organ", "stone", "never"), start=1))
    made = replace(
        fingerprint(),
        labels=(*labels, Label(name="unsure", values=(9,), role="ignore")),
        cases=tuple(case_fingerprint(f"c{i:03d}", (9, 9, 9), (1.0, 1.0, 1.0), v) for i, v in enumerate(voxels)),
    )
    assert rare_labels(made) == (label_in(0),)


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 20)), min_size=2, max_size=60),
    st.lists(st.integers(1, 20), min_size=1, max_size=4),
    st.integers(2, 7),
    st.integers(0, 5),
)
def test_a_label_of_enough_patients_is_held_out_in_every_fold_and_none_is_lost_to_the_first(
    cases, bounds, number, seed
):
    """Of labels that contain each other, as tumour lies in organ; with any labels this cannot always be had."""
    dataset = dataset_of([f"p{patient}" for patient, _ in cases])
    labels = [label_in(*(i for i, (_, rank) in enumerate(cases) if rank < bound), name=str(bound)) for bound in bounds]
    labels = [label for label in labels if 0 < len(label.cases) < len(cases)]
    group = {case.name: case.group for case in dataset.cases}
    if len(set(group.values())) == 1:
        return
    folds = make_folds(dataset, number, seed, rare=labels)
    for label in labels:
        patients = {group[name] for name in label.cases}
        trained = [bool(set(fold.train) & set(label.cases)) for fold in folds.folds]
        assert len(patients) < len(folds.folds) or all(shares(folds, label))
        assert all(trained) or (len(patients) == 1 and trained[0] and trained.count(False) == 1)


@given(
    st.lists(st.integers(0, 30), min_size=2, max_size=60),
    st.lists(st.sets(st.integers(0, 59), min_size=1), max_size=6),
    st.integers(2, 7),
    st.integers(0, 5),
)
def test_whatever_the_labels_every_case_is_held_out_once_and_patients_stay_together(patients, sets, number, seed):
    dataset = dataset_of([f"p{patient}" for patient in patients])
    labels = [label_in(*(i for i in held if i < len(patients)), name=str(i)) for i, held in enumerate(sets)]
    labels = [label for label in labels if label.cases]
    if len(set(patients)) == 1:
        return
    folds = make_folds(dataset, number, seed, rare=labels).folds
    group = {case.name: case.group for case in dataset.cases}
    assert sorted(name for fold in folds for name in fold.validation) == sorted(group)
    assert len(folds) == min(number, len(set(patients)))
    for fold in folds:
        assert fold.validation
        assert not {group[n] for n in fold.train} & {group[n] for n in fold.validation}
        assert sorted((*fold.train, *fold.validation)) == sorted(group)


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=60),
    st.integers(1, 3),
    st.integers(2, 7),
    st.integers(0, 5),
    st.booleans(),
)
def test_labels_that_every_case_holds_change_nothing(patients, labels, number, seed, stack):
    dataset = dataset_of([f"p{patient}" for patient in patients], stack=stack)
    plain = make_folds(dataset, number, seed)
    assert make_folds(dataset, number, seed, rare=rare_labels(fingerprint(cases=len(patients), labels=labels))) == plain
    everywhere = label_in(*range(len(patients)))
    assert make_folds(dataset, number, seed, rare=(everywhere,)).folds == plain.folds


def test_folds_are_those_of_earlier_versions_where_every_case_holds_every_label():
    first = make_folds(dataset_of([str(i // 2) for i in range(23)]), 5, 0)
    assert [" ".join(name[1:] for name in fold.validation) for fold in first.folds] == [
        "004 005 012 013",
        "000 001 006 007",
        "016 017 018 019",
        "010 011 014 015 022",
        "002 003 008 009 020 021",
    ]
    assert first.because == "5 folds over 23 cases, shuffled with seed 0, 12 groups kept whole"


def test_blocks_of_a_stack_stay_as_they_are():
    dataset = dataset_of([str(i) for i in range(24)], stack=True)
    assert make_folds(dataset, 5, 0, rare=(label_in(0, 1),)) == make_folds(dataset, 5, 0)
