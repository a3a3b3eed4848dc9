"""Patches taken by position, rotation, scaling and mirroring."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from autoseg.core.labels import IGNORE, OUTSIDE
from autoseg.learning.feeding import read_block
from autoseg.learning.sampling import SampleDraw
from autoseg.learning.spatial import (
    MAXIMUM_ONE_HOT,
    Elastic,
    SourceBlock,
    SpatialDraw,
    displacement,
    draw_elastic,
    draw_matrix,
    source_box,
    take_patch,
)
from tests.builders import EVERY_AUGMENTATION, NO_AUGMENTATION, ArraySource


def turn(degrees: float) -> tuple[tuple[float, ...], ...]:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return ((1.0, 0.0, 0.0), (0.0, float(c), float(-s)), (0.0, float(s), float(c)))


def test_a_patch_without_change_is_a_crop() -> None:
    source = ArraySource(1)
    draw = SpatialDraw(centre=(5.5, 5.5, 4.5), matrix=None, mirror=())
    block = read_block(source, SampleDraw(name="case_0", spatial=draw, slice_index=None), (4, 4, 4))
    image, label = take_patch(block, draw, (4, 4, 4), 2)
    assert np.array_equal(image.numpy(), source.read_image("case_0", (4, 4, 3), (8, 8, 7)))
    assert np.array_equal(label.numpy(), source.read_label("case_0", (4, 4, 3), (8, 8, 7)))


def test_a_patch_beyond_the_image_is_padded_with_zero_and_background() -> None:
    source = ArraySource(1)
    draw = SpatialDraw(centre=(0.5, 5.5, 4.5), matrix=None, mirror=())
    block = read_block(source, SampleDraw(name="case_0", spatial=draw, slice_index=None), (4, 4, 4))
    assert bool((block.label[:, 0] == OUTSIDE).all())
    image, label = take_patch(block, draw, (4, 4, 4), 2)
    assert bool((image[:, 0] == 0).all())
    assert bool((label[:, 0] == 0).all())
    assert np.array_equal(image[:, 1:].numpy(), source.read_image("case_0", (0, 4, 3), (3, 8, 7)))


def test_a_quarter_turn_moves_voxels_exactly() -> None:
    source = ArraySource(1, shape=(5, 9, 9))
    draw = SpatialDraw(centre=(2.0, 4.0, 4.0), matrix=turn(90), mirror=())
    block = read_block(source, SampleDraw(name="case_0", spatial=draw, slice_index=None), (5, 5, 5))
    image, label = take_patch(block, draw, (5, 5, 5), 2)
    crop = source.read_image("case_0", (0, 2, 2), (5, 7, 7))
    assert np.allclose(image.numpy(), np.rot90(crop, 1, axes=(2, 3)), atol=1e-5) or np.allclose(
        image.numpy(), np.rot90(crop, -1, axes=(2, 3)), atol=1e-5
    )
    expected = source.read_label("case_0", (0, 2, 2), (5, 7, 7))
    assert int(label.sum()) == int(expected.sum())


@pytest.mark.parametrize("seed", range(5))
def test_rotation_and_scaling_agree_with_scipy(seed: int) -> None:
    source = ArraySource(1, shape=(16, 18, 17))
    random = np.random.default_rng(seed)
    matrix = draw_matrix(EVERY_AUGMENTATION, (1.0, 1.0, 1.0), random)
    assert matrix is not None
    centre, patch = (8.0, 9.0, 8.5), (8, 7, 6)
    draw = SpatialDraw(centre=centre, matrix=matrix, mirror=())
    block = read_block(source, SampleDraw(name="case_0", spatial=draw, slice_index=None), patch)
    image, _ = take_patch(block, draw, patch, 2)
    whole = source.read_image("case_0", (0, 0, 0), (16, 18, 17))[0]
    offset = np.asarray(centre) - np.asarray(matrix) @ ((np.asarray(patch) - 1) / 2)
    expected = ndimage.affine_transform(whole, np.asarray(matrix), offset, patch, order=1, mode="grid-constant")
    assert np.abs(image[0].numpy() - expected).max() < 1e-3


def test_labels_are_interpolated_once_and_stay_labels() -> None:
    random = np.random.default_rng(0)
    for classes in (5, MAXIMUM_ONE_HOT + 5):
        label = torch.from_numpy(random.integers(-1, classes, size=(1, 12, 12, 12)).astype(np.int16))
        block = SourceBlock(image=torch.zeros(1, 12, 12, 12), label=label, lower=(0, 0, 0))
        draw = SpatialDraw(centre=(5.5, 5.5, 5.5), matrix=turn(20), mirror=())
        _, taken = take_patch(block, draw, (6, 6, 6), classes)
        assert taken.dtype == torch.int16
        assert set(taken.unique().tolist()) <= set(range(classes))


def test_ignored_voxels_stay_ignored_when_rotated() -> None:
    label = torch.zeros(1, 9, 9, 9, dtype=torch.int16)
    label[:, :, :, 5:] = IGNORE
    block = SourceBlock(image=torch.zeros(1, 9, 9, 9), label=label, lower=(0, 0, 0))
    _, taken = take_patch(block, SpatialDraw(centre=(4.0, 4.0, 4.0), matrix=turn(10), mirror=()), (5, 5, 5), 2)
    assert set(taken.unique().tolist()) == {IGNORE, 0}


def test_mirroring_flips_image_and_label_alike() -> None:
    source = ArraySource(1)
    plain = SpatialDraw(centre=(5.5, 5.5, 4.5), matrix=None, mirror=())
    block = read_block(source, SampleDraw(name="case_0", spatial=plain, slice_index=None), (4, 4, 4))
    image, label = take_patch(block, plain, (4, 4, 4), 2)
    flipped_image, flipped_label = take_patch(block, replace(plain, mirror=(0, 2)), (4, 4, 4), 2)
    assert torch.equal(flipped_image, image.flip([1, 3]))
    assert torch.equal(flipped_label, label.flip([1, 3]))


def theirs(whole: NDArray[np.float32], label: NDArray[np.int16], patch: tuple[int, ...], **turned: object) -> tuple:
    """Image and label patch of batchgenerators' augment_spatial around the centre of the image."""
    from batchgenerators.augmentations.spatial_transformations import augment_spatial

    plain = {"do_elastic_deform": False, "do_rotation": False, "do_scale": False, "random_crop": False}
    given = {**plain, "order_data": 1, "order_seg": 1, "border_mode_data": "constant", **turned}
    data, seg = augment_spatial(whole[None, None].copy(), label[None, None].astype(float), patch, **given)
    return data[0, 0], seg[0, 0]


def ours(
    whole: NDArray[np.float32], label: NDArray[np.int16], patch: tuple[int, ...], draw: SpatialDraw
) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
    block = SourceBlock(
        image=torch.from_numpy(whole[None]), label=torch.from_numpy(label[None]), lower=(0,) * whole.ndim
    )
    image, taken = take_patch(block, draw, patch, int(label.max()) + 1)
    return image[0].numpy(), taken[0].numpy()


@pytest.fixture
def blobs() -> tuple[NDArray[np.float32], NDArray[np.int16]]:
    """A smooth image and three classes that follow its intensity."""
    whole = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((21, 23, 25)), 2).astype(np.float32)
    return whole, np.digitize(whole, np.quantile(whole, [0.4, 0.75])).astype(np.int16)


ANGLE = 20.0


@pytest.mark.parametrize(
    ("changes", "turned"),
    [
        ({"scaling_probability": 1.0, "scaling": (1.23, 1.23)}, {"do_scale": True, "scale": (1.23, 1.23)}),
        ({"rotation_probability": 1.0, "in_plane_only": True}, {"do_rotation": True, "angles": (-1, 0, 0)}),
        ({"rotation_probability": 1.0}, {"do_rotation": True, "angles": (1, -1, 1)}),
    ],
    ids=["scaling", "in plane", "all axes"],
)
def test_rotation_and_scaling_agree_with_batchgenerators(
    blobs: tuple[NDArray[np.float32], NDArray[np.int16]], changes: dict[str, object], turned: dict[str, object]
) -> None:
    patch = (9, 11, 13)
    angles = turned.pop("angles", (0, 0, 0))
    sides = {f"angle_{axis}": (np.deg2rad(ANGLE * sign),) * 2 for axis, sign in zip("xyz", angles, strict=True)}
    planned = replace(NO_AUGMENTATION, rotation_deg=(ANGLE, ANGLE), **changes)  # type: ignore[arg-type]
    matrix = np.asarray(draw_matrix(planned, (1.0, 1.0, 1.0), np.random.default_rng(0)))
    if angles == (1, -1, 1):  # they turn about the axes in the other order: compare the way back
        matrix = matrix.T
    centre = tuple((n - 1) / 2 for n in blobs[0].shape)
    draw = SpatialDraw(centre=centre, matrix=tuple(map(tuple, matrix.tolist())), mirror=())
    image, label = ours(*blobs, patch, draw)
    expected, expected_label = theirs(*blobs, patch, **turned, **sides)
    assert np.abs(image - expected).max() < 1e-4 * np.ptp(blobs[0])
    assert (label == expected_label).mean() > 0.999  # where two classes are equally near, either may win


def test_elastic_deformation_agrees_with_batchgenerators(blobs: tuple[NDArray[np.float32], NDArray[np.int16]]) -> None:
    from batchgenerators.augmentations.utils import create_zero_centered_coordinate_mesh, elastic_deform_coordinates_2

    patch, sigma, reach = (9, 11, 13), (1.5, 2.0, 3.0), (1.0, 2.0, 1.5)
    np.random.seed(5)  # noqa: NPY002 (batchgenerators draws from NumPy's global state)
    mesh = create_zero_centered_coordinate_mesh(patch)
    coordinates = elastic_deform_coordinates_2(mesh, list(sigma), list(reach))
    np.random.seed(5)  # noqa: NPY002
    noise = np.stack([np.random.random(patch) * 2 - 1 for _ in patch])  # noqa: NPY002
    elastic = Elastic(reach_voxels=reach, sigma_voxels=sigma, seed=0)
    moved = displacement(torch.from_numpy(noise.astype(np.float32)), elastic).numpy()
    assert np.abs(moved - (coordinates - mesh)).max() < 1e-4
    assert np.abs(moved).max(axis=(1, 2, 3)) == pytest.approx(reach, rel=1e-4)


def test_a_deformed_patch_is_the_image_at_the_moved_places(
    blobs: tuple[NDArray[np.float32], NDArray[np.int16]],
) -> None:
    patch, elastic = (9, 11, 13), Elastic(reach_voxels=(1.0, 2.0, 2.0), sigma_voxels=(2.0, 2.0, 2.0), seed=4)
    matrix = np.asarray(turn(15))
    centre = tuple((n - 1) / 2 for n in blobs[0].shape)
    draw = SpatialDraw(centre=centre, matrix=tuple(map(tuple, matrix.tolist())), mirror=(), elastic=elastic)
    noise = torch.rand((3, *patch), generator=torch.Generator().manual_seed(4)) * 2 - 1
    offsets = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in patch), indexing="ij"))
    offsets += displacement(noise, elastic).numpy()
    places = np.tensordot(matrix, offsets, 1) + np.reshape(centre, (3, 1, 1, 1))
    expected = ndimage.map_coordinates(blobs[0], places, order=1)
    image, _ = ours(*blobs, patch, draw)
    assert np.abs(image - expected).max() < 1e-4 * np.ptp(blobs[0])
    lower, upper = source_box(draw, patch)
    assert (places.reshape(3, -1).min(axis=1) >= lower).all()
    assert (places.reshape(3, -1).max(axis=1) <= np.asarray(upper) - 1).all()


def test_elastic_deformation_is_drawn_within_its_ranges_and_off_by_default() -> None:
    assert draw_elastic(EVERY_AUGMENTATION, (20, 10), np.random.default_rng(0)) is None
    planned = replace(NO_AUGMENTATION, elastic_probability=1.0, elastic_reach=(0.1, 0.1), in_plane_only=True)
    drawn = draw_elastic(planned, (10, 20, 30), np.random.default_rng(0))
    assert drawn is not None
    assert drawn.reach_voxels == (0.0, 2.0, 3.0)
    assert all(0.1 * n <= sigma <= 0.25 * n for n, sigma in zip((10, 20, 30), drawn.sigma_voxels, strict=True))


def test_mirroring_agrees_with_batchgenerators(blobs: tuple[NDArray[np.float32], NDArray[np.int16]]) -> None:
    from batchgenerators.augmentations.spatial_transformations import augment_mirroring

    np.random.seed(1)  # noqa: NPY002 (batchgenerators draws from NumPy's global state)
    drawn = tuple(axis for axis in range(3) if np.random.uniform() < 0.5)  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    data, seg = augment_mirroring(blobs[0][None].copy(), blobs[1][None].copy())
    centre = tuple((n - 1) / 2 for n in blobs[0].shape)
    image, label = ours(*blobs, blobs[0].shape, SpatialDraw(centre=centre, matrix=None, mirror=drawn))
    assert drawn
    assert np.array_equal(image, data[0])
    assert np.array_equal(label, seg[0])


def test_only_the_voxels_that_are_needed_are_read() -> None:
    assert source_box(SpatialDraw(centre=(9.5, 9.5, 9.5), matrix=None, mirror=()), (4, 4, 4)) == ((8,) * 3, (12,) * 3)
    lower, upper = source_box(SpatialDraw(centre=(9.5, 9.5, 9.5), matrix=turn(45), mirror=()), (4, 4, 4))
    assert upper[0] - lower[0] <= 5
    assert 5 <= upper[1] - lower[1] <= 7


def test_anisotropic_voxels_are_turned_in_millimetres() -> None:
    only_turns = replace(NO_AUGMENTATION, rotation_probability=1.0, rotation_deg=(90.0, 90.0))
    matrix = draw_matrix(only_turns, (2.0, 1.0), np.random.default_rng(0))
    assert matrix is not None
    # A quarter turn of a step of one voxel (2 mm) along the first axis is two voxels (1 mm each) along the second.
    assert np.allclose(np.abs(np.asarray(matrix)), [[0, 0.5], [2, 0]], atol=1e-12)


def test_thick_slices_are_turned_in_plane_only() -> None:
    flat = replace(EVERY_AUGMENTATION, in_plane_only=True, rotation_deg=(-180.0, 180.0))
    matrix = np.asarray(draw_matrix(flat, (5.0, 1.0, 1.0), np.random.default_rng(0)))
    assert np.array_equal(matrix[0], [1, 0, 0])
    assert np.array_equal(matrix[:, 0], [1, 0, 0])
