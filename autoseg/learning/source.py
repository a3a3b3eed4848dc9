"""What windows are cut from, and the windows that need no network because it has seen the same one before."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Integer
from torch import Tensor

from autoseg.learning.slab import Window
from autoseg.learning.windows import Shape

Windows = Float32[np.ndarray, "b c patch_z patch_y patch_x"]
Outputs = Float32[Tensor, "k patch_z patch_y patch_x"]

MEMORY_BYTES = 256 << 20
"""Outputs larger than this are not remembered: they would be a large part of what prediction takes."""
_SPARSE = 7  # voxels between those that are looked at first: most windows are not flat, and show it at once


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """A prepared image (c, z, y, x); for a cascade also the label map (z, y, x) of the stage before.

    Each of `values` becomes one more channel: 1 where the label map has it, else 0. They are made window by window, so
    that no array of all labels x volume exists.
    """

    image: Float32[np.ndarray, "c z y x"]
    previous: Integer[np.ndarray, "z y x"] | None = None
    values: tuple[int, ...] = ()

    @property
    def shape(self) -> Shape:
        """Shape (z, y, x)."""
        _, z, y, x = self.image.shape
        return (z, y, x)

    @property
    def channels(self) -> int:
        """Channels that a network sees."""
        return len(self.image) + len(self.values)

    def read(self, windows: Sequence[Window], patch: Shape) -> Windows:
        """Return windows (b, c, z, y, x), zeros outside the image."""
        inside = all(s.start >= 0 and s.start + t == s.upper for w in windows for s, t in zip(w, patch, strict=True))
        shape = (len(windows), self.channels, *patch)
        batch = np.empty(shape, np.float32) if inside else np.zeros(shape, np.float32)
        for sample, (z, y, x) in zip(batch, windows, strict=True):
            box = tuple(slice(s.lower, s.upper) for s in (z, y, x))
            target = tuple(slice(s.lower - s.start, s.upper - s.start) for s in (z, y, x))
            sample[(slice(0, len(self.image)), *target)] = self.image[(slice(None), *box)]
            if self.previous is not None:
                for channel, value in zip(sample[len(self.image) :], self.values, strict=True):
                    channel[target] = self.previous[box] == value
        return batch


class Tally:
    """How many windows were predicted, and how many of them without the network."""

    def __init__(self) -> None:
        """Begin at none."""
        self.windows = 0
        self.skipped = 0


class FlatWindows:
    """Remembers the output for the last window of one value per channel: the same input gives the same output.

    With a `tolerance`, windows whose values differ by no more than it, in units of the normalised image, count as
    flat, and as the same where their smallest values are about equal; then the input of a skipped window differs from
    the one that was predicted by at most twice the tolerance in any voxel. A tolerance of 0 changes nothing.
    """

    def __init__(self, tolerance: float | None, tally: Tally) -> None:
        """Remember nothing yet; with a tolerance of None, ever. Count in `tally`."""
        self._tolerance = None if tolerance is None else np.float32(tolerance)
        self._tally = tally
        self._known: dict[bytes, Outputs] = {}

    def outputs(
        self, batch: Windows, forward: Callable[[Windows], Float32[Tensor, "b k patch_z patch_y patch_x"]]
    ) -> list[Outputs]:
        """Return the output of every window of a batch; the caller may overwrite them."""
        keys = [self._flat(sample) for sample in batch]
        fresh = [i for i, key in enumerate(keys) if not key or (key not in self._known and key not in keys[:i])]
        self._tally.windows += len(batch)
        self._tally.skipped += len(batch) - len(fresh)
        made = {}
        if fresh:
            made = dict(zip(fresh, forward(batch if len(fresh) == len(batch) else batch[fresh]), strict=True))
        known = self._known | {key: made[i].clone() for i, key in enumerate(keys) if key and i in made}
        self._known = dict(list(known.items())[-1:])
        return [made[i] if i in made else known[key].clone() for i, key in enumerate(keys) if i in made or key]

    def _flat(self, sample: Float32[np.ndarray, "c z y x"]) -> bytes | None:
        """Return what identifies a flat window (c, z, y, x), None for any other."""
        if self._tolerance is None:
            return None
        for part in (sample[:, ::_SPARSE, ::_SPARSE, ::_SPARSE], sample):
            low, high = part.min(axis=(1, 2, 3)), part.max(axis=(1, 2, 3))
            if bool((high > low + self._tolerance).any()):
                return None
        lowest = np.floor(low / self._tolerance) if self._tolerance else low
        return bytes(lowest.data)
