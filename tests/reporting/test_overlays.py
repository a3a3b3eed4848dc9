"""Overlays are turned to the usual views, shown in a sensible window, and put the lines where the labels are."""

import io
from dataclasses import replace

import numpy as np
import pytest
from skimage.io import imread

from autoseg.imaging.volume import Grid
from autoseg.reporting.overlays import Overlay, display_window, overlay_png, turned
from planners.fingerprint import Label

RAS_ZYX = ((0.0, 0.0, 1.0, 0.0), (0.0, 1.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))


def overlay(reference: np.ndarray, affine: tuple[tuple[float, ...], ...] = RAS_ZYX, dimensions: int = 3) -> Overlay:
    return Overlay(
        image=np.zeros((1, *reference.shape[-3:]), dtype=np.float32),
        reference=reference,
        prediction=np.zeros(reference.shape[-3:], dtype=np.uint8),
        grid=Grid(shape=reference.shape[-3:], affine=affine, dimensions=dimensions),
        labels=(Label(name="a", values=(1,)),),
        window=(0.0, 1.0),
        patient_axes=dimensions == 3,
    )


def test_right_of_the_patient_is_left_of_the_picture_and_front_is_up() -> None:
    reference = np.zeros((3, 4, 5), dtype=np.uint8)
    reference[2, 3, 4] = 1  # head, front, right: the far corner of a RAS grid
    upright = turned(overlay(reference))
    assert upright.reference[2, 0, 0] == 1


def test_axes_are_found_whatever_their_order_in_the_file() -> None:
    # array axes (z, y, x) run to the left, to the head and to the front
    affine = ((-2.0, 0.0, 0.0, 0.0), (0.0, 0.0, 4.0, 0.0), (0.0, 3.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    reference = np.zeros((3, 4, 5), dtype=np.uint8)
    reference[0, 3, 4] = 1  # right, head, front
    upright = turned(overlay(reference, affine))
    assert upright.reference.shape == (4, 5, 3)
    assert upright.reference[3, 0, 0] == 1
    assert upright.grid.spacing_mm == (3.0, 4.0, 2.0)


def test_three_planes_in_3d_and_one_in_2d() -> None:
    volume = np.zeros((9, 20, 30), dtype=np.uint8)
    volume[3:6, 5:15, 5:25] = 1
    wide = imread(io.BytesIO(overlay_png(overlay(volume))))
    assert wide.shape[1] == 3 * wide.shape[0]
    flat = imread(io.BytesIO(overlay_png(overlay(volume[4:5], dimensions=2))))
    assert flat.shape[0] == flat.shape[1]


def test_reference_is_filled_with_the_colour_of_its_label() -> None:
    volume = np.zeros((1, 40, 40), dtype=np.uint8)
    volume[0, 10:30, 10:30] = 1
    picture = imread(io.BytesIO(overlay_png(overlay(volume, dimensions=2))))[..., :3].astype(int)
    middle = picture[picture.shape[0] // 2, picture.shape[1] // 2]
    assert middle[2] > middle[0] + 30  # the first colour of the palette is blue


def test_overlapping_structures_are_filled_each_in_its_colour() -> None:
    masks = np.zeros((2, 1, 40, 40), dtype=np.uint8)
    masks[0, 0, 5:25, 5:35] = 1
    masks[1, 0, 15:35, 5:35] = 1
    drawn = overlay(masks, dimensions=2)
    labels = (Label(name="a", values=(1,)), Label(name="b", values=(2,)))
    picture = imread(io.BytesIO(overlay_png(replace(drawn, labels=labels))))[..., :3].astype(int)
    column = picture[:, picture.shape[1] // 2]
    top, middle, bottom = (column[int(len(column) * share)] for share in (0.25, 0.5, 0.75))
    assert top[2] > top[0] + 30  # blue
    assert bottom[0] > bottom[2] + 30  # orange
    assert middle.sum() > max(top.sum(), bottom.sum())  # both


def test_a_case_without_any_label_is_drawn_all_the_same() -> None:
    assert overlay_png(overlay(np.zeros((5, 6, 7), dtype=np.uint8)))[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("modality", "median", "window"),
    [
        ("ct", 40.0, (-160.0, 240.0)),
        ("ct", None, (-160.0, 240.0)),
        ("ct", -700.0, (-1350.0, 150.0)),
        ("ct", 600.0, (-500.0, 1300.0)),
    ],
)
def test_ct_is_shown_in_the_window_of_its_structures(
    modality: str, median: float | None, window: tuple[float, float]
) -> None:
    assert display_window(np.zeros((1, 2, 2, 2)), modality, median) == window


def test_other_images_are_shown_from_their_half_percent_to_its_counterpart() -> None:
    image = np.arange(1001, dtype=np.float32).reshape(1, 1, 1, 1001)
    assert display_window(image, "mr", None) == (5.0, 995.0)
    assert display_window(np.zeros((3, 1, 4, 4)), "rgb", None) is None
    assert display_window(np.full((1, 1, 4, 4), 7.0), "other", None) == (7.0, 8.0)
