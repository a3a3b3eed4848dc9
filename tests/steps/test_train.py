"""What a training leaves in its records."""

from dataclasses import replace
from pathlib import Path

from autoseg.core.records import encode, write_record
from autoseg.core.runtime import digest_bytes
from autoseg.core.workspace import Workspace
from autoseg.datasets.dataset import Fold, Folds
from autoseg.imaging.changes import Change
from autoseg.learning.model_files import NetworkFile, load_model_record
from autoseg.steps.train import TrainingRecord, _as_chosen_before, _fits
from tests.builders import configuration, stages
from tests.steps.test_predict import make_model

FOLD = Fold(train=("a",), validation=("b",))


def test_a_plan_or_a_split_made_anew_does_not_describe_networks_of_the_one_before() -> None:
    planned = configuration(3)
    record = TrainingRecord(
        configuration=planned.name,
        fold=0,
        identity="same",
        device="cpu",
        precision="float32",
        parameters=1,
        steps=1,
        seconds=1.0,
        seconds_allowed=None,
        skipped_steps=0,
        schedule="",
        network=NetworkFile(
            configuration=planned.name, fold=0, file="a", sha256="b", steps=1, seconds=1.0, validation_dice=None
        ),
        configuration_sha256=digest_bytes(encode(planned)),
        fold_sha256=digest_bytes(encode(FOLD)),
    )
    folds = Folds(because="", folds=(FOLD,))
    assert _fits(record, planned, folds)
    assert not _fits(record, replace(planned, stages=stages(3, 3, features=6)), folds)
    other = replace(FOLD, train=("b",), validation=("a",))
    assert not _fits(record, planned, replace(folds, folds=(other,)))
    assert not _fits(record, planned, replace(folds, folds=()))


def test_what_was_chosen_for_the_same_networks_is_kept(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    fresh = load_model_record(make_model(workspace.model))
    chosen = replace(fresh, mirror=True, postprocessing=(Change(kind="keep-largest", values=(7,)),))
    write_record(workspace.model / "model.json", chosen)
    assert _as_chosen_before(workspace, fresh) == chosen
    others = tuple(replace(network, sha256="0" * 64) for network in fresh.networks)
    assert _as_chosen_before(workspace, replace(fresh, networks=others)) == replace(fresh, networks=others)
    (workspace.model / "model.json").unlink()
    assert _as_chosen_before(workspace, fresh) == fresh
