"""Numbers that other programs publish in their tests and papers; where programs disagree, which of ours each one is."""

import numpy as np
import pytest

from autoseg.core.presets import PRESETS, LesionWise, Rules
from autoseg.imaging.centreline import centreline_dice
from autoseg.imaging.distances import (
    average_symmetric,
    hausdorff,
    hausdorff_95,
    hausdorff_95_pooled,
    mean_average,
    surface_dice,
    surface_distances,
    surfel_distances,
)
from autoseg.imaging.lesion_wise import lesion_wise_scores
from autoseg.imaging.lesions import DETECTION_IOU, lesion_overlaps, lesion_scores, matched_lesions
from autoseg.imaging.metrics import confusion_counts, diagonal_mm, nsd
from autoseg.imaging.scoring import score_case
from autoseg.imaging.volume import Grid
from planners.fingerprint import Label

UNIT = (1.0, 1.0, 1.0)
A = Label(name="a", values=(1,))
OVERLAP = Rules(
    metrics=("dice", "iou", "sensitivity", "precision", "volume_difference_ml", "relative_volume_difference")
)


def flat(rows):
    return np.array(rows, bool)[None]


def square(size, low, high):
    mask = np.zeros((1, size, size), bool)
    mask[0, low:high, low:high] = True
    return mask


def counted(prediction, reference, spacing=UNIT):
    z, y, x = spacing
    affine = ((0.0, 0.0, x, 0.0), (0.0, y, 0.0, 0.0), (z, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    grid = Grid(shape=prediction.shape, affine=affine)
    return score_case(prediction.astype(np.uint8), reference.astype(np.uint8), (A,), grid, OVERLAP)[0]


def ones(*runs):
    """Return a row of voxels of alternating runs, the first of them true."""
    return np.concatenate([np.full(length, i % 2 == 0) for i, length in enumerate(runs)]).reshape(1, 1, -1)


# ------------------------------------------------------------------------------------------------- surface-distance
def test_deepminds_two_voxels():
    first, second = np.zeros((2, 100, 100, 100), bool)
    first[50, 60, 70], second[50, 60, 72] = True, True
    surfels = surfel_distances(first, second, (3.0, 2.0, 1.0))
    for distances, weights in (
        (surfels.to_reference, surfels.prediction_weights),
        (surfels.to_prediction, surfels.reference_weights),
    ):
        assert np.average(distances, weights=weights) == pytest.approx(1.5)
        assert weights[distances <= 1].sum() / weights.sum() == pytest.approx(0.5)
    voxels = surface_distances(first, second, (3.0, 2.0, 1.0))
    assert (hausdorff(voxels), hausdorff_95(voxels), surface_dice(voxels, 1)) == (2, 2, 0)
    assert nsd(first, second, (3.0, 2.0, 1.0), 1.0) == pytest.approx(0.5)  # voxels say 0, surfels a half
    assert counted(first, second).dice == 0


def test_deepminds_half_spaces():
    first, second = np.zeros((2, 100, 100, 100), bool)
    first[:50], second[:51] = True, True
    surfels = surfel_distances(first, second, (2.0, 1.0, 1.0))
    near = [
        surfels.prediction_weights[surfels.to_reference <= 1].sum() / surfels.prediction_weights.sum(),
        surfels.reference_weights[surfels.to_prediction <= 1].sum() / surfels.reference_weights.sum(),
    ]
    assert near == pytest.approx([0.842, 0.830], abs=5e-4)
    assert counted(first, second).dice == pytest.approx(0.990, abs=5e-4)
    assert hausdorff_95(surface_distances(first, second, (2.0, 1.0, 1.0))) == 2


# -------------------------------------------------------------------------------------------------- MetricsReloaded
@pytest.mark.parametrize(("low", "high", "counts"), [(6, 8, (4, 0, 12, 180)), (4, 10, (16, 20, 0, 160))])
def test_metrics_reloadeds_squares_have_its_counts(low, high, counts):
    prediction, reference = square(14, low, high), square(14, 5, 9)
    found = counted(prediction, reference)
    background = confusion_counts(prediction.astype(np.uint8), reference.astype(np.uint8), 2)[0][0]
    assert (found.tp, found.fp, found.fn, background) == counts


def test_metrics_reloadeds_far_pixel():
    reference = square(14, 9, 12)
    reference[0, 1, 1] = True
    found = surface_distances(square(14, 9, 12), reference, UNIT)
    assert (hausdorff(found), hausdorff_95(found)) == pytest.approx((11.31, 6.79), abs=5e-3)


def test_metrics_reloadeds_cross():
    reference, prediction = square(11, 3, 8), square(11, 3, 8)
    prediction[0, 5, 1:10] = prediction[0, 1:10, 5] = True
    found = surface_distances(prediction, reference, UNIT)
    assert average_symmetric(found) == pytest.approx(0.44, abs=5e-3)
    assert mean_average(found) == pytest.approx(0.425)
    assert (surface_dice(found, 1), surface_dice(found, 2)) == pytest.approx((0.89, 1.0), abs=5e-3)
    score = counted(prediction, reference)
    assert (score.dice, score.iou) == pytest.approx((0.862, 0.76), abs=5e-3)


@pytest.mark.parametrize(
    ("prediction", "reference", "f1", "precision", "of_background"),
    [
        (ones(45, 5, 10, 40), ones(50, 50), 0.86, 0.82, 0.889),
        (ones(81, 9, 2, 8), ones(90, 10), 0.94, 0.98, 0.47),
    ],
)
def test_metrics_reloadeds_prevalence_pair(prediction, reference, f1, precision, of_background):
    score = counted(prediction, reference)
    assert (score.dice, score.precision) == pytest.approx((f1, precision), abs=5e-3)
    # its negative predictive value
    assert counted(~prediction, ~reference).precision == pytest.approx(of_background, abs=1e-3)


def test_metrics_reloadeds_sensitivity_and_volume_difference():
    assert counted(ones(40, 30, 1), ones(70, 1)).sensitivity == pytest.approx(0.57, abs=5e-3)
    shifted = counted(square(14, 3, 5), square(14, 2, 4))
    assert (shifted.volume_difference_ml, shifted.relative_volume_difference) == (0, 0)


# ------------------------------------------------------------------------------------------------------------ MONAI
def ball(centre, radius, spacing=UNIT):
    axes = np.ogrid[:99, :99, :99]
    return sum((a * s - c) ** 2 for a, c, s in zip(axes, centre, spacing, strict=True)) <= radius**2


ANISOTROPIC = (0.85, 1.2, 0.9)


@pytest.mark.parametrize(
    ("first", "second", "spacing", "one_way", "both_ways"),
    [
        (((20, 33, 22), 20), ((20, 33, 22), 40), UNIT, 20.0997512, 20.2237484),
        (((20, 20, 20), 20), ((19, 19, 19), 20), ANISOTROPIC, 2.0808651, 2.2671568),
        (((20, 33, 22), 15), ((20, 33, 22), 30), ANISOTROPIC, 15.4396410, 15.62594),
    ],
)
def test_monais_balls_one_way_and_both_ways(first, second, spacing, one_way, both_ways):
    found = surface_distances(ball(*first, spacing), ball(*second, spacing), spacing)
    assert found.to_reference.max() == pytest.approx(one_way, abs=1e-5)
    assert hausdorff(found) == pytest.approx(both_ways, abs=1e-5)


def test_monais_percentiles_and_average_of_balls():
    found = surface_distances(ball((20, 33, 22), 20), ball((20, 33, 22), 40), UNIT)
    assert np.percentile(found.to_reference, 95) == pytest.approx(19.9248588, abs=1e-6)
    assert hausdorff_95(found) == pytest.approx(20.0997512, abs=1e-6)
    assert average_symmetric(found) == pytest.approx(15.117741, abs=1e-5)
    near = surface_distances(ball((19, 33, 22), 33), ball((20, 33, 22), 33), UNIT)
    assert average_symmetric(near) == pytest.approx(0.350217, abs=1e-5)


def test_monais_surface_dice_in_closed_form():
    prediction, reference = np.zeros((2, 1, 480, 640), bool)
    prediction[..., 50:], reference[..., 60:] = True, True
    flat_form = 1 - (478 + 480 + 18) / (480 * 4 + 588 * 2 + 578 * 2)
    found = surface_distances(prediction, reference, UNIT)
    assert (surface_dice(found, 0), surface_dice(found, 10)) == pytest.approx((flat_form, 1))
    prediction, reference = np.zeros((2, 200, 110, 80), bool)
    prediction[..., 20:], reference[..., 30:] = True, True
    differing = 200 * 110 + 198 * 108 + 9 * 400 + 9 * 216
    solid_form = 1 - differing / (200 * 110 * 4 + 106 * 400 + 106 * 216)
    assert surface_dice(surface_distances(prediction, reference, UNIT), 0) == pytest.approx(solid_form)


# -------------------------------------------------------------------------------------------------------- panoptica
CORE = flat([[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]])
ROUND_IT = flat([[0, 0, 1, 0], [1, 1, 1, 0], [1, 1, 1, 1], [0, 1, 1, 0]])
STRIPES = flat([[0, 1, 0, 1], [0, 1, 0, 1], [0, 1, 0, 0], [0, 1, 0, 0]])
SLAB = flat([[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 0], [1, 0, 0, 0]])
CORNER = flat([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]])


@pytest.mark.parametrize(
    ("prediction", "reference", "dice", "relative", "assd"),
    [
        (ROUND_IT, CORE, 0.5714286, 1.5, 0.625),
        (CORE, ROUND_IT, 0.5714286, -0.6, 0.625),
        (STRIPES, ~STRIPES, 0.0, -0.4, 1.05),
    ],
)
def test_panopticas_tables_with_its_assd_being_our_masd(prediction, reference, dice, relative, assd):
    score = counted(prediction, reference)
    assert (score.dice, score.relative_volume_difference) == pytest.approx((dice, relative))
    assert mean_average(surface_distances(prediction, reference, UNIT)) == pytest.approx(assd)
    assert mean_average(surface_distances(prediction, reference, (1, 20.0, 20.0))) == pytest.approx(20 * assd)


def test_panopticas_large_discrepancy_with_its_hd95_being_our_pooled_form():
    found = surface_distances(SLAB, CORNER, UNIT)
    assert hausdorff(found) == pytest.approx(2.8284271)
    assert hausdorff_95_pooled(found) == pytest.approx(2.4730116)
    assert hausdorff_95(found) == pytest.approx(2.5914835)  # the larger of the two directions
    shifted = surface_distances(CORE, np.roll(CORE, 1, axis=1), UNIT)
    assert (hausdorff(shifted), hausdorff_95(shifted)) == (1, 1)


def test_panopticas_centreline_dice():
    assert centreline_dice(ROUND_IT, CORE) == 1
    assert centreline_dice(CORE, ROUND_IT) == 1
    assert centreline_dice(STRIPES, ~STRIPES) == 0  # panoptica: NaN


# ----------------------------------------------------------------------------------------------------------- PI-CAI
def padded(*rows):
    """Return the rows, filled up to one length."""
    length = max(row.shape[-1] for row in rows)
    return [np.pad(row, ((0, 0), (0, 0), (0, length - row.shape[-1]))) for row in rows]


def plates(*corners):
    mask = np.zeros((1, 20, 20), bool)
    for y, x in corners:
        mask[0, y : y + 5, x : x + 5] = True
    return mask


NOTHING = ones(0, 1)
PICAIS_CASES = {
    # prediction, reference, IoUs of the pairs, candidates without a partner, lesions without one
    "0: nothing": (NOTHING, NOTHING, [], 0, 0),
    "1: missed": (NOTHING, ones(2), [], 0, 1),
    "2: made up": (ones(2), NOTHING, [], 1, 0),
    "3: beside": (ones(0, 4, 2), ones(2, 4), [], 1, 1),
    "4: half of either": (ones(0, 1, 2), ones(2, 1), [1 / 3], 0, 0),
    "5: candidates of 9/41 and 3/47": (plates((8, 8), (2, 8)), plates((6, 6)), [9 / 41], 1, 0),
    "6: candidates of 1/3 and 2/7": (ones(4, 4, 6), ones(12), [1 / 3], 1, 0),
    "7: two lesions, each 1/3": (ones(12), ones(4, 4, 4), [1 / 3], 0, 1),
    "8: lesions of 5/11 and 1/11": (ones(11), ones(5, 5, 1), [5 / 11], 0, 1),
    "9: a candidate of 1/25": (ones(1, 24), ones(25), [], 1, 1),
}
"""The ten cases of picai_eval's tests by the overlaps that it names; its own masks are other shapes."""


@pytest.mark.parametrize("case", PICAIS_CASES)
def test_picais_cases_are_paired_as_it_pairs_them(case):
    prediction, reference, ious, false, missed = PICAIS_CASES[case]
    prediction, reference = padded(prediction, reference)
    pairs = matched_lesions(lesion_overlaps(prediction, reference), DETECTION_IOU)
    assert [pair.iou for pair in pairs] == pytest.approx(ious)
    found = lesion_scores(prediction, reference)
    assert (found.tp, found.fp, found.fn) == (len(ious), false, missed)


def test_picais_totals_but_for_the_second_candidate_on_a_lesion_that_was_found():
    found = {case: lesion_scores(*padded(*masks[:2])) for case, masks in PICAIS_CASES.items()}
    assert sum(scores.tp for scores in found.values()) == 5
    assert sum(scores.fn for scores in found.values()) == 5
    second = found["6: candidates of 1/3 and 2/7"].fp  # picai_eval counts it neither as found nor as false
    assert sum(scores.fp for scores in found.values()) - second == 4


# ------------------------------------------------------------- MIST and the BraTS program: lesions and what is empty
def boxes(*corners):
    mask = np.zeros((20, 20, 20), bool)
    for z, y, x in corners:
        mask[z : z + 4, y : y + 4, x : x + 4] = True
    return mask


ONE, OTHER, STRAY = (2, 2, 2), (14, 14, 14), (2, 14, 14)


@pytest.mark.parametrize(
    ("prediction", "f1", "dice"),
    [((ONE,), 2 / 3, 0.5), ((ONE, OTHER, STRAY), 4 / 5, 2 / 3), ((ONE, STRAY), 0.5, 1 / 3)],
    ids=["one missed", "one made up", "one missed, one made up"],
)
def test_mists_lesion_f1_and_lesion_wise_dice(prediction, f1, dice):
    rules = LesionWise(dilations=0, minimum_mm3=0.0, penalty_mm=diagonal_mm((20, 20, 20), UNIT))
    found = lesion_wise_scores(boxes(*prediction), boxes(ONE, OTHER), UNIT, rules)
    assert found.dice == pytest.approx(dice)
    assert lesion_scores(boxes(*prediction), boxes(ONE, OTHER)).f1 == pytest.approx(f1)


def test_mists_false_positive_beside_a_single_lesion():
    assert lesion_scores(boxes(ONE, STRAY), boxes(ONE)).f1 == pytest.approx(2 / 3)


def test_brats_calls_an_empty_case_perfect_and_ours_only_under_its_preset():
    empty = np.zeros((1, 4, 4), np.uint8)
    affine = ((0.0, 0.0, 1.0, 0.0), (0.0, 1.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    grid = Grid(shape=empty.shape, affine=affine)
    preset = PRESETS["brats-lesion-wise"]
    score = score_case(empty, empty, preset.labels, grid, preset.rules)[0]
    assert (score.dice, score.lesion_wise_dice, score.lesion_wise_hd95_mm, score.hd95_mm) == (1, 1, 0, None)
    assert score_case(empty, empty, preset.labels, grid, OVERLAP)[0].dice is None


# ------------------------------------------------------------------------- our own run of eight programs (2.3), cubes
@pytest.mark.parametrize(
    ("shape", "spacing", "expected"),
    [
        ((50, 50, 50), UNIT, {"hd": 2.449, "hd95": 2.236, "assd": 1.928, "masd": 1.927}),
        ((12, 74, 74), (5.0, 0.7, 0.7), {"hd95": 2.886, "nsd_voxel": 0.552, "nsd": 0.509}),
        ((20, 100, 100), (3.0, 0.5, 0.5), {"nsd_voxel": 0.282}),
    ],
)
def test_concentric_balls_give_what_most_programs_give(shape, spacing, expected):
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    squares = sum(((a - (n - 1) / 2) * s) ** 2 for a, n, s in zip(axes, shape, spacing, strict=True))
    inner, outer = squares <= 20**2, squares <= 22**2
    found = surface_distances(inner, outer, spacing)
    values = {
        "hd": hausdorff(found),
        "hd95": hausdorff_95(found),
        "assd": average_symmetric(found),
        "masd": mean_average(found),
        "nsd_voxel": surface_dice(found, 1.0),
        "nsd": nsd(inner, outer, spacing, 1.0),
    }
    assert {key: values[key] for key in expected} == pytest.approx(expected, abs=5e-4)


def cuboid(*bounds):
    mask = np.zeros((40, 40, 40), bool)
    mask[tuple(slice(low, high) for low, high in bounds)] = True
    return mask


def test_cubes_have_the_dice_that_their_voxels_give():
    small, large = cuboid((10, 20), (10, 20), (10, 20)), cuboid((10, 30), (10, 30), (10, 30))
    stray = large.copy()
    stray[2, 2, 2] = True
    assert counted(cuboid((10, 22), (10, 20), (10, 20)), small).dice == pytest.approx(0.909091, abs=1e-6)
    assert counted(stray, large).dice == pytest.approx(0.999938, abs=1e-6)
    assert counted(cuboid((13, 23), (10, 20), (10, 20)), small).dice == pytest.approx(0.7)
    assert counted(small, cuboid((8, 22), (8, 22), (8, 22))).dice == pytest.approx(0.534188, abs=1e-6)


def test_the_mean_of_two_shares_is_another_nsd():
    small = cuboid((10, 20), (10, 20), (10, 20))
    found = surface_distances(cuboid((10, 22), (10, 20), (10, 20)), small, UNIT)
    shares = [float((d <= 1).mean()) for d in (found.to_reference, found.to_prediction)]
    assert np.mean(shares) == pytest.approx(0.873829, abs=1e-6)  # panoptica's form
    assert surface_dice(found, 1) == pytest.approx(0.870229, abs=1e-6)
