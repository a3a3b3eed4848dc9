import pytest

from autoseg.datasets.names import (
    LABEL_WORDS,
    channel_number,
    group_of,
    has_word,
    natural_key,
    without_channel,
    without_common,
    without_role,
)


@pytest.mark.parametrize("name", ["labelsTr", "1st_manual", "my_masks", "GT", "mask3d", "Segmentation-left"])
def test_a_label_word_is_found_in_any_spelling(name):
    assert has_word(name, LABEL_WORDS)


@pytest.mark.parametrize("name", ["hippocampus_001", "gtx", "maskenball", "unlabelled"])
def test_a_label_word_inside_another_word_does_not_count(name):
    assert not has_word(name, LABEL_WORDS)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("brain1_image", "brain1"),
        ("img3d", "3d"),
        ("JPCLN001.IMG", "JPCLN001"),
        ("prostate_phantom_subvolume-label", "prostate_phantom_subvolume"),
        ("label", ""),
    ],
)
def test_words_for_image_and_label_are_taken_out_of_a_name(name, expected):
    assert without_role(name) == expected


def test_words_that_all_names_share_are_taken_off_both_ends():
    assert without_common(["21_manual1", "22_manual1", "35_manual1"]) == ("21", "22", "35")
    assert without_common(["scan_7"]) == ("scan_7",)
    assert without_common(["a_1", "a_1_b"]) == ("a_1", "a_1_b"), "nothing would remain of the first"


def test_slice_ten_comes_after_slice_nine():
    assert sorted(["s10", "s9", "s1"], key=natural_key) == ["s1", "s9", "s10"]


def test_a_channel_number_has_four_digits_at_the_end():
    assert (channel_number("case_07_0001"), without_channel("case_07_0001")) == (1, "case_07")
    assert (channel_number("case_07"), without_channel("case_07")) == (None, "case_07")


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("sub-rat3_sample-data10_SEM", "sub-rat3"),
        ("patient001_frame01", "patient001"),
        ("liver_12_slice_5", "liver_12"),
        ("P7_left", "P7"),
        ("hippocampus_001", None),
        ("JPCLN001", None),
        ("case_00012", None),
        ("STS_002", None),
    ],
)
def test_the_patient_is_read_from_a_case_name(name, group):
    assert group_of(name) == group
