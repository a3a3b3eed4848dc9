"""Channels are normalised by what they measure."""

from dataclasses import replace

import pytest

from planners.fingerprint import Modality
from planners.normalization import normalization, window
from planners.plan import Normalization, Scheme
from planners.recipe import RECIPES
from tests.planners.fingerprints import channel, fingerprint

AUTO, NNUNET = RECIPES["auto"], RECIPES["nnunet"]


@pytest.mark.parametrize(
    ("modality", "scheme"), [("mr", "zscore"), ("pet", "zscore"), ("rgb", "rgb-0-1"), ("ct", "ct"), ("other", "zscore")]
)
def test_the_modality_decides(modality: Modality, scheme: Scheme) -> None:
    assert normalization(channel(modality=modality), fingerprint(), AUTO).scheme == scheme


@pytest.mark.parametrize(
    ("name", "scheme"),
    [("cT", "ct"), ("noNorm", "none"), ("rescale_to_0_1", "rescale-0-1"), ("rgb_to_0_1", "rgb-0-1"), ("T1", "zscore")],
)
def test_nnunets_names_decide(name: str, scheme: Scheme) -> None:
    assert normalization(channel(name, "other"), fingerprint(), NNUNET).scheme == scheme


def test_ct_takes_the_numbers_of_the_whole_dataset() -> None:
    found = normalization(channel(modality="ct"), fingerprint(), AUTO)
    assert (found.lower, found.upper, found.mean, found.std) == (-50.0, 300.0, 100.0, 50.0)


def test_ct_without_foreground_is_shown_in_the_soft_tissue_window() -> None:
    found = normalization(channel(modality="ct", measured=False), fingerprint(), AUTO)
    assert found == Normalization(channel="image", scheme="window", lower=-160.0, upper=240.0)


def test_the_mask_is_used_where_cropping_removed_more_than_a_quarter() -> None:
    cropped = replace(fingerprint(), median_relative_size_after_crop=0.74)
    assert normalization(channel(), cropped, AUTO).use_mask
    assert not normalization(channel(), replace(cropped, median_relative_size_after_crop=0.75), AUTO).use_mask
    assert not normalization(channel(modality="ct"), cropped, AUTO).use_mask


def test_windows_have_names() -> None:
    assert (window("image", "lung").lower, window("image", "lung").upper) == (-1350.0, 150.0)
