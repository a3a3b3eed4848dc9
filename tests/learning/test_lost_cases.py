"""A case that cannot be read, or that its reader dies of, is named, and training goes on without it."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from autoseg.core.errors import AutosegError
from autoseg.learning.feeding import Feeder, FeedOptions, MemorySource
from autoseg.learning.lost_cases import IsolatedSource, LostCaseError, WatchedSource, standing_in
from autoseg.learning.sampling import CaseSource
from autoseg.learning.training import train_network
from autoseg.learning.training_task import Hooks, TrainingTask
from tests.builders import ArraySource, configuration
from tests.deadly import Deadly

NAMES = ("case_0", "case_1", "case_2")
REPORTED_WITHIN_S = 10.0


class Damaged(ArraySource):
    """Case 1 cannot be read."""

    def read_image(self, name: str, lower: tuple[int, ...], upper: tuple[int, ...]) -> NDArray[np.float32]:
        if name == "case_1":
            raise AutosegError.at("case_1.b2nd", "damaged", "preprocess again")
        return super().read_image(name, lower, upper)


class Vanished(ArraySource):
    """Of case 1 not even the shape is left."""

    def shape(self, name: str) -> tuple[int, int, int]:
        if name == "case_1":
            raise FileNotFoundError(2, "No such file", "case_1.json")
        return super().shape(name)


def options(told: list[str], names: tuple[str, ...] = NAMES) -> FeedOptions:
    return FeedOptions(
        configuration=configuration(3, batch=3),
        names=names,
        channels=1,
        classes=2,
        device=torch.device("cpu"),
        seed=3,
        stream=0,
        report=told.append,
    )


@pytest.mark.parametrize("source", [Damaged(), Vanished(), MemorySource(Damaged())], ids=["part", "all", "in memory"])
def test_a_case_that_cannot_be_read_is_named_once_and_never_seen_again(source: CaseSource) -> None:
    told: list[str] = []
    with Feeder(source, options(told)) as feeder:
        seen = {name for step in range(12) for name in feeder.batch(step).names}
    assert seen == {"case_0", "case_2"}
    assert len(told) == 1
    assert told[0].startswith("case case_1 cannot be read")
    assert told[0].endswith("training goes on without it")


def test_other_samples_are_what_they_would_have_been() -> None:
    with Feeder(ArraySource(), options([])) as whole, Feeder(Damaged(), options([])) as damaged:
        for step in range(6):
            expected, found = whole.batch(step), damaged.batch(step)
            for index, name in enumerate(expected.names):
                if index == 0 or "case_1" not in expected.names[: index + 1]:
                    same = name if name != "case_1" else "case_2"
                    assert found.names[index] == same
            if "case_1" not in expected.names:
                assert torch.equal(expected.images, found.images)


def test_without_any_case_training_ends_with_an_error() -> None:
    with Feeder(Damaged(), options([], ("case_1",))) as feeder, pytest.raises(AutosegError, match="none of its cases"):
        feeder.batch(0)


@pytest.mark.slow  # it starts two processes
def test_a_dead_reader_is_reported_with_its_case_in_time_and_training_goes_on(tmp_path: Path) -> None:
    told: list[str] = []
    reported: list[float] = []

    def report(text: str) -> None:
        told.append(text)
        reported.append(time.time())

    fed = replace(options(told), report=report)
    task = TrainingTask(
        configuration=fed.configuration,
        channels=1,
        outputs=2,
        target="labels",
        device=fed.device,
        dtype=torch.float32,
        seed=0,
        steps=6,
        seconds=None,
        folder=tmp_path,
        identity="dead reader",
    )
    hooks = Hooks(validate=lambda *_: None, log=lambda _: None, stop=lambda: None, peak_memory_bytes=lambda: 0)
    diary = tmp_path / "diary"
    with Feeder(IsolatedSource(Deadly(diary)), fed) as feeder:
        result = train_network(task, feeder, hooks)
    assert result.finished
    assert result.steps == 6
    assert len(told) == 1
    assert "case_1" in told[0]
    assert "died" in told[0]
    assert reported[0] - float(diary.read_text(encoding="utf-8")) < REPORTED_WITHIN_S


def test_what_an_isolated_source_reads_is_what_is_there() -> None:
    plain, isolated = ArraySource(), IsolatedSource(ArraySource())
    assert isolated.names == plain.names
    assert isolated.shape("case_2") == plain.shape("case_2")
    corners = (1, 2, 3), (4, 6, 8)
    assert np.array_equal(isolated.read_image("case_2", *corners), plain.read_image("case_2", *corners))
    assert np.array_equal(isolated.read_label("case_2", *corners), plain.read_label("case_2", *corners))
    assert np.array_equal(isolated.locations("case_2")[0], plain.locations("case_2")[0])


def test_our_own_mistakes_are_not_taken_for_lost_cases() -> None:
    with pytest.raises(KeyError):
        WatchedSource(ArraySource()).shape("nobody")
    with pytest.raises(LostCaseError, match=r"case case_1 cannot be read: .*No such file"):
        WatchedSource(Vanished()).shape("case_1")


def test_the_next_case_stands_in_for_a_lost_one() -> None:
    assert standing_in(NAMES, set()) == NAMES
    assert standing_in(NAMES, {"case_2"}) == ("case_0", "case_1", "case_0")
    assert standing_in(("a", "a", "b"), {"b"}) == ("a", "a", "a")
