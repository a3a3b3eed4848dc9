"""Turning and mirroring follow the patch's shape and what the images show."""

from dataclasses import replace

import pytest

from planners.augmentation import augmentation, loader_patch
from planners.recipe import RECIPES
from tests.builders import configuration
from tests.planners.fingerprints import channel, fingerprint

AUTO, NNUNET = RECIPES["auto"], RECIPES["nnunet"]
CELLS = fingerprint(channels=(channel(modality="microscopy"),))


@pytest.mark.parametrize(
    ("patch", "angle", "in_plane_only"),
    [((64, 64, 64), 30.0, False), ((20, 256, 224), 180.0, True), ((128, 128), 180.0, False), ((100, 200), 15.0, False)],
)
def test_nnunets_angles(patch: tuple[int, ...], angle: float, in_plane_only: bool) -> None:
    found = augmentation(patch, fingerprint(), NNUNET)
    assert found.rotation_deg == (-angle, angle)
    assert found.in_plane_only == in_plane_only
    assert found.mirror_axes == tuple(range(len(patch)))


def test_bodies_are_neither_mirrored_nor_turned_upside_down() -> None:
    found = augmentation((20, 256, 224), fingerprint(), AUTO)
    assert found.rotation_deg == (-30.0, 30.0)
    assert found.mirror_axes == ()


def test_what_lies_under_a_microscope_is_mirrored_and_turned() -> None:
    found = augmentation((256, 256), CELLS, AUTO)
    assert found.rotation_deg == (-180.0, 180.0)
    assert found.mirror_axes == (0, 1)


@pytest.mark.parametrize(
    ("patch", "loaded"),
    [((128, 128, 128), (205, 205, 205)), ((80, 192, 160), (194, 289, 210)), ((20, 256, 224), (20, 301, 301))],
)
def test_nnunets_loader_patch(patch: tuple[int, ...], loaded: tuple[int, ...]) -> None:
    planned = replace(configuration(3), patch=patch, augmentation=augmentation(patch, fingerprint(), NNUNET))
    assert loader_patch(planned) == loaded
