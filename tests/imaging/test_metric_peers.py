"""The same numbers as surface-distance (DeepMind) and SimpleITK, on the same masks."""

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st

from autoseg.core.presets import Rules
from autoseg.imaging.distances import hausdorff, surface_distances, surface_voxels, surfel_distances
from autoseg.imaging.metrics import nsd
from autoseg.imaging.scoring import score_case
from autoseg.imaging.volume import Grid
from planners.fingerprint import Label

# surface-distance 0.1 calls functions by names that SciPy will drop.
pytestmark = pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")
LABELS = tuple(Label(name=f"label_{value}", values=(value,)) for value in (1, 2, 3))


@st.composite
def label_maps(draw):
    """Draw two smooth label maps of three labels that overlap, and a spacing."""
    shape = draw(st.tuples(*[st.integers(5, 11)] * 3))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    common = generator.normal(size=shape)
    maps = []
    for _ in range(2):
        field = common + 0.7 * generator.normal(size=shape)
        for axis in range(3):
            field = field + np.roll(field, 1, axis) + np.roll(field, -1, axis)
        maps.append(np.digitize(field / field.std(), [0.0, 0.6, 1.2]).astype(np.uint8))
    spacing = draw(st.tuples(*[st.sampled_from([0.5, 0.7, 1.0, 2.5, 5.0])] * 3))
    return maps[0], maps[1], spacing


def grid_of(shape, spacing):
    z, y, x = spacing
    affine = ((0.0, 0.0, x, 0.0), (0.0, y, 0.0, 0.0), (z, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    return Grid(shape=shape, affine=affine)


@given(maps=label_maps(), tolerance=st.sampled_from([0.0, 0.7, 1.0, 2.0]))
@settings(max_examples=30, deadline=None)
def test_nsd_and_weighted_distances_are_those_of_surface_distance(maps, tolerance):
    import surface_distance

    prediction, reference, spacing = maps
    p, r = prediction == 1, reference == 1
    if not p.any() or not r.any():
        return
    theirs = surface_distance.compute_surface_distances(r, p, spacing)
    expected = surface_distance.compute_surface_dice_at_tolerance(theirs, tolerance)
    assert nsd(p, r, spacing, tolerance) == pytest.approx(expected, abs=1e-9)
    ours = surfel_distances(p, r, spacing)
    averages = surface_distance.compute_average_surface_distance(theirs)
    assert np.average(ours.to_prediction, weights=ours.reference_weights) == pytest.approx(averages[0])
    assert np.average(ours.to_reference, weights=ours.prediction_weights) == pytest.approx(averages[1])
    assert hausdorff(ours) == pytest.approx(surface_distance.compute_robust_hausdorff(theirs, 100))


@given(maps=label_maps())
@settings(max_examples=30, deadline=None)
def test_overlap_of_all_labels_is_that_of_simpleitk(maps):
    prediction, reference, spacing = maps
    rules = Rules(metrics=("dice", "iou", "sensitivity", "precision"))
    ours = score_case(prediction, reference, LABELS, grid_of(prediction.shape, spacing), rules)
    overlap = SimpleITK.LabelOverlapMeasuresImageFilter()
    overlap.Execute(SimpleITK.GetImageFromArray(prediction), SimpleITK.GetImageFromArray(reference))
    for score in ours:
        value = int(score.label[-1])
        if score.tp + score.fn == 0 or score.tp + score.fp == 0:
            continue
        assert score.dice == pytest.approx(overlap.GetDiceCoefficient(value))
        assert score.iou == pytest.approx(overlap.GetJaccardCoefficient(value))
        assert score.sensitivity == pytest.approx(1 - overlap.GetFalseNegativeError(value))


@given(maps=label_maps())
@settings(max_examples=30, deadline=None)
def test_the_largest_distance_between_boundaries_is_that_of_simpleitk(maps):
    prediction, reference, spacing = maps
    p, r = prediction > 0, reference > 0
    if not p.any() or not r.any():
        return
    # SimpleITK measures from every voxel of a mask, so it is given the boundaries.
    images = [SimpleITK.GetImageFromArray(surface_voxels(mask).astype(np.uint8)) for mask in (p, r)]
    for image in images:
        image.SetSpacing(spacing[::-1])
    theirs = SimpleITK.HausdorffDistanceImageFilter()
    theirs.Execute(*images)
    assert hausdorff(surface_distances(p, r, spacing)) == pytest.approx(theirs.GetHausdorffDistance(), abs=1e-4)
