"""Training learns, ends on time, and can be killed and resumed without a trace."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from autoseg.learning.checkpoint import Progress, load_checkpoint, save_checkpoint
from autoseg.learning.feeding import Feeder, FeedOptions
from autoseg.learning.training import Epoch, Hooks, TrainingResult, TrainingTask, learning_rate, train_network
from tests.builders import EVERY_AUGMENTATION, SHORT_SCHEDULE, ArraySource, configuration


def task(folder: Path, *, steps: int | None = 6, seconds: float | None = None, dimensions: int = 3) -> TrainingTask:
    planned = configuration(dimensions)
    return TrainingTask(
        configuration=replace(planned, augmentation=EVERY_AUGMENTATION),
        channels=1,
        outputs=2,
        target="labels",
        device=torch.device("cpu"),
        dtype=torch.float32,
        seed=1,
        steps=steps,
        seconds=seconds,
        folder=folder,
        identity="same",
    )


def run(
    chosen: TrainingTask,
    *,
    stop_after: int | None = None,
    log: list[Epoch] | None = None,
    source: ArraySource | None = None,
) -> TrainingResult:
    feed = FeedOptions(
        configuration=chosen.configuration,
        names=("case_0", "case_1", "case_2"),
        channels=1,
        classes=2,
        device=chosen.device,
        seed=chosen.seed,
        stream=0,
    )
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return stop_after is not None and asked > stop_after

    hooks = Hooks(
        validate=lambda _: None,
        log=(lambda _: None) if log is None else log.append,
        stop=stop,
        peak_memory_bytes=lambda: 0,
    )
    with Feeder(source or ArraySource(), feed) as feeder:
        return train_network(chosen, feeder, hooks)


def weights(module: nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in module.parameters()]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_two_trainings_with_one_seed_end_in_identical_weights(tmp_path: Path, dimensions: int) -> None:
    first = run(task(tmp_path / "a", dimensions=dimensions))
    second = run(task(tmp_path / "b", dimensions=dimensions))
    assert all(torch.equal(a, b) for a, b in zip(weights(first.network), weights(second.network), strict=True))


@pytest.mark.parametrize("stopped_at", [1, 3, 4])
def test_a_stopped_and_resumed_training_ends_like_one_that_was_not(tmp_path: Path, stopped_at: int) -> None:
    whole = run(task(tmp_path / "whole"))
    half = run(task(tmp_path / "half"), stop_after=stopped_at)
    assert not half.finished
    assert half.steps == stopped_at
    resumed = run(task(tmp_path / "half"))
    assert resumed.finished
    assert resumed.steps == 6
    assert all(torch.equal(a, b) for a, b in zip(weights(whole.network), weights(resumed.network), strict=True))


def test_a_finished_training_is_not_trained_again(tmp_path: Path) -> None:
    first = run(task(tmp_path))
    again = run(task(tmp_path), stop_after=0)
    assert again.finished
    assert again.seconds == pytest.approx(first.seconds, abs=0.5)


def test_another_plan_does_not_resume_this_one(tmp_path: Path) -> None:
    run(task(tmp_path), stop_after=2)
    assert load_checkpoint(tmp_path, "another") is None


def test_the_loss_falls(tmp_path: Path) -> None:
    log: list[Epoch] = []
    chosen = task(tmp_path, steps=40)
    schedule = replace(SHORT_SCHEDULE, steps_per_epoch=10, learning_rate=5e-3)
    run(replace(chosen, configuration=replace(configuration(3), schedule=schedule)), log=log)
    losses = [epoch.train_loss for epoch in log]
    assert len(losses) == 4
    assert losses[-1] is not None
    assert losses[0] is not None
    assert losses[-1] < losses[0] - 0.3


def test_a_budget_in_seconds_is_kept_and_used(tmp_path: Path) -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 0.125
        return now

    chosen = task(tmp_path, steps=None, seconds=10.0)
    feed = FeedOptions(
        configuration=chosen.configuration,
        names=("case_0",),
        channels=1,
        classes=2,
        device=chosen.device,
        seed=1,
        stream=0,
    )
    hooks = Hooks(
        validate=lambda _: None, log=lambda _: None, stop=lambda: False, peak_memory_bytes=lambda: 0, clock=clock
    )
    with Feeder(ArraySource(), feed) as feeder:
        result = train_network(chosen, feeder, hooks)
    assert result.finished
    assert 9 <= result.seconds <= 11
    assert result.steps > 5


def test_the_rate_rises_then_falls_to_zero() -> None:
    rates = [learning_rate(SHORT_SCHEDULE, p) for p in np.linspace(0, 1, 101)]
    assert rates[10] == pytest.approx(SHORT_SCHEDULE.learning_rate)
    assert all(a < b for a, b in itertools.pairwise(rates[:11]))
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))
    assert rates[-1] == 0
    cosine = replace(SHORT_SCHEDULE, decay="cosine")
    assert learning_rate(cosine, 0.55) == pytest.approx(cosine.learning_rate / 2)


class TestCheckpoints:
    def progress(self, step: int) -> Progress:
        return Progress(identity="same", step=step, seconds=1.5, skipped=0, finished=False)

    def test_a_damaged_checkpoint_falls_back_to_the_one_before(self, tmp_path: Path) -> None:
        for step in (1, 2, 3):
            save_checkpoint(tmp_path, {"w": torch.full((4,), float(step))}, self.progress(step))
        files = sorted(tmp_path.glob("*.safetensors"))
        assert len(files) == 2
        data = bytearray(files[-1].read_bytes())
        data[-1] ^= 1
        files[-1].write_bytes(bytes(data))
        found = load_checkpoint(tmp_path, "same")
        assert found is not None
        assert found.progress.step == 2
        assert found.tensors["w"].tolist() == [2.0] * 4

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"checkpoints": 3}', '{"checkpoints": [{"file": "../x"}]}'])
    def test_a_damaged_index_starts_anew(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "checkpoint.json").write_text(text)
        assert load_checkpoint(tmp_path, "same") is None


def test_a_loss_that_is_never_finite_ends_with_its_step(tmp_path: Path) -> None:
    class Poisoned(ArraySource):
        def read_image(self, name: str, lower: tuple[int, ...], upper: tuple[int, ...]) -> NDArray[np.float32]:
            return super().read_image(name, lower, upper) * np.float32(np.nan)

    with pytest.raises(FloatingPointError, match="not finite in 20 steps"):
        run(task(tmp_path, steps=100), source=Poisoned())
