"""Prediction of a whole image by windows, within bounded memory.

Windows are ordered along the slowest axis. Only the planes that windows still touch are held as logits; finished
planes are handed on at once, to be resampled and reduced to labels (autoseg.learning.ensemble). Several networks and
mirrored copies of a window are averaged as logits before they are added; weights and sums are float32.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from autoseg.core.errors import AutosegError
from autoseg.imaging.preparation import GridMapping
from autoseg.learning.reduction import Band, Reduction, make_reduction
from autoseg.learning.slab import Reach, Slab, make_turns, ring_depth
from autoseg.learning.source import MEMORY_BYTES, FlatWindows, Source, Tally, Windows
from autoseg.learning.spatial import mirror_swaps, swapped_order
from autoseg.learning.windows import STEP_FRACTION, Shape, Tiling, make_tiling
from planners.memory import inference_bytes
from planners.plan import Configuration, Target

_BATCH_VOXELS = {"cpu": 1 << 17, "cuda": 1 << 22}  # windows per batch: enough voxels to keep the device busy
_DEFAULT_BATCH_VOXELS = 1 << 20
_FLOAT_BYTES = 4
_TRIALS = 3
_LONG_S = 0.1  # a trial that takes longer is not worth another: its first call prepared next to nothing


@dataclass(frozen=True, slots=True)
class WindowPredictor:
    """Networks of one configuration that predict together; holds no state of a call, so threads may share it.

    Args:
        networks: modules in evaluation mode on `device`, (b, c, *patch) -> logits (b, outputs, *patch).
        configuration: gives the patch; a 2D one predicts every slice.
        outputs: logits per voxel, background included when `target` is "labels".
        device: where the networks are.
        dtype: of the convolutions: float32, or bfloat16/float16 through autocast.
        mirror_axes: axes of the patch; all their subsets are flipped and averaged, left and right outputs exchanged.
        target: "labels": argmax; "regions": the last one above 0.5 in order.
        step: distance of neighbouring windows as a fraction of the patch.
        batch: windows per forward pass, None to fit the device.
        flat_tolerance: of windows of one value, which are predicted once (`FlatWindows`); None predicts all.
        input_swaps: pairs of input channels that are left and right of what a stage before predicted.

    """

    networks: tuple[nn.Module, ...]
    configuration: Configuration
    outputs: int
    device: torch.device
    dtype: torch.dtype
    mirror_axes: tuple[int, ...] = ()
    target: Target = field(default="labels", kw_only=True)
    input_swaps: tuple[tuple[int, int], ...] = field(default=(), kw_only=True)
    step: float = field(default=STEP_FRACTION, kw_only=True)
    batch: int | None = field(default=None, kw_only=True)
    flat_tolerance: float | None = field(default=0.0, kw_only=True)

    def logits(self, image: Float32[np.ndarray, "c z y x"]) -> Float32[np.ndarray, "k z y x"]:
        """Return the averaged logits (k, z, y, x) of a prepared image (c, z, y, x); for small images and tests."""
        source = Source(image=image)
        planes, rows, _ = source.shape
        every = np.arange(planes)
        result = np.empty((self.outputs, *source.shape), dtype=np.float32)
        done = 0
        for slab, final in self._slabs(source, (0, rows), Reach(lower=every, upper=every + 1), Tally()):
            result[:, done:final] = slab.planes(done, final).transpose(0, 1).cpu().numpy()
            slab.release(final)
            done = final
        return result

    def reduction(self, mapping: GridMapping) -> Reduction:
        """Return the way from this predictor's logits on the network's grid of `mapping` to the native grid."""
        return make_reduction(mapping, self.outputs, self.target, self.device)

    def blocks(
        self, source: Source, reduction: Reduction, band: Band, tally: Tally
    ) -> Iterator[Float32[Tensor, "plane k rows x"]]:
        """Yield for each of `reduction.blocks` the logits of the network planes that it is made from.

        They are (plane, k, rows, x), of the band's rows, and valid until the next ones are asked for.
        """
        reach = reduction.reach
        done = 0
        for slab, final in self._slabs(source, band.network_rows, reach, tally):
            ready = reach.ready(final)
            for lower, upper in zip(reach.lower[done:ready], reach.upper[done:ready], strict=True):
                yield slab.planes(int(lower), int(upper))
            slab.release(reach.base(final))
            done = ready

    def keep(self, source: Source, tally: Tally) -> Float32[Tensor, "plane k rows x"]:
        """Return all logits (plane, k, rows, x) of a case at once, as `blocks` would yield them without bands."""
        planes, rows, _ = source.shape
        whole = Reach(lower=np.array([0]), upper=np.array([planes]))
        *_, (slab, _) = self._slabs(source, (0, rows), whole, tally)
        return slab.planes(0, planes)

    def kept_bytes(self, shape: Shape) -> int:
        """Return the bytes of what `keep` returns for an image of `shape` (z, y, x)."""
        return self.outputs * math.prod(shape) * _FLOAT_BYTES

    def window_count(self, shape: Shape) -> int:
        """Return how many windows cover an image of `shape` (z, y, x)."""
        return math.prod(len(spans) for spans in make_tiling(shape, self.configuration.patch, self.step).spans)

    @property
    def passes(self) -> int:
        """How often a network sees each window: once for every network and mirrored view."""
        return int(2 ** len(self.mirror_axes)) * len(self.networks)

    def pass_seconds(self, channels: int) -> float:
        """Return about how long one network takes for one window, by trying."""
        one = replace(self, networks=self.networks[:1], mirror_axes=())
        patch = (1, *self.configuration.patch)[-3:]
        window = np.zeros((1, channels, *patch), np.float32)
        shortest = math.inf
        for _ in range(_TRIALS):  # the first call prepares the device
            started = time.monotonic()
            with torch.inference_mode():
                one.forward(window).sum().item()
            shortest = min(shortest, time.monotonic() - started)
            if shortest > _LONG_S:
                break
        return shortest

    def network_bytes(self, shape: Shape, channels: int) -> int:
        """Return the bytes of one batch of windows: feature maps, logits, and what is remembered of flat windows."""
        tiling = make_tiling(shape, self.configuration.patch, self.step)
        batch = self._batch(tiling)
        half = self.dtype != torch.float32
        network = inference_bytes(self.configuration, channels, self.outputs, batch=batch, bf16=half)
        window = self.outputs * math.prod(tiling.patch) * _FLOAT_BYTES
        return network + 2 * batch * window + (0 if window > MEMORY_BYTES else window)

    def slab_bytes(self, shape: Shape, reduction: Reduction, count: int) -> int:
        """Return the bytes of the slab of the largest of `count` bands, and of the planes that one block reads."""
        tiling = make_tiling(shape, self.configuration.patch, self.step)
        reach = reduction.reach
        read = int((reach.upper - reach.lower).max())
        largest = 0
        for band in reduction.bands(count):
            turns = make_turns(tiling.windows(*band.network_rows), self._batch(tiling), shape[0])
            rows = band.network_rows[1] - band.network_rows[0]
            largest = max(largest, (ring_depth(turns, reach) + read) * self.outputs * rows * shape[2] * _FLOAT_BYTES)
        return largest

    def _slabs(self, source: Source, rows: tuple[int, int], reach: Reach, tally: Tally) -> Iterator[tuple[Slab, int]]:
        """Yield after each batch the slab and the plane below which all are final; the caller releases planes."""
        tiling = make_tiling(source.shape, self.configuration.patch, self.step)
        turns = make_turns(tiling.windows(*rows), self._batch(tiling), tiling.shape[0])
        slab = Slab(ring_depth(turns, reach), self.outputs, rows, tiling.shape[2], self.device)
        small = self.outputs * math.prod(tiling.patch) * _FLOAT_BYTES <= MEMORY_BYTES
        flat = FlatWindows(self.flat_tolerance if small else None, tally)
        for turn in turns:
            with torch.inference_mode():
                batch = source.read(turn.windows, tiling.patch)
                for logits, window in zip(flat.outputs(batch, self.forward), turn.windows, strict=True):
                    slab.add(logits, window)
            yield slab, turn.final

    def forward(self, batch: Windows) -> Float[Tensor, "b k z y x"]:
        """Return the logits (b, k, z, y, x) of windows (b, c, z, y, x), averaged over networks and mirrored copies.

        Averages are float32; of a single network and view they have the type of its convolutions.
        """
        x = torch.from_numpy(batch).to(self.device)
        flat = self.configuration.dimensions == 2
        x = x.squeeze(2) if flat else x
        first = x.ndim - self.configuration.dimensions
        flips = [axes for size in range(len(self.mirror_axes) + 1) for axes in combinations(self.mirror_axes, size)]
        passes = len(flips) * len(self.networks)
        total: Tensor | None = None
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            for mirrored in flips:
                axes = tuple(first + axis for axis in mirrored)
                swaps = mirror_swaps(self.configuration.augmentation, mirrored)
                flipped = x.flip(axes) if axes else x
                if swaps and self.input_swaps:
                    flipped = flipped[:, swapped_order(flipped.shape[1], self.input_swaps)]
                for network in self.networks:
                    logits = network(flipped)
                    if passes > 1:
                        logits = logits.float().flip(axes) if axes else logits.float()
                    logits = logits[:, swapped_order(self.outputs, swaps)] if swaps else logits
                    total = logits if total is None else total + logits
        assert total is not None  # noqa: S101 (a predictor has at least one network)
        if not torch.isfinite(total.sum()):
            raise AutosegError.at(
                "model",
                "its output is not finite for this image",
                "check the image's intensities, or predict in float32",
            )
        total = total if passes == 1 else total / passes
        return total.unsqueeze(2) if flat else total

    def _batch(self, tiling: Tiling) -> int:
        if self.batch is not None:
            return self.batch
        voxels = _BATCH_VOXELS.get(self.device.type, _DEFAULT_BATCH_VOXELS)
        return max(1, voxels // int(np.prod(tiling.patch)))
