"""Our cases behind batchgenerators' loader interface, and a pipeline of batchgenerators' feeding a training."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from autoseg.learning.feeding import FeedOptions
from autoseg.learning.training import train_network
from autoseg.learning.training_task import Hooks, TrainingTask
from tests.builders import EVERY_AUGMENTATION, ArraySource, configuration

pytest.importorskip("batchgenerators")

from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter
from batchgenerators.transforms.abstract_transforms import Compose
from batchgenerators.transforms.spatial_transforms import MirrorTransform
from batchgenerators.transforms.utility_transforms import NumpyToTensor

from autoseg.learning.batchgenerators_loader import PipelineFeeder, StoreLoader


def options(dimensions: int = 3) -> FeedOptions:
    planned = replace(configuration(dimensions, batch=4), augmentation=EVERY_AUGMENTATION)
    return FeedOptions(
        configuration=planned,
        names=("case_0", "case_2"),
        channels=1,
        classes=2,
        device=torch.device("cpu"),
        seed=3,
        stream=0,
    )


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_batch_holds_patches_as_they_are_stored(dimensions: int) -> None:
    source = ArraySource(shape=(20, 20, 20))
    batch = next(StoreLoader(source, options(dimensions)))
    assert batch["data"].shape == (4, 1, *(8,) * dimensions)
    assert batch["data"].dtype == np.float32
    assert batch["seg"].shape == (4, 1, *(8,) * dimensions)
    assert set(np.unique(batch["seg"])) <= {0, 1}
    stored = {name: set(source.read_image(name, (0, 0, 0), (20, 20, 20)).ravel().tolist()) for name in source.names}
    for image, name in zip(batch["data"], batch["keys"], strict=True):
        assert set(image.ravel().tolist()) <= stored[name]


def test_loaders_of_several_processes_share_the_steps_out() -> None:
    alone = StoreLoader(ArraySource(), options())
    expected = [next(alone)["data"] for _ in range(4)]
    pair = [StoreLoader(ArraySource(), options(), processes=2) for _ in range(2)]
    for thread, loader in enumerate(pair):
        loader.set_thread_id(thread)
    for step, data in enumerate(expected):
        assert np.array_equal(next(pair[step % 2])["data"], data)


def test_a_pipeline_of_batchgenerators_feeds_a_training(tmp_path: Path) -> None:
    source, fed = ArraySource(), options()
    transforms = Compose([MirrorTransform(axes=(0, 1, 2)), NumpyToTensor(keys=["data", "seg"])])
    pipeline = SingleThreadedAugmenter(StoreLoader(source, fed), transforms)
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
        identity="pipeline",
    )
    losses: list[float | None] = []
    hooks = Hooks(
        validate=lambda *_: None,
        log=lambda epoch: losses.append(epoch.train_loss),
        stop=lambda: None,
        peak_memory_bytes=lambda: 0,
    )
    with PipelineFeeder(pipeline, source, fed) as feeder:
        assert feeder.batch(0).images.shape == (4, 1, 8, 8, 8)
        result = train_network(task, feeder, hooks)
    assert result.steps == 6
    assert losses[-1] is not None
    assert losses[0] is not None
    assert losses[-1] < losses[0]
