"""Lesions, lesion-wise scores and centrelines against hand computations and numbers that other programs publish."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from autoseg.core.presets import PRESETS, LesionWise
from autoseg.imaging.centreline import centreline_dice
from autoseg.imaging.lesion_wise import lesion_wise_scores
from autoseg.imaging.lesions import LesionOverlaps, LesionScores, lesion_overlaps, lesion_scores, matched_lesions
from autoseg.imaging.metrics import diagonal_mm, dice

UNIT = (1.0, 1.0, 1.0)
NO_RULES = LesionWise(dilations=0, minimum_mm3=0.0, penalty_mm=100.0)


def boxes(shape, *bounds):
    """Fill boxes, each ((low, high) for every axis)."""
    mask = np.zeros(shape, bool)
    for bound in bounds:
        mask[tuple(slice(low, high) for low, high in bound)] = True
    return mask


def flat(*bounds, size=50):
    return boxes((1, size, size), *(((0, 1), *bound) for bound in bounds))


# ------------------------------------------------------------------------------------------ matching by hand
def test_panopticas_rectangle_has_its_published_quality():
    scores = lesion_scores(flat(((20, 35), (10, 20))), flat(((20, 40), (10, 20))))
    assert (scores.tp, scores.fp, scores.fn) == (1, 0, 0)
    assert (scores.sq, scores.rq, scores.pq) == (0.75, 1.0, 0.75)
    assert scores.dice == pytest.approx(0.857142857)


def test_metrics_reloadeds_objects_have_the_panoptic_quality_of_their_figure():
    prediction = flat(
        ((5, 7), (2, 5)), ((14, 18), (4, 6)), ((16, 17), (3, 4)), ((14, 18), (7, 12)), ((2, 8), (13, 16)),
        ((2, 4), (12, 13)), size=21,
    )  # fmt: skip
    reference = flat(
        ((8, 11), (3, 4)), ((9, 10), (2, 5)), ((14, 19), (7, 13)), ((2, 7), (14, 17)), ((2, 4), (12, 14)), size=21
    )
    scores = lesion_scores(prediction, reference)
    first, second = 20 / 30, 14 / (20 + 19 - 14)
    assert (scores.tp, scores.fp, scores.fn) == (2, 2, 1)
    assert scores.sq == pytest.approx((first + second) / 2)
    assert scores.rq == pytest.approx(2 * 2 / (4 + 3))
    assert scores.pq == pytest.approx(scores.sq * 4 / 7)
    assert scores.sensitivity == pytest.approx(2 / 3)
    assert scores.f1 == pytest.approx(4 / 7)


def test_a_lesion_that_is_barely_hit_is_detected_but_not_outlined():
    scores = lesion_scores(flat(((0, 10), (0, 2))), flat(((0, 10), (0, 10))))  # IoU 0.2
    assert (scores.tp, scores.f1, scores.sensitivity) == (1, 1.0, 1.0)
    assert scores.dice == pytest.approx(2 * 20 / 120)
    assert (scores.pq, scores.sq, scores.rq) == (0.0, None, 0.0)


def test_one_prediction_over_two_lesions_finds_one_of_them():
    reference = flat(((0, 10), (0, 10)), ((0, 10), (12, 20)))
    scores = lesion_scores(flat(((0, 10), (0, 20))), reference)
    assert (scores.tp, scores.fp, scores.fn) == (1, 0, 1)
    assert scores.dice == pytest.approx(2 * 100 / 300)  # the larger IoU of the two
    assert scores.f1 == pytest.approx(2 / 3)


def test_as_many_lesions_are_paired_as_can_be_even_where_another_pairing_fits_better():
    # Prediction 0 fits lesion 0 best (IoU 20/28), but then prediction 1, which touches only lesion 0, has nothing.
    shared = np.array([[0, 0, 20], [0, 1, 4], [1, 0, 4]])
    overlaps = LesionOverlaps(prediction_voxels=np.array([24, 6]), reference_voxels=np.array([24, 6]), shared=shared)
    assert [(pair.prediction, pair.reference) for pair in matched_lesions(overlaps, 0.1)] == [(1, 0), (0, 1)]
    assert [(pair.prediction, pair.reference) for pair in matched_lesions(overlaps, 0.5)] == [(0, 0)]


def test_lesions_that_touch_at_a_corner_are_one():
    assert len(lesion_overlaps(flat(((0, 2), (0, 2)), ((2, 4), (2, 4))), flat()).prediction_voxels) == 1
    corner = boxes((4, 4, 4), ((0, 2), (0, 2), (0, 2)), ((2, 4), (2, 4), (2, 4)))
    assert len(lesion_overlaps(corner, corner).prediction_voxels) == 1


def test_empty_sides_are_undefined_where_nothing_can_be_divided_and_zero_where_all_was_missed():
    nothing, one = flat(), flat(((3, 5), (3, 5)))
    none = {"f1": None, "sensitivity": None, "precision": None, "dice": None, "pq": None, "sq": None, "rq": None}
    assert lesion_scores(nothing, nothing) == LesionScores(tp=0, fp=0, fn=0, **none)
    assert lesion_scores(one, nothing) == LesionScores(
        tp=0, fp=1, fn=0, **{**none, "f1": 0.0, "precision": 0.0, "pq": 0.0, "rq": 0.0}
    )
    assert lesion_scores(nothing, one) == LesionScores(
        tp=0, fp=0, fn=1, **{**none, "f1": 0.0, "sensitivity": 0.0, "pq": 0.0, "rq": 0.0}
    )


def test_thousands_of_lesions_are_matched_without_a_table_of_all_against_all():
    speckle = np.zeros((1, 400, 400), bool)
    speckle[:, ::2, ::2] = True
    scores = lesion_scores(speckle, speckle)
    assert (scores.tp, scores.fp, scores.fn, scores.pq) == (40_000, 0, 0, 1.0)


def test_masks_of_unequal_shape_are_refused():
    one, other = np.zeros((1, 2, 2), bool), np.zeros((1, 2, 3), bool)
    for compare in (lesion_scores, centreline_dice, lambda a, b: lesion_wise_scores(a, b, UNIT, NO_RULES)):
        with pytest.raises(ValueError, match="differ in shape"):
            compare(one, other)


@st.composite
def masks(draw):
    shape = draw(st.tuples(st.integers(1, 3), st.integers(2, 9), st.integers(2, 9)))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    density = draw(st.floats(0.05, 0.6))
    reference = generator.random(shape) < density
    prediction = reference ^ (generator.random(shape) < draw(st.floats(0, 0.3)))
    return prediction, reference


@given(pair=masks(), threshold=st.sampled_from([0.05, 0.1, 0.3, 0.5]))
@settings(max_examples=80, deadline=None)
def test_the_pairing_is_one_to_one_and_as_large_as_can_be(pair, threshold):
    overlaps = lesion_overlaps(*pair)
    found = matched_lesions(overlaps, threshold)
    assert len({p.prediction for p in found}) == len({p.reference for p in found}) == len(found)
    assert all(p.iou >= threshold and p.dice == pytest.approx(2 * p.iou / (1 + p.iou)) for p in found)
    table = np.zeros((len(overlaps.prediction_voxels) + 1, len(overlaps.reference_voxels) + 1), int)
    for p, r, shared in overlaps.shared:
        union = overlaps.prediction_voxels[p] + overlaps.reference_voxels[r] - shared
        table[p, r] = shared / union >= threshold
    assert len(found) == np.sum(maximum_bipartite_matching(csr_array(table)) >= 0)


@given(pair=masks(), axis=st.integers(0, 2), pad=st.integers(0, 2))
@settings(max_examples=60, deadline=None)
def test_lesion_scores_mirror_when_sides_are_swapped_and_ignore_flips_and_margins(pair, axis, pad):
    prediction, reference = pair
    scores, swapped = lesion_scores(prediction, reference), lesion_scores(reference, prediction)
    assert (scores.tp, scores.fp, scores.fn, scores.f1) == (swapped.tp, swapped.fn, swapped.fp, swapped.f1)
    assert (scores.pq, scores.sq) == (pytest.approx(swapped.pq), pytest.approx(swapped.sq))
    flipped = lesion_scores(np.flip(prediction, axis), np.flip(reference, axis))
    assert (flipped.tp, flipped.fp, flipped.fn) == (scores.tp, scores.fp, scores.fn)
    padded = lesion_scores(np.pad(prediction, pad), np.pad(reference, pad))
    assert (padded.tp, padded.fp, padded.fn, padded.pq) == (scores.tp, scores.fp, scores.fn, pytest.approx(scores.pq))
    own = lesion_scores(reference, reference)
    assert (own.fp, own.fn) == (0, 0)
    assert own.pq in (None, 1.0)


# ---------------------------------------------------------------------------------------------- lesion-wise
TWO = (((2, 6), (2, 6), (2, 6)), ((14, 18), (14, 18), (14, 18)))
STRAY = ((2, 6), (14, 18), (14, 18))


@pytest.mark.parametrize(
    ("prediction", "dice", "lesions", "false"),
    [
        (TWO, 1.0, 2, 0),
        (TWO[:1], 0.5, 2, 0),  # one missed
        ((TWO[0], STRAY), 1 / 3, 2, 1),  # one missed, one made up
        ((), 0.0, 2, 0),
    ],
)
def test_missed_and_false_lesions_cost_what_mist_says(prediction, dice, lesions, false):
    shape = (20, 20, 20)
    rules = LesionWise(dilations=0, minimum_mm3=0.0, penalty_mm=diagonal_mm(shape, UNIT))
    scores = lesion_wise_scores(boxes(shape, *prediction), boxes(shape, *TWO), UNIT, rules)
    assert (scores.lesions, scores.false_lesions) == (lesions, false)
    assert scores.dice == pytest.approx(dice)
    assert scores.hd95_mm == pytest.approx(rules.penalty_mm * (1 - dice))


def test_a_false_lesion_beside_one_that_was_found_halves_the_score():
    scores = lesion_wise_scores(boxes((20, 20, 20), TWO[0], STRAY), boxes((20, 20, 20), TWO[0]), UNIT, NO_RULES)
    assert (scores.dice, scores.hd95_mm) == (0.5, 50.0)


def test_dilation_makes_neighbours_one_lesion_and_a_near_prediction_theirs():
    reference = boxes((20, 20, 20), ((2, 6), (2, 6), (2, 6)), ((2, 6), (2, 6), (9, 13)))  # three voxels apart
    rules = LesionWise(dilations=3, minimum_mm3=0.0, penalty_mm=374.0)
    assert lesion_wise_scores(reference, reference, UNIT, NO_RULES).lesions == 2
    assert lesion_wise_scores(reference, reference, UNIT, rules).lesions == 1
    near = boxes((20, 20, 20), ((2, 6), (2, 6), (15, 17)))  # shares nothing with the lesion, but touches its dilation
    scores = lesion_wise_scores(near, reference, UNIT, rules)
    assert (scores.dice, scores.false_lesions) == (0.0, 0)
    assert lesion_wise_scores(near, reference, UNIT, NO_RULES).false_lesions == 1


def test_lesions_under_the_volume_do_not_count_on_either_side():
    small, large = ((10, 12), (10, 12), (10, 12)), ((2, 6), (2, 6), (2, 6))
    rules = LesionWise(dilations=0, minimum_mm3=8.0, penalty_mm=374.0)
    assert lesion_wise_scores(boxes((20,) * 3, large), boxes((20,) * 3, large, small), UNIT, rules).dice == 1
    assert lesion_wise_scores(boxes((20,) * 3, large, small), boxes((20,) * 3, large), UNIT, rules).dice == 1
    doubled = (2.0, 1.0, 1.0)  # 16 mm3 now
    assert lesion_wise_scores(boxes((20,) * 3, large, small), boxes((20,) * 3, large), doubled, rules).dice == 0.5


def test_a_component_over_two_lesions_counts_for_the_one_it_shares_more_with():
    reference = boxes((1, 10, 30), ((0, 1), (0, 10), (0, 10)), ((0, 1), (0, 10), (15, 20)))
    prediction = boxes((1, 10, 30), ((0, 1), (0, 10), (0, 20)))
    scores = lesion_wise_scores(prediction, reference, UNIT, NO_RULES)
    assert scores.dice == pytest.approx((2 * 100 / 300 + 0) / 2)


def test_nothing_on_either_side_is_undefined():
    nothing = np.zeros((3, 3, 3), bool)
    scores = lesion_wise_scores(nothing, nothing, UNIT, PRESETS["brats-lesion-wise"].rules.lesion_wise)
    assert (scores.lesions, scores.false_lesions, scores.dice, scores.hd95_mm) == (0, 0, None, None)


def test_presets_are_those_that_the_challenges_published():
    kits = PRESETS["kits23"]
    assert [label.values for label in kits.labels] == [(1, 2, 3), (2, 3), (2,)]
    assert kits.rules.tolerances_mm == (1.0330772532, 1.1328796488, 1.1498198361)
    assert kits.rules.both_empty == 1
    assert [label.values for label in PRESETS["brats-lesion-wise"].labels] == [(1, 2, 3), (1, 3), (3,)]
    names = ("brats-lesion-wise", "brats-men-lesion-wise", "brats-met-lesion-wise")
    rules = [(r.dilations, r.minimum_mm3, r.penalty_mm) for name in names if (r := PRESETS[name].rules.lesion_wise)]
    assert rules == [(3, 50, 374), (1, 50, 374), (1, 2, 374)]


# ---------------------------------------------------------------------------------------------- centrelines
@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        ((((2, 4), (1, 2)), ((3, 4), (1, 4))), 0.86),
        ((((3, 4), (1, 4)),), 0.67),
    ],
)
def test_metrics_reloadeds_hook_has_its_published_centreline_dice(prediction, expected):
    reference = flat(((1, 4), (1, 2)), ((3, 4), (1, 4)), size=14)
    assert centreline_dice(flat(*prediction, size=14), reference) == pytest.approx(expected, abs=0.01)


VESSELS = flat(
    ((1, 10), (7, 12)), ((10, 12), (3, 19)), ((12, 15), (3, 5)), ((12, 15), (15, 19)), ((14, 20), (15, 17)),
    ((14, 15), (1, 5)), ((14, 17), (2, 3)), ((14, 19), (4, 5)), ((17, 18), (4, 8)), ((14, 15), (15, 24)),
    ((12, 15), (22, 23)), ((14, 17), (21, 22)), ((17, 20), (5, 6)), ((17, 22), (12, 13)), ((19, 20), (12, 17)),
    ((18, 19), (15, 20)), ((17, 18), (19, 20)), size=24,
)  # fmt: skip
TRUNK = flat(((1, 10), (7, 12)), ((10, 12), (3, 15)), size=24)
WITHOUT_WALLS = VESSELS & ~flat(
    ((10, 14), (3, 4)), ((10, 11), (3, 9)), ((10, 11), (10, 19)), ((1, 11), (7, 9)), ((1, 11), (10, 12)),
    ((10, 14), (18, 19)), ((12, 14), (15, 17)), ((14, 19), (15, 16)), size=24,
)  # fmt: skip


@pytest.mark.parametrize(("prediction", "expected", "overlap"), [(TRUNK, 0.475, 0.666), (WITHOUT_WALLS, 0.78, 0.685)])
def test_metrics_reloadeds_vessels_differ_in_centreline_dice_where_dice_hardly_does(prediction, expected, overlap):
    assert centreline_dice(prediction, VESSELS) == pytest.approx(expected, abs=1e-6)  # figure SN 2.14
    counts = (prediction & VESSELS).sum(), (prediction & ~VESSELS).sum(), (VESSELS & ~prediction).sum()
    assert dice(*counts) == pytest.approx(overlap, abs=1e-3)


def test_thickness_matters_less_to_the_centreline_than_to_dice():
    thin, thick = flat(((25, 26), (5, 45))), flat(((24, 27), (4, 46)))
    assert centreline_dice(thick, thin) > 0.97  # thinning leaves a voxel or two beside the ends
    assert 2 * 40 / (40 + 126) < 0.5
    tube, wide = (boxes((9, 9, 40), ((a, 9 - a), (a, 9 - a), (3, 37))) for a in (4, 3))
    assert centreline_dice(wide, tube) > 0.97


def test_half_a_vessel_has_the_centreline_dice_of_its_length():
    assert centreline_dice(flat(((25, 26), (0, 20))), flat(((25, 26), (0, 40)))) == pytest.approx(2 * 0.5 / 1.5)


def test_centrelines_of_empty_and_separate_masks():
    nothing, one = flat(), flat(((3, 5), (3, 5)))
    assert centreline_dice(nothing, nothing) is None
    assert (centreline_dice(one, nothing), centreline_dice(nothing, one)) == (0, 0)
    assert centreline_dice(one, flat(((30, 40), (30, 40)))) == 0


@given(pair=masks())
@settings(max_examples=40, deadline=None)
def test_centreline_dice_is_symmetric_between_0_and_1_and_1_with_itself(pair):
    prediction, reference = pair
    found = centreline_dice(prediction, reference)
    assert found == pytest.approx(centreline_dice(reference, prediction))
    assert found is None or 0 <= found <= 1
    assert centreline_dice(reference, reference) in (None, 1)
