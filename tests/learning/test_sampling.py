"""What a training step sees follows from seed and step alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from autoseg.learning.feeding import Feeder, FeedOptions, MemorySource
from autoseg.learning.sampling import draw_batch, forced_count, step_generator
from tests.builders import EVERY_AUGMENTATION, ArraySource, configuration


def options(dimensions: int = 3, batch: int = 4) -> FeedOptions:
    planned = replace(configuration(dimensions, batch=batch), augmentation=EVERY_AUGMENTATION)
    return FeedOptions(
        configuration=planned,
        names=("case_0", "case_2"),
        channels=1,
        classes=2,
        device=torch.device("cpu"),
        seed=3,
        stream=0,
    )


@pytest.mark.parametrize(("batch", "expected"), [(2, 1), (3, 1), (4, 1), (5, 2), (12, 4), (1, 0)], ids=str)
def test_as_many_samples_are_forced_as_nnunet_forces(batch: int, expected: int) -> None:
    assert forced_count(batch, 0.33) == expected


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_step_gives_the_same_batch_whatever_came_before(dimensions: int) -> None:
    source = ArraySource()
    with Feeder(source, options(dimensions)) as first, Feeder(source, options(dimensions)) as second:
        for step in range(3):
            batch = first.batch(step)
        again = second.batch(2)
    assert torch.equal(batch.images, again.images)
    assert torch.equal(batch.labels, again.labels)
    assert batch.images.shape == (4, 1, *(8,) * dimensions)


def test_only_the_training_cases_are_seen() -> None:
    source = ArraySource()
    with Feeder(source, options()) as feeder:
        seen = {name for step in range(10) for name in feeder.batch(step).names}
    assert seen == {"case_0", "case_2"}


def test_forced_samples_hold_foreground() -> None:
    source = ArraySource(1, shape=(40, 40, 40))
    planned = configuration(3, batch=4)
    for step in range(10):
        draw = draw_batch(source, ("case_0",), planned, 1, step_generator(0, 0, step))
        for sample in draw.samples[2:]:
            lower = [int(c - 3.5) for c in sample.spatial.centre]
            box = source.read_label("case_0", tuple(lower), tuple(v + 8 for v in lower))
            assert box.shape[1:] == (8, 8, 8)
            assert box.max() == 1


def test_steps_and_streams_differ() -> None:
    draws = {step_generator(0, stream, step).random() for stream in range(3) for step in range(5)}
    assert len(draws) == 15


def test_a_case_larger_than_the_cache_is_read_in_parts() -> None:
    source = ArraySource(2)
    small = MemorySource(source, limit_bytes=100)
    lower, upper = (1, 2, 3), (4, 5, 6)
    assert np.array_equal(small.read_image("case_1", lower, upper), source.read_image("case_1", lower, upper))
    held = MemorySource(source, limit_bytes=1 << 14)
    for name in ("case_0", "case_1", "case_0"):
        assert np.array_equal(held.read_label(name, lower, upper), source.read_label(name, lower, upper))
