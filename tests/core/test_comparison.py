"""Differences between results add up by hand, and the sentence says no more than the cases do."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from autoseg.core.comparison import Comparison, Difference, Result, compare_scores, comparison_table
from autoseg.core.presets import Rules
from autoseg.core.records import decode, encode
from autoseg.core.scores import EVERY_FILE, OVER_LABELS, CaseScore, LabelScore, Scores, make_scores
from planners.fingerprint import Label

LABELS = (Label(name="liver", values=(1,)), Label(name="tumour", values=(2,)))
RESULTS = (Result(name="old", scores="old/scores.json"), Result(name="new", scores="new/scores.json"))


def label_score(label: str, dice: float | None) -> LabelScore:
    return LabelScore(
        label=label, tp=10, fp=1, fn=1, dice=dice, iou=None, reference_ml=1.0, prediction_ml=1.0, hd95_mm=None
    )


Dice = float | Callable[[int], float | None] | None


def result(n: int, liver: Dice, tumour: Dice, patients: int = 0) -> Scores:
    """Score `n` cases, each label with one Dice for all or one for each case's number."""
    cases = [
        CaseScore(
            case=f"c{i:03}",
            patient=f"p{i % patients if patients else i}",
            prediction=None,
            labels=tuple(
                label_score(name, dice(i) if callable(dice) else dice)
                for name, dice in (("liver", liver), ("tumour", tumour))
            ),
        )
        for i in range(n)
    ]
    return make_scores(LABELS, cases, [])


def compared(*scores: Scores) -> Comparison:
    names = [*RESULTS, Result(name="newest", scores="newest/scores.json")][: len(scores)]
    return compare_scores(names, scores)


def row(comparison: Comparison, label: str = OVER_LABELS, result: str = "new") -> Difference:
    return next(d for d in comparison.differences if (d.label, d.result, d.metric) == (label, result, "dice"))


def noise(i: int) -> float:
    return float(np.random.default_rng(i).normal(0, 0.03))


def test_differences_are_result_minus_baseline_case_by_case() -> None:
    old = result(4, 0.8, 0.5)
    new = result(4, lambda i: 0.8 + i / 100, lambda i: 0.5 - i / 50)
    comparison = compared(old, new)
    liver, tumour, mean = row(comparison, "liver"), row(comparison, "tumour"), row(comparison)
    assert liver.paired is not None
    assert tumour.paired is not None
    assert mean.paired is not None
    assert (liver.paired.mean, tumour.paired.mean) == (pytest.approx(0.015), pytest.approx(-0.03))
    assert mean.paired.mean == pytest.approx((0.015 - 0.03) / 2)
    assert (liver.paired.mean_a, liver.paired.mean_b) == (pytest.approx(0.815), pytest.approx(0.8))
    assert liver.paired.mean_interval is None  # four patients


def test_a_clear_difference_is_named_with_its_side() -> None:
    old = result(30, 0.8, 0.6)
    new = result(30, lambda i: 0.82 + noise(i) / 10, lambda i: 0.55 + noise(i) / 10)
    comparison = compared(old, new)
    assert "new against old: better, mean difference +0.0" in row(comparison, "liver").conclusion
    assert "new against old: worse, mean difference -0.0" in row(comparison, "tumour").conclusion
    assert row(comparison, "liver").patients_needed is None


def test_noise_is_not_distinguishable_and_the_cases_needed_are_said() -> None:
    old = result(52, 0.8, 0.6)
    new = result(52, lambda i: 0.805 + noise(i), 0.6)
    found = row(compared(old, new), "liver")
    assert found.paired is not None
    assert found.paired.sd is not None
    assert found.holm_p is not None
    assert found.holm_p > 0.05
    expected = ((1.959964 + 0.841621) * found.paired.sd / found.paired.mean) ** 2
    assert found.patients_needed == pytest.approx(expected, abs=1)
    assert found.conclusion.startswith("liver, Dice: new against old: not distinguishable with n=52; about ")
    assert found.conclusion.endswith(" cases would be needed")


def test_p_values_are_corrected_over_labels_and_results_but_not_for_the_mean() -> None:
    old = result(30, 0.8, 0.6)
    a = result(30, lambda i: 0.81 + noise(i), lambda i: 0.6 + noise(100 + i))
    b = result(30, lambda i: 0.8 + noise(200 + i), lambda i: 0.6 + noise(300 + i))
    comparison = compared(old, a, b)
    raw = [stats.wilcoxon([c.labels[0].dice - 0.8 for c in s.cases]).pvalue for s in (a, b)]
    raw += [stats.wilcoxon([c.labels[1].dice - 0.6 for c in s.cases]).pvalue for s in (a, b)]
    smallest = int(np.argmin(raw))
    found = [row(comparison, label, name).holm_p for label in ("liver", "tumour") for name in ("new", "newest")]
    assert found[smallest] == pytest.approx(min(1.0, 4 * raw[smallest]), rel=1e-6)
    means = [row(comparison, result=name) for name in ("new", "newest")]
    least = min(means, key=lambda d: d.paired.wilcoxon_p if d.paired and d.paired.wilcoxon_p else 1)
    assert least.paired is not None
    assert least.paired.wilcoxon_p is not None
    assert least.holm_p == pytest.approx(min(1.0, 2 * least.paired.wilcoxon_p))


def test_what_only_one_result_defines_is_counted_and_noted() -> None:
    old = result(12, 0.8, lambda i: 0.0 if i == 0 else None)  # made a tumour up
    new = result(12, 0.9, None)
    comparison = compared(old, new)
    tumour = row(comparison, "tumour")
    assert (tumour.paired, tumour.one_sided, tumour.undefined) == (None, 1, 11)
    assert tumour.conclusion == "tumour, Dice: new against old: no case defines both"
    assert row(comparison).paired.n == 12  # the liver is left
    assert any("tumour, Dice: 1 cases defined only by new or old take no part" in note for note in comparison.notes)


def test_equal_results_are_called_equal() -> None:
    scores = result(10, 0.8, 0.6)
    assert row(compared(scores, scores)).conclusion == "mean over labels, Dice: new against old: equal in all 10 cases"


def test_slices_do_not_make_patients() -> None:
    old = result(60, 0.8, 0.6, patients=6)
    new = result(60, lambda i: 0.8 + noise(i % 6), 0.6, patients=6)
    found = row(compared(old, new), "liver")
    assert found.paired is not None
    assert (found.paired.n, found.paired.patients, found.paired.mean_interval) == (60, 6, None)
    assert "with n=6" in found.conclusion


def test_few_patients_are_noted_row_by_row_and_patients_are_those_of_the_scores() -> None:
    old = result(60, 0.8, lambda i: 0.5 if i < 12 else None)
    new = result(60, lambda i: 0.8 + noise(i), lambda i: 0.6 if i < 12 else None)
    narrow = "intervals from fewer than 50 patients are narrower than they should be: tumour: 12 patients"
    assert compared(old, new).notes[-1] == narrow
    few = result(60, 0.8, lambda i: 0.5 if i < 3 else None)
    assert "no interval under 10 patients: tumour: 3 patients" in compared(few, new).notes
    grouped = result(60, 0.8, 0.5, patients=30)
    notes = compared(grouped, new).notes
    assert any("do not agree on which cases are of one patient" in note for note in notes)
    assert any("intervals from 30 patients" in note for note in notes)
    unknown = replace(old, notes=(f"{EVERY_FILE}: nothing says otherwise",))
    assert f"{EVERY_FILE}: nothing says otherwise" in compared(unknown, new).notes


def test_shorter_distances_are_better() -> None:
    old, new = result(20, 0.8, 0.6), result(20, 0.8, 0.6)
    far, near = (
        make_scores(
            LABELS,
            [
                replace(c, labels=tuple(replace(s, hd95_mm=mm + i / 100, assd_mm=1.0, nsd=0.5) for s in c.labels))
                for i, c in enumerate(s.cases)
            ],
            [],
            Rules(metrics=("dice", "hd95_mm", "assd_mm", "nsd"), tolerances_mm=(tolerance_mm,)),
        )
        for s, mm, tolerance_mm in ((old, 9.0, 1.0), (new, 4.0, 2.0))
    )
    comparison = compared(far, near)
    hd95 = next(d for d in comparison.differences if d.metric == "hd95_mm")
    assert "better, mean difference -5.0000" in hd95.conclusion
    assert "nsd" not in {d.metric for d in comparison.differences}
    assert "NSD is not compared: the results were scored with different tolerances" in comparison.notes


def test_the_table_has_a_line_for_each_difference_and_a_sentence_for_the_mean() -> None:
    old = result(12, 0.8, 0.6)
    new = result(12, lambda i: 0.8 + noise(i), None)
    lines = comparison_table(compared(old, new)).splitlines()
    assert lines[0].split()[:3] == ["label", "metric", "result"]
    assert sum(line.startswith(("liver  ", "tumour  ", "mean over labels  ")) for line in lines) == 3
    assert any(line.startswith("mean over labels, Dice: new against old: ") for line in lines)


def test_the_table_says_which_test_was_made() -> None:
    few = comparison_table(compared(result(12, 0.8, 0.6), result(12, lambda i: 0.8 + noise(i), None)))
    assert "test: under 20 patients all flips of the patients' signs (exact, of the mean)" in few
    assert few.count(" sign flip ") == 2  # the liver and the mean over labels; the tumour has no test
    many = comparison_table(compared(result(20, 0.8, 0.6), result(20, lambda i: 0.8 + noise(i), 0.6)))
    assert "test: Wilcoxon's signed-rank test of the patients' differences" in many
    assert many.count(" Wilcoxon ") == 2
    assert "sign flip" not in many


def test_under_twenty_patients_the_side_named_is_that_of_the_mean() -> None:
    # eleven lose a hundredth, eight gain two tenths: the median is below zero, the tested mean above
    found = row(compared(result(19, 0.5, 0.6), result(19, lambda i: 0.7 if i < 8 else 0.49, 0.6)), "liver")
    assert found.paired is not None
    assert found.paired.median < 0 < found.paired.mean
    assert found.paired.test == "sign flip"
    assert "better, mean difference +0.0784" in found.conclusion


def test_the_record_survives_the_disk() -> None:
    comparison = compared(result(12, noise, noise), result(12, lambda i: noise(i + 50), None))
    assert decode(encode(comparison), Comparison, "comparison.json") == comparison


def test_one_result_is_no_comparison() -> None:
    with pytest.raises(ValueError, match="at least two results"):
        compare_scores(RESULTS[:1], [result(3, noise, noise)])
