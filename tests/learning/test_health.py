"""Before the time is spent: a healthy case is learned in seconds, and each fault is named by its cause."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from autoseg.core.errors import AutosegError
from autoseg.learning import health
from autoseg.learning.evidence import HealthTask, best_shift, health_task
from autoseg.learning.health import Health, act_on, check_health
from planners.fingerprint import CaseFingerprint, ChannelFingerprint, Fingerprint, Label
from tests.builders import ArraySource
from tests.learning.engine import feed_options, small_task

SHAPE = (20, 24, 22)


class Changed(ArraySource):
    """Balls, with images and labels changed by a fault."""

    def __init__(self, *, labels: int = 1, image: float = 1.0, roll: int = 0, erased: bool = False) -> None:
        super().__init__(shape=SHAPE)
        self._number = labels
        for name in self.names:
            self._images[name] = self._images[name] * np.float32(image)
            self._labels[name] = np.roll(self._labels[name], roll, axis=2) * np.int16(not erased)

    def locations(self, name: str) -> tuple[NDArray[np.int32], ...]:
        (ball,) = super().locations(name)
        return (ball, *[ball[:0]] * (self._number - 1))


def looked_at(source: ArraySource, **others: Any) -> HealthTask:
    """What a fingerprint says of healthy originals of 1 mm: one structure of 500 voxels for each label."""
    names = source.names
    labels = len(source.locations("case_0"))
    given: Mapping[str, Any] = {
        "feed": feed_options(small_task(Path()), names),
        "labels": ("ball", "rod")[:labels],
        "label_voxels": dict.fromkeys(names, (500,) * labels),
        "label_components": dict.fromkeys(names, (1,) * labels),
        "original_mm3": dict.fromkeys(names, 1.0),
        "voxel_mm3": 1.0,
    }
    return HealthTask(**{**given, **others})


def checked(source: ArraySource, *, outputs: int = 2, **others: Any) -> Health:
    task = small_task(Path(), steps=None, seconds=600.0, outputs=outputs)
    return check_health(task, source, looked_at(source, **others), lambda: 0.0, lambda: None)


def test_a_healthy_case_is_learned_and_nothing_else_is_touched() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    found = checked(Changed())
    assert torch.rand(1) == expected
    assert (found.verdict, found.causes) == ("learns", ())
    assert found.dice is not None
    assert found.dice > 0.5
    assert found.steps <= 100
    lines: list[str] = []
    act_on(found, lines.append)
    assert lines == [
        f"health check: {found.case} alone is learned (training Dice {found.dice:.2f} after {found.steps} steps)"
    ]


def refusal(found: Health) -> str:
    with pytest.raises(AutosegError) as caught:
        act_on(found, lambda _: None)
    return str(caught.value)


def test_no_label_in_any_case_is_refused() -> None:
    found = checked(Changed(erased=True), label_voxels=dict.fromkeys(ArraySource().names, (0,)))
    assert found.verdict == "nothing to learn"
    assert "label ball: in none of the 3 training cases" in refusal(found)


def test_labels_that_resampling_lost_are_refused() -> None:
    assert "label ball: 3 training cases hold it, none does after resampling; " in refusal(
        checked(Changed(erased=True))
    )


def test_structures_smaller_than_a_voxel_are_the_reason_that_resampling_lost_them() -> None:
    said = refusal(checked(Changed(erased=True), voxel_mm3=1000.0))
    assert "its structures of 500 mm3 are smaller than a voxel of 1e+03 mm3; check the spacing" in said


def test_a_class_that_no_training_case_holds_is_warned_of() -> None:
    absent = dict.fromkeys(ArraySource().names, (500, 0))
    found = checked(Changed(labels=2), outputs=3, label_voxels=absent)
    lines: list[str] = []
    act_on(found, lines.append)
    assert lines[0].startswith("warning: label rod: in none of the 3 training cases; check the label's value")
    assert found.verdict == "learns"


def test_a_constant_image_is_refused() -> None:
    said = refusal(checked(Changed(image=0.0)))
    assert "constant after normalisation, every voxel has one value; check its intensities" in said


def test_an_image_that_is_not_finite_is_refused() -> None:
    said = refusal(checked(Changed(image=np.nan)))
    assert f"{np.prod(SHAPE)} voxels are not finite after normalisation" in said


def test_labels_beside_their_structures_are_warned_of_with_the_distance() -> None:
    found = checked(Changed(roll=5))
    (cause,) = found.causes
    assert cause.severity == "warning"
    assert "if moved by (0, -5, 0) voxels (z, y, x), 5 mm" in cause.what


@pytest.mark.parametrize("shift", [(0, 0, 0), (2, -4, 3)])
def test_the_shift_of_a_label_is_found(shift: tuple[int, int, int]) -> None:
    source = ArraySource(shape=(40, 44, 42))
    image = source.read_image("case_0", (0, 0, 0), (40, 44, 42))[0]
    label = source.read_label("case_0", (0, 0, 0), (40, 44, 42))[0] > 0
    found, gain = best_shift(image, np.roll(label, shift, axis=(0, 1, 2)))
    assert found == tuple(-one for one in shift)
    assert (gain > 1.2) == any(shift)


class TestWhatIsNotLearned:
    @pytest.fixture(autouse=True)
    def _few_steps(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(health, "STEPS_MAX", 40)

    def noise(self) -> Changed:
        """Labels that have nothing to do with their images."""
        source, random = Changed(), np.random.default_rng(3)
        for name in source.names:
            source._images[name] = random.standard_normal((1, *SHAPE)).astype(np.float32)
            source._labels[name] = (random.random((1, *SHAPE)) < 0.1).astype(np.int16)
        return source

    def test_labels_of_another_image_are_said_not_to_be_learned(self) -> None:
        found = checked(self.noise())
        assert found.verdict == "does not learn"
        assert found.dice is not None
        assert found.dice < 0.5
        (cause,) = found.causes
        assert (cause.severity, "and why is not known" in cause.what) == ("warning", True)

    def test_structures_of_few_voxels_are_the_likely_cause(self) -> None:
        found = checked(self.noise(), voxel_mm3=100.0)
        (cause,) = found.causes
        assert "structures of label ball have 5.0 voxels of 100 mm3 on average" in cause.what

    def test_too_few_steps_give_no_verdict(self) -> None:
        source = self.noise()
        task, now = small_task(Path(), steps=None, seconds=100.0), iter(np.arange(0.0, 100.0, 1.5))
        found = check_health(task, source, looked_at(source), lambda: float(next(now)), lambda: None)
        assert (found.verdict, found.dice, found.steps) == ("too short to tell", None, 5)  # 4 % of 100 s

    def test_a_stop_ends_it(self) -> None:
        source = self.noise()
        task = small_task(Path(), steps=None, seconds=100.0)
        found = check_health(task, source, looked_at(source), lambda: 0.0, lambda: "leave")
        assert (found.verdict, found.steps) == ("too short to tell", 5)


def test_what_is_looked_at_comes_from_the_fingerprint() -> None:
    channel = ChannelFingerprint(
        name="image", modality="mr", modality_reason="", **dict.fromkeys(CHANNEL_NUMBERS, None)
    )
    case = CaseFingerprint(
        name="case_0",
        dimensions=3,
        shape=SHAPE,
        shape_after_crop=SHAPE,
        spacing_mm=(4.0, 0.5, 0.5),
        label_voxels=(7, 9),
        label_components=(1, 3),
    )
    labels = (Label(name="unknown", values=(9,), role="ignore"), Label(name="ball", values=(1,)))
    fingerprint = Fingerprint(
        dataset="d",
        channels=(channel,),
        labels=labels,
        overlapping=False,
        cases=(case, replace(case, name="held out")),
        median_relative_size_after_crop=1.0,
        n_training=2,
    )
    feed = feed_options(small_task(Path()), ("case_0",))
    found = health_task(feed, fingerprint)
    assert (found.labels, found.label_voxels, found.label_components) == (("ball",), {"case_0": (9,)}, {"case_0": (3,)})
    assert (found.original_mm3, found.voxel_mm3) == ({"case_0": 1.0}, 1.0)
    flat = replace(feed, configuration=replace(feed.configuration, spacing_mm=(0.5, 0.5)))
    assert health_task(flat, fingerprint).voxel_mm3 == 1.0  # slices keep their distance


CHANNEL_NUMBERS = ("mean", "std", "minimum", "maximum", "median", "percentile_00_5", "percentile_99_5")
