"""Whole-case validation while training: it says how good the network is, and keeps to its share of the time."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autoseg.core.records import encode
from autoseg.core.runtime import digest_bytes
from autoseg.learning.feeding import MemorySource
from autoseg.learning.model_files import NetworkFile
from autoseg.learning.network import build_network
from autoseg.learning.training import TrainingTask
from autoseg.steps.train import VALIDATION_BYTES, TrainingRecord, _fits, _Validator
from tests.builders import ArraySource, configuration, stages


class HugeSource(ArraySource):
    """Says that its cases are larger than any validation may be."""

    def shape(self, name: str) -> tuple[int, int, int]:
        z, y, x = super().shape(name)
        return z * 10_000, y, x


def task(folder: Path, seconds: float | None) -> TrainingTask:
    return TrainingTask(
        configuration=configuration(3),
        channels=1,
        outputs=2,
        target="labels",
        device=torch.device("cpu"),
        dtype=torch.float32,
        seed=1,
        steps=None if seconds else 5,
        seconds=seconds,
        folder=folder,
        identity="same",
    )


def validator(source: ArraySource, chosen: TrainingTask) -> _Validator:
    return _Validator(chosen, MemorySource(source), source.names)


def test_cases_that_fit_are_validated_with_a_dice_per_label(tmp_path: Path) -> None:
    chosen = task(tmp_path, 1e6)
    result = validator(ArraySource(), chosen)(build_network(chosen.configuration, 1, 2))
    assert result is not None
    assert len(result.per_label) == 1
    assert result.mean is not None
    assert 0 <= result.mean <= 1


def test_cases_that_would_take_too_long_are_left_to_the_end(tmp_path: Path) -> None:
    chosen = task(tmp_path, 60.0)
    assert validator(HugeSource(), chosen)(build_network(chosen.configuration, 1, 2)) is None


def test_cases_with_too_many_logits_are_left_to_the_end(tmp_path: Path) -> None:
    chosen = task(tmp_path, None)
    voxels = 10 * 10_000 * 12 * 9
    assert voxels * 2 * 4 < VALIDATION_BYTES
    assert validator(ArraySource(), chosen)._affordable(build_network(chosen.configuration, 1, 2).eval())

    class Larger(HugeSource):
        def shape(self, name: str) -> tuple[int, int, int]:
            z, y, x = super().shape(name)
            return z * 10, y, x

    assert not validator(Larger(), chosen)._affordable(build_network(chosen.configuration, 1, 2).eval())


def test_without_validation_cases_there_is_no_dice(tmp_path: Path) -> None:
    chosen = task(tmp_path, 60.0)
    source = ArraySource()
    assert _Validator(chosen, MemorySource(source), ())(build_network(chosen.configuration, 1, 2)) is None


@pytest.mark.parametrize("seconds", [None, 1e6])
def test_a_second_validation_waits_for_its_share_of_the_time(tmp_path: Path, seconds: float | None) -> None:
    chosen = task(tmp_path, seconds)
    network = build_network(chosen.configuration, 1, 2)
    checked = validator(ArraySource(), chosen)
    assert checked(network) is not None
    checked._spent = 100.0
    assert checked(network) is None


def test_a_plan_made_anew_does_not_describe_networks_of_the_plan_before() -> None:
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
    )
    assert _fits(record, planned)
    assert not _fits(record, replace(planned, stages=stages(3, 3, features=6)))
