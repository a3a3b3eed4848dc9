"""What a person and TensorBoard see of each epoch."""

import json
from pathlib import Path

import pytest

from autoseg.core.errors import FullDiskError
from autoseg.learning.collapse import Restart
from autoseg.learning.epoch_log import EpochLog, epoch_text
from autoseg.learning.tensorboard_log import TensorBoardLog, numbers_of
from autoseg.learning.training_task import Epoch


def epoch(step: int, loss: float | None = -0.5) -> Epoch:
    return Epoch(
        step=step,
        progress=0.25,
        seconds=10.0,
        train_loss=loss,
        learning_rate=1e-3,
        validation_dice=0.5,
        validation_dice_per_label=(0.5, None),
        data_seconds=1.25,
        compute_seconds=8.75,
        samples_per_s=12.345,
        peak_memory_bytes=3 << 29,
        skipped_cases=("case_1",),
        restart=Restart(step=step, progress=0.25, label=1, weight=4, back_to=None),
    )


def test_the_line_tells_data_compute_memory_and_samples() -> None:
    assert epoch_text(epoch(10)) == (
        "step 10, 25 %, loss -0.5000, validation Dice 0.5000, waited for data 1.2 s, compute 8.8 s, 12.3 samples/s,"
        " memory 1.50 GiB"
    )


def test_a_resumed_training_replaces_the_lines_after_its_step(tmp_path: Path) -> None:
    seen: list[int] = []
    log = EpochLog(tmp_path / "progress.jsonl", "3d fold 0", (lambda each: seen.append(each.step),))
    for step in (10, 20, 30, 20):
        log(epoch(step))
    lines = [json.loads(line) for line in (tmp_path / "progress.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 20]
    assert lines[0]["skipped_cases"] == ["case_1"]
    assert lines[0]["restart"] == {"step": 10, "progress": 0.25, "label": 1, "weight": 4, "back_to": None}
    assert seen == [10, 20, 30, 20]


def test_tensorboard_gets_the_numbers_that_are_defined() -> None:
    numbers = numbers_of(epoch(10, None))
    assert "loss/train" not in numbers
    assert "dice/label 2" not in numbers
    assert numbers["dice/label 1"] == 0.5
    assert numbers["speed/memory, GiB"] == 1.5


def test_without_tensorboard_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoseg.learning.tensorboard_log.find_spec", lambda _: None)
    log = TensorBoardLog(tmp_path)
    log(epoch(10))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard")
def test_a_full_disk_is_told_once_and_training_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")

    def full(path: Path, _data: bytes) -> None:
        raise FullDiskError.at(path, "could not be written", "check space and permissions")

    monkeypatch.setattr("autoseg.learning.tensorboard_log.append_bytes", full)
    log = TensorBoardLog(tmp_path)
    for step in (10, 20):
        log(epoch(step))
    assert capsys.readouterr().err.count("nothing more is logged for TensorBoard: ") == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard")
def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = TensorBoardLog(tmp_path)
    for step in (10, 20):
        log(epoch(step))
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert [(event.step, event.value) for event in found.Scalars("loss/train")] == [(10, -0.5), (20, -0.5)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard")
def test_a_resumed_training_hides_what_was_logged_behind_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for begun_s, steps in ((1000.0, (10, 20, 30)), (2000.0, (20, 40))):
        monkeypatch.setattr("time.time", lambda begun_s=begun_s: begun_s)
        log = TensorBoardLog(tmp_path)
        for step in steps:
            log(epoch(step))
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert [event.step for event in found.Scalars("loss/train")] == [10, 20, 40]
