import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from autoseg.imaging.changes import Change, apply_change
from autoseg.imaging.metrics import dice
from autoseg.imaging.postprocessing import changes_to_try, measure_parts

LARGEST = Change(values=(1,))


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
    parts = measure_parts(prediction, reference, (1,), 1.0)
    assert parts.sizes.tolist() == [2, 1, 3]
    assert parts.hits.tolist() == [2, 0, 2]
    assert parts.reference_sizes.tolist() == [2, 2, 1]
    assert parts.dice(None) == pytest.approx(2 * 4 / (6 + 5))
    assert parts.dice(LARGEST) == pytest.approx(2 * 2 / (3 + 5))
    assert parts.dice(small(2.0)) == pytest.approx(2 * 4 / (5 + 5))


def test_a_structure_on_neither_side_has_no_score():
    parts = measure_parts(row(0, 2), row(0, 0) == 1, (1,), 1.0)
    assert [parts.dice(change) for change in (None, LARGEST, small(1.0))] == [None, None, None]


@given(
    hnp.arrays(np.uint8, (3, 6, 6), elements=st.integers(0, 2)),
    hnp.arrays(np.bool_, (3, 6, 6)),
    st.sampled_from([LARGEST, small(3.0), small(10.0), Change(kind="fill-holes", values=(1,))]),
)
@settings(max_examples=60, deadline=None)
def test_what_the_parts_promise_is_what_the_change_gives(prediction, reference, change):
    parts = measure_parts(prediction, reference, (1,), 1.5)
    changed = apply_change(prediction, change, 1.5) == 1
    hits = int((changed & reference).sum())
    assert parts.dice(change) == dice(hits, int(changed.sum()) - hits, int(reference.sum()) - hits)


def test_thresholds_come_from_the_references():
    reference = np.zeros((1, 1, 40), dtype=np.bool_)
    reference[0, 0, [0, 2, 3, 5, 6, 7, 8]] = True  # parts of 1, 2 and 4 voxels
    parts = measure_parts(np.zeros((1, 1, 40), np.uint8), reference, (1,), 10.0)
    tried = changes_to_try([parts], (1,))
    assert [change.kind for change in tried] == [*["remove-small"] * 3, "keep-largest"]
    assert [change.minimum_mm3 for change in tried][:3] == pytest.approx([10.0, 11.0, 15.0])
    assert str(tried[3]) == "largest part"
    assert str(Change(kind="fill-holes", values=(1,))) == "holes filled"
    assert str(tried[2]) == "no parts under 15 mm3"
