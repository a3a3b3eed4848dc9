"""Pictures without the size of their pixels, given to a model of images that had one."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autoseg.core.records import read_record, write_record
from autoseg.imaging.read import read_label
from autoseg.predicting.records import CasePrediction
from autoseg.steps.predict import PredictOptions, predict
from planners.fingerprint import Fingerprint
from planners.plan import Plan
from tests.steps.test_predict import make_model

MICROMETRE = 1e-3


def microscope_model(folder: Path, spacing_mm: float) -> None:
    """A 2D model whose training images and network have this distance between pixels."""
    make_model(folder, dimensions=2, random=True)
    plan = read_record(folder / "plan.json", Plan)
    configuration = replace(plan.configurations[0], spacing_mm=(spacing_mm, spacing_mm))
    write_record(folder / "plan.json", replace(plan, configurations=(configuration,)))
    fingerprint = read_record(folder / "fingerprint.json", Fingerprint)
    cases = tuple(
        replace(case, shape=(1, 8, 8), spacing_mm=(1.0, spacing_mm, spacing_mm)) for case in fingerprint.cases
    )
    write_record(folder / "fingerprint.json", replace(fingerprint, cases=cases))


def predicted(place: Path, **inputs: str) -> tuple[CasePrediction, np.ndarray]:
    """Predict one PNG, `inputs` beside it; return its record and label map."""
    (place / "in").mkdir(parents=True)
    Image.fromarray(np.arange(24 * 20, dtype=np.uint8).reshape(24, 20)).save(place / "in" / "cell.png")
    for ending, text in inputs.items():
        (place / "in" / f"cell.{ending}").write_text(text)
    microscope_model(place / "model", 0.1 * MICROMETRE)
    options = PredictOptions(inputs=place / "in", model=place / "model", output=place / "out", device="cpu")
    (case,) = predict(options).cases
    return case, read_label(place / "out" / "cell.png").array[0, 0]


def test_a_picture_without_the_size_of_its_pixels_is_taken_for_one_like_the_training_images(tmp_path: Path) -> None:
    case, label_map = predicted(tmp_path / "bare")
    said = [warning for warning in case.warnings if "size of its pixels" in warning]
    taken = "tells no size of its pixels: taken for 0.0001 x 0.0001 mm as in the training images"
    assert said == [f"{taken} (PixelSize beside it tells)"]
    size = json.dumps({"PixelSize": [0.1, 0.1], "PixelSizeUnits": "um"})
    told, same = predicted(tmp_path / "told", json=size)
    assert not [warning for warning in told.warnings if "pixels" in warning or "spacing" in warning]
    np.testing.assert_array_equal(label_map, same)
    assert len(np.unique(label_map)) > 1


@pytest.mark.parametrize("spacing_mm", [1.0, 1.0005])
def test_nothing_is_said_where_the_training_images_had_no_size_either(tmp_path: Path, spacing_mm: float) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(np.arange(24 * 20, dtype=np.uint8).reshape(24, 20)).save(tmp_path / "in" / "cell.png")
    microscope_model(tmp_path / "model", spacing_mm)
    options = PredictOptions(inputs=tmp_path / "in", model=tmp_path / "model", output=tmp_path / "out", device="cpu")
    (case,) = predict(options).cases
    assert not [warning for warning in case.warnings if "pixels" in warning]
