"""Predictions find their references by name, and nothing is paired by guessing."""

from autoseg.core.pairing import pair_names


def test_equal_names_pair_in_the_order_of_the_references() -> None:
    pairing = pair_names(["b", "a", "c"], ["a", "b"])
    assert pairing.pairs == (("b", "b"), ("a", "a"), ("c", None))
    assert pairing.extra == ()


def test_image_and_label_endings_do_not_matter() -> None:
    pairing = pair_names(["x_label", "y_label"], ["x_0000", "y_0000"])
    assert pairing.pairs == (("x_label", "x_0000"), ("y_label", "y_0000"))


def test_names_that_would_become_equal_are_left_as_they_are() -> None:
    pairing = pair_names(["x_label", "x_mask"], ["x", "z"])
    assert pairing.pairs == (("x_label", None), ("x_mask", None))
    assert pairing.extra == ("x", "z")


def test_a_prediction_without_reference_is_extra() -> None:
    assert pair_names(["a", "b"], ["a", "q"]).extra == ("q",)


def test_one_and_one_are_a_pair_whatever_their_names() -> None:
    assert pair_names(["truth"], ["mine"]).pairs == (("truth", "mine"),)


def test_a_name_that_is_only_an_ending_stays() -> None:
    assert pair_names(["_mask", "b"], ["_mask", "b_seg"]).pairs == (("_mask", "_mask"), ("b", "b_seg"))
