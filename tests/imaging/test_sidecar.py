"""PixelSize of BIDS: found by inheritance, in millimetres, and labels that say nothing take the image's place."""

import json

import numpy as np
import pytest
from PIL import Image

from autoseg.core.errors import AutosegError
from autoseg.datasets.load import load_image, load_label
from autoseg.imaging.read import read_header, read_image
from autoseg.imaging.sidecar import spacing_beside


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.arange(20, dtype=np.uint8).reshape(4, 5)).save(path)
    return path


def stated(path, size, unit="um"):
    path.write_text(json.dumps({"PixelSize": size, "PixelSizeUnits": unit}), encoding="utf-8")


def test_the_pixel_size_beside_an_image_is_its_spacing(tmp_path):
    image = picture(tmp_path / "a.png")
    assert read_image(image).grid.spacing_mm == (1, 1, 1)
    stated(tmp_path / "a.json", [0.5, 0.25])
    assert read_image(image).grid.spacing_mm == pytest.approx((1, 0.25e-3, 0.5e-3))  # [x, y] there
    assert read_header(image).grid == read_image(image).grid
    label = picture(tmp_path / "masks" / "a.png")
    grid = load_image(tmp_path, ("a.png",)).grid
    assert load_label(label, grid).shape == (1, 4, 5)  # it says no place: it has the image's


def test_the_nearest_file_with_the_image_s_entities_counts(tmp_path):
    image = picture(tmp_path / "sub-1" / "micr" / "sub-1_sample-a_SEM.png")
    (tmp_path / "dataset_description.json").write_text("{}", encoding="utf-8")
    stated(tmp_path / "SEM.json", [3, 3], "nm")
    assert spacing_beside(image) == pytest.approx((3e-6, 3e-6, 1))
    stated(tmp_path / "TEM.json", [9, 9])
    stated(tmp_path / "sub-1" / "sub-2_SEM.json", [9, 9])
    stated(tmp_path / "sub-1" / "micr" / "sub-1_sample-b_SEM.json", [9, 9])
    stated(tmp_path.parent / "SEM.json", [9, 9])
    assert spacing_beside(image) == pytest.approx((3e-6, 3e-6, 1))
    stated(tmp_path / "sub-1" / "micr" / "sub-1_SEM.json", [0.1, 0.2, 4])
    assert spacing_beside(image) == pytest.approx((1e-4, 2e-4, 4e-3))
    (tmp_path.parent / "SEM.json").unlink()


@pytest.mark.parametrize(
    ("size", "unit"),
    [([0, 1], "um"), ([1], "um"), ("1x1", "um"), ([1, float("inf")], "um"), ([1, 1], "pixel"), ([True, 1], "mm")],
)
def test_what_is_no_size_is_refused(tmp_path, size, unit):
    image = picture(tmp_path / "a.png")
    stated(tmp_path / "a.json", size, unit)
    with pytest.raises(AutosegError, match=r"a\.json: PixelSize .* is no size of pixels; write two or three positive"):
        read_image(image)


@pytest.mark.parametrize("text", ["{", "[1]", '{"shapes": []}', "[" * 5000, " " * 70000 + "{}"])
def test_files_of_other_programs_say_nothing(tmp_path, text):
    image = picture(tmp_path / "a.png")
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    assert spacing_beside(image) is None
