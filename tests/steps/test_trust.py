"""What a model says about its own reliability reaches predictions: records, the list to look at, tempered output."""

import dataclasses

import numpy as np
import pytest

from autoseg.core.calibration import CALIBRATION_NAME, Calibration, Temperature
from autoseg.core.observation import CaseObservation
from autoseg.core.quality import MINIMUM_CASES, QUALITY_NAME, fit_quality
from autoseg.core.records import read_record, write_record
from autoseg.datasets.inputs import find_inputs
from autoseg.imaging.probabilities import read_probabilities
from autoseg.imaging.read import read_label
from autoseg.learning.ensemble import Ensemble, Sink
from autoseg.learning.machine import choose_device
from autoseg.learning.model_files import load_networks
from autoseg.learning.presets import ready_model
from autoseg.learning.trust import load_trust
from autoseg.model import open_model
from autoseg.predicting.cases import Job
from autoseg.predicting.line import predict_cases
from autoseg.predicting.observing import has_observation, observation_path, read_samples
from autoseg.steps.predict import predict
from tests.learning.test_ensemble import SHAPE, both_grids, collect, inputs, members, on_native, softmax
from tests.steps.test_predict import image, make_model, options, save


@pytest.mark.parametrize("target", ["labels", "regions"])
def test_tempered_probabilities_are_those_of_logits_over_the_temperature_and_change_no_label(target):
    given, tested = inputs(both_grids())[:1], members(target)[:1]
    expected_labels = Ensemble(members=tested).labels(given)
    temperatures = (2.0,) if target == "labels" else (2.0, 1.0, 0.5)
    sink, found = collect((3, *SHAPE))
    labels = Ensemble(members=tested).labels(given, Sink(take=sink.take, temperatures=temperatures))
    logits = on_native(tested[0], given[0])
    scaled = logits / np.resize(temperatures, 3)[:, None, None, None]
    expected = softmax(scaled) if target == "labels" else 1 / (1 + np.exp(-scaled))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_array_equal(labels, expected_labels)


@pytest.fixture
def foreseeing(tmp_path):
    """A model that knows its Dice: its network was seen on cases whose Dice is as noisy as they are."""
    folder = make_model(tmp_path / "model", random=True)
    for index in range(MINIMUM_CASES):
        save(tmp_path / "known" / f"known_{index:02d}.nii.gz", image(seed=index, shape=(20, 18, 16)))
    model = load_networks(folder, choose_device("cpu"))
    cases = find_inputs((tmp_path / "known",), 1)
    job = Job(segmenter=ready_model(model, "default"), digest="d", output=tmp_path / "seen", observations=True)
    assert not predict_cases(job, cases).failed
    seen = [read_record(observation_path(job.output, case.name), CaseObservation) for case in cases]
    assert all(has_observation(job.output, case.name, "d") for case in cases)
    dice = [(0.8 + 0.004 * index, 0.7 + 0.005 * index) for index in range(len(seen))]
    networks = tuple(network.sha256 for network in model.record.networks)
    quality = fit_quality(seen, dice, model.configurations, networks)
    write_record(folder / QUALITY_NAME, quality)
    temperature = Temperature(of="", temperature=2.0, because="test")
    calibration = Calibration(
        target="labels",
        configurations=model.configurations,
        networks=networks,
        n_cases=20,
        n_voxels=100,
        temperatures=(temperature,),
    )
    write_record(folder / CALIBRATION_NAME, calibration)
    return folder, job


def test_every_prediction_says_how_good_it_may_be_and_the_odd_ones_are_to_be_looked_at(tmp_path, foreseeing, capfd):
    save(tmp_path / "new" / "plain.nii.gz", image(seed=100, shape=(20, 18, 16)))
    odd = np.zeros((20, 18, 16), np.int16)
    odd[1:-1, 1:-1, 1:-1] = np.linspace(10, 900, 14).astype(np.int16) ** 2 // 900
    save(tmp_path / "new" / "ramp.nii.gz", odd)
    record = predict(options(tmp_path, tmp_path / "new"))
    quality = {case.case: case.quality for case in record.cases}
    for each in quality["plain"].structures:
        assert 0 <= each.lower <= each.dice <= each.upper <= 1
    assert record.look_at[:1] == ("ramp",)
    assert quality["ramp"].as_odd == pytest.approx(1 / (1 + MINIMUM_CASES))
    said = capfd.readouterr().err
    assert "look at these first" in said
    assert "ramp: organ Dice about" in said
    again = predict(options(tmp_path, tmp_path / "new"))
    assert again.cases == record.cases
    assert len(again.skipped) == 2


def test_probabilities_are_tempered_and_labels_are_not(tmp_path, foreseeing):
    folder, job = foreseeing
    save(tmp_path / "new" / "plain.nii.gz", image(seed=100, shape=(20, 18, 16)))
    predict(options(tmp_path, tmp_path / "new", probabilities=True))
    tempered = read_probabilities(tmp_path / "out" / "probabilities" / "plain.json").astype(np.float64)
    labels = read_label(tmp_path / "out" / "plain.nii.gz").array[0]
    spacing_mm = (2.0, 0.5, 0.5)
    array = image(seed=100, shape=(20, 18, 16)).T.astype(np.float32)
    by_hand = open_model(folder, "cpu")
    np.testing.assert_allclose(by_hand.predict_probabilities(array, spacing_mm), tempered, atol=2e-3)
    plain = dataclasses.replace(by_hand, trust=dataclasses.replace(by_hand.trust, calibration=None))
    powers = np.sqrt(plain.predict_probabilities(array, spacing_mm))
    inside = array > 0
    np.testing.assert_allclose(tempered[:, inside], (powers / powers.sum(axis=0))[:, inside], atol=2e-3)
    np.testing.assert_array_equal(plain.predict(array, spacing_mm), labels)
    near, far = read_samples(job.output, "known_00")
    assert near.drawn_from + far.drawn_from == 18 * 16 * 14  # the crop


def test_records_of_other_networks_say_nothing(foreseeing):
    folder, _ = foreseeing
    model = load_networks(folder, choose_device("cpu"))
    assert load_trust(folder, model).quality is not None
    assert load_trust(folder, model).temperatures == (2.0,)
    for name, kind in ((QUALITY_NAME, "quality"), (CALIBRATION_NAME, "calibration")):
        record = getattr(load_trust(folder, model), kind)
        write_record(folder / name, dataclasses.replace(record, networks=("b" * 64,)))
    found = load_trust(folder, model)
    assert (found.quality, found.calibration, found.temperatures, found.digest) == (None, None, (), "")
