"""ONNX networks of one configuration over a whole image, window by window, in NumPy and onnxruntime."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from autoseg.core.errors import AutosegError
from autoseg.imaging.preparation import GridMapping
from autoseg.learning.image_source import Source
from autoseg.learning.turns import Window, make_turns, ring_depth
from autoseg.learning.windows import Tiling, make_tiling
from autoseg.runner.reduction import Planes, block_reach
from planners.plan import Configuration

Session = Any
"""An onnxruntime.InferenceSession; onnxruntime is imported where one is opened."""

_BATCH_VOXELS = 1 << 17
"""Windows per pass: enough voxels to keep a processor busy, as in autoseg.learning.sliding_window."""
_WARNINGS_OFF = 3  # onnxruntime's log level: errors only


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NetworkPredictor:
    """Networks that are averaged as logits; holds no state of a call, so threads may share it.

    `input_swaps` are pairs of input channels that are left and right of what a stage before predicted.
    """

    configuration: Configuration
    sessions: tuple[Session, ...]
    outputs: int
    mirror_axes: tuple[int, ...]
    input_swaps: tuple[tuple[int, int], ...] = ()

    def blocks(self, source: Source, mapping: GridMapping) -> Iterator[Planes]:
        """Yield for each block of native planes the logits (plane, k, y, x) of the network planes behind it.

        They are valid until the next ones are asked for: only planes that windows or blocks still need are held.
        """
        tiling = make_tiling(source.shape, self.configuration.patch)
        turns = make_turns(tiling.windows(0, source.shape[1]), self._batch(tiling), source.shape[0])
        reach = block_reach(mapping.operators_to_native()[0])
        slab = _Slab(ring_depth(turns, reach), self.outputs, source.shape[1:])
        done = 0
        for turn in turns:
            predicted = self.forward(source.read(turn.windows, tiling.patch))
            for logits, window in zip(predicted, turn.windows, strict=True):
                slab.add(logits, window)
            ready = reach.ready(turn.final)
            for lower, upper in zip(reach.lower[done:ready], reach.upper[done:ready], strict=True):
                yield slab.planes(int(lower), int(upper))
            slab.release(reach.base(turn.final))
            done = ready

    def forward(self, batch: Float32[np.ndarray, "b c z y x"]) -> Float32[np.ndarray, "b k z y x"]:
        """Return the logits (b, k, z, y, x) of windows (b, c, z, y, x), averaged over networks and mirrored copies.

        Raises:
            AutosegError: they are not finite.

        """
        flat = self.configuration.dimensions == 2
        x = batch[:, :, 0] if flat else batch
        total = np.zeros((len(x), self.outputs, *x.shape[2:]), dtype=np.float32)
        passes = 0
        for size in range(len(self.mirror_axes) + 1):
            for chosen in combinations(self.mirror_axes, size):
                axes = tuple(2 + axis for axis in chosen)
                inputs = self._order(chosen, x.shape[1], self.input_swaps)
                outputs = self._order(chosen, self.outputs, self.configuration.augmentation.mirror_swaps)
                flipped = np.ascontiguousarray(np.flip(x[:, inputs], axes))
                for session in self.sessions:
                    (logits,) = session.run(None, {session.get_inputs()[0].name: flipped})
                    total += np.flip(logits, axes)[:, outputs]
                    passes += 1
        if not np.isfinite(total.sum()):
            raise AutosegError.at("model", "its output is not finite for this image", "check the image's intensities")
        total /= np.float32(passes)
        return total[:, :, None] if flat else total

    def _order(self, mirrored: tuple[int, ...], count: int, swaps: tuple[tuple[int, int], ...]) -> list[int]:
        """Return the order of `count` channels of a mirrored view: left and right of a structure change places."""
        order = list(range(count))
        if self.configuration.augmentation.mirror_swap_axis in mirrored:
            for a, b in swaps:
                order[a], order[b] = b, a
        return order

    @staticmethod
    def _batch(tiling: Tiling) -> int:
        return max(1, _BATCH_VOXELS // math.prod(tiling.patch))


def open_session(path: Path, data: bytes, threads: int) -> Session:
    """Return a network ready to run on the processor; `threads` 0 takes all cores.

    Raises:
        AutosegError: onnxruntime is not installed, or refuses the network.

    """
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as state
    except ImportError as error:
        raise AutosegError.at("onnxruntime", "is not installed", "pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _WARNINGS_OFF
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except (state.Fail, state.InvalidGraph, state.InvalidProtobuf, state.NotImplemented) as error:
        what = f"onnxruntime {onnxruntime.__version__} cannot run it ({str(error).splitlines()[0][:120]})"
        raise AutosegError.at(path, what, "export the model again, or take another onnxruntime") from error


class _Slab:
    """Sums of weighted logits (plane, k, y, x) from plane `base` on; planes come in order and are given up in order."""

    def __init__(self, depth: int, outputs: int, extent: tuple[int, int]) -> None:
        self._sums = np.zeros((depth, outputs, *extent), dtype=np.float32)
        self._base = 0

    def add(self, logits: Float32[np.ndarray, "k z y x"], window: Window) -> None:
        """Add the logits (k, z, y, x) of one window times its weights."""
        inside = tuple(slice(s.lower - s.start, s.upper - s.start) for s in window)
        part = logits[(slice(None), *inside)].copy()
        for axis, span in enumerate(window, start=1):
            if span.weights is not None:
                part *= span.weights.reshape([-1 if a == axis else 1 for a in range(4)])
        z, y, x = window
        planes = slice(z.lower - self._base, z.upper - self._base)
        self._sums[planes, :, y.lower : y.upper, x.lower : x.upper] += part.swapaxes(0, 1)

    def planes(self, lower: int, upper: int) -> Planes:
        """Return planes `lower` to `upper`, a view."""
        return self._sums[lower - self._base : upper - self._base]

    def release(self, base: int) -> None:
        """Give up all planes below `base`: the others move to the front, and zeros take their place."""
        moved = base - self._base
        if not moved:
            return
        for plane in range(len(self._sums)):
            self._sums[plane] = self._sums[plane + moved] if plane + moved < len(self._sums) else 0
        self._base = base
