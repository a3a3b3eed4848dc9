"""Batches for training: read only the voxels that each patch needs, one step ahead, then change them on the device."""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float32, Int16, Int32
from torch import Tensor

from autoseg.core.labels import OUTSIDE
from autoseg.core.runtime import say
from autoseg.learning.artefacts import apply_artefacts
from autoseg.learning.augmentation import apply_intensity
from autoseg.learning.collapse import Restart, emphasised
from autoseg.learning.lost_cases import LostCaseError, WatchedSource, standing_in
from autoseg.learning.sampling import BatchDraw, CaseSource, SampleDraw, draw_batch, step_generator
from autoseg.learning.spatial import SourceBlock, source_box, take_patch
from planners.plan import Configuration

CACHE_BYTES = 512 << 20
"""Whole cases are kept in memory up to this size; small data sets are then read from disk once."""

T = TypeVar("T")
_Case = tuple[Float32[np.ndarray, "c z y x"], Int16[np.ndarray, "l z y x"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One training batch on the device; `wait_s` is the time the training step waited for it."""

    images: Float32[Tensor, "batch channel *patch"]
    labels: Int16[Tensor, "batch l *patch"]
    names: tuple[str, ...]
    wait_s: float


def as_they_are(images: Float32[Tensor, "batch channel *patch"], _: BatchDraw, __: int) -> Tensor:
    """Return a batch's images unchanged: the last change of every network but a cascade's."""
    return images


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedOptions:
    """What the feeder needs beside its source: `classes` counts background, `stream` separates folds and networks.

    `channels` are the image's: only they change in intensity. A source may give more; `finish` changes them last, given
    the images, what was drawn, and the step. `report` is told of cases that cannot be read.
    """

    configuration: Configuration
    names: tuple[str, ...]
    channels: int
    classes: int
    device: torch.device
    seed: int
    stream: int
    finish: Callable[[Tensor, BatchDraw, int], Tensor] = as_they_are
    report: Callable[[str], None] = say


class MemorySource:
    """A case source that keeps whole cases in memory while they fit `limit_bytes`, least recently read out first."""

    def __init__(self, source: CaseSource, limit_bytes: int = CACHE_BYTES) -> None:
        """Wrap `source`."""
        self._source = source
        self._limit = limit_bytes
        self._held = 0
        self._cases: OrderedDict[str, _Case] = OrderedDict()
        self._locations: dict[str, tuple[Int32[np.ndarray, "_places 3"], ...]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the stored cases."""
        return self._source.names

    def shape(self, name: str) -> tuple[int, int, int]:
        """Shape (z, y, x) of a case."""
        return self._source.shape(name)

    def read_image(self, name: str, lower: tuple[int, ...], upper: tuple[int, ...]) -> Float32[np.ndarray, "c z y x"]:
        """Image (c, z, y, x) between two corners."""
        held = self._hold(name)
        if held is None:
            return self._source.read_image(name, lower, upper)
        return held[0][(slice(None), *map(slice, lower, upper))]

    def read_label(self, name: str, lower: tuple[int, ...], upper: tuple[int, ...]) -> Int16[np.ndarray, "l z y x"]:
        """Label (l, z, y, x) between two corners."""
        held = self._hold(name)
        if held is None:
            return self._source.read_label(name, lower, upper)
        return held[1][(slice(None), *map(slice, lower, upper))]

    def locations(self, name: str) -> tuple[Int32[np.ndarray, "_places 3"], ...]:
        """Voxels (n, 3) of each foreground label, capped."""
        if name not in self._locations:
            self._locations[name] = self._source.locations(name)
        return self._locations[name]

    def _hold(self, name: str) -> _Case | None:
        if name in self._cases:
            self._cases.move_to_end(name)
            return self._cases[name]
        shape = self._source.shape(name)
        if 6 * int(np.prod(shape)) > self._limit // 4:  # bytes of one float32 channel and one int16 label
            return None
        case = (
            self._source.read_image(name, (0, 0, 0), shape),
            self._source.read_label(name, (0, 0, 0), shape),
        )
        self._cases[name] = case
        self._held += case[0].nbytes + case[1].nbytes
        while self._held > self._limit and len(self._cases) > 1:
            _, (image, label) = self._cases.popitem(last=False)
            self._held -= image.nbytes + label.nbytes
        return case


class Feeder:
    """Gives the batch of any step; the voxels of the next step are read by a thread meanwhile."""

    def __init__(self, source: CaseSource, options: FeedOptions) -> None:
        """Feed from `source`."""
        self._given = WatchedSource(source)
        self._source: CaseSource = self._given
        self._options = options
        self._names = options.names
        self._lost: set[str] = set()
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="autoseg-reader")
        self._ahead: tuple[int, Future[tuple[BatchDraw, list[SourceBlock]]]] | None = None

    def __enter__(self) -> "Feeder":  # noqa: PYI034 (what checks types in tests takes Self only in classes of its own)
        """Return the feeder; leaving the block ends its thread."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the reading thread."""
        self._reader.shutdown(wait=True, cancel_futures=True)

    def emphasise(self, restarts: Sequence[Restart]) -> None:
        """Draw from now on the labels of `restarts` as often as the last of each says."""
        source = emphasised(self._given, restarts)
        self._source, self._names = source, self._from_those_left(source.drawn, self._options.names)
        self._ahead = None

    def batch(self, step: int) -> Batch:
        """Return the batch of `step`, the same for the same seed whatever was asked before."""
        started = time.perf_counter()
        if self._ahead is not None and self._ahead[0] == step:
            draw, blocks = self._ahead[1].result()
        else:
            draw, blocks = self._read(step)
        self._ahead = (step + 1, self._reader.submit(self._read, step + 1))
        options = self._options
        pairs = [
            take_patch(_to_device(block, options.device), sample.spatial, options.configuration.patch, options.classes)
            for sample, block in zip(draw.samples, blocks, strict=True)
        ]
        images = torch.stack([image for image, _ in pairs])
        in_plane_only = options.configuration.augmentation.in_plane_only
        own = images[:, : options.channels]
        apply_intensity(apply_artefacts(own, draw.artefacts), draw.intensity, in_plane_only=in_plane_only)
        images = options.finish(images, draw, step)
        return Batch(
            images=images,
            labels=torch.stack([label for _, label in pairs]),
            names=tuple(sample.name for sample in draw.samples),
            wait_s=time.perf_counter() - started,
        )

    def _read(self, step: int) -> tuple[BatchDraw, list[SourceBlock]]:
        return self._from_those_left(lambda names: self._read_from(step, names), self._names)

    def _from_those_left(self, function: Callable[[tuple[str, ...]], T], names: tuple[str, ...]) -> T:
        """Return `function(names)`; a case that cannot be read is reported, and from then on others stand in for it.

        Raises:
            AutosegError: no case is left.

        """
        while True:
            try:
                return function(standing_in(names, self._lost))
            except LostCaseError as error:
                self._lost.add(error.name)
                self._options.report(f"{error}; training goes on without it")

    def _read_from(self, step: int, names: tuple[str, ...]) -> tuple[BatchDraw, list[SourceBlock]]:
        options = self._options
        random = step_generator(options.seed, options.stream, step)
        draw = draw_batch(self._source, names, options.configuration, options.channels, random)
        return draw, [read_block(self._source, sample, options.configuration.patch) for sample in draw.samples]


def _to_device(block: SourceBlock, device: torch.device) -> SourceBlock:
    if device.type == "cpu":
        return block
    return SourceBlock(
        image=block.image.to(device, non_blocking=True),
        label=block.label.to(device, non_blocking=True),
        lower=block.lower,
    )


def read_block(source: CaseSource, sample: SampleDraw, patch: tuple[int, ...]) -> SourceBlock:
    """Read the voxels of one sample; one that is not interpolated is padded to its size (image 0, label OUTSIDE)."""
    shape: tuple[int, ...] = source.shape(sample.name)
    space = shape if sample.slice_index is None else shape[1:]
    lower, upper = source_box(sample.spatial, patch)
    inner_lower = tuple(min(max(v, 0), n - 1) for v, n in zip(lower, space, strict=True))
    inner_upper = tuple(min(max(v, w + 1), n) for v, w, n in zip(upper, inner_lower, space, strict=True))
    if sample.slice_index is None:
        image = source.read_image(sample.name, inner_lower, inner_upper)
        label = source.read_label(sample.name, inner_lower, inner_upper)
    else:
        index = sample.slice_index
        image = source.read_image(sample.name, (index, *inner_lower), (index + 1, *inner_upper))[:, 0]
        label = source.read_label(sample.name, (index, *inner_lower), (index + 1, *inner_upper))[:, 0]
    if not sample.spatial.interpolated:
        margins = [(0, 0)] + [(a - b, d - c) for a, b, c, d in zip(inner_lower, lower, inner_upper, upper, strict=True)]
        image = np.pad(image, margins)
        label = np.pad(label, margins, constant_values=OUTSIDE)
        inner_lower = lower
    return SourceBlock(
        image=torch.from_numpy(np.ascontiguousarray(image)),
        label=torch.from_numpy(np.ascontiguousarray(label)),
        lower=inner_lower,
    )
