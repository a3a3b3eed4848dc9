"""What the probabilities of a case say about how sure the network is, added up tile by tile while it is predicted.

Sums per structure are the material of the quality estimate; a small random sample of voxels, drawn without knowing the
reference, is the material of the calibration. Nothing of the size of the image is held.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64, Integer, UInt64
from torch import Tensor

from autoseg.imaging.preparation import GridMapping, Shape
from autoseg.learning.reduction import Probabilities, View, averaged, view_probabilities
from planners.plan import Target

NEGLIGIBLE = 7.0
"""A logit this far below another one, or below 0 for a region, has a probability under 0.1 %: nothing to add up."""
SURE = 0.999
"""Voxels of background with a larger probability are far from any structure."""
SAMPLED_NUMBERS = 1 << 16
"""Probabilities kept per case and stratum at most: 256 KiB."""
SAMPLED_VOXELS = 2048
"""Voxels kept per case and stratum at most: more say hardly more, for neighbours err together."""

_FLOAT_BYTES = 4
_NUMBER_BYTES = 8
_TILE_NUMBERS = 7
"""Of 8 bytes, per voxel of a tile at work: its place, its key, what `hashed` computes with, the entropies."""

COLUMNS = ("voxels", "mass", "inside", "entropy", "disagreement")
"""Sums over voxels of: mask m, probability p, p m, entropy of p against not p in nats, mean |p of a member - p|."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """Voxels drawn at random: flat native indexes, probabilities, and how many voxels they were drawn from."""

    indexes: Int64[np.ndarray, " n"]
    probabilities: Float32[np.ndarray, "n k"]
    drawn_from: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Observed:
    """The sums (structure, COLUMNS) of a case, and its sampled voxels near structures and far from them."""

    sums: Float64[np.ndarray, "structures columns"]
    near: Sample
    far: Sample


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Drawn:
    """Voxels with the smallest keys so far, of `count`."""

    keys: UInt64[np.ndarray, " n"]
    indexes: Int64[np.ndarray, " n"]
    probabilities: Float32[np.ndarray, "n k"]
    count: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TileFound:
    """What one tile adds."""

    sums: Float64[np.ndarray, "structures columns"]
    near: _Drawn | None
    far: _Drawn | None


class Watch:
    """Adds up tiles in the order in which they are given, so that sums do not depend on threads.

    `find` may be called by many threads at once; `add` by one. The sample is the same whatever the tiles are: a voxel
    is drawn by a hash of its place.
    """

    def __init__(self, outputs: int, target: Target, *, sampling: bool = False) -> None:
        """Begin at nothing; `sampling` draws voxels, too."""
        self._outputs = outputs
        self._target = target
        self._structures = outputs - (target == "labels")
        self._limit = max(1, min(SAMPLED_VOXELS, SAMPLED_NUMBERS // outputs)) if sampling else 0
        self._sums = np.zeros((self._structures, len(COLUMNS)))
        self._near, self._far = self._nothing(), self._nothing()

    def find(
        self,
        views: Sequence[View],
        label: Integer[Tensor, "z y x"],
        corner: tuple[int, int, int],
        width: tuple[int, int],
    ) -> TileFound | None:
        """Return what a tile with class indexes `label` adds.

        Args:
            views: the tile as each configuration sees it.
            label: its class indexes (z, y, x).
            corner: where the tile begins in the crop.
            width: rows and columns of the crop.

        """
        each = [view_probabilities(view, self._target, NEGLIGIBLE) for view in views]
        mean = averaged(each)
        sums = np.zeros_like(self._sums)
        shift = int(self._target == "labels")
        for index, values in mean.items():
            if index < shift:
                continue
            mask = label == index if shift else values > 0.5
            members = [found.get(index) for found in each] if len(each) > 1 else []
            apart = sum(
                (values if member is None else (member - values).abs()).sum(dtype=torch.float64) for member in members
            )
            entropy = torch.special.entr(values) + torch.special.entr(1 - values)
            row = (mask.sum(), values.sum(dtype=torch.float64), (values * mask).sum(dtype=torch.float64))
            sums[index - shift] = (*(float(v) for v in row), float(entropy.sum(dtype=torch.float64)), float(apart))
            if members:
                sums[index - shift, -1] /= len(members)
        if not self._limit:
            return TileFound(sums=sums, near=None, far=None)
        near, far = self._draw(mean, label, corner, width)
        return TileFound(sums=sums, near=near, far=far)

    def add(self, found: TileFound | None) -> None:
        """Add one tile."""
        if found is None:
            return
        self._sums += found.sums
        if found.near is not None and found.far is not None:
            self._near, self._far = self._merge(self._near, found.near), self._merge(self._far, found.far)

    def held_bytes(self, members: int, waiting_tiles: int, working_voxels: int) -> int:
        """Return the most bytes that are held at once besides what is handed in.

        Args:
            members: configurations that predict.
            waiting_tiles: tiles that may be found before the first of them is added.
            working_voxels: voxels of all tiles that are being looked at.

        """
        probabilities = members + 2 + (members > 1)  # of each member, what the softmax computes with, their mean
        working = _FLOAT_BYTES * probabilities * self._outputs + _NUMBER_BYTES * _TILE_NUMBERS
        drawn = 2 * self._limit * (2 * _NUMBER_BYTES + _FLOAT_BYTES * self._outputs)  # near structures, far from them
        waiting = self._sums.nbytes + drawn
        return working_voxels * working + waiting_tiles * waiting + self._sums.nbytes + 2 * drawn  # merging copies

    def finish(self, mapping: GridMapping) -> Observed:
        """Return what was added up; places become flat indexes of the native grid."""
        return Observed(sums=self._sums, near=_sample(self._near, mapping), far=_sample(self._far, mapping))

    def _nothing(self) -> _Drawn:
        return _Drawn(
            keys=np.zeros(0, np.uint64),
            indexes=np.zeros(0, np.int64),
            probabilities=np.zeros((0, self._outputs), np.float32),
            count=0,
        )

    def _draw(
        self, mean: Probabilities, label: Tensor, corner: tuple[int, int, int], width: tuple[int, int]
    ) -> tuple[_Drawn, _Drawn]:
        """Return the voxels of a tile with the smallest keys, near structures and far from them."""
        if self._target == "labels":
            unsure = mean[0] < SURE if 0 in mean else torch.ones_like(label, dtype=torch.bool)
        else:
            unsure = torch.zeros_like(label, dtype=torch.bool)
            for values in mean.values():
                unsure |= values > 1 - SURE
        near = (unsure | (label > 0)).cpu().numpy().reshape(-1)
        z, y, x = (np.arange(start, start + size) for start, size in zip(corner, label.shape, strict=True))
        places = ((z[:, None, None] * width[0] + y[:, None]) * width[1] + x).reshape(-1)
        keys = hashed(places)
        found = []
        for chosen, before in ((np.flatnonzero(near), self._near), (np.flatnonzero(~near), self._far)):
            kept = chosen
            if len(before.keys) == self._limit:
                kept = kept[keys[kept] < before.keys.max()]
            if len(kept) > self._limit:
                kept = kept[np.argpartition(keys[kept], self._limit)[: self._limit]]
            drawn = np.zeros((len(kept), self._outputs), np.float32)
            for index, every in mean.items():
                drawn[:, index] = every.cpu().numpy().reshape(-1)[kept]
            found.append(_Drawn(keys=keys[kept], indexes=places[kept], probabilities=drawn, count=len(chosen)))
        return found[0], found[1]

    def _merge(self, first: _Drawn, second: _Drawn) -> _Drawn:
        """Return the smallest keys of both."""
        keys = np.concatenate([first.keys, second.keys])
        order = np.argsort(keys, kind="stable")[: self._limit]
        return _Drawn(
            keys=keys[order],
            indexes=np.concatenate([first.indexes, second.indexes])[order],
            probabilities=np.concatenate([first.probabilities, second.probabilities])[order],
            count=first.count + second.count,
        )


def hashed(places: Int64[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    """Return a well-mixed 64-bit number for each place: the finaliser of SplitMix64 (Steele et al., OOPSLA 2014)."""
    mixed = places.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def _sample(drawn: _Drawn, mapping: GridMapping) -> Sample:
    cropped: Shape = mapping.cropped_shape
    inside = np.unravel_index(drawn.indexes, cropped)
    native = [np.zeros(0, np.int64)] * 3
    for axis, lower, positions in zip(mapping.transpose, mapping.crop_lower, inside, strict=True):
        native[axis] = positions + lower
    indexes = np.ravel_multi_index((native[0], native[1], native[2]), mapping.native_shape)
    return Sample(indexes=np.asarray(indexes, np.int64), probabilities=drawn.probabilities, drawn_from=drawn.count)
