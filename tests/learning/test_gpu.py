"""What a GPU changes: nothing but the time."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from autoseg.learning.feeding import Feeder, FeedOptions
from autoseg.learning.machine import measure_machine, training_dtype
from autoseg.learning.sliding_window import WindowPredictor
from autoseg.learning.training import Hooks, TrainingResult, TrainingTask, train_network
from tests.builders import EVERY_AUGMENTATION, ArraySource, configuration

pytestmark = pytest.mark.gpu
CUDA = torch.device("cuda")


def train(folder: Path, dtype: torch.dtype, *, stop_after: int | None = None) -> TrainingResult:
    planned = replace(configuration(3), augmentation=EVERY_AUGMENTATION)
    task = TrainingTask(
        configuration=planned,
        channels=1,
        outputs=2,
        target="labels",
        device=CUDA,
        dtype=dtype,
        seed=1,
        steps=40,
        seconds=None,
        folder=folder,
        identity="same",
    )
    feed = FeedOptions(
        configuration=planned, names=("case_0", "case_1"), channels=1, classes=2, device=CUDA, seed=1, stream=0
    )
    asked = iter(range(1000))
    hooks = Hooks(
        validate=lambda *_: None,
        log=lambda _: None,
        stop=lambda: "leave" if stop_after is not None and next(asked) >= stop_after else None,
        peak_memory_bytes=lambda: 0,
    )
    with Feeder(ArraySource(), feed) as feeder:
        return train_network(task, feeder, hooks)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_network_trains_stops_and_resumes(tmp_path: Path, dtype: torch.dtype) -> None:
    assert not train(tmp_path, dtype, stop_after=10).finished
    result = train(tmp_path, dtype)
    assert result.finished
    assert result.steps == 40
    assert all(bool(torch.isfinite(p).all()) for p in result.network.parameters())


def test_labels_are_those_of_the_cpu(tmp_path: Path) -> None:
    network = train(tmp_path, torch.float32).network
    source = ArraySource(1, shape=(20, 24, 18))
    image = source.read_image("case_0", (0, 0, 0), (20, 24, 18))
    planned = configuration(3)
    gpu = WindowPredictor((network,), planned, 2, CUDA, torch.float32).logits(image)
    cpu = WindowPredictor((network.cpu(),), planned, 2, torch.device("cpu"), torch.float32).logits(image)
    assert np.mean(gpu.argmax(0) == cpu.argmax(0)) >= 0.9999


def test_the_machine_is_measured() -> None:
    machine = measure_machine(CUDA)
    assert machine.device == "cuda"
    assert machine.flops_per_s is not None
    assert machine.flops_per_s > 1e11
    assert training_dtype(machine) in {torch.float32, torch.bfloat16}
