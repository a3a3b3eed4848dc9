"""Scores add up by hand, and what is undefined is counted instead of dropped."""

import csv
import io
from dataclasses import replace

import pytest

from autoseg.core.presets import Rules
from autoseg.core.records import decode, encode
from autoseg.core.scores import (
    OVER_LABELS,
    CaseScore,
    LabelScore,
    Scores,
    dice_of,
    iou_of,
    make_scores,
    scores_csv,
    scores_table,
)
from planners.fingerprint import Label

LABELS = (
    Label(name="liver", values=(1,)),
    Label(name="tumour", values=(2,)),
    Label(name="unsure", values=(3,), role="ignore"),
)


def case(name: str, liver: tuple[int, int, int], tumour: tuple[int, int, int], patient: str = "") -> CaseScore:
    scores = tuple(
        LabelScore(
            label=label,
            tp=c[0],
            fp=c[1],
            fn=c[2],
            dice=dice_of(*c),
            iou=iou_of(*c),
            reference_ml=(c[0] + c[2]) / 1000,
            prediction_ml=(c[0] + c[1]) / 1000,
        )
        for label, c in (("liver", liver), ("tumour", tumour))
    )
    return CaseScore(case=name, patient=patient or name, prediction=f"{name}.nii.gz", labels=scores)


def three_cases() -> Scores:
    return make_scores(
        LABELS,
        [
            case("b", (6, 2, 4), (0, 0, 0)),  # liver 12/18, no tumour on either side
            case("a", (5, 0, 0), (0, 3, 0)),  # liver 1, a tumour was made up
            case("c", (5, 5, 5), (0, 0, 7)),  # liver 1/2, the tumour was missed
        ],
        ["a note"],
        Rules(metrics=("dice", "iou")),
    )


def test_means_are_those_computed_by_hand() -> None:
    scores = three_cases()
    assert scores.summary("dice", "liver").mean == pytest.approx((12 / 18 + 1 + 0.5) / 3)
    assert scores.summary("iou", "liver").mean == pytest.approx((6 / 12 + 1 + 5 / 15) / 3)
    assert scores.summary("dice", "tumour").mean == 0
    assert scores.summary("dice", "liver").median == pytest.approx(12 / 18)
    assert scores.summary().mean == pytest.approx((12 / 18 + 1 / 2 + 0.5 / 2) / 3)


def test_absent_missed_and_made_up_structures_are_counted() -> None:
    row = three_cases().summary("dice", "tumour")
    assert (row.n, row.undefined, row.only_reference, row.only_prediction) == (2, 1, 1, 1)


def test_a_label_that_never_occurs_has_no_mean() -> None:
    row = make_scores(LABELS, [case("a", (1, 0, 0), (0, 0, 0))], []).summary("dice", "tumour")
    assert (row.n, row.undefined, row.mean, row.median, row.mean_interval) == (0, 1, None, None, None)


def test_too_few_patients_are_noted_and_get_no_interval() -> None:
    scores = three_cases()
    assert scores.summary().mean_interval is None
    assert scores.notes == ("a note", "3 patients are too few for an interval (at least 10)")


def test_two_cases_of_one_patient_count_once_for_the_interval() -> None:
    cases = [case(f"c{i}", (i + 1, 1, 1), (1, 1, 1), patient=f"p{i // 2}") for i in range(18)]
    assert make_scores(LABELS, cases, []).summary().mean_interval is None
    cases = [case(f"c{i}", (i + 1, 1, 1), (1, 1, 1)) for i in range(18)]
    interval = make_scores(LABELS, cases, []).summary().mean_interval
    assert interval is not None
    assert interval.lower < interval.upper


def test_labels_that_few_patients_have_are_noted_by_name():
    def notes(n, tumours):
        cases = [case(f"c{i:02}", (5, 1, 1), (1, 1, 1) if i < tumours else (0, 0, 0)) for i in range(n)]
        return make_scores(LABELS, cases, [], Rules(metrics=("dice", "iou"))).notes

    assert notes(60, 60) == ()
    assert notes(60, 0) == ()  # no score, no interval: the table says so
    assert notes(60, 7) == ("no interval under 10 patients: tumour: 7 patients",)
    narrow = "are narrower than they should be"
    assert notes(60, 12) == (f"intervals from fewer than 50 patients {narrow}: tumour: 12 patients",)
    assert notes(20, 12) == (
        f"intervals from 20 patients (fewer than 50) {narrow}",
        f"intervals from fewer than 50 patients {narrow}: tumour: 12 patients",
    )


def test_a_metric_that_few_patients_have_is_noted_with_its_name():
    cases = [case(f"c{i:02}", (5, 1, 1), (1, 1, 1)) for i in range(60)]
    cases = [
        replace(c, labels=tuple(replace(s, precision=1.0 if c.case < "c05" else None) for s in c.labels)) for c in cases
    ]
    found = make_scores(LABELS[:1], cases, [], Rules(metrics=("dice", "precision"))).notes
    assert found == ("no interval under 10 patients: liver, precision: 5 patients",)


def test_cases_are_in_order_of_their_names_and_survive_the_disk() -> None:
    scores = three_cases()
    assert [c.case for c in scores.cases] == ["a", "b", "c"]
    assert decode(encode(scores), Scores, "scores.json") == scores


def test_csv_has_a_row_per_case_and_label_with_empty_cells_for_undefined() -> None:
    rows = list(csv.DictReader(io.StringIO(scores_csv(three_cases()))))
    assert len(rows) == 6
    assert rows[0]["case"] == "a"
    assert rows[0]["dice"] == "1"
    assert (rows[3]["case"], rows[3]["label"], rows[3]["dice"]) == ("b", "tumour", "")


def test_table_shows_labels_counts_and_notes() -> None:
    lines = scores_table(three_cases()).splitlines()
    plain = "label metric mean 95 % interval median 95 % interval n undefined"
    assert " ".join(lines[0].split()) == f"{plain} missed made up"
    assert lines[2].split() == ["liver", "Dice", "0.7222", "-", "0.6667", "-", "3", "0", "0", "0"]
    assert lines[3].split() == ["tumour", "Dice", "0.0000", "-", "0.0000", "-", "2", "1", "1", "1"]
    found = scores_table(make_scores(LABELS, [case("a", (5, 0, 0), (1, 1, 1))], [])).splitlines()[0]
    assert " ".join(found.split()) == plain  # nothing was missed or made up
    assert lines[6].startswith(OVER_LABELS)
    assert lines[-1] == "note: 3 patients are too few for an interval (at least 10)"


def test_ignored_labels_are_not_scored() -> None:
    with pytest.raises(KeyError, match="no summary of dice for 'unsure'"):
        three_cases().summary("dice", "unsure")


def test_no_case_is_refused() -> None:
    with pytest.raises(ValueError, match="no case to score"):
        make_scores(LABELS, [], [])
