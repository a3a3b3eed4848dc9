"""Pictures that tell no size of their pixels, given to a model whose training images told theirs.

A picture without millimetres counts as 1 mm a pixel. To a model that was trained at a ten-thousandth of that, it would
be resampled to a hundred million times its pixels. What is most likely is the size that the training images had.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from autoseg.datasets.load import says_no_place
from autoseg.imaging.geometry import affine_tuple
from autoseg.imaging.volume import Volume
from planners.fingerprint import Fingerprint

_SAME = 1e-3
"""Relative difference up to which 1 mm is what the training images had."""


def with_pixel_size(image: Volume, path: Path, fingerprint: Fingerprint | None) -> Volume:
    """Return the image of a file, with the median voxel size of the training images where the file tells none.

    A note says so. Images of other dimensions than all training images, and those of a model whose training images
    are not known one by one, stay as they are.
    """
    if fingerprint is None or fingerprint.cases_from == "plan" or not says_no_place(path, image.grid):
        return image
    known = [case.spacing_mm for case in fingerprint.cases if case.dimensions == image.grid.dimensions]
    if not known:
        return image
    spacing_mm = np.median(known, axis=0)
    if np.allclose(spacing_mm, image.grid.spacing_mm, rtol=_SAME):
        return image
    shown = " x ".join(f"{size:.3g}" for size in spacing_mm[3 - image.grid.dimensions :])
    note = f"tells no size of its pixels: taken for {shown} mm as in the training images (PixelSize beside it tells)"
    affine = affine_tuple(np.asarray(image.grid.affine) * [*spacing_mm, 1.0])  # of 1 mm until now
    return replace(image, grid=replace(image.grid, affine=affine), notes=(*image.notes, note))
