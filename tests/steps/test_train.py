"""What a training leaves in its records."""

from dataclasses import replace

from autoseg.core.records import encode
from autoseg.core.runtime import digest_bytes
from autoseg.learning.model_files import NetworkFile
from autoseg.steps.train import TrainingRecord, _fits
from tests.builders import configuration, stages


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
