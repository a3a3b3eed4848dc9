"""Selection on folders of predictions whose scores are known by hand."""

import time

import numpy as np
import pytest

from autoseg.core.records import read_record, write_record
from autoseg.core.workspace import Workspace
from autoseg.datasets.dataset import Case, Fold, Folds
from autoseg.imaging.changes import Change
from autoseg.imaging.selection import Selection
from autoseg.reporting.material import gather
from autoseg.reporting.selection import selection_section
from autoseg.steps.evaluate import score_validation
from autoseg.steps.select import AS_IT_IS, choose_configurations, choose_postprocessing, ensembles_of
from planners.planner import make_plan
from planners.recipe import RECIPES, Budget
from tests.records import a_dataset
from tests.steps.test_report import LABELS, SHAPE, fingerprint, save

NAMES = tuple(f"case_{index}" for index in range(6))


def liver(shift=0, stray=0):
    """A box of the first structure, moved, with `stray` voxels far from it."""
    label = np.zeros(SHAPE, dtype=np.uint8)
    label[2:8, 4 + shift : 12 + shift, 3:11] = 1
    label[11, 19, 15 - stray : 15] = 1 if stray else 0
    return label


@pytest.fixture
def workspace(tmp_path):
    made = Workspace(tmp_path / "livers.autoseg")
    for index, name in enumerate(NAMES):
        save(tmp_path / "data" / f"{name}.nii.gz", np.zeros(SHAPE, np.float32))
        save(tmp_path / "data" / f"{name}_seg.nii.gz", liver())
        save(made.validation("2d", index // 3) / f"{name}.nii.gz", liver(shift=2, stray=1 + index))
        save(made.validation("3d_fullres", index // 3) / f"{name}.nii.gz", liver(shift=1, stray=3 + index % 2))
        save(
            made.validation("2d+3d_fullres", index // 3) / f"{name}.nii.gz",
            liver(shift=1, stray=3 + index % 2 + (1 if index > 3 else -1)),
        )
    cases = tuple(Case(name=n, images=(f"{n}.nii.gz",), references=(f"{n}_seg.nii.gz",), group=n) for n in NAMES)
    dataset = a_dataset(tmp_path / "data", cases, LABELS, name="livers")
    write_record(made.dataset, dataset)
    write_record(made.fingerprint, fingerprint(NAMES, 3))
    write_record(made.plan, make_plan(fingerprint(NAMES, 3), RECIPES["auto"], Budget(steps=10)))
    folds = (Fold(train=NAMES[3:], validation=NAMES[:3]), Fold(train=NAMES[:3], validation=NAMES[3:]))
    write_record(made.folds, Folds(because="two", folds=folds))
    for name in ("2d", "3d_fullres", "2d+3d_fullres"):
        for fold in (0, 1):
            score_validation(made, name, fold)
    return made


def test_the_clearly_better_network_and_not_the_ensemble_that_is_as_good(workspace):
    choice = choose_configurations(workspace, ["2d", "3d_fullres", "2d+3d_fullres"], [0, 1])
    assert choice.chosen == "3d_fullres"
    assert (choice.n_cases, choice.n_patients) == (6, 6)
    means = {each.name: each.mean for each in choice.candidates}
    assert means["2d"] < means["3d_fullres"] < means["2d+3d_fullres"]


def test_one_fold_alone_is_compared_on_its_own_cases(workspace):
    assert choose_configurations(workspace, ["2d", "3d_fullres"], [1]).n_cases == 3


def test_stray_parts_are_removed_where_that_helps_every_time(workspace):
    first, second = choose_postprocessing(workspace, "3d_fullres", [0, 1], None)
    assert first.label == LABELS[0].name
    assert first.change is not None
    assert first.change.kind in {"remove-small", "keep-largest"}
    assert first.change.values == (1,)
    tried = {each.name: each.mean for each in first.choice.candidates}
    assert tried[AS_IT_IS] < tried["largest part"]
    assert first.filling is not None
    assert (first.fill, first.filling.chosen) == (None, AS_IT_IS)  # there are none
    assert (second.change, second.choice.chosen) == (None, AS_IT_IS)  # on neither side: no case says anything


def test_specks_where_nothing_should_be_are_removed(tmp_path):
    names = tuple(f"case_{index:02}" for index in range(20))
    made = Workspace(tmp_path / "lesions.autoseg")
    for index, name in enumerate(names):
        lesion = liver() if index % 2 else np.zeros(SHAPE, np.uint8)
        found = lesion.copy()
        if not index % 2:
            found[11, 19, 15] = 1  # a speck in a healthy case
        save(tmp_path / "data" / f"{name}.nii.gz", np.zeros(SHAPE, np.float32))
        save(tmp_path / "data" / f"{name}_seg.nii.gz", lesion)
        save(made.validation("2d", 0) / f"{name}.nii.gz", found)
    cases = tuple(Case(name=n, images=(f"{n}.nii.gz",), references=(f"{n}_seg.nii.gz",), group=n) for n in names)
    write_record(made.dataset, a_dataset(tmp_path / "data", cases, LABELS, name="lesions"))
    write_record(made.fingerprint, fingerprint(names, 3))
    write_record(made.plan, make_plan(fingerprint(names, 3), RECIPES["auto"], Budget(steps=10)))
    write_record(made.folds, Folds(because="one", folds=(Fold(train=(), validation=names),)))
    score_validation(made, "2d", 0)
    lesions, absent = choose_postprocessing(made, "2d", [0], None)
    assert lesions.change is not None
    assert lesions.change.kind == "remove-small"
    assert {each.name: each.mean for each in lesions.choice.candidates}[AS_IT_IS] == pytest.approx(0.5)
    assert (lesions.choice.n_cases, lesions.choice.n_left_out) == (20, 0)
    assert (absent.change, absent.choice.n_cases, absent.choice.n_left_out) == (None, 0, 20)


def test_stray_parts_go_and_then_holes_are_filled_even_where_a_stray_part_lies_in_one(workspace):
    for index, name in enumerate(NAMES):
        hollow = liver(stray=4)
        hollow[4:7, 6:10, 5:9] = 0
        hollow[5, 7 + index % 2, 7] = 1  # a stray part in the hole, which is filled when that is gone
        save(workspace.validation("3d_fullres", index // 3) / f"{name}.nii.gz", hollow)
    for fold in (0, 1):
        score_validation(workspace, "3d_fullres", fold)
    first, second = choose_postprocessing(workspace, "3d_fullres", [0, 1], None)
    assert first.change is not None
    assert first.fill == Change(kind="fill-holes", values=(1,))
    assert {each.name: each.mean for each in first.filling.candidates}["holes filled"] == pytest.approx(1.0)
    selection = Selection(
        folds=(0, 1),
        configurations=("3d_fullres",),
        choice=choose_configurations(workspace, ["3d_fullres"], [0, 1]),
        postprocessing=(second, first),
        left_out=(),
    )
    assert [change.kind for change in selection.changes] == [first.change.kind, "fill-holes"]
    write_record(workspace.selection, selection)
    assert "Then, of holes. Chosen: holes filled" in selection_section(gather(workspace))


def test_without_time_nothing_is_chosen(workspace):
    assert choose_postprocessing(workspace, "2d", [0], time.monotonic() - 1) is None


def test_what_was_chosen_is_in_the_report(workspace):
    selection = Selection(
        folds=(0, 1),
        configurations=("3d_fullres",),
        choice=choose_configurations(workspace, ["2d", "3d_fullres"], [0, 1]),
        postprocessing=choose_postprocessing(workspace, "3d_fullres", [0, 1], None),
        left_out=("2d+3d_fullres",),
    )
    assert selection.postprocessing[1].choice.n_left_out == 6
    write_record(workspace.selection, selection)
    assert read_record(workspace.selection, Selection) == selection
    html = selection_section(gather(workspace))
    assert "Chosen: 3d_fullres" in html
    assert "Postprocessing of liver &amp; &lt;b&gt;" in html
    assert "largest part" in html
    assert "(0 cases of 0 patients; 6 more say nothing)" in html
    assert "Not compared, for lack of time or of trained folds: 2d+3d_fullres." in html


def test_ensembles_are_all_sets_that_make_sense():
    names = ("3d_fullres", "2d", "3d_lowres", "3d_cascade_fullres")
    found = ensembles_of(names, (None, None, None, "3d_lowres"))
    assert found[0] == ("3d_fullres", "2d")
    assert len(found) == 5 + 2  # of 11 sets, 4 hold the cascade beside its own first stage
    assert ensembles_of(("2d",), (None,)) == ()
    assert Change(values=(1,)).kind == "keep-largest"
