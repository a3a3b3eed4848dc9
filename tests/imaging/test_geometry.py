"""A label a tenth of a voxel off is accepted, further off it is refused in millimetres."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoseg.core.errors import AutosegError
from autoseg.imaging.geometry import (
    affine_tuple,
    check_same_grid,
    corner_displacement_mm,
    corner_displacement_voxels,
    grid_from_xyz,
    oriented_like,
    xyz_affine,
)
from autoseg.imaging.volume import Grid, Volume

SPACING_XYZ = (0.5, 0.5, 5.0)


def grid(affine=None, shape=(10, 20, 30)):
    matrix = np.diag([*SPACING_XYZ, 1.0]) if affine is None else affine
    return grid_from_xyz(Path("image.nii"), shape, matrix, dimensions=3)


def shifted(*shift_xyz):
    matrix = np.diag([*SPACING_XYZ, 1.0])
    matrix[:3, 3] = shift_xyz
    return grid(matrix)


@given(st.sampled_from([0, 1, 2]), st.floats(1e-6, 1.0))
def test_a_shift_is_measured_in_voxels_of_its_own_axis(axis, voxels):
    shift = np.zeros(3)
    shift[axis] = voxels * SPACING_XYZ[axis]
    assert corner_displacement_voxels(grid(), shifted(*shift)) == pytest.approx(voxels, rel=1e-6)
    assert corner_displacement_mm(grid(), shifted(*shift)) == pytest.approx(voxels * SPACING_XYZ[axis], rel=1e-6)


def test_a_tenth_of_a_voxel_is_the_limit():
    check_same_grid(grid(), shifted(0.0499, 0, 0), "label.nii")
    check_same_grid(grid(), shifted(0, 0, 0.499), "label.nii")
    with pytest.raises(AutosegError, match=r"label.nii: the label lies 0.0505 mm \(0.101 voxels\) away"):
        check_same_grid(grid(), shifted(0.0505, 0, 0), "label.nii")
    with pytest.raises(AutosegError, match=r"0.505 mm"):
        check_same_grid(grid(), shifted(0, 0, 0.505), "label.nii")


def test_another_shape_is_named_in_the_order_of_the_file():
    with pytest.raises(AutosegError, match=r"30 x 20 x 11 voxels \(x, y, z\), its image 30 x 20 x 10"):
        check_same_grid(grid(), grid(shape=(11, 20, 30)), "label.nii")


def test_a_flipped_axis_is_another_grid():
    flipped = np.diag([*SPACING_XYZ, 1.0]) @ np.diag([-1.0, 1, 1, 1])
    with pytest.raises(AutosegError, match="away from its image"):
        check_same_grid(grid(), grid(flipped), "label.nii")


def test_a_small_rotation_counts_at_the_far_corner():
    angle = 0.01
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    rotated = grid(turn @ np.diag([*SPACING_XYZ, 1.0]))
    radius = np.hypot(29 * 0.5, 19 * 0.5)
    assert corner_displacement_mm(grid(), rotated) == pytest.approx(2 * radius * np.sin(angle / 2))


def test_axes_are_reversed_and_back():
    matrix = np.array([[1.0, 2, 3, 4], [0, 5, 6, 7], [0, 0, 8, 9], [0, 0, 0, 1]])
    built = grid(matrix)
    np.testing.assert_array_equal(xyz_affine(built), matrix)
    z_step = np.asarray(built.affine) @ [1, 0, 0, 1]
    np.testing.assert_array_equal(z_step[:3], [3 + 4, 6 + 7, 8 + 9])
    assert affine_tuple(np.eye(4))[2] == (0.0, 0.0, 1.0, 0.0)


def test_a_flat_file_gets_the_normal_of_its_plane():
    matrix = np.diag([2.0, 3.0, 0.0, 1.0])
    flat = grid_from_xyz(Path("image.nii"), (1, 4, 5), matrix, dimensions=2, flat=True)
    assert flat == Grid(
        shape=(1, 4, 5),
        affine=((0.0, 0.0, 2.0, 0.0), (0.0, 3.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)),
        dimensions=2,
    )
    with pytest.raises(AutosegError, match="impossible voxel size"):
        grid_from_xyz(Path("image.nii"), (1, 4, 5), np.diag([2.0, 0, 0, 1]), dimensions=2, flat=True)


@given(st.permutations([0, 1, 2]), st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_axes_in_another_order_come_back_without_moving_a_voxel(order, flips):
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]]
    target = grid(turn @ np.diag([*SPACING_XYZ, 1.0]), shape=(3, 4, 5))
    array = np.arange(60).reshape(1, 3, 4, 5)
    matrix = np.asarray(target.affine)[:, [*order, 3]]
    stored = np.transpose(array, (0, *(axis + 1 for axis in order)))
    for axis, flip in enumerate(flips):
        if flip:
            stored = np.flip(stored, axis + 1)
            matrix[:, 3] += matrix[:, axis] * (stored.shape[axis + 1] - 1)
            matrix[:, axis] *= -1
    other = Volume(array=stored, grid=Grid(shape=stored.shape[1:], affine=affine_tuple(matrix)))
    back = oriented_like(other, target)
    np.testing.assert_array_equal(back.array, array)
    check_same_grid(target, back.grid, "label")


def test_axes_that_already_run_alike_are_left_alone():
    volume = Volume(array=np.zeros((1, 10, 20, 30)), grid=shifted(3, 0, 0))
    assert oriented_like(volume, grid()) is volume


def test_thick_slices_that_lean_a_little_are_not_exchanged():
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]]  # 5 mm * sin(0.3) > 0.5 mm
    volume = Volume(array=np.zeros((1, 10, 20, 30)), grid=grid(turn @ np.diag([*SPACING_XYZ, 1.0])))
    assert oriented_like(volume, grid()) is volume
