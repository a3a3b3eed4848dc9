"""Whole-case validation while training: it says how good the network is, and keeps to its share of the time."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from autoseg.learning.feeding import Feeder, FeedOptions, MemorySource
from autoseg.learning.network import build_network
from autoseg.learning.training import Epoch, Hooks, TrainingTask, train_network
from autoseg.learning.validation import VALIDATION_BYTES, Validator
from planners.plan import Convergence
from tests.builders import ArraySource, configuration


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


def validator(source: ArraySource, chosen: TrainingTask) -> Validator:
    return Validator(chosen, MemorySource(source), source.names, lambda: None)


def test_cases_that_fit_are_validated_with_a_dice_per_label(tmp_path: Path) -> None:
    chosen = task(tmp_path, 1e6)
    result = validator(ArraySource(), chosen)(build_network(chosen.configuration, 1, 2), 3)
    assert result is not None
    assert len(result.per_label) == 1
    assert result.present == (True,)
    assert result.mean is not None
    assert 0 <= result.mean <= 1


def test_cases_that_would_take_too_long_are_left_to_the_end(tmp_path: Path) -> None:
    chosen = task(tmp_path, 60.0)
    assert validator(HugeSource(), chosen)(build_network(chosen.configuration, 1, 2), 3) is None


def test_cases_with_too_many_logits_are_left_to_the_end(tmp_path: Path) -> None:
    chosen = task(tmp_path, None)
    voxels = 10 * 10_000 * 12 * 9
    assert voxels * 2 * 4 < VALIDATION_BYTES
    assert validator(ArraySource(), chosen)(build_network(chosen.configuration, 1, 2), 3) is not None

    class Larger(HugeSource):
        def shape(self, name: str) -> tuple[int, int, int]:
            z, y, x = super().shape(name)
            return z * 10, y, x

    assert validator(Larger(), chosen)(build_network(chosen.configuration, 1, 2), 3) is None


def test_without_validation_cases_there_is_no_dice(tmp_path: Path) -> None:
    chosen = task(tmp_path, 60.0)
    source = ArraySource()
    assert Validator(chosen, MemorySource(source), (), lambda: None)(nn.Identity(), 3) is None


@pytest.mark.parametrize("seconds", [None, 1e6])
def test_a_second_validation_waits_for_its_share_of_the_time(tmp_path: Path, seconds: float | None) -> None:
    chosen = task(tmp_path, seconds)
    network = build_network(chosen.configuration, 1, 2)
    checked = validator(ArraySource(), chosen)
    assert checked(network, 3) is not None
    checked._spent = 100.0
    assert checked(network, 3) is None


RULE = Convergence(
    warmup_steps=4,
    anneal_share=0.25,
    steps_min=15,
    points_min=4,
    agreeing=1,
    horizon=2.0,
    noise_min=0.05,
    noise_max=0.2,
    unlearned=0.01,
)


def waiting(folder: Path, steps: int = 300) -> TrainingTask:
    """A training that ends by its curve of real validations."""
    chosen = configuration(3)
    schedule = replace(
        chosen.schedule, steps=steps, steps_per_epoch=5, learning_rate=0.01, ema_decay=0.8, convergence=RULE
    )
    return replace(task(folder, None), configuration=replace(chosen, schedule=schedule), steps=steps, convergence=RULE)


def test_where_the_curve_decides_cases_and_moments_follow_from_counts(tmp_path: Path) -> None:
    chosen = waiting(tmp_path, 4000)
    checked = validator(ArraySource(), chosen)
    # 10x12x9 voxels in patches of 8 cubed: 2 x 2 x 2 windows a case, 3 cases; a step of 2 samples is 6 passes.
    assert checked._every_steps == 80  # 24 passes / (0.05 x 6)
    network = build_network(chosen.configuration, 1, 2)
    assert [step for step in range(5, 300, 5) if checked(network, step) is not None] == [80, 160, 240]


def test_a_wish_to_leave_cuts_a_validation_short(tmp_path: Path) -> None:
    chosen = waiting(tmp_path)
    checked = Validator(chosen, MemorySource(ArraySource()), ArraySource().names, lambda: "leave")
    assert checked(build_network(chosen.configuration, 1, 2), 80) is None


def test_only_labelled_cases_can_judge(tmp_path: Path) -> None:
    class Unlabelled(ArraySource):
        def locations(self, name: str) -> tuple[NDArray[np.int32], ...]:
            return tuple(places[:0] for places in super().locations(name))

    assert validator(ArraySource(), waiting(tmp_path)).can_judge
    assert not validator(Unlabelled(), waiting(tmp_path)).can_judge
    assert not Validator(waiting(tmp_path), MemorySource(ArraySource()), (), lambda: None).can_judge


def test_a_real_training_without_a_budget_ends_by_itself_and_annealed(tmp_path: Path) -> None:
    chosen, source, log = waiting(tmp_path, 2000), ArraySource(), list[Epoch]()
    feed = FeedOptions(
        configuration=chosen.configuration,
        names=source.names[:2],
        channels=1,
        classes=2,
        device=chosen.device,
        seed=1,
        stream=0,
    )
    hooks = Hooks(
        validate=Validator(chosen, MemorySource(source), source.names[2:], lambda: None),
        log=log.append,
        stop=lambda: None,
        peak_memory_bytes=lambda: 0,
    )
    with Feeder(MemorySource(source), feed) as feeder:
        result = train_network(chosen, feeder, hooks)
    assert result.finished
    assert result.annealing is not None
    assert "less than its noise" in result.annealing.because
    assert result.steps == result.annealing.end < 2000
    assert log[-1].learning_rate < 0.1 * chosen.configuration.schedule.learning_rate
    last = [epoch.validation_dice for epoch in log if epoch.validation_dice is not None][-1]
    assert last > 0.8
