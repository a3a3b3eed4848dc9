"""`autoseg evaluate` with metrics and rules of the user's choice: on the command line, in the record, in the table."""

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from autoseg import cli
from autoseg.core.definitions import DEFINITIONS, parse_metrics
from autoseg.core.errors import AutosegError
from autoseg.core.presets import PRESETS, EvaluateOptions
from autoseg.core.records import decode, read_record
from autoseg.core.scores import Scores, scores_table
from autoseg.imaging.dicom_seg_write import write_segmentation
from autoseg.imaging.write import write_label
from autoseg.steps.compare import compare
from autoseg.steps.evaluate import evaluate
from planners.fingerprint import Label
from tests.imaging.test_dicom_seg_write import scan

SHAPE = (9, 12, 12)


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array.astype(np.uint8).T, np.diag([1.0, 1.0, 2.0, 1.0])), path)


def blocks(*starts: tuple[int, int], value: int = 1) -> np.ndarray:
    array = np.zeros(SHAPE, dtype=np.uint8)
    for y, x in starts:
        array[2:6, y : y + 4, x : x + 4] = value
    return array


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Four cases: perfect, one of two lesions found, one made up, nothing on either side."""
    cases = {
        "a": (blocks((0, 0)), blocks((0, 0))),
        "b": (blocks((0, 0)), blocks((0, 0), (8, 8))),
        "c": (blocks((8, 0)), blocks()),
        "d": (blocks(), blocks()),
    }
    for name, (prediction, reference) in cases.items():
        save(tmp_path / "predictions" / f"{name}.nii.gz", prediction)
        save(tmp_path / "references" / f"{name}.nii.gz", reference)
    return tmp_path / "predictions", tmp_path / "references"


def column(scores: Scores, metric: str) -> list[float | None]:
    return [getattr(case.labels[0], metric) for case in scores.cases]


def test_every_metric_can_be_asked_for_by_name(folders: tuple[Path, Path]) -> None:
    scores = evaluate(*folders, options=EvaluateOptions(metrics="all,hd95-pooled", tolerance_mm="1"))
    assert scores.metrics == tuple(metric for metric in DEFINITIONS if "lesion_wise" not in metric)
    assert column(scores, "lesion_sensitivity") == [1, 0.5, None, None]
    assert column(scores, "lesion_false_positives") == [0, 0, 1, 0]
    assert column(scores, "lesion_f1") == [1, pytest.approx(2 / 3), 0, None]
    assert column(scores, "pq") == [1, pytest.approx(2 / 3), 0, None]
    assert column(scores, "lesion_dice") == [1, 1, None, None]
    assert column(scores, "cldice")[0] == 1
    assert column(scores, "relative_volume_difference") == [0, -0.5, None, None]
    assert column(scores, "volume_difference_ml") == [0, pytest.approx(-0.128), pytest.approx(0.128), 0]
    assert column(scores, "sensitivity") == [1, 0.5, None, None]
    assert column(scores, "precision") == [1, 1, 0, None]
    row = scores.summary("lesion_f1", "label_1")
    assert (row.n, row.undefined, row.only_reference, row.only_prediction) == (3, 1, 0, 1)
    assert len(scores.definitions) == len(scores.metrics)
    assert read_record(folders[0] / "scores.json", Scores) == scores


def test_infinite_distances_are_inf_in_the_csv_and_the_diagonal_in_means(folders: tuple[Path, Path]) -> None:
    scores = evaluate(*folders, options=EvaluateOptions(metrics="hd,hd95"))
    rows = list(csv.DictReader((folders[0] / "scores.csv").read_text().splitlines()))
    assert [row["hd95_mm"] for row in rows][2:] == ["inf", ""]
    diagonal = float(np.linalg.norm([9 * 2, 12, 12]))
    assert column(scores, "hd95_mm")[2] == pytest.approx(diagonal)
    assert scores.summary("hd95_mm").n == 3
    note = "HD, HD95 are infinite where only one side holds a label (1 of 4): means take the image's diagonal"
    assert note in scores.notes


def test_only_what_was_asked_for_is_in_the_record_the_table_and_the_csv(folders: tuple[Path, Path]) -> None:
    scores = evaluate(*folders, options=EvaluateOptions(metrics="nsd", tolerance_mm="1.5"))
    assert (scores.metrics, scores.tolerance_mm) == (("nsd",), 1.5)
    assert column(scores, "hd95_mm") == [None] * 4
    assert "NSD at 1.5 mm" in scores_table(scores)
    header = (folders[0] / "scores.csv").read_text().splitlines()[0]
    assert header == "case,patient,label,tp,fp,fn,reference_ml,prediction_ml,dice,iou,nsd"


def test_what_neither_side_holds_may_count_as_one(folders: tuple[Path, Path]) -> None:
    scores = evaluate(*folders, options=EvaluateOptions(empty_is_one=True, tolerance_mm="1"))
    assert (column(scores, "dice")[3], column(scores, "nsd")[3], column(scores, "hd95_mm")[3]) == (1, 1, None)
    assert (scores.both_empty, scores.summary("dice").undefined) == (1, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (EvaluateOptions(metrics="dice,hd59"), "--metrics: no metric is called 'hd59'; did you mean hd95"),
        (EvaluateOptions(metrics="dcie"), "did you mean dice"),
        (EvaluateOptions(metrics="qqqq"), "choose from dice, iou"),
        (EvaluateOptions(preset="kits32"), "--preset: no preset is called 'kits32'; did you mean kits23"),
        (EvaluateOptions(preset="qqqq"), "choose from msd"),
        (EvaluateOptions(metrics="nsd"), "NSD: needs a tolerance; .* such as --tolerance-mm 1"),
        (EvaluateOptions(preset="msd"), "NSD: needs a tolerance"),
        (EvaluateOptions(tolerance_mm="1,2,3"), "3 tolerances for 1 labels; give one for all, or one for each"),
        (EvaluateOptions(metrics="lesion_wise_dice"), "need the rules of a challenge; add --preset brats-lesion-wise"),
    ],
)
def test_options_that_make_no_sense_are_named(
    folders: tuple[Path, Path], options: EvaluateOptions, message: str
) -> None:
    with pytest.raises(AutosegError, match=message):
        evaluate(*folders, options=options)
    assert not (folders[0] / "scores.json").exists()


def test_a_group_leaves_out_what_has_no_tolerance() -> None:
    assert parse_metrics("distances", tolerance=False) == ("hd_mm", "hd95_mm", "hd95_pooled_mm", "assd_mm", "masd_mm")
    assert parse_metrics("Lesion-F1, dice,dice") == ("dice", "lesion_f1")


# ----------------------------------------------------------------------------------------------------- challenges
def tumours(tmp_path: Path) -> tuple[Path, Path]:
    """Reference: core 1 in oedema 2, and enhancing 3; the prediction takes 3 for 1 and leaves one row of 2 out."""
    reference = blocks((0, 0), value=2)
    reference[2:6, 1:3, 1:3] = 1
    reference[4, 1:3, 1:3] = 3
    prediction = reference.copy()
    prediction[prediction == 3], prediction[2:6, 0] = 1, 0
    save(tmp_path / "p" / "x.nii.gz", prediction)
    save(tmp_path / "r" / "x.nii.gz", reference)
    return tmp_path / "p", tmp_path / "r"


def test_brats_regions_are_unions_and_scored_lesion_by_lesion(tmp_path: Path) -> None:
    scores = evaluate(*tumours(tmp_path), options=EvaluateOptions(preset="brats-lesion-wise"))
    whole, core, enhancing = scores.cases[0].labels
    assert (whole.label, whole.tp, whole.fn) == ("whole_tumour", 48, 16)
    assert (core.dice, core.lesion_wise_dice) == (1, 1)  # 32 mm3: below 50, on either side
    assert (enhancing.dice, enhancing.tp) == (0, 0)
    assert whole.lesion_wise_dice == pytest.approx(2 * 48 / (48 + 64))
    assert (scores.preset, scores.both_empty) == ("brats-lesion-wise", 1)


def test_kits_has_a_tolerance_for_each_of_its_classes(tmp_path: Path) -> None:
    scores = evaluate(*tumours(tmp_path), options=EvaluateOptions(preset="kits23"))
    assert [label.name for label in scores.labels] == ["kidney_and_masses", "masses", "tumour"]
    assert scores.tolerance_mm == PRESETS["kits23"].rules.tolerances_mm
    shown = scores_table(scores)
    assert "NSD at 1.033 mm" in shown
    assert "NSD at 1.15 mm" in shown
    assert read_record(tmp_path / "p" / "scores.json", Scores) == scores


def test_a_value_outside_the_preset_is_refused(tmp_path: Path) -> None:
    predictions, references = tumours(tmp_path)
    save(predictions / "x.nii.gz", blocks((0, 0), value=4))
    with pytest.raises(AutosegError, match=r"x\.nii\.gz: value 4 is no label"):
        evaluate(predictions, references, options=EvaluateOptions(preset="brats-lesion-wise"))


# ------------------------------------------------------------------------------------------------ other inputs
LABELS = (Label(name="liver", values=(1,)), Label(name="vein", values=(2,)))


def two_structures(shift: int = 0) -> np.ndarray:
    array = np.zeros((8, 6, 7), dtype=np.uint8)
    array[1:5, 1:4, 1 + shift : 4 + shift] = 1
    array[5, 1:4, 1:4] = 2
    return array


def test_dicom_seg_is_scored_on_either_side_and_against_label_maps_and_datasets(tmp_path: Path) -> None:
    series = scan(tmp_path / "clinic" / "T1")
    for side, shift in (("p", 1), ("r", 0)):
        (tmp_path / side).mkdir()
        write_segmentation(tmp_path / side / "T1.dcm", two_structures(shift), series, LABELS)
        write_label(tmp_path / f"{side}_maps" / "T1.nii.gz", two_structures(shift), series)
    (tmp_path / "clinic" / "seg").mkdir()
    write_segmentation(tmp_path / "clinic" / "seg" / "reference.dcm", two_structures(), series, LABELS)
    expected = None
    for predictions, references in (("p_maps", "r_maps"), ("p", "r"), ("p_maps", "r"), ("p", "clinic")):
        scores = evaluate(tmp_path / predictions, tmp_path / references, tmp_path / "out")
        found = [(s.tp, s.fp, s.fn, s.hd95_mm, s.assd_mm) for s in scores.cases[0].labels]
        names = [label.name for label in scores.labels]
        assert names == (["label_1", "label_2"] if predictions + references == "p_mapsr_maps" else ["liver", "vein"])
        expected = expected or found
        assert found == [pytest.approx(values) for values in expected], (predictions, references)
    assert expected[0][:3] == (24, 12, 12)


def test_folders_of_structures_that_overlap_are_scored_by_their_names(tmp_path: Path) -> None:
    for side, whole in (("p", blocks((0, 0))), ("r", blocks((0, 0), (8, 8)))):
        save(tmp_path / side / "x" / "organ.nii.gz", whole)
        save(tmp_path / side / "x" / "part.nii.gz", blocks((0, 0)))
    scores = evaluate(tmp_path / "p", tmp_path / "r")
    assert [(s.label, s.tp, s.fn) for s in scores.cases[0].labels] == [("organ", 64, 64), ("part", 64, 0)]


# ------------------------------------------------------------------------------------------------- command line
def test_the_command_line_takes_metrics_and_explains_them(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["evaluate", *map(str, folders), "--metrics", "hd95,pq", "--explain"]) == 0
    shown = capsys.readouterr().out
    assert "PQ: panoptic quality, SQ * RQ." in shown
    assert "Both empty: undefined; one empty: 0. Source: Kirillov" in shown
    assert cli.run(["evaluate", *map(str, folders), "--preset", "msd-livr"]) == 2
    assert "did you mean msd-liver?" in capsys.readouterr().err


def test_a_record_from_before_the_choice_of_metrics_is_read(folders: tuple[Path, Path]) -> None:
    evaluate(*folders, options=EvaluateOptions(metrics="dice"))
    record = json.loads((folders[0] / "scores.json").read_text())
    old = {key: record[key] for key in ("schema", "labels", "cases", "summaries", "notes")}
    kept = ("label", "tp", "fp", "fn", "dice", "iou", "reference_ml", "prediction_ml", "hd95_mm", "assd_mm", "nsd")
    for case in old["cases"]:
        case["labels"] = [{key: score[key] for key in kept} for score in case["labels"]]
    scores = decode(json.dumps({**old, "tolerance_mm": None}).encode(), Scores, "scores.json")
    assert (scores.metrics, scores.rules.metrics, scores.definitions) == (("dice",), ("dice",), ())
    assert scores.summary().n == 3


# ------------------------------------------------------------------------------------------------------- compare
def test_results_are_compared_by_any_shared_metric(folders: tuple[Path, Path], tmp_path: Path) -> None:
    options = EvaluateOptions(metrics="dice,hd95,relative-volume-difference")
    save(tmp_path / "better" / "b.nii.gz", blocks((0, 0), (8, 8)))
    for name in "acd":
        (tmp_path / "better" / f"{name}.nii.gz").write_bytes((folders[0] / f"{name}.nii.gz").read_bytes())
    evaluate(*folders, tmp_path / "one", options)
    evaluate(tmp_path / "better", folders[1], tmp_path / "two", options)
    comparison = compare([tmp_path / "one", tmp_path / "two"], metrics="hd95,relative-volume-difference")
    rows = {row.metric: row for row in comparison.differences if row.label == "label_1"}
    assert rows.keys() == {"hd95_mm", "relative_volume_difference"}
    assert rows["relative_volume_difference"].paired.mean == pytest.approx(-0.25)  # of sizes: 0.5 became 0
    assert "size of relative volume difference" in rows["relative_volume_difference"].conclusion
    with pytest.raises(AutosegError, match=r"not all results have nsd .* they share dice, relative_volume_differ"):
        compare([tmp_path / "one", tmp_path / "two"], metrics="nsd")
    evaluate(*folders, tmp_path / "two", EvaluateOptions(metrics="dice", empty_is_one=True))
    with pytest.raises(AutosegError, match="counts labels that neither side holds otherwise"):
        compare([tmp_path / "one", tmp_path / "two"])
