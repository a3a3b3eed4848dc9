"""`autoseg evaluate`: pairs by name, refuses what does not belong together, and scores what is missing as missing."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from autoseg import cli
from autoseg.core.errors import AutosegError
from autoseg.core.presets import EvaluateOptions, Rules
from autoseg.core.records import read_record, write_record
from autoseg.core.scores import Scores
from autoseg.core.workspace import Workspace, WorkspaceRecord
from autoseg.datasets.dataset import Case, Dataset, Fold, Folds
from autoseg.steps import evaluate as evaluating
from autoseg.steps.evaluate import evaluate, score_validation
from planners.fingerprint import Label
from planners.plan import Plan
from tests.records import a_dataset

SHAPE = (6, 5, 4)
AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)


def cube(start: int, value: int = 1) -> np.ndarray:
    array = np.zeros(SHAPE, dtype=np.uint8)
    array[start : start + 2, 1:3, 1:3] = value
    return array


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Three cases: a is perfect, b is half right, c was missed."""
    for name, start, value in (("a", 0, 1), ("b", 1, 1), ("c", 0, 0)):
        save(tmp_path / "predictions" / f"{name}.nii.gz", cube(start, value))
        save(tmp_path / "references" / f"{name}.nii.gz", cube(0))
    return tmp_path / "predictions", tmp_path / "references"


def test_scores_are_written_beside_the_predictions(folders: tuple[Path, Path]) -> None:
    scores = evaluate(*folders)
    assert [case.labels[0].dice for case in scores.cases] == [1.0, 0.5, 0.0]
    assert scores.summary().mean == pytest.approx(0.5)
    assert scores.labels == (Label(name="label_1", values=(1,)),)
    assert scores.cases[0].labels[0].reference_ml == pytest.approx(8 * 20 / 1000)
    assert read_record(folders[0] / "scores.json", Scores) == scores
    rows = list(csv.DictReader((folders[0] / "scores.csv").read_text().splitlines()))
    assert [(row["case"], row["label"], row["dice"]) for row in rows] == [
        ("a", "label_1", "1"),
        ("b", "label_1", "0.5"),
        ("c", "label_1", "0"),
    ]


def test_scores_go_to_the_folder_that_was_asked_for(folders: tuple[Path, Path], tmp_path: Path) -> None:
    evaluate(*folders, tmp_path / "out")
    assert (tmp_path / "out" / "scores.json").is_file()
    assert not (folders[0] / "scores.json").exists()


def test_a_missing_prediction_counts_as_empty_and_is_noted(folders: tuple[Path, Path]) -> None:
    (folders[0] / "a.nii.gz").unlink()
    scores = evaluate(*folders)
    assert scores.cases[0].prediction is None
    assert scores.summary().mean == pytest.approx(0.5 / 3)
    assert scores.notes[0] == "1 of 3 cases have no prediction and count as empty: a"


def test_partial_leaves_missing_predictions_out(folders: tuple[Path, Path]) -> None:
    (folders[0] / "a.nii.gz").unlink()
    scores = evaluate(*folders, options=EvaluateOptions(partial=True))
    assert [case.case for case in scores.cases] == ["b", "c"]


def test_a_prediction_without_reference_is_an_error(folders: tuple[Path, Path]) -> None:
    (folders[1] / "b.nii.gz").unlink()
    with pytest.raises(AutosegError, match=r"b\.nii\.gz: no reference is called b; name predictions like"):
        evaluate(*folders)
    assert not (folders[0] / "scores.json").exists()


def test_predictions_on_another_grid_are_refused(folders: tuple[Path, Path]) -> None:
    shifted = AFFINE.copy()
    shifted[0, 3] = 1.0  # half a voxel
    save(folders[0] / "b.nii.gz", cube(1), shifted)
    with pytest.raises(AutosegError, match=r"b\.nii\.gz: .* 1 mm \(0\.5 voxels\) away"):
        evaluate(*folders)


def test_predictions_of_another_shape_are_refused(folders: tuple[Path, Path]) -> None:
    save(folders[0] / "b.nii.gz", cube(1)[:, :, :3])
    with pytest.raises(AutosegError, match=r"6 x 5 x 3 voxels"):
        evaluate(*folders)


def test_formats_may_differ_between_the_two_sides(folders: tuple[Path, Path]) -> None:
    image = SimpleITK.ReadImage(str(folders[0] / "b.nii.gz"))
    (folders[0] / "b.nii.gz").unlink()
    SimpleITK.WriteImage(image, str(folders[0] / "b.nrrd"))
    assert evaluate(*folders).summary().mean == pytest.approx(0.5)


def test_two_files_of_one_case_are_refused(folders: tuple[Path, Path]) -> None:
    save(folders[0] / "b.nii", cube(1))
    with pytest.raises(AutosegError, match="is the same case; keep one label map per case"):
        evaluate(*folders)


def test_255_in_the_reference_is_the_1_of_the_prediction(folders: tuple[Path, Path]) -> None:
    for name in "abc":
        save(folders[1] / f"{name}.nii.gz", cube(0, 255))
    scores = evaluate(*folders)
    assert scores.summary().mean == pytest.approx(0.5)
    assert scores.notes[0] == "value 1 of the predictions was compared with value 255 of the references"


def test_one_file_against_one_file(folders: tuple[Path, Path], tmp_path: Path) -> None:
    scores = evaluate(folders[0] / "b.nii.gz", folders[1] / "a.nii.gz", tmp_path / "out")
    assert scores.summary().mean == pytest.approx(0.5)


def test_distances_come_with_a_tolerance(folders: tuple[Path, Path]) -> None:
    scores = evaluate(*folders, options=EvaluateOptions(tolerance_mm="2"))
    assert scores.cases[0].labels[0].hd95_mm == 0
    assert scores.cases[1].labels[0].hd95_mm == pytest.approx(2.0)
    assert scores.summary("nsd").n == 3
    assert "hd95_mm" in (folders[0] / "scores.csv").read_text().splitlines()[0]


def test_the_command_line_takes_the_tolerance(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["evaluate", *map(str, folders), "--tolerance-mm", "2"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("HD95 (mm)", "ASSD (mm)", "NSD"))
    assert read_record(folders[0] / "scores.json", Scores).tolerance_mm == 2


@pytest.mark.parametrize("tolerance_mm", ["-1", "nan", "inf", "1,x"])
def test_a_tolerance_that_is_no_distance_is_refused(folders: tuple[Path, Path], tolerance_mm: str) -> None:
    with pytest.raises(AutosegError, match="mm is no distance; give millimetres, such as 1"):
        evaluate(*folders, options=EvaluateOptions(tolerance_mm=tolerance_mm))


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ("nowhere", "references", "nowhere: does not exist"),
        ("predictions", "nowhere", "nowhere: does not exist"),
        ("empty", "references", "empty: holds no label map; give the folder that `autoseg predict` wrote"),
    ],
)
def test_folders_that_cannot_be_scored(
    folders: tuple[Path, Path], tmp_path: Path, predictions: str, references: str, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(AutosegError, match=message):
        evaluate(tmp_path / predictions, tmp_path / references)


def test_label_maps_without_any_label_are_refused(tmp_path: Path) -> None:
    for side in ("p", "r"):
        save(tmp_path / side / "a.nii.gz", cube(0, 0))
    with pytest.raises(AutosegError, match="every label map is empty"):
        evaluate(tmp_path / "p", tmp_path / "r")


# ---------------------------------------------------------------------------------------------------- patients
def patients_in(scores: Scores) -> list[str]:
    return [case.patient for case in scores.cases]


def test_where_nothing_is_known_every_file_is_said_to_be_a_patient(folders: tuple[Path, Path]) -> None:
    scores = evaluate(*folders)
    assert patients_in(scores) == ["a", "b", "c"]
    assert scores.notes[0] == "every file counts as a patient: nothing says which belong together (--groups would)"


def test_patients_are_told_by_the_names_of_files(tmp_path: Path) -> None:
    for name in ("sub-01_ses-1", "sub-01_ses-2", "sub-02_ses-1"):
        for side in ("p", "r"):
            save(tmp_path / side / f"{name}.nii.gz", cube(0))
    scores = evaluate(tmp_path / "p", tmp_path / "r")
    assert patients_in(scores) == ["sub-01", "sub-01", "sub-02"]
    assert scores.notes[0] == "3 files of 2 patients, told by the dataset or their names"


def test_a_list_says_which_files_are_of_one_patient(folders: tuple[Path, Path], tmp_path: Path) -> None:
    table = tmp_path / "groups.csv"
    table.write_text("case,group\na,Ann\nc,Ann\nof_training,Bob\n")
    assert cli.run(["evaluate", *map(str, folders), "--groups", str(table)]) == 0
    scores = read_record(folders[0] / "scores.json", Scores)
    assert patients_in(scores) == ["Ann", "b", "Ann"]
    assert scores.notes[0] == f"3 files of 2 patients, told by --groups {table}"
    table.write_text("case,group\nx,Ann\n")
    with pytest.raises(AutosegError, match=r"names none of the cases; write the names of the cases: a, b, c"):
        evaluate(*folders, options=EvaluateOptions(groups=str(table)))


# ------------------------------------------------------------------------------------------------- with a dataset
def test_slices_of_one_stack_count_as_one_patient_unless_a_list_says_otherwise(tmp_path: Path) -> None:
    names = ("slice_a", "slice_b", "slice_c", "apart")
    for name in names:
        save(tmp_path / "data" / f"{name}.nii.gz", cube(0))
        save(tmp_path / "data" / f"{name}_seg.nii.gz", cube(0))
        save(tmp_path / "p" / f"{name}.nii.gz", cube(0))
    cases = [Case(name=n, images=(f"{n}.nii.gz",), references=(f"{n}_seg.nii.gz",), group=n) for n in names]
    workspace = Workspace(tmp_path / "w.autoseg")
    dataset = a_dataset(tmp_path / "data", cases, [Label(name="x", values=(1,))], stacks=(names[:3],))
    write_record(workspace.dataset, dataset)
    scores = evaluate(tmp_path / "p", workspace.root)
    assert {case.case: case.patient for case in scores.cases} == dict.fromkeys(names[:3], "slice_a") | {
        "apart": "apart"
    }
    assert scores.notes[0] == "4 files of 2 patients, told by the dataset or their names"
    assert scores.notes[1] == "3 files are slices of a stack, which counts as one patient"
    table = tmp_path / "groups.csv"
    table.write_text("case,group\nslice_a,Ann\nslice_b,Bob\nslice_c,Cid\n")
    told = evaluate(tmp_path / "p", workspace.root, options=EvaluateOptions(groups=str(table)))
    assert sorted(case.patient for case in told.cases) == ["Ann", "Bob", "Cid", "apart"]
    assert not any("slices of a stack" in note for note in told.notes)


def workspace_of_masks(tmp_path: Path) -> Workspace:
    """Two cases of one patient and one of another; masks are 0/255 in the files, label 1 in the dataset."""
    folder = tmp_path / "data"
    for name in ("x1", "x2", "y"):
        save(folder / "images" / f"{name}.nii.gz", np.ones(SHAPE, dtype=np.float32))
        save(folder / "labels" / f"{name}.nii.gz", cube(0, 255))
    cases = tuple(
        Case(name=n, images=(f"images/{n}.nii.gz",), references=(f"labels/{n}.nii.gz",), group=n[0])
        for n in ("x1", "x2", "y")
    )
    lesion = Label(name="lesion", values=(1,))
    workspace = Workspace(tmp_path / "data.autoseg")
    write_record(workspace.record, WorkspaceRecord(dataset=str(folder), seed=0))
    write_record(
        workspace.dataset,
        Dataset(
            name="data",
            folder=str(folder),
            layout="folders",
            channels=("image",),
            labels=(lesion,),
            value_map=((255, 1),),
            overlapping=False,
            cases=cases,
            test_cases=(),
            inferences=(),
        ),
    )
    write_record(
        workspace.plan,
        Plan(
            dataset="data",
            recipe="auto",
            channels=("image",),
            labels=(lesion,),
            target="labels",
            transpose=(0, 1, 2),
            configurations=(),
            decisions=(),
        ),
    )
    folds = (Fold(train=("y",), validation=("x1", "x2")), Fold(train=("x1", "x2", "y"), validation=()))
    write_record(workspace.folds, Folds(because="test", folds=folds))
    return workspace


def test_validation_cases_are_scored_with_the_labels_of_the_dataset(tmp_path: Path) -> None:
    workspace = workspace_of_masks(tmp_path)
    folder = workspace.validation("3d_fullres", 0)
    save(folder / "x1.nii.gz", cube(0))
    save(folder / "x2.nii.gz", cube(1))
    scores = score_validation(workspace, "3d_fullres", 0)
    assert [(case.case, case.patient, case.labels[0].dice) for case in scores.cases] == [
        ("x1", "x", 1.0),
        ("x2", "x", 0.5),
    ]
    assert scores.summary().label == "mean over labels"
    assert scores.summary("dice", "lesion").mean == pytest.approx(0.75)
    assert scores.metrics == ("dice", "hd95_mm")
    assert [case.labels[0].hd95_mm for case in scores.cases] == [0.0, 2.0]
    assert read_record(folder / "scores.json", Scores) == scores


def test_slices_of_one_stack_count_as_one_patient_in_a_folds_scores(tmp_path: Path) -> None:
    workspace = workspace_of_masks(tmp_path)
    dataset = read_record(workspace.dataset, Dataset)
    cases = tuple(replace(case, group=case.name if case.name != "y" else "Ann") for case in dataset.cases)
    write_record(workspace.dataset, replace(dataset, cases=cases, stacks=(("x1", "x2", "y"),)))
    folds = (Fold(train=(), validation=("x1", "x2", "y")),)
    write_record(workspace.folds, Folds(because="test", folds=folds))
    for name in ("x1", "x2", "y"):
        save(workspace.validation("2d", 0) / f"{name}.nii.gz", cube(0))
    scores = score_validation(workspace, "2d", 0)
    assert {case.case: case.patient for case in scores.cases} == {"x1": "x1", "x2": "x1", "y": "Ann"}


def test_a_prediction_that_is_noise_costs_no_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluating, "_VALIDATION", Rules(metrics=("dice", "hd95_mm"), most_apart=1))
    workspace = workspace_of_masks(tmp_path)
    folder = workspace.validation("3d_fullres", 0)
    save(folder / "x1.nii.gz", cube(0))
    save(folder / "x2.nii.gz", cube(1))
    scores = score_validation(workspace, "3d_fullres", 0)
    assert [case.labels[0].hd95_mm for case in scores.cases] == [0.0, None]
    assert scores.summary("hd95_mm").undefined == 1
    assert [note for note in scores.notes if "x2" in note] == [
        "HD95 of x2 would take minutes, so much does its prediction differ: undefined, and Dice counts"
    ]


def test_a_fold_without_validation_cases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AutosegError, match="fold 1 has no validation cases"):
        score_validation(workspace_of_masks(tmp_path), "3d_fullres", 1)


def test_a_workspace_or_its_dataset_serves_as_references(tmp_path: Path) -> None:
    workspace = workspace_of_masks(tmp_path)
    for name in ("x1", "x2", "y"):
        save(tmp_path / "predictions" / f"{name}.nii.gz", cube(1))
    by_workspace = evaluate(tmp_path / "predictions", workspace.root)
    assert by_workspace.summary().mean == pytest.approx(0.5)
    assert by_workspace.labels[0].name == "lesion"
    by_folder = evaluate(tmp_path / "predictions", tmp_path / "data")
    assert by_folder.summary().mean == pytest.approx(0.5)


def test_a_value_that_is_no_label_of_the_dataset_is_refused(tmp_path: Path) -> None:
    workspace = workspace_of_masks(tmp_path)
    save(tmp_path / "predictions" / "y.nii.gz", cube(0, 3))
    with pytest.raises(AutosegError, match=r"y\.nii\.gz: value 3 is no label"):
        evaluate(tmp_path / "predictions", workspace.root, options=EvaluateOptions(partial=True))


def test_a_prediction_stored_on_a_mirrored_grid_is_the_same_place(folders: tuple[Path, Path]) -> None:
    mirrored = AFFINE.copy()
    mirrored[0, 0], mirrored[0, 3] = -2.0, 2.0 * (SHAPE[0] - 1)
    save(folders[0] / "a.nii.gz", np.ascontiguousarray(cube(0)[::-1]), mirrored)
    assert evaluate(*folders).cases[0].labels[0].dice == 1


def test_a_dataset_with_a_dataset_json_of_its_own_is_no_workspace(tmp_path: Path) -> None:
    raw = tmp_path / "Dataset001_lesions"
    for name in ("x", "y"):
        save(raw / "imagesTr" / f"{name}_0000.nii.gz", np.ones(SHAPE, dtype=np.float32))
        save(raw / "labelsTr" / f"{name}.nii.gz", cube(0))
        save(tmp_path / "predictions" / f"{name}.nii.gz", cube(1))
    description = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "lesion": 1}, "numTraining": 2}
    (raw / "dataset.json").write_text(json.dumps({**description, "file_ending": ".nii.gz"}))
    scores = evaluate(tmp_path / "predictions", raw)
    assert scores.summary("dice", "lesion").mean == pytest.approx(0.5)
