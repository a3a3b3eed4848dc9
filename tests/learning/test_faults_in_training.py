"""What goes wrong while a network trains: losses that are not finite, labels that are lost, too little memory."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autoseg.core.errors import AutosegError, ResourceError
from autoseg.learning import training, training_step
from autoseg.learning.collapse import Restart, emphasised, lost_label, next_weight
from autoseg.learning.loss import LossOptions, segmentation_loss
from autoseg.learning.training_task import ValidationDice
from planners.plan import Convergence
from tests.builders import ArraySource
from tests.learning.engine import Heard, small_task, trained, weights_of


class Poisoned(ArraySource):
    """Gives images without a finite voxel for the cases named, while it is switched on."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names_poisoned = names
        self.on = True

    def read_image(self, name: str, lower: tuple[int, ...], upper: tuple[int, ...]) -> NDArray[np.float32]:
        image = super().read_image(name, lower, upper)
        return image * np.float32(np.nan) if self.on and name in self.names_poisoned else image


class TestLossesThatAreNotFinite:
    def test_the_step_is_skipped_and_its_case_named(self, tmp_path: Path) -> None:
        heard = Heard()
        result = trained(small_task(tmp_path, steps=12), heard.hooks(), Poisoned("case_1"))
        assert result.finished
        assert 0 < result.skipped < 12
        named = {name for epoch in heard.epochs for name in epoch.skipped_cases}
        assert named == {"case_1"}  # the other samples of these batches are sound
        said = [line for line in heard.lines if "not finite, no weight was changed; cases case_1" in line]
        assert len(said) == result.skipped
        assert all(bool(torch.isfinite(weight).all()) for weight in weights_of(result))

    @pytest.mark.parametrize("interval_s", [pytest.param(-1.0, marks=pytest.mark.slow), 60.0])
    def test_after_twenty_in_a_row_it_goes_back(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interval_s: float
    ) -> None:
        monkeypatch.setattr(training, "CHECKPOINT_INTERVAL_S", interval_s)
        source, lines = Poisoned("case_0", "case_1", "case_2"), []
        source.on = False

        def log(_: object) -> None:
            source.on = not any("back to the weights" in line for line in lines)

        result = trained(small_task(tmp_path, steps=30), Heard().hooks(log=log, say=lines.append), source)
        assert (result.finished, result.steps) == (True, 30)
        (back,) = [line for line in lines if "back to the weights" in line]
        assert "not finite in 20 steps in a row" in back
        assert "cases: case_0, case_1, case_2" in back or "case_2" in back
        assert back.endswith("the start" if interval_s > 0 else "weights of step 22")
        assert 20 <= result.skipped < 28

    def test_if_that_does_not_help_it_ends_and_names_the_cases(self, tmp_path: Path) -> None:
        with pytest.raises(AutosegError, match=r"not finite in 20 steps in a row .*cases: .*case_1.*autoseg inspect"):
            trained(small_task(tmp_path, steps=100), Heard().hooks(), Poisoned("case_0", "case_1", "case_2"))

    def test_weights_that_are_not_finite_are_neither_kept_nor_returned(self, tmp_path: Path) -> None:
        heard = Heard()

        def spoil(network: nn.Module, step: int) -> None:
            if step == 6:  # the last epoch: what is saved next would be spoilt
                with torch.no_grad():
                    next(network.parameters()).fill_(torch.nan)

        result = trained(small_task(tmp_path), heard.hooks(validate=spoil))
        assert all(bool(torch.isfinite(weight).all()) for weight in weights_of(result))
        assert any("back to the weights of the start" in line for line in heard.lines)


RULE = Convergence(
    warmup_steps=2,
    anneal_share=0.25,
    steps_min=8,
    points_min=4,
    agreeing=2,
    horizon=2.0,
    noise_min=0.01,
    noise_max=0.02,
    unlearned=0.05,
)


def until(step_of_loss: int, step_of_return: int) -> Callable[[nn.Module, int], ValidationDice]:
    """A label that is at 0.5, then lost, then back."""

    def dice(_: nn.Module, step: int) -> ValidationDice:
        value = 0.0 if step_of_loss <= step < step_of_return else 0.5
        return ValidationDice(mean=value, per_label=(value,), present=(True,))

    return dice


class TestLostLabels:
    def test_it_goes_back_to_the_best_with_more_of_it_and_says_so(self, tmp_path: Path) -> None:
        heard = Heard()
        chosen = small_task(tmp_path, steps=40, convergence=RULE)
        result = trained(chosen, heard.hooks(validate=until(6, 12)))
        first, second = result.restarts
        assert first == Restart(step=6, progress=6 / 40, label=0, weight=4, back_to=4)
        assert (second.step, second.weight, second.back_to) == (10, 8, 4)  # not before another tenth has passed
        assert "label 1 of 1 is lost (validation Dice 0 at step 6): back to the weights of step 4" in heard.lines[0]
        assert "sampled 4 times as often" in heard.lines[0]
        assert [epoch.restart for epoch in heard.epochs if epoch.restart] == [first, second]

    def test_the_weights_are_those_of_the_best(self, tmp_path: Path) -> None:
        seen: dict[int, list[Tensor]] = {}

        def dice(network: nn.Module, step: int) -> ValidationDice:
            seen[step] = [parameter.detach().clone() for parameter in network.parameters()]
            return until(6, 8)(network, step)

        kept: list[list[Tensor]] = []
        hooks = Heard().hooks(validate=dice, keep=lambda result: kept.append(weights_of(result)))
        trained(small_task(tmp_path, steps=40, convergence=RULE), hooks)
        assert all(torch.equal(a, b) for a, b in zip(kept[0], seen[4], strict=True))
        assert not all(torch.equal(a, b) for a, b in zip(kept[0], seen[6], strict=True))

    @pytest.mark.slow
    def test_stopped_and_resumed_it_ends_the_same(self, tmp_path: Path) -> None:
        validate = until(6, 12)
        whole = trained(small_task(tmp_path / "whole", steps=40, convergence=RULE), Heard().hooks(validate=validate))
        asked = iter(range(1000))
        stop = lambda: "leave" if next(asked) > 16 else None  # noqa: E731 (a hook)
        half = small_task(tmp_path / "half", steps=40, convergence=RULE)
        stopped = trained(half, Heard().hooks(validate=validate, stop=stop))
        assert 6 < stopped.steps < 12
        resumed = trained(half, Heard().hooks(validate=validate))
        assert (resumed.steps, resumed.restarts) == (whole.steps, whole.restarts)
        assert all(torch.equal(a, b) for a, b in zip(weights_of(whole), weights_of(resumed), strict=True))

    def test_a_training_of_fixed_steps_only_warns(self, tmp_path: Path) -> None:
        heard = Heard()
        result = trained(small_task(tmp_path, steps=10), heard.hooks(validate=until(2, 99)))
        assert result.restarts == ()
        assert heard.lines[0] == "warning: label 1 of 1 has a validation Dice of 0"

    @pytest.mark.parametrize("progress", [0.05, 0.9])
    def test_too_early_and_too_late_nothing_is_done(self, progress: float) -> None:
        assert lost_label([0.0], [True], progress, []) is None

    def test_three_restarts_are_enough(self) -> None:
        restarts = [Restart(step=i, progress=0.1 * i, label=0, weight=1, back_to=None) for i in range(3)]
        assert lost_label([0.0], [True], 0.7, restarts[:2]) == 0
        assert lost_label([0.0], [True], 0.7, restarts) is None
        assert next_weight(restarts[:1], 0) == 8
        assert next_weight(restarts, 1) == 4

    def test_cases_and_voxels_of_the_label_are_offered_more_often(self) -> None:
        class TwoLabels(ArraySource):
            def locations(self, name: str) -> tuple[NDArray[np.int32], ...]:
                (ball,) = super().locations(name)
                return (ball, ball[:1] if name == "case_2" else ball[:0])

        source = emphasised(TwoLabels(), [Restart(step=1, progress=0.1, label=1, weight=4, back_to=None)])
        assert source.drawn(("case_0", "case_2")) == ("case_0", *["case_2"] * 4)
        assert [len(places) for places in source.locations("case_2")][1:] == [1, 1, 1, 1]
        assert source.shape("case_0") == (10, 12, 9)
        assert source.names == ("case_0", "case_1", "case_2")


Loss = Callable[[Tensor | Sequence[Tensor], Tensor, LossOptions], Tensor]


def at_most(samples: int, error: Exception) -> Loss:
    """A loss for which a device has room for so many samples."""

    def loss(logits: Tensor | Sequence[Tensor], target: Tensor, options: LossOptions) -> Tensor:
        if len(target) > samples:
            raise error
        return segmentation_loss(logits, target, options)

    return loss


CPU = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"
)
GPU = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
NO_MEMORY = [pytest.param(GPU, id="gpu", marks=pytest.mark.slow), pytest.param(CPU, id="cpu")]


class TestTooLittleMemory:
    @pytest.mark.parametrize("error", NO_MEMORY)
    def test_the_batch_is_halved_once_with_the_same_gradient(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        whole = trained(small_task(tmp_path / "whole", batch=4, sgd=True), Heard().hooks())
        monkeypatch.setattr(training_step, "segmentation_loss", at_most(2, error))
        heard, halved = Heard(), []
        result = trained(small_task(tmp_path / "half", batch=4, sgd=True), heard.hooks(halved=lambda: halved.append(1)))
        assert (result.finished, result.steps, halved) == (True, 6, [1])
        assert len(heard.lines) == 1
        assert (
            "out of memory with 4 samples at a time: from here on each step takes them in two halves" in heard.lines[0]
        )
        for a, b in zip(weights_of(whole), weights_of(result), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)

    def test_a_resumed_training_obeys_from_the_start(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(training_step, "segmentation_loss", at_most(2, CPU))
        heard = Heard()
        assert trained(small_task(tmp_path, batch=4, parts=2), heard.hooks()).finished
        assert heard.lines == []

    @pytest.mark.parametrize(("batch", "room"), [(4, 1), (1, 0)])
    def test_it_is_halved_no_further(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int, room: int
    ) -> None:
        monkeypatch.setattr(training_step, "segmentation_loss", at_most(room, CPU))
        with pytest.raises(ResourceError, match=rf"out of memory with {max(1, batch // 2)} sample\(s\) at a time"):
            trained(small_task(tmp_path, batch=batch), Heard().hooks())

    def test_another_error_is_no_lack_of_memory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(training_step, "segmentation_loss", at_most(0, RuntimeError("sizes differ")))
        with pytest.raises(RuntimeError, match="sizes differ"):
            trained(small_task(tmp_path), Heard().hooks())

    def test_one_part_gives_the_very_weights_of_no_parts(self, tmp_path: Path) -> None:
        one, two = (trained(small_task(tmp_path / str(i), batch=1, parts=i), Heard().hooks()) for i in (1, 2))
        assert all(torch.equal(a, b) for a, b in zip(weights_of(one), weights_of(two), strict=True))
