"""Prediction of a whole image by windows, within bounded memory.

Windows are ordered along the slowest axis. Only the planes that windows still touch are held as logits; finished
planes are resampled to the native grid block by block and reduced to labels at once (autoseg.learning.reduction), so
nothing of size classes x native volume ever exists. Several networks and mirrored copies of a window are averaged as
logits before they are added; weights and sums are float32.
"""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Float32, UInt8, UInt16
from torch import Tensor, nn

from autoseg.core.errors import AutosegError, ResourceError
from autoseg.imaging.preparation import GridMapping
from autoseg.learning.reduction import TILE_EDGE, TILE_PLANES, Reduction, make_reduction
from autoseg.learning.slab import Reach, Slab, Window, make_turns, ring_depth
from autoseg.learning.windows import STEP_FRACTION, Tiling, make_tiling
from planners.memory import inference_bytes
from planners.plan import Configuration, Target

Image = Float32[np.ndarray, "c z y x"]

_BATCH_VOXELS = {"cpu": 1 << 17, "cuda": 1 << 22}  # windows per batch: enough voxels to keep the device busy
_DEFAULT_BATCH_VOXELS = 1 << 20
_FLOAT_BYTES = 4
_GIB = 1 << 30
_BANDS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)


@dataclass(frozen=True, slots=True)
class WindowPredictor:
    """Networks of one configuration that predict together; holds no state of a call, so threads may share it.

    Args:
        networks: modules in evaluation mode on `device`, (b, c, *patch) -> logits (b, outputs, *patch).
        configuration: gives the patch; a 2D one predicts every slice.
        outputs: logits per voxel, background included when `target` is "labels".
        device: where the networks are.
        dtype: of the convolutions: float32, or bfloat16/float16 through autocast.
        mirror_axes: axes of the patch; all their subsets are flipped and averaged.
        target: "labels": argmax; "regions": the last one above 0.5 in order.
        step: distance of neighbouring windows as a fraction of the patch.
        batch: windows per forward pass, None to fit the device.
        max_ram_bytes: ceiling of `estimate_bytes`, None for no ceiling. Labels do not depend on it.

    """

    networks: tuple[nn.Module, ...]
    configuration: Configuration
    outputs: int
    device: torch.device
    dtype: torch.dtype
    mirror_axes: tuple[int, ...] = ()
    target: Target = field(default="labels", kw_only=True)
    step: float = field(default=STEP_FRACTION, kw_only=True)
    batch: int | None = field(default=None, kw_only=True)
    max_ram_bytes: int | None = field(default=None, kw_only=True)

    def logits(self, image: Image) -> Float32[np.ndarray, "k z y x"]:
        """Return the averaged logits (k, z, y, x) of a prepared image (c, z, y, x); for small images and tests."""
        tiling = self._tiling(image)
        planes, rows, _ = tiling.shape
        every = np.arange(planes)
        result = np.empty((self.outputs, *tiling.shape), dtype=np.float32)
        done = 0
        for slab, final in self._slabs(image, tiling, (0, rows), Reach(lower=every, upper=every + 1)):
            result[:, done:final] = slab.planes(done, final).transpose(0, 1).cpu().numpy()
            slab.release(final)
            done = final
        return result

    def labels(
        self, image: Image, mapping: GridMapping
    ) -> UInt8[np.ndarray, "native_z native_y native_x"] | UInt16[np.ndarray, "native_z native_y native_x"]:
        """Return the class index of every voxel of the native grid (z, y, x) for a prepared image (c, z, y, x).

        0 is background, i + 1 the i-th foreground label; uint8, or uint16 from 256 classes on.

        Raises:
            ResourceError: not even the smallest bands keep to `max_ram_bytes`.

        """
        tiling = self._tiling(image)
        reduction = make_reduction(mapping, self.outputs, self.target, self.device)
        native = reduction.blank(mapping.native_shape)
        result = mapping.crop(native)
        fixed = self._fixed_bytes(image.shape, tiling, mapping, reduction)
        bands = reduction.bands(self._band_count(tiling, reduction, fixed))
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            run = pool.map if self.device.type == "cpu" and max(result.shape[1:]) > TILE_EDGE else map
            for band in bands:
                done = 0
                for slab, final in self._slabs(image, tiling, band.network_rows, reduction.reach):
                    ready = reduction.reach.ready(final)
                    for first in range(done, ready, TILE_PLANES):
                        last = min(first + TILE_PLANES, ready)
                        planes = slab.planes(*reduction.network_planes(first, last))
                        block = band.labels(planes, first, last, run)
                        result[first:last, band.lower : band.upper] = block.cpu().numpy()
                    slab.release(reduction.reach.base(final))
                    done = ready
        return native

    def estimate_bytes(self, image_shape: tuple[int, int, int, int], mapping: GridMapping) -> int:
        """Return about how much memory `labels` takes at its peak for an image (c, z, y, x), the image included.

        Counted: image, slab, tiles, label maps, and the feature maps of one batch of windows; not the weights.
        """
        tiling = make_tiling(image_shape[1:], self.configuration.patch, self.step)
        reduction = make_reduction(mapping, self.outputs, self.target, self.device)
        fixed = self._fixed_bytes(image_shape, tiling, mapping, reduction)
        return fixed + self._slab_bytes(tiling, reduction, self._band_count(tiling, reduction, fixed))

    def _tiling(self, image: Image) -> Tiling:
        _, z, y, x = image.shape
        return make_tiling((z, y, x), self.configuration.patch, self.step)

    def _slabs(self, image: Image, tiling: Tiling, rows: tuple[int, int], reach: Reach) -> Iterator[tuple[Slab, int]]:
        """Yield after each batch the slab and the plane below which all are final; the caller releases planes."""
        turns = make_turns(tiling.windows(*rows), self._batch(tiling), tiling.shape[0])
        slab = Slab(ring_depth(turns, reach), self.outputs, rows, tiling.shape[2], self.device)
        for turn in turns:
            with torch.inference_mode():
                predicted = self._forward(self._read(image, turn.windows, tiling))
                for logits, window in zip(predicted, turn.windows, strict=True):
                    slab.add(logits, window)
            yield slab, turn.final

    def _read(
        self, image: Image, windows: Sequence[Window], tiling: Tiling
    ) -> Float32[Tensor, "b c patch_z patch_y patch_x"]:
        """Return windows of the image (b, c, z, y, x), zeros outside it."""
        inside = all(
            s.start >= 0 and s.start + t == s.upper for w in windows for s, t in zip(w, tiling.patch, strict=True)
        )
        shape = (len(windows), image.shape[0], *tiling.patch)
        batch = np.empty(shape, np.float32) if inside else np.zeros(shape, np.float32)
        for sample, (z, y, x) in zip(batch, windows, strict=True):
            part = image[:, z.lower : z.upper, y.lower : y.upper, x.lower : x.upper]
            target = tuple(slice(s.lower - s.start, s.upper - s.start) for s in (z, y, x))
            sample[(slice(None), *target)] = part
        return torch.from_numpy(batch).to(self.device)

    def _forward(self, batch: Float32[Tensor, "b c z y x"]) -> Float32[Tensor, "b k z y x"]:
        """Return the logits (b, k, z, y, x) of windows (b, c, z, y, x), averaged over networks and mirrored copies."""
        flat = self.configuration.dimensions == 2
        x = batch.squeeze(2) if flat else batch
        first = x.ndim - self.configuration.dimensions
        flips = [
            tuple(first + axis for axis in axes)
            for size in range(len(self.mirror_axes) + 1)
            for axes in combinations(self.mirror_axes, size)
        ]
        total: Tensor | None = None
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            for axes in flips:
                flipped = x.flip(axes) if axes else x
                for network in self.networks:
                    logits = network(flipped).float()
                    logits = logits.flip(axes) if axes else logits
                    total = logits if total is None else total + logits
        assert total is not None  # noqa: S101 (a predictor has at least one network)
        if not torch.isfinite(total.sum()):
            raise AutosegError.at(
                "model",
                "its output is not finite for this image",
                "check the image's intensities, or predict in float32",
            )
        passes = len(flips) * len(self.networks)
        total = total if passes == 1 else total / passes
        return total.unsqueeze(2) if flat else total

    def _batch(self, tiling: Tiling) -> int:
        if self.batch is not None:
            return self.batch
        voxels = _BATCH_VOXELS.get(self.device.type, _DEFAULT_BATCH_VOXELS)
        return max(1, voxels // int(np.prod(tiling.patch)))

    def _fixed_bytes(
        self, image_shape: tuple[int, ...], tiling: Tiling, mapping: GridMapping, reduction: Reduction
    ) -> int:
        """Return the bytes that do not depend on the number of bands."""
        batch = self._batch(tiling)
        half = self.dtype != torch.float32
        network = inference_bytes(self.configuration, image_shape[0], self.outputs, batch=batch, bf16=half)
        logits = 2 * batch * self.outputs * math.prod(tiling.patch) * _FLOAT_BYTES
        labels = math.prod(mapping.native_shape) * np.dtype(reduction.dtype).itemsize
        return math.prod(image_shape) * _FLOAT_BYTES + network + logits + labels

    def _slab_bytes(self, tiling: Tiling, reduction: Reduction, bands: int) -> int:
        """Return the bytes of the largest band's slab and of the planes that one block of tiles reads."""
        largest = 0
        for band in reduction.bands(bands):
            turns = make_turns(tiling.windows(*band.network_rows), self._batch(tiling), tiling.shape[0])
            lower, upper = reduction.network_planes(0, min(TILE_PLANES, reduction.shape[0]))
            planes = ring_depth(turns, reduction.reach) + upper - lower
            rows = band.network_rows[1] - band.network_rows[0]
            largest = max(largest, planes * self.outputs * rows * tiling.shape[2] * _FLOAT_BYTES)
        return largest

    def _band_count(self, tiling: Tiling, reduction: Reduction, fixed: int) -> int:
        """Return the smallest number of bands that keeps to the ceiling; windows between bands are predicted twice."""
        if self.max_ram_bytes is None:
            return 1
        for bands in _BANDS:
            needed = fixed + self._slab_bytes(tiling, reduction, bands)
            if needed <= self.max_ram_bytes:
                return bands
        raise ResourceError.at(
            "predict",
            f"this image needs {needed / _GIB:.2f} GiB, {self.max_ram_bytes / _GIB:.2f} GiB are allowed",
            "allow more memory",
        )
