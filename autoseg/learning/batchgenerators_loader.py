"""Our stored cases behind batchgenerators' data-loader interface, and training fed from such a pipeline.

Nothing of autoseg imports this module: batchgenerators takes long to load. A pipeline of one's own:

    loader = StoreLoader(MemorySource(CaseStore(folder)), options)
    pipeline = SingleThreadedAugmenter(loader, Compose([MirrorTransform(), NumpyToTensor(keys=["data", "seg"])]))
    with PipelineFeeder(pipeline, source, options) as feeder:
        train_network(task, feeder, hooks)
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from batchgenerators.dataloading.data_loader import SlimDataLoaderBase
from torch import Tensor

from autoseg.learning.feeding import Batch, Feeder, FeedOptions, read_block
from autoseg.learning.sampling import CaseSource, draw_batch, step_generator
from autoseg.learning.spatial import take_patch


class StoreLoader(SlimDataLoaderBase):  # type: ignore[misc]
    """Gives patches as they are stored: {"data": (b, c, *patch), "seg": (b, l, *patch), "keys": names of the cases}.

    Cases and places are drawn as training draws them, foreground as often; they are neither turned nor changed, for
    that is what the transforms behind it do. Labels are int16, class indexes, OUTSIDE already background. Loaders in
    several processes (`set_thread_id`) share the steps out among them.
    """

    def __init__(self, source: CaseSource, options: FeedOptions, processes: int = 1) -> None:
        """Load from `source`; `processes` is the number of a MultiThreadedAugmenter's."""
        super().__init__(source, options.configuration.batch, processes)
        plain = replace(
            options.configuration.augmentation,
            rotation_probability=0.0,
            scaling_probability=0.0,
            elastic_probability=0.0,
            mirror_axes=(),
        )
        self._options = replace(options, configuration=replace(options.configuration, augmentation=plain))
        self._round = 0

    def generate_train_batch(self) -> dict[str, Any]:
        """Return the next batch."""
        options, patch = self._options, self._options.configuration.patch
        step = self._round * (self.number_of_threads_in_multithreaded or 1) + self.thread_id
        self._round += 1
        random = step_generator(options.seed, options.stream, step)
        draw = draw_batch(self._data, options.names, options.configuration, options.channels, random)
        pairs = [
            take_patch(read_block(self._data, sample, patch), sample.spatial, patch, options.classes)
            for sample in draw.samples
        ]
        return {
            "data": np.stack([image.numpy() for image, _ in pairs]),
            "seg": np.stack([label.numpy() for _, label in pairs]),
            "keys": [sample.name for sample in draw.samples],
        }


class PipelineFeeder(Feeder):
    """Feeds a training with whatever a batchgenerators pipeline gives under "data" and "seg", arrays or tensors."""

    def __init__(self, pipeline: Iterator[dict[str, Any]], source: CaseSource, options: FeedOptions) -> None:
        """Feed from `pipeline`, whose loader reads `source`."""
        super().__init__(source, options)
        self._pipeline = pipeline

    def batch(self, step: int) -> Batch:  # noqa: ARG002 (a pipeline knows no steps)
        """Return the pipeline's next batch, on the device."""
        started = time.perf_counter()
        given = next(self._pipeline)
        device = self._options.device
        return Batch(
            images=_tensor(given["data"]).to(device, torch.float32),
            labels=_tensor(given["seg"]).to(device, torch.int16),
            names=tuple(str(name) for name in given.get("keys", ())),
            wait_s=time.perf_counter() - started,
        )


def _tensor(values: Any) -> Tensor:
    return values if isinstance(values, Tensor) else torch.from_numpy(np.asarray(values))
