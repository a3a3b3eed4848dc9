"""Turning arrays to RAS, against ITK, which nnU-Net's reader uses, for every way in which an image can lie."""

from itertools import permutations, product

import numpy as np
import SimpleITK

from autoseg.imaging.orientation import turn_to
from autoseg.imaging.volume import Grid


def test_is_what_itk_makes_of_every_orientation_and_can_be_undone():
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    spacing_mm = (3.0, 2.0, 1.5)
    for order, signs in product(permutations(range(3)), product((-1.0, 1.0), repeat=3)):
        # Columns: where the axes (z, y, x) of the array run in the patient, right, front, head; slightly oblique.
        directions = np.zeros((3, 3))
        directions[list(order), range(3)] = signs
        tilt = np.array([[1, 0.05, 0], [-0.05, 1, 0], [0, 0, 1]]) / np.array([np.hypot(1, 0.05)] * 2 + [1.0])
        affine = np.eye(4)
        affine[:3, :3] = tilt @ directions * spacing_mm
        grid = Grid(shape=array.shape, affine=tuple(tuple(row) for row in affine.tolist()))
        image = SimpleITK.GetImageFromArray(array)
        image.SetSpacing(spacing_mm[::-1])
        image.SetDirection((np.diag([-1, -1, 1]) @ tilt @ directions)[:, ::-1].ravel().tolist())
        wanted = SimpleITK.DICOMOrient(image, "RAS")
        turn = turn_to("RAS", grid)
        np.testing.assert_array_equal(turn.apply(array), SimpleITK.GetArrayFromImage(wanted))
        np.testing.assert_array_equal(turn.apply(array[None])[0], SimpleITK.GetArrayFromImage(wanted))
        np.testing.assert_allclose(turn.spacing(spacing_mm), wanted.GetSpacing()[::-1])
        np.testing.assert_array_equal(turn.undo(turn.apply(array)), array)
