"""A finished run has judged itself, and says so where it saw too few cases; with enough of them it foresees Dice."""

import dataclasses

import pytest

from autoseg.core.calibration import CALIBRATION_NAME, Calibration
from autoseg.core.quality import QUALITY_NAME, Quality
from autoseg.core.records import read_record
from autoseg.core.suspects import SUSPECTS_NAME, Suspects
from autoseg.datasets.options import Options
from autoseg.options import PlanAndTrainOptions
from autoseg.pipeline import plan_and_train
from autoseg.steps.predict import PredictOptions, predict
from tests.end_to_end.conftest import write_dataset


def test_a_run_with_few_cases_says_that_it_does_not_know(tiny_run, tmp_path, capfd):
    calibration = read_record(tiny_run.workspace / "model" / CALIBRATION_NAME, Calibration)
    assert calibration.temperatures[0].temperature is None
    assert "too few" in read_record(tiny_run.workspace / SUSPECTS_NAME, Suspects).because
    assert not any(each.parts for each in read_record(tiny_run.workspace / QUALITY_NAME, Quality).structures)
    inputs = min((tiny_run.dataset / "images").glob("*.nii.gz"))
    record = predict(PredictOptions(inputs=inputs, model=tiny_run.workspace, output=tmp_path / "out", device="cpu"))
    assert all(each.dice is None for each in record.cases[0].quality.structures)
    assert record.cases[0].quality.flagged is None
    assert record.look_at == ()
    assert "quality not known: " in capfd.readouterr().err


@pytest.mark.slow
def test_a_small_trained_model_foresees_the_dice_of_new_phantoms(tmp_path):
    dataset = write_dataset(tmp_path / "phantoms", 24)
    options = PlanAndTrainOptions(workspace=tmp_path / "phantoms.autoseg", steps=8, folds="5", device="cpu")
    plan_and_train(dataset, options, Options())
    quality = read_record(tmp_path / "phantoms.autoseg" / "model" / QUALITY_NAME, Quality)
    assert (quality.n_cases, len(quality.networks)) == (24, 5)
    assert all(each.parts for each in quality.structures)
    write_dataset(tmp_path / "others", 27)
    new = tuple(sorted((tmp_path / "others" / "images").glob("*.nii.gz"))[-3:])
    record = predict(PredictOptions(inputs=new, model=tmp_path / "phantoms.autoseg", output=tmp_path / "out"))
    for case in record.cases:
        assert case.quality.as_odd is not None
        assert all(each.lower <= each.dice <= each.upper for each in case.quality.structures)
    assert dataclasses.asdict(record)["look_at"] == record.look_at
