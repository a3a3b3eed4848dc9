"""Training learns, ends on time, and can be killed and resumed without a trace."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from autoseg.core.stopping import Wish
from autoseg.learning.annealing import Annealing, learning_rate, short_steps
from autoseg.learning.checkpoint import Progress, load_checkpoint, save_checkpoint
from autoseg.learning.feeding import Batch, Feeder, FeedOptions
from autoseg.learning.training import Epoch, Hooks, TrainingResult, TrainingTask, ValidationDice, train_network
from planners.convergence import Point
from planners.plan import Convergence
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


class CountingFeeder(Feeder):
    """Says how many batches it has served in this call."""

    served = 0

    def batch(self, step: int) -> Batch:
        self.served += 1
        return super().batch(step)


def run(
    chosen: TrainingTask,
    *,
    stop_after: int | None = None,
    log: list[Epoch] | None = None,
    source: ArraySource | None = None,
    validate: Callable[[nn.Module, int], ValidationDice | None] = lambda *_: None,
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
    feeder = CountingFeeder(source or ArraySource(), feed)
    with feeder:

        def stop() -> Wish | None:
            return "leave" if stop_after is not None and feeder.served >= stop_after else None

        hooks = Hooks(
            validate=validate,
            log=(lambda _: None) if log is None else log.append,
            stop=stop,
            peak_memory_bytes=lambda: 0,
        )
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
        validate=lambda *_: None, log=lambda _: None, stop=lambda: None, peak_memory_bytes=lambda: 0, clock=clock
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


RULE = Convergence(
    warmup_steps=4,
    anneal_share=0.25,
    steps_min=8,
    points_min=4,
    agreeing=2,
    horizon=2.0,
    noise_min=0.01,
    noise_max=0.02,
    unlearned=0.05,
)


def waiting(folder: Path, steps: int = 40) -> TrainingTask:
    """A training that ends by its curve, which has a point every other step."""
    chosen = task(folder, steps=steps)
    schedule = replace(SHORT_SCHEDULE, steps=steps, steps_per_epoch=2, convergence=RULE)
    return replace(chosen, configuration=replace(configuration(3), schedule=schedule), convergence=RULE)


def rising(_network: nn.Module, step: int) -> ValidationDice:
    """Dice that hardly rises from step 10 on."""
    dice = 0.9 - 0.9 * 2**-step
    return ValidationDice(mean=dice, per_label=(dice, None))


class TestWithoutABudget:
    def test_it_ends_by_its_curve_and_is_annealed(self, tmp_path: Path) -> None:
        log: list[Epoch] = []
        result = run(waiting(tmp_path), log=log, validate=rising)
        assert result.finished
        assert result.annealing is not None
        start = result.annealing.start
        assert 10 <= start <= 24
        assert result.steps == result.annealing.end == start + -(-start // 4)
        assert "less than its noise" in result.annealing.because
        rates = {epoch.step: epoch.learning_rate for epoch in log}
        assert rates[2] == pytest.approx(0.5 * SHORT_SCHEDULE.learning_rate)  # the second of four steps of warm-up
        assert {rates[step] for step in range(4, start + 1, 2)} == {SHORT_SCHEDULE.learning_rate}
        assert rates[result.steps] < 0.5 * SHORT_SCHEDULE.learning_rate
        assert log[-1].progress == 1
        assert log[0].outlook == "1 of the 4 validations that a curve needs"
        assert [epoch.outlook for epoch in log if epoch.step > start] == [None] * (len(log) - start // 2)

    def test_without_any_dice_it_ends_with_the_recipes_steps_annealed(self, tmp_path: Path) -> None:
        log: list[Epoch] = []
        result = run(waiting(tmp_path, 10), log=log)
        assert result.steps == 10
        assert result.annealing is not None
        assert (result.annealing.start, result.annealing.end) == (8, 10)
        assert result.annealing.because == "the longest training has 10 steps"
        assert log[-1].learning_rate < 0.6 * SHORT_SCHEDULE.learning_rate

    def test_a_curve_that_still_rises_ends_with_the_recipes_steps(self, tmp_path: Path) -> None:
        def straight(_: nn.Module, step: int) -> ValidationDice:
            return ValidationDice(mean=step / 20, per_label=(step / 20,))

        result = run(waiting(tmp_path, 15), validate=straight)
        assert result.steps == 15
        assert result.annealing is not None
        assert "more than its noise" in result.annealing.because

    @pytest.mark.parametrize("stopped_at", [5, 13])
    def test_stopped_and_resumed_it_decides_and_ends_the_same(self, tmp_path: Path, stopped_at: int) -> None:
        whole = run(waiting(tmp_path / "whole"), validate=rising)
        assert not run(waiting(tmp_path / "half"), validate=rising, stop_after=stopped_at).finished
        resumed = run(waiting(tmp_path / "half"), validate=rising)
        assert (resumed.steps, resumed.annealing) == (whole.steps, whole.annealing)
        assert all(torch.equal(a, b) for a, b in zip(weights(whole.network), weights(resumed.network), strict=True))


class Asked:
    """Wishes for the loop: leave in the middle of a validation, or finish after some steps."""

    def __init__(self, *, finish_at: int | None = None) -> None:
        self.wish: Wish | None = None
        self.step = 0
        self.finish_at = finish_at
        self.epochs: list[Epoch] = []
        self.kept: list[int] = []

    def hooks(self, validate: Callable[[nn.Module, int], ValidationDice | None]) -> Hooks:
        return Hooks(
            validate=validate,
            log=self.log,
            stop=lambda: self.wish,
            keep=lambda result: self.kept.append(result.steps),
            peak_memory_bytes=lambda: 0,
        )

    def log(self, epoch: Epoch) -> None:
        self.epochs.append(epoch)
        if epoch.step == self.finish_at:
            self.wish = "finish"

    def run(self, chosen: TrainingTask, validate: Callable[[nn.Module, int], ValidationDice | None]) -> TrainingResult:
        feed = FeedOptions(
            configuration=chosen.configuration,
            names=("case_0", "case_1", "case_2"),
            channels=1,
            classes=2,
            device=chosen.device,
            seed=chosen.seed,
            stream=0,
        )
        with Feeder(ArraySource(), feed) as feeder:
            return train_network(chosen, feeder, self.hooks(validate))


def test_a_stop_within_a_validation_loses_no_point_of_the_curve(tmp_path: Path) -> None:
    asked = Asked()

    def cut_short(network: nn.Module, step: int) -> ValidationDice | None:
        if step == 6:
            asked.wish = "leave"
            return None
        return rising(network, step)

    stopped = asked.run(waiting(tmp_path / "half"), cut_short)
    assert (stopped.finished, stopped.steps, asked.kept) == (False, 6, [6])
    resumed, whole = Asked(), Asked()
    assert resumed.run(waiting(tmp_path / "half"), rising).steps == whole.run(waiting(tmp_path / "w"), rising).steps
    assert [epoch.step for epoch in asked.epochs + resumed.epochs] == [epoch.step for epoch in whole.epochs]
    outlooks = [epoch.outlook for epoch in asked.epochs + resumed.epochs]
    assert outlooks == [epoch.outlook for epoch in whole.epochs]


@pytest.mark.parametrize("waits", [True, False])
def test_asked_to_finish_it_anneals_shortly(tmp_path: Path, waits: bool) -> None:
    asked = Asked(finish_at=6)
    chosen = waiting(tmp_path) if waits else task(tmp_path, steps=60)
    result = asked.run(chosen, lambda *_: None)
    assert result.finished
    assert result.annealing is not None
    assert result.annealing.asked
    assert (result.annealing.start, result.steps) == (6, 16)  # a tenth of 6, but 10 at least
    assert asked.kept == [6]
    rates = [epoch.learning_rate for epoch in asked.epochs]
    assert rates[-1] < 0.3 * rates[1]
    assert asked.epochs[-1].step == 16


def test_asked_to_finish_close_to_its_end_it_ends_as_planned(tmp_path: Path) -> None:
    result = Asked(finish_at=3).run(task(tmp_path, steps=9), lambda *_: None)
    assert (result.finished, result.steps, result.annealing) == (True, 9, None)


def test_short_annealing_takes_a_tenth_of_the_steps_and_a_minute_at_most() -> None:
    assert short_steps(5000, 0.1) == 500
    assert short_steps(5000, 0.5) == 120
    assert short_steps(0, 0.1) == 10
    assert short_steps(100, 100.0) == 1


class TestCheckpoints:
    def progress(self, step: int) -> Progress:
        return Progress(identity="same", step=step, seconds=1.5, skipped=0, finished=False)

    def test_a_damaged_checkpoint_falls_back_to_the_one_before(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for step in (1, 2, 3):
            save_checkpoint(tmp_path, {"w": torch.full((4,), float(step))}, self.progress(step))
        files = sorted(tmp_path.glob("*.safetensors"))
        assert len(files) == 2
        data = bytearray(files[-1].read_bytes())
        data[-1] ^= 1
        files[-1].write_bytes(bytes(data))
        found = load_checkpoint(tmp_path, "same")
        assert found is not None
        assert f"{files[-1].name}: damaged, so training goes on from" in capsys.readouterr().err
        assert found.progress.step == 2
        assert found.tensors["w"].tolist() == [2.0] * 4

    def test_curve_and_annealing_are_read_back(self, tmp_path: Path) -> None:
        written = replace(
            self.progress(7),
            epoch_step=6,
            points=(Point(step=3, dice=0.1 + 0.2, weakest=0.0), Point(step=6, dice=0.5, weakest=0.25)),
            annealing=Annealing(start=6, steps=2, rate=0.1, because="it was enough"),
        )
        save_checkpoint(tmp_path, {"w": torch.zeros(1)}, written)
        found = load_checkpoint(tmp_path, "same")
        assert found is not None
        assert found.progress == written

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"checkpoints": 3}', '{"checkpoints": [{"file": "../x"}]}'])
    def test_a_damaged_index_is_replaced_by_its_copy_and_without_one_it_starts_anew(
        self, tmp_path: Path, text: str
    ) -> None:
        save_checkpoint(tmp_path, {"w": torch.zeros(1)}, self.progress(7))
        (tmp_path / "checkpoint.json").write_text(text)
        found = load_checkpoint(tmp_path, "same")
        assert (found is None) == text.endswith('"../x"}]}')  # a whole index that leads elsewhere is followed nowhere
        assert found is None or found.progress.step == 7
        (tmp_path / "checkpoint-copy.json").write_text(text)
        assert load_checkpoint(tmp_path, "same") is None
