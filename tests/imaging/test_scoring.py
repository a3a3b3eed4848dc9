"""One case's scores, counted by hand."""

import numpy as np
import pytest

from autoseg.core.presets import Rules
from autoseg.imaging.scoring import score_case, values_in
from autoseg.imaging.volume import Grid
from planners.fingerprint import Label

A, B = Label(name="a", values=(1,)), Label(name="b", values=(7,))
WHOLE = Label(name="whole", values=(1, 7))
IGNORED = Label(name="unsure", values=(9,), role="ignore")


DISTANCES = Rules(metrics=("hd95_mm", "assd_mm", "nsd"), tolerances_mm=(2.0,))


def grid(shape: tuple[int, int, int], dimensions: int = 3) -> Grid:
    affine = ((0.0, 0.0, 2.0, 0.0), (0.0, 2.0, 0.0, 0.0), (5.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    return Grid(shape=shape, affine=affine, dimensions=dimensions)


def row(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint8).reshape(1, 1, -1)


PREDICTION = row(0, 1, 1, 1, 7, 0)
REFERENCE = row(0, 0, 1, 1, 1, 9)


def test_counts_dice_and_millilitres() -> None:
    a, b = score_case(PREDICTION, REFERENCE, (A, B), grid((1, 1, 6)))
    assert (a.tp, a.fp, a.fn) == (2, 1, 1)
    assert a.dice == pytest.approx(4 / 6)
    assert a.iou == pytest.approx(2 / 4)
    assert a.reference_ml == pytest.approx(3 * 20 / 1000)  # voxels of 5 x 2 x 2 mm
    assert (b.tp, b.fp, b.fn, b.dice) == (0, 1, 0, 0.0)


def test_ignored_voxels_take_no_part() -> None:
    prediction = row(1, 1, 1, 1, 1, 1)
    a, _ = score_case(prediction, REFERENCE, (A, B, IGNORED), grid((1, 1, 6)))
    assert (a.tp, a.fp, a.fn) == (3, 2, 0)


def test_a_region_is_the_union_of_its_values() -> None:
    whole, a = score_case(PREDICTION, REFERENCE, (WHOLE, A), grid((1, 1, 6)))
    assert (whole.tp, whole.fp, whole.fn) == (3, 1, 0)
    assert (a.tp, a.fp, a.fn) == (2, 1, 1)


def test_overlapping_references_are_masks_of_their_own() -> None:
    reference = np.stack([row(0, 1, 1, 0, 0, 0), row(0, 0, 1, 0, 1, 0)])
    a, b = score_case(PREDICTION, reference, (A, B), grid((1, 1, 6)))
    assert (a.tp, a.fp, a.fn) == (2, 1, 0)
    assert (b.tp, b.fp, b.fn) == (1, 0, 1)


def test_a_2d_image_has_no_volume_and_absent_labels_no_dice() -> None:
    a, b = score_case(row(1, 0), row(1, 0), (A, B), grid((1, 1, 2), 2))
    assert a.reference_ml is None
    assert a.dice == 1
    assert b.dice is None
    assert b.iou is None


def test_large_and_negative_values_are_compared_as_they_are() -> None:
    big = Label(name="big", values=(70_000,))
    array = np.array([0, 70_000, -4], dtype=np.int64).reshape(1, 1, 3)
    assert values_in(array) == (-4, 0, 70_000)
    assert score_case(array, array, (big,), grid((1, 1, 3)))[0].tp == 1


def test_distances_are_measured_in_millimetres_when_a_tolerance_is_given() -> None:
    prediction, reference = (np.zeros((12, 12, 12), dtype=np.uint8) for _ in range(2))
    prediction[3:9, 3:9, 3:9] = 1
    reference[3:9, 3:9, 4:10] = 1  # shifted by one voxel of 2 mm
    reference[0, 0, 0] = 7
    a, b = score_case(prediction, reference, (A, B), grid((12, 12, 12)), DISTANCES)
    assert a.hd95_mm == pytest.approx(2.0)
    assert a.nsd == pytest.approx(1.0)
    assert a.assd_mm is not None
    assert 0 < a.assd_mm < 2
    assert b.hd95_mm == pytest.approx(12 * np.sqrt(5**2 + 2**2 + 2**2))  # missed: the diagonal of the image
    assert b.nsd == 0
