"""Predictors of one or several configurations together: windows in, class indexes on the native grid out, streamed.

Every configuration has a network's grid of its own; what they share is the native grid. All advance together, block
by block of native planes, so that none of them ever holds more than its own slab. A single configuration decides by its
logits; of several the probabilities are averaged. Nothing of size classes x native volume exists.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Integer, UInt8, UInt16
from torch import Tensor

from autoseg.core.errors import ResourceError
from autoseg.imaging.preparation import GridMapping
from autoseg.learning.observation import TileFound, Watch
from autoseg.learning.reduction import (
    TILE_EDGE,
    TILE_PLANES,
    Band,
    Part,
    Reduction,
    label_kind,
    most_probable,
    tempered,
    tile_labels,
    tile_probabilities,
)
from autoseg.learning.sliding_window import WindowPredictor
from autoseg.learning.source import Source, Tally
from autoseg.learning.windows import Shape

_FLOAT_BYTES = 4
_GIB = 1 << 30
_BANDS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)

Run = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sink:
    """Takes probabilities as they are made.

    `begin` is told the rows of a band. `take` is given a block (k, planes, rows, x) and the plane and row of the
    cropped, transposed grid where it begins. Its type is `dtype`; it is rounded to multiples of 1 / `levels`, if given,
    after `temperatures`, one for all labels or one for each region.
    """

    take: Callable[[Float[np.ndarray, "k planes rows x"], int, int], None]
    begin: Callable[[int], None] = lambda _: None
    dtype: torch.dtype = torch.float32
    levels: int | None = None
    temperatures: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """What one member predicts from: its source on its network's grid, and the way to the native grid.

    `logits` are what it predicted before (`WindowPredictor.keep`), None where windows are still to be predicted.
    """

    source: Source
    mapping: GridMapping
    logits: Float[Tensor, "plane k rows x"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What one member needs for a case: shape (z, y, x) on its network's grid, channels, the way to the native grid.

    `source_bytes` are those of its image and of the label map of the stage before. `kept`: all its logits are held.
    """

    shape: Shape
    channels: int
    source_bytes: int
    mapping: GridMapping
    kept: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensemble:
    """Predictors, one for each configuration, of one target on one device.

    `max_ram_bytes` is a ceiling of `estimate_bytes` and of what the caller holds besides, `held_bytes`; labels do not
    depend on it.
    """

    members: tuple[WindowPredictor, ...]
    max_ram_bytes: int | None = None
    held_bytes: int = 0

    def labels(
        self,
        inputs: Sequence[Input],
        sink: Sink | None = None,
        tally: Tally | None = None,
        watch: Watch | None = None,
    ) -> UInt8[np.ndarray, "native_z native_y native_x"] | UInt16[np.ndarray, "native_z native_y native_x"]:
        """Return the class index of every voxel of the native grid (z, y, x).

        0 is background, i + 1 the i-th foreground label; uint8, or uint16 from 257 classes on.

        Args:
            inputs: one for each member, of the same native grid and crop.
            sink: takes the probabilities of every voxel of the crop.
            tally: counts windows.
            watch: adds up how sure the members are.

        Raises:
            ResourceError: not even the smallest bands keep to `max_ram_bytes`.

        """
        reductions = [member.reduction(each.mapping) for member, each in zip(self.members, inputs, strict=True)]
        mapping, first = inputs[0].mapping, reductions[0]
        if any(
            each.mapping.crop_lower != mapping.crop_lower or r.shape != first.shape
            for each, r in zip(inputs, reductions, strict=True)
        ):
            msg = "the members of an ensemble predict the same part of the same image"
            raise ValueError(msg)
        native = first.blank(mapping.native_shape)
        result = mapping.crop(native)
        taken = tuple(footprint(each) for each in inputs)
        count = self.band_count(taken, probabilities=sink is not None, watch=watch)
        if sink is not None:
            sink.begin(first.band_rows(count))
        device = self.members[0].device
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            run: Run = pool.map if device.type == "cpu" and max(result.shape[1:]) > TILE_EDGE else map
            for bands in zip(*(reduction.bands(count) for reduction in reductions), strict=True):
                lower, upper = bands[0].lower, bands[0].upper
                streams = [
                    _blocks((member, each), reduction, band, tally or Tally())
                    for member, each, reduction, band in zip(self.members, inputs, reductions, bands, strict=True)
                ]
                for (start, stop), *planes in zip(first.blocks, *streams, strict=True):
                    parts = [reduction.z_part(start, stop) for reduction in reductions]
                    block = _Block(bands=bands, planes=planes, z=parts, reduction=first)
                    result[start:stop, lower:upper] = block.labels(run, sink, watch)
                del planes, block  # views of this band's slabs: the next band makes its own
        return native

    def estimate_bytes(
        self, footprints: Sequence[Footprint], *, probabilities: bool = False, watch: Watch | None = None
    ) -> int:
        """Return about how much memory `labels` takes at its peak, with a sink for `probabilities` and with `watch`.

        Counted: sources, slabs, tiles, label maps, weights, the feature maps of one batch of windows, and what `watch`
        holds; not what the caller holds besides.
        """
        count = self.band_count(footprints, probabilities=probabilities, watch=watch)
        banded = self._band_bytes(footprints, count, probabilities=probabilities, watch=watch)
        return self._fixed_bytes(footprints) + banded

    def window_passes(self, footprints: Sequence[Footprint]) -> tuple[int, ...]:
        """Return for each member how many windows its networks see, mirrored views and every network counted.

        Windows of logits that are kept count, too: they were predicted once.
        """
        pairs = zip(self.members, footprints, strict=True)
        return tuple(member.passes * member.window_count(each.shape) for member, each in pairs)

    def _fixed_bytes(self, footprints: Sequence[Footprint]) -> int:
        """Return the bytes that do not depend on the number of bands."""
        pairs = list(zip(self.members, footprints, strict=True))
        images = sum(each.source_bytes for each in footprints)
        network = max(member.network_bytes(each.shape, each.channels) for member, each in pairs)
        reduction = self.members[0].reduction(footprints[0].mapping)
        labels = math.prod(footprints[0].mapping.native_shape) * np.dtype(reduction.dtype).itemsize
        return images + network + labels

    def _band_bytes(
        self, footprints: Sequence[Footprint], count: int, *, probabilities: bool, watch: Watch | None
    ) -> int:
        """Return the bytes of all slabs, of the probabilities of one block and of the tiles at work, and of `watch`."""
        total = 0
        for member, each in zip(self.members, footprints, strict=True):
            reduction = member.reduction(each.mapping)
            total += member.kept_bytes(each.shape) if each.kept else member.slab_bytes(each.shape, reduction, count)
        reduction = self.members[0].reduction(footprints[0].mapping)
        rows, columns = min(reduction.band_rows(count), reduction.shape[1]), reduction.shape[2]
        working_voxels = torch.get_num_threads() * TILE_PLANES * TILE_EDGE**2
        if probabilities or len(self.members) > 1:
            total += 3 * reduction.outputs * working_voxels * _FLOAT_BYTES
        if watch is not None:
            tiles = (1 + -(-rows // TILE_EDGE)) * (1 + -(-columns // TILE_EDGE))
            total += watch.held_bytes(len(self.members), tiles, working_voxels)
        if probabilities:
            total += 2 * reduction.outputs * TILE_PLANES * rows * columns * _FLOAT_BYTES
        return total

    def band_count(
        self, footprints: Sequence[Footprint], *, probabilities: bool = False, watch: Watch | None = None
    ) -> int:
        """Return the smallest number of bands that keeps to the ceiling; windows between bands are predicted twice.

        Raises:
            ResourceError: not even the smallest bands keep to it.

        """
        if self.max_ram_bytes is None:
            return 1
        fixed = self.held_bytes + self._fixed_bytes(footprints)
        for count in _BANDS:
            needed = fixed + self._band_bytes(footprints, count, probabilities=probabilities, watch=watch)
            if needed <= self.max_ram_bytes:
                return count
        raise ResourceError.at(
            "predict",
            f"this image needs {needed / _GIB:.2f} GiB, {self.max_ram_bytes / _GIB:.2f} GiB are allowed",
            "allow more memory",
        )


def footprint(part: Input) -> Footprint:
    """Return what an input takes."""
    source = part.source
    held = source.image.nbytes + (0 if source.previous is None else source.previous.nbytes)
    return Footprint(
        shape=source.shape,
        channels=source.channels,
        source_bytes=held,
        mapping=part.mapping,
        kept=part.logits is not None,
    )


def _blocks(
    part: tuple[WindowPredictor, Input], reduction: Reduction, band: Band, tally: Tally
) -> Iterator[Float[Tensor, "plane k rows x"]]:
    """Yield a member's logits block by block, of a band's rows: those that are kept, or those of its windows."""
    member, given = part
    if given.logits is None:
        yield from member.blocks(given.source, reduction, band, tally)
        return
    reach, rows = reduction.reach, slice(*band.network_rows)
    for lower, upper in zip(reach.lower, reach.upper, strict=True):
        yield given.logits[int(lower) : int(upper), :, rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """A band's native planes, and what each member has for them: its band, logits and z part."""

    bands: Sequence[Band]
    planes: Sequence[Tensor]
    z: Sequence[Part]
    reduction: Reduction

    def labels(self, run: Run, sink: Sink | None, watch: Watch | None) -> Integer[np.ndarray, "planes rows x"]:
        """Return the class indexes (planes, rows, x), uint8 or int32; `sink` and `watch` get their share."""
        band, z, outputs, target = self.bands[0], self.z[0], self.reduction.outputs, self.reduction.target
        shape = (z.upper - z.lower, *band.shape)
        kind = label_kind(outputs)
        result = torch.zeros(shape, dtype=kind, device=self.planes[0].device)
        kept = None if sink is None else torch.zeros((outputs, *shape), dtype=sink.dtype, device=result.device)
        levels, temperatures = (None, ()) if sink is None else (sink.levels, sink.temperatures)

        def one(tiles: Sequence[tuple[Part, Part]]) -> TileFound | None:
            y, x = tiles[0]
            box = (slice(None), slice(y.lower - band.lower, y.upper - band.lower), slice(x.lower, x.upper))
            with torch.inference_mode():
                views = [b.view(p, z, t) for b, p, z, t in zip(self.bands, self.planes, self.z, tiles, strict=True)]
                found = tile_probabilities(views, target) if kept is not None or len(views) > 1 else {}
                if kept is not None:
                    given = tempered(found, target, temperatures) if temperatures else found
                    for index, values in given.items():
                        kept[index][box] = values if levels is None else values.mul(levels).round_().div_(levels)
                single = len(views) == 1
                tile = tile_labels(views[0], target) if single else most_probable(found, target, kind)
                result[box] = tile
                corner = (z.lower, y.lower, x.lower)
                return None if watch is None else watch.find(views, tile, corner, self.reduction.shape[1:])

        for found in run(one, zip(*(b.tiles for b in self.bands), strict=True)):
            if watch is not None:
                watch.add(found)
        if sink is not None and kept is not None:
            sink.take(kept.cpu().numpy(), z.lower, band.lower)
        return result.cpu().numpy()
