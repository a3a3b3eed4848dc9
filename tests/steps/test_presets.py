"""Presets are measured on cases that the networks have not seen, and shown with the model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autoseg.core.errors import AutosegError
from autoseg.core.records import read_record, write_record
from autoseg.core.workspace import Workspace
from autoseg.datasets.dataset import Case, Fold, Folds
from autoseg.learning.model_files import load_model_record
from autoseg.learning.presets import FAST_STEP
from autoseg.predicting.records import PresetsRecord
from autoseg.steps import presets
from autoseg.steps.presets import measure_presets
from autoseg.steps.show import show
from tests.records import a_dataset
from tests.steps.test_predict import LABELS, image, make_model, save


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A model of fold 1 that paints the nonzero box with 7, and references that agree on all of it but a corner."""
    workspace = Workspace(tmp_path / "set.autoseg")
    make_model(workspace.model, fold=1)
    for name in ("a", "b", "c"):
        save(tmp_path / "set" / f"{name}.nii.gz", image(shape=(20, 18, 16)))
        reference = np.zeros((20, 18, 16), np.uint8)
        reference[1:-1, 1:-1, 1:-1] = 7
        reference[1:10, 1:-1, 1:-1] = 0 if name == "b" else 7
        save(tmp_path / "set" / f"{name}_label.nii.gz", reference)
    cases = tuple(
        Case(name=name, images=(f"{name}.nii.gz",), references=(f"{name}_label.nii.gz",), group=name) for name in "abc"
    )
    dataset = a_dataset(tmp_path / "set", cases, LABELS, name="set", layout="test", channels=("channel_0",))
    write_record(workspace.dataset, dataset)
    folds = (Fold(train=("b", "c"), validation=("a",)), Fold(train=("a",), validation=("b", "c")))
    write_record(workspace.folds, Folds(because="test", folds=folds))
    return workspace


def test_each_is_scored_on_the_held_out_cases_and_shown(workspace):
    assert "presets        not measured" in show(workspace.root).text
    record = measure_presets(workspace, "cpu")
    assert record is not None
    assert read_record(workspace.model / "presets.json", PresetsRecord) == record
    fast, default, best = record.presets
    assert [row.preset for row in record.presets] == ["fast", "default", "best"]
    half = 2 * 9 / (9 + 18)  # "b": the reference has 9 of the 18 columns that are painted
    for row in record.presets:
        assert row.cases == 2
        assert row.mean_dice == pytest.approx((half + 1) / 2)
        assert row.seconds_per_case > 0
        assert (row.networks_measured, row.networks_used) == (1, 1)
    assert fast.windows < default.windows == best.windows
    text = show(workspace.root).text
    assert "preset         default: " in text
    assert f"Dice {(half + 1) / 2:.4f} (2 validation cases)" in text


def test_the_share_of_voxels_in_which_labels_are_unlike_the_defaults_is_shown(workspace, monkeypatch):
    """What is predicted is known by hand: fast labels 3 x 4 x 5 voxels of each of two cases otherwise."""
    measure, wrong = presets._Table.measure, 3 * 4 * 5

    def altered(table, segmenter, arrays, labels):
        found = measure(table, segmenter, arrays, labels)
        if segmenter.members[0].predictor.step == FAST_STEP:
            found[1:4, 1:5, 1:6] = 1
        return found

    monkeypatch.setattr(presets._Table, "measure", altered)
    record = measure_presets(workspace, "cpu")
    assert record is not None
    fast, default, best = record.presets
    assert fast.differing == pytest.approx(wrong / (20 * 18 * 16))
    assert (default.differing, best.differing) == (None, 0.0)
    lines = {line.split()[1]: line for line in show(workspace.root).text.splitlines() if line.startswith("preset ")}
    assert "(2 validation cases), 1.04% of voxels unlike the default's" in lines["fast:"]
    assert "unlike" not in lines["default:"]
    assert "0.00% of voxels unlike the default's" in lines["best:"]


def test_no_case_is_begun_that_the_time_left_does_not_allow(workspace):
    assert measure_presets(workspace, "cpu", left_s=-1.0) is None
    assert not (workspace.model / "presets.json").exists()
    record = measure_presets(workspace, "cpu", left_s=3600.0)
    assert record is not None
    assert record.presets[0].cases == 2


def test_those_of_other_networks_are_not_shown(workspace):
    measure_presets(workspace, "cpu")
    record = load_model_record(workspace.model)
    networks = tuple(replace(network, sha256="0" * 64) for network in record.networks)
    write_record(workspace.model / "model.json", replace(record, networks=networks))
    assert "presets        not measured" in show(workspace.root).text


def test_without_a_held_out_case_there_is_nothing_to_measure(workspace):
    write_record(workspace.folds, Folds(because="test", folds=(Fold(train=("a", "b", "c"), validation=()),)))
    with pytest.raises(AutosegError, match="no validation case of its networks"):
        measure_presets(workspace, "cpu")
