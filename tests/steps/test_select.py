"""Selection on folders of predictions whose scores are known by hand."""

import time
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from autoseg.core.records import read_record, write_record
from autoseg.core.workspace import Workspace
from autoseg.datasets.dataset import Case, Dataset, Fold, Folds
from autoseg.imaging.changes import Change, apply_change
from autoseg.imaging.selection import Selection
from autoseg.reporting.material import gather
from autoseg.reporting.selection import selection_section
from autoseg.steps.evaluate import score_validation
from autoseg.steps.select import AS_IT_IS, choose_configurations, choose_postprocessing, ensembles_of
from planners.fingerprint import Label
from planners.plan import Plan
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


@pytest.fixture
def tumours(tmp_path):
    """Tumours of three nested regions; predicted with stray parts of each and a hole in the core."""
    regions = (
        Label(name="whole", values=(1, 2, 3)),
        Label(name="core", values=(2, 3)),
        Label(name="enhancing", values=(3,)),
    )
    made = Workspace(tmp_path / "tumours.autoseg")
    for index, name in enumerate(NAMES):
        tumour = np.zeros(SHAPE, dtype=np.uint8)
        tumour[1:10, 1:15, 1:13] = 1
        tumour[3:9, 4:12, 3:11] = 2
        tumour[4:6, 6:9, 5:8] = 3
        found = tumour.copy()
        found[11, 19, 13 - index % 2 : 15] = 3  # apart from the tumour, and so of no region
        found[1, 1, 1 : 3 + index % 2] = 3  # in the tumour, apart from the core
        found[3, 4:6, 3] = 3  # in the core, apart from what enhances
        found[7, 10, 8 : 9 + index % 2] = 1  # a hole of the core
        save(tmp_path / "data" / f"{name}.nii.gz", np.zeros(SHAPE, np.float32))
        save(tmp_path / "data" / f"{name}_seg.nii.gz", tumour)
        save(made.validation("3d_fullres", 0) / f"{name}.nii.gz", found)
    cases = tuple(Case(name=n, images=(f"{n}.nii.gz",), references=(f"{n}_seg.nii.gz",), group=n) for n in NAMES)
    seen = replace(fingerprint(NAMES, 3), labels=regions)
    seen = replace(seen, cases=tuple(replace(case, label_voxels=(5, 4, 3)) for case in seen.cases))
    write_record(made.dataset, a_dataset(tmp_path / "data", cases, regions, name="tumours"))
    write_record(made.fingerprint, seen)
    write_record(made.plan, make_plan(seen, RECIPES["auto"], Budget(steps=10)))
    write_record(made.folds, Folds(because="one", folds=(Fold(train=(), validation=NAMES),)))
    score_validation(made, "3d_fullres", 0)
    return made


def test_regions_lose_stray_parts_to_the_region_around_them_the_outer_first(tumours):
    assert read_record(tumours.plan, Plan).target == "regions"
    whole, core, enhancing = choose_postprocessing(tumours, "3d_fullres", [0], None)
    assert [each.change.otherwise for each in (whole, core, enhancing)] == [0, 1, 2]
    assert [each.change.values for each in (whole, core, enhancing)] == [(1, 2, 3), (2, 3), (3,)]
    assert core.fill == Change(kind="fill-holes", values=(2, 3), otherwise=1)
    assert (whole.fill, enhancing.fill) == (None, None)
    best = {each.name: each.mean for each in core.filling.candidates}
    assert best["holes filled"] == pytest.approx(1.0)
    selection = Selection(
        folds=(0,),
        configurations=("3d_fullres",),
        choice=choose_configurations(tumours, ["3d_fullres"], [0]),
        postprocessing=(whole, core, enhancing),
        left_out=(),
    )
    for name in NAMES:
        mended = nib.load(tumours.validation("3d_fullres", 0) / f"{name}.nii.gz").get_fdata().astype(np.uint8)
        mended = mended.transpose(2, 1, 0)
        for change in selection.changes:
            mended = apply_change(mended, change, 3.0)
        reference = nib.load(tumours.root.parent / "data" / f"{name}_seg.nii.gz").get_fdata().transpose(2, 1, 0)
        assert np.array_equal(mended, reference)


def test_of_regions_that_share_values_none_is_changed(tumours):
    crossing = (Label(name="one", values=(1, 2)), Label(name="other", values=(2, 3)))
    plan = replace(read_record(tumours.plan, Plan), labels=crossing)
    write_record(tumours.plan, plan)
    assert choose_postprocessing(tumours, "3d_fullres", [0], None) == ()


def test_what_overlaps_at_will_is_left_as_it_is(tumours):
    write_record(tumours.dataset, replace(read_record(tumours.dataset, Dataset), overlapping=True))
    assert choose_postprocessing(tumours, "3d_fullres", [0], None) == ()


def test_removals_stay_chosen_when_the_time_ends_before_the_holes(workspace, monkeypatch):
    looks = iter([*[0.0] * 6, 2.0])
    monkeypatch.setattr("autoseg.steps.select.time.monotonic", lambda: next(looks))
    first, second = choose_postprocessing(workspace, "3d_fullres", [0, 1], 1.0)
    assert (first.change is not None, first.filling, first.fill) == (True, None, None)
    assert second.filling is None


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
