import json
from dataclasses import replace

import pytest

from autoseg.core.calibration import Calibration, Temperature
from autoseg.core.errors import AutosegError
from autoseg.core.quality import Quality
from autoseg.core.records import write_record
from autoseg.steps.show import ModelCard, ShownNetwork, _judged, card_text, show

CARD = ModelCard(
    model="m/model",
    dataset="liver",
    version="0.1.0",
    n_cases=20,
    channels=("CT",),
    modalities=("ct",),
    labels=("liver", "lesion"),
    configuration="3d_fullres",
    spacing_mm=(3.0, 0.75, 0.75),
    patch=(32, 64, 64),
    networks=(
        ShownNetwork(configuration="3d_fullres", fold=0, steps=500, training_seconds=61.4, validation_dice=0.91234),
        ShownNetwork(configuration="3d_fullres", fold=1, steps=500, training_seconds=60.0, validation_dice=None),
    ),
)


def test_a_card_tells_what_a_user_asks_first():
    text = card_text(CARD)
    assert "trained on     liver, 20 cases, autoseg 0.1.0" in text
    assert "takes          CT (ct)" in text
    assert "gives          liver, lesion" in text
    assert "patch 32x64x64 at 3x0.75x0.75 mm" in text
    assert "fold 0: 500 steps, 61 s, validation Dice 0.9123" in text
    assert "fold 1: 500 steps, 60 s, not validated" in text
    assert text.endswith("research use, not a diagnosis")


def test_a_card_says_that_temperature_and_quality_come_from_single_folds(tmp_path):
    temperatures = (Temperature(of="", temperature=1.25, because="fitted"),)
    write_record(
        tmp_path / "calibration.json",
        Calibration(
            target="labels",
            configurations=("2d",),
            networks=("a",),
            n_cases=20,
            n_voxels=9,
            temperatures=temperatures,
        ),
    )
    write_record(tmp_path / "quality.json", Quality(configurations=("2d",), networks=("a",), n_cases=20, structures=()))
    lines = card_text(replace(CARD, judged=tuple(_judged(tmp_path)))).splitlines()
    assert "temperature    1.25, from 20 unseen cases, by the network of one fold each" in lines
    alone = "disagreement of networks is no sign in it"
    assert f"quality        learned from 20 unseen cases, by the network of one fold each; {alone}" in lines
    two = Quality(configurations=("2d", "3d_fullres"), networks=("a", "b"), n_cases=20, structures=())
    write_record(tmp_path / "quality.json", two)
    assert not any(alone in line for line in _judged(tmp_path))


def test_any_record_is_printed(tmp_path):
    (tmp_path / "plan.json").write_text('{"schema": "autoseg.plan/1", "labels": ["Läsion"]}', encoding="utf-8")
    shown = show(tmp_path / "plan.json")
    assert shown.record == json.loads(shown.text)
    assert "Läsion" in shown.text


def test_what_cannot_be_shown_is_one_line(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(AutosegError, match="not a JSON record"):
        show(tmp_path / "a.json")
    with pytest.raises(AutosegError, match="no such file or folder"):
        show(tmp_path / "nothing")
    with pytest.raises(AutosegError, match="no trained model here"):
        show(tmp_path)
