"""What the slice viewer is given: every voxel in its place, cropped and thinned within its limit."""

import base64
import io
import re
from dataclasses import replace

import numpy as np
from skimage.io import imread

from autoseg.imaging.volume import Grid
from autoseg.reporting.overlays import Overlay
from autoseg.reporting.viewer import pack, viewer
from planners.fingerprint import Label

AFFINE = ((0.0, 0.0, 1.0, 0.0), (0.0, 2.0, 0.0, 0.0), (3.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
SHAPE = (5, 7, 6)


def overlay(shape: tuple[int, int, int] = SHAPE, dimensions: int = 3) -> Overlay:
    generator = np.random.default_rng(0)
    reference = generator.integers(0, 3, shape).astype(np.uint8)
    return Overlay(
        image=np.linspace(0, 1, int(np.prod(shape)), dtype=np.float32).reshape(1, *shape),
        reference=reference * 5,
        prediction=np.roll(reference, 1, axis=2) * 5,
        grid=Grid(shape=shape, affine=AFFINE, dimensions=dimensions),
        labels=(Label(name="a", values=(5,)), Label(name="b", values=(10,))),
        window=(0.0, 1.0),
        patient_axes=False,
    )


def unpacked(sheet: np.ndarray, shape: tuple[int, int, int], columns: int) -> np.ndarray:
    """Cut the sheet into slices, as the script in the page does."""
    z, y, x = shape
    return np.stack(
        [sheet[k // columns * y : (k // columns + 1) * y, k % columns * x : (k % columns + 1) * x] for k in range(z)]
    )


def test_every_voxel_comes_back_from_the_sheet() -> None:
    given = overlay()
    packed = pack(given, 10_000)
    assert packed.shape == SHAPE
    assert packed.spacing_mm == (3.0, 2.0, 1.0)
    labels = unpacked(packed.labels, packed.shape, packed.columns)
    np.testing.assert_array_equal(labels[..., 0] * 5, given.reference)
    np.testing.assert_array_equal(labels[..., 1] * 5, given.prediction)
    image = unpacked(packed.image, packed.shape, packed.columns)
    np.testing.assert_array_equal(image[..., 0], (given.image[0] * 255).astype(np.uint8))


def test_the_pictures_in_the_page_are_these_sheets() -> None:
    given = overlay()
    found = re.findall(r"base64,([^\"]+)", viewer(given, 10_000))
    labels = imread(io.BytesIO(base64.b64decode(found[1])))
    np.testing.assert_array_equal(labels, pack(given, 10_000).labels)


def test_the_finest_axis_is_thinned_first() -> None:
    packed = pack(overlay(), 5 * 7 * 3)
    assert packed.shape == (5, 7, 3)
    assert packed.spacing_mm == (3.0, 2.0, 2.0)


def test_empty_surroundings_are_cut_away_and_the_fullest_slice_comes_first() -> None:
    large = overlay((10, 200, 200))
    label = np.zeros((10, 200, 200), np.uint8)
    label[3:5, 100:110, 20:24] = 5
    label[4, 100:110, 20:30] = 5
    packed = pack(replace(large, reference=label, prediction=label * 0), 1 << 20)
    # at least 48 mm: y 24 voxels around 105, from 93; x 48 around 25, from 1; z all there is
    assert packed.shape == (10, 24, 48)
    assert packed.start == (4, 100 - 93, 20 - 1)


def test_overlapping_masks_and_colour_images_are_packed() -> None:
    plain = overlay()
    masks = np.stack([plain.reference == 5, plain.reference == 10]).astype(np.uint8)
    colour = np.stack([plain.image[0] * 200] * 3)
    packed = pack(replace(plain, reference=masks, image=colour, window=None), 10_000)
    assert unpacked(packed.labels, SHAPE, packed.columns)[..., 0].max() == 2
    assert packed.image.max() == 255


def test_a_flat_image_has_nothing_to_leaf_through() -> None:
    assert viewer(overlay((1, 7, 6), dimensions=2), 1000) == ""
