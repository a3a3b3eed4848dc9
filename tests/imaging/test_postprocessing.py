import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from autoseg.imaging.changes import Change, apply_change
from autoseg.imaging.metrics import dice
from autoseg.imaging.postprocessing import Structure, measure_parts, removals_to_try, structures_of

LARGEST = Change(values=(1,))
ONE = Structure(values=(1,))
CORE = Structure(values=(2, 3), otherwise=1)


def row(*values):
    return np.array(values, dtype=np.uint8)[None, None]


def small(minimum_mm3, values=(1,)):
    return Change(kind="remove-small", values=values, minimum_mm3=minimum_mm3)


def test_small_parts_go_and_parts_of_just_the_volume_stay():
    label = row(1, 0, 1, 1, 0, 1, 1, 1, 2)
    assert apply_change(label, small(4.0), 2.0)[0, 0].tolist() == [0, 0, 1, 1, 0, 1, 1, 1, 2]
    assert apply_change(label, small(4.1), 2.0)[0, 0].tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 2]
    assert apply_change(label, small(2.0), 2.0) is label
    assert apply_change(label, LARGEST, 2.0)[0, 0].tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 2]


def test_holes_are_filled_but_not_what_is_another_structure():
    label = np.ones((1, 5, 5), dtype=np.uint8)
    label[0, 0, 0] = 0  # open to the edge: no hole
    label[0, 2, 1], label[0, 2, 3] = 0, 2
    filled = apply_change(label, Change(kind="fill-holes", values=(1,)), 1.0)
    assert filled[0, 2].tolist() == [1, 1, 1, 2, 1]
    assert filled[0, 0, 0] == 0
    assert label[0, 2, 1] == 0  # the input stays as it is
    empty = np.zeros((2, 3, 3), dtype=np.uint8)
    assert apply_change(empty, Change(kind="fill-holes", values=(1,)), 1.0) is empty


def test_parts_say_what_each_change_would_do():
    prediction = row(1, 1, 0, 1, 0, 1, 1, 1, 0, 0)
    reference = row(1, 1, 0, 0, 0, 1, 1, 0, 0, 1) == 1
    parts = measure_parts(prediction, reference, ONE, 1.0)
    assert parts.sizes.tolist() == [2, 1, 3]
    assert parts.hits.tolist() == [2, 0, 2]
    assert parts.reference_sizes.tolist() == [2, 2, 1]
    assert parts.dice(None) == pytest.approx(2 * 4 / (6 + 5))
    assert parts.dice(LARGEST) == pytest.approx(2 * 2 / (3 + 5))
    assert parts.dice(small(2.0)) == pytest.approx(2 * 4 / (5 + 5))


def test_a_structure_on_neither_side_has_no_score():
    parts = measure_parts(row(0, 2), row(0, 0) == 1, ONE, 1.0)
    assert [parts.dice(change) for change in (None, LARGEST, small(1.0))] == [None, None, None]


@given(
    hnp.arrays(np.uint8, (3, 6, 6), elements=st.integers(0, 2)),
    hnp.arrays(np.bool_, (3, 6, 6)),
    st.sampled_from([LARGEST, small(3.0), small(10.0), Change(kind="fill-holes", values=(1,))]),
)
@settings(max_examples=60, deadline=None)
def test_what_the_parts_promise_is_what_the_change_gives(prediction, reference, change):
    parts = measure_parts(prediction, reference, ONE, 1.5)
    changed = apply_change(prediction, change, 1.5) == 1
    hits = int((changed & reference).sum())
    assert parts.dice(change) == dice(hits, int(changed.sum()) - hits, int(reference.sum()) - hits)


def test_thresholds_come_from_the_references():
    reference = np.zeros((1, 1, 40), dtype=np.bool_)
    reference[0, 0, [0, 2, 3, 5, 6, 7, 8]] = True  # parts of 1, 2 and 4 voxels
    parts = measure_parts(np.zeros((1, 1, 40), np.uint8), reference, ONE, 10.0)
    tried = removals_to_try([parts], ONE)
    assert [change.kind for change in tried] == [*["remove-small"] * 3, "keep-largest"]
    assert [change.minimum_mm3 for change in tried][:3] == pytest.approx([10.0, 11.0, 15.0])
    assert str(tried[3]) == "largest part"
    assert str(Change(kind="fill-holes", values=(1,))) == "holes filled"
    assert str(tried[2]) == "no parts under 15 mm3"


# ------------------------------------------------------------------------------------------------- regions
@pytest.mark.parametrize(
    ("regions", "otherwise"),
    [
        ([(1,), (2,), (7,)], [0, 0, 0]),
        ([(1, 2, 3), (2, 3), (3,)], [0, 1, 2]),  # BraTS: whole tumour, core, enhancing
        ([(2, 1, 3), (1, 3), (3,)], [0, 2, 1]),  # what a region is written as comes first
        ([(1, 2, 3), (2,), (3,)], [0, 1, 1]),  # two beside each other in one
        ([(1, 2), (3, 4), (4,)], [0, 0, 3]),
        ([(1, 2), (2, 3), (4,)], [None, None, 0]),  # they share a value: no value says "only without the one"
        ([(2, 1), (2,)], [0, None]),  # the outer is written as the inner
        ([(1, 2, 3), (2, 3), (3, 2)], [0, 1, 1]),  # twice the same
    ],
)
def test_the_value_of_a_voxel_without_its_region(regions, otherwise):
    found = structures_of(regions)
    assert [None if each is None else each.otherwise for each in found] == otherwise
    assert [each.values for each in found if each is not None] == [
        values for values, value in zip(regions, otherwise, strict=True) if value is not None
    ]


def test_what_a_region_loses_stays_in_the_one_around_it():
    label = row(1, 3, 1, 2, 3, 3, 1, 0)
    assert apply_change(label, CORE.change("keep-largest"), 1.0)[0, 0].tolist() == [1, 1, 1, 2, 3, 3, 1, 0]
    assert apply_change(label, CORE.change("remove-small", 4.0), 1.0)[0, 0].tolist() == [1, 1, 1, 1, 1, 1, 1, 0]


def test_only_what_the_region_around_holds_is_filled():
    label = np.full((1, 7, 7), 1, dtype=np.uint8)
    label[0, 1:6, 1:6] = 3
    label[0, 2, 2:5] = 1, 2, 0  # of the region around, of this one already, of none
    filled = apply_change(label, CORE.change("fill-holes"), 1.0)
    assert filled[0, 2].tolist() == [1, 3, 2, 2, 0, 3, 1]
    assert (filled == 1).sum() == 24


@given(
    hnp.arrays(np.uint8, (3, 6, 6), elements=st.integers(0, 3)),
    hnp.arrays(np.bool_, (3, 6, 6)),
    st.sampled_from(
        [CORE.change("keep-largest"), CORE.change("remove-small", 3.0), CORE.change("fill-holes"), None],
    ),
)
@settings(max_examples=60, deadline=None)
def test_what_the_parts_of_a_region_promise_is_what_the_change_gives(prediction, reference, change):
    parts = measure_parts(prediction, reference, CORE, 1.5)
    after = prediction if change is None else apply_change(prediction, change, 1.5)
    changed = np.isin(after, CORE.values)
    hits = int((changed & reference).sum())
    assert parts.dice(change) == dice(hits, int(changed.sum()) - hits, int(reference.sum()) - hits)
    assert np.array_equal(after > 0, prediction > 0)  # the region around stays as it is
