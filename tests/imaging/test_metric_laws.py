"""Laws that every metric keeps, whatever the masks: swap, permutation, margins, spacing, and perfection."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoseg.core.definitions import DEFINITIONS, ENDLESS
from autoseg.core.presets import LesionWise, Rules
from autoseg.core.scores import LabelScore
from autoseg.imaging.distances import average_symmetric, hausdorff, hausdorff_95, surface_distances
from autoseg.imaging.scoring import score_case
from autoseg.imaging.volume import Grid
from planners.fingerprint import Label

LABELS = tuple(Label(name=f"label_{value}", values=(value,)) for value in (1, 2))
RULES = Rules(
    metrics=tuple(DEFINITIONS),
    tolerances_mm=(1.3,),
    lesion_wise=LesionWise(dilations=1, minimum_mm3=0.0, penalty_mm=99.0),
)
BETWEEN_0_AND_1 = [m for m, d in DEFINITIONS.items() if d.better == "higher"]
PERFECT = {"higher": 1.0, "lower": 0.0, "nearer zero": 0.0}
SWAPPED = {"sensitivity": "precision", "lesion_sensitivity": "lesion_precision"}
ONE_SIDED = {"relative_volume_difference", "lesion_false_positives", "lesion_wise_dice", "lesion_wise_hd95_mm"}


@st.composite
def label_maps(draw):
    """Draw two label maps of a few blocks each, one a disturbed copy of the other, and a spacing."""
    shape = draw(st.tuples(st.integers(1, 6), st.integers(3, 8), st.integers(3, 8)))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    coarse = generator.integers(0, 3, [-(-n // 2) for n in shape])
    reference = np.kron(coarse, np.ones((2, 2, 2), int))[tuple(slice(n) for n in shape)]
    disturbed = generator.random(shape) < draw(st.sampled_from([0.0, 0.1, 0.5]))
    prediction = np.where(disturbed, generator.integers(0, 3, shape), reference)
    spacing = draw(st.tuples(*[st.sampled_from([0.5, 1.0, 3.0])] * 3))
    return prediction.astype(np.uint8), reference.astype(np.uint8), spacing


def scored(prediction, reference, spacing, labels=LABELS, rules=RULES):
    z, y, x = spacing
    affine = ((0.0, 0.0, x, 0.0), (0.0, y, 0.0, 0.0), (z, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    return score_case(prediction, reference, labels, Grid(shape=prediction.shape, affine=affine), rules)


def values(score: LabelScore) -> dict[str, float | None]:
    return {field.name: getattr(score, field.name) for field in fields(score) if field.name in DEFINITIONS}


@given(maps=label_maps())
@settings(max_examples=40, deadline=None)
def test_the_reference_itself_is_a_perfect_prediction(maps):
    _, reference, spacing = maps
    for score in scored(reference, reference, spacing):
        for metric, value in values(score).items():
            assert value is None or value == pytest.approx(PERFECT[DEFINITIONS[metric].better]), metric
        assert (score.dice is None) == (score.tp == 0)


@given(maps=label_maps())
@settings(max_examples=40, deadline=None)
def test_shares_lie_between_0_and_1_and_distances_are_ordered(maps):
    for score in scored(*maps):
        found = values(score)
        assert all(found[m] is None or 0 <= found[m] <= 1 for m in BETWEEN_0_AND_1)
        if score.hd_mm is not None:
            assert 0 <= score.hd95_mm <= score.hd_mm + 1e-9
            assert score.hd95_pooled_mm <= score.hd_mm + 1e-9
            assert score.assd_mm <= score.hd_mm + 1e-9
        if score.dice is not None:
            assert score.iou == pytest.approx(score.dice / (2 - score.dice))
            assert score.iou <= score.dice


@given(maps=label_maps())
@settings(max_examples=40, deadline=None)
def test_swapping_the_sides_swaps_sensitivity_with_precision_and_keeps_the_rest(maps):
    prediction, reference, spacing = maps
    for score, other in zip(scored(*maps), scored(reference, prediction, spacing), strict=True):
        one, two = values(score), values(other)
        for metric in one.keys() - ONE_SIDED - set(SWAPPED.values()):
            twin, sign = SWAPPED.get(metric, metric), -1 if metric == "volume_difference_ml" else 1
            assert one[metric] == pytest.approx(two[twin] and sign * two[twin]), metric


@given(maps=label_maps(), pad=st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_background_around_changes_nothing_but_the_stand_in_for_infinity(maps, pad):
    prediction, reference, spacing = maps
    if len(prediction) == 1:  # a single slice is judged in its plane, several are not
        return
    for score, padded in zip(
        scored(*maps), scored(np.pad(prediction, pad), np.pad(reference, pad), spacing), strict=True
    ):
        one, two = values(score), values(padded)
        for metric in one.keys() - (ENDLESS if score.missed or score.made_up else set()):
            assert one[metric] == pytest.approx(two[metric]), metric


@given(maps=label_maps())
@settings(max_examples=30, deadline=None)
def test_labels_are_scored_each_for_itself(maps):
    prediction, reference, spacing = maps
    exchanged = np.array([0, 2, 1], np.uint8)
    first, second = scored(*maps)
    other_second, other_first = scored(exchanged[prediction], exchanged[reference], spacing)
    assert values(first) == values(other_first)
    assert values(second) == values(other_second)
    only = scored(prediction, reference, spacing, LABELS[1:])[0]
    assert values(only) == values(second)


@given(maps=label_maps())
@settings(max_examples=30, deadline=None)
def test_masks_that_may_overlap_score_as_the_label_map_that_they_make(maps):
    prediction, reference, spacing = maps
    stacks = [np.stack([m == 1, m == 2]).astype(np.uint8) for m in (prediction, reference)]
    z, y, x = spacing
    affine = ((0.0, 0.0, x, 0.0), (0.0, y, 0.0, 0.0), (z, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    grid = Grid(shape=prediction.shape, affine=affine)
    assert score_case(*stacks, LABELS, grid, RULES) == scored(*maps)
    assert score_case(prediction, stacks[1], LABELS, grid, RULES) == scored(*maps)


@given(maps=label_maps(), factor=st.sampled_from([0.5, 2.0]))
@settings(max_examples=30, deadline=None)
def test_distances_and_tolerance_scale_with_the_spacing_and_nothing_else_changes(maps, factor):
    prediction, reference, spacing = maps
    rules = Rules(metrics=tuple(m for m in DEFINITIONS if "lesion_wise" not in m), tolerances_mm=(1.3,))
    scaled = Rules(metrics=rules.metrics, tolerances_mm=(1.3 * factor,))
    larger = scored(prediction, reference, tuple(s * factor for s in spacing), rules=scaled)
    for score, other in zip(scored(*maps, rules=rules), larger, strict=True):
        one, two = values(score), values(other)
        for metric in one:
            times = factor if metric in ENDLESS else factor**3 if metric == "volume_difference_ml" else 1
            assert two[metric] == pytest.approx(one[metric] and times * one[metric]), metric


@given(maps=label_maps())
@settings(max_examples=30, deadline=None)
def test_a_union_has_the_voxels_of_its_parts(maps):
    prediction, reference, spacing = maps
    union = scored(prediction, reference, spacing, (Label(name="both", values=(1, 2)),))[0]
    parts = scored(*maps)
    assert union.tp + union.fn == sum(part.tp + part.fn for part in parts)
    assert union.tp + union.fp == sum(part.tp + part.fp for part in parts)
    assert union.tp >= sum(part.tp for part in parts)  # a confusion of two parts is none of their union


@given(maps=label_maps())
@settings(max_examples=30, deadline=None)
def test_what_is_wrong_is_wrong_in_all_that_were_asked_for_alone(maps):
    everything = scored(*maps)
    for metric in ("dice", "nsd", "hd95_mm", "pq", "cldice"):
        alone = scored(*maps, rules=Rules(metrics=(metric,), tolerances_mm=(1.3,)))
        assert [getattr(s, metric) for s in alone] == [getattr(s, metric) for s in everything]


def test_the_error_of_the_grid_shrinks_with_the_grid():
    errors = []
    for spacing in (2.0, 1.0, 0.5):
        n = int(48 / spacing)
        axes = np.ogrid[:n, :n, :n]
        squares = sum(((a - (n - 1) / 2) * spacing) ** 2 for a in axes)
        found = surface_distances(squares <= 20**2, squares <= 22**2, (spacing,) * 3)
        errors.append([abs(value - 2) for value in (hausdorff(found), hausdorff_95(found), average_symmetric(found))])
    for coarse, middle, fine in zip(*errors, strict=True):
        assert coarse > middle
        assert coarse > fine
    largest, nearly, average = errors[-1]
    assert largest < errors[1][0] / 2
    assert nearly < errors[1][1]
    assert average < 0.1
