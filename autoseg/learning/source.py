"""What windows are cut from, and the windows that need no network because it has seen the same one before."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Float32
from torch import Tensor

from autoseg.learning.image_source import Source, Windows

__all__ = ["MEMORY_BYTES", "FlatWindows", "Outputs", "Source", "Tally", "Windows"]

Outputs = Float[Tensor, "k patch_z patch_y patch_x"]

MEMORY_BYTES = 256 << 20
"""Outputs larger than this are not remembered: they would be a large part of what prediction takes."""
_SPARSE = 7  # voxels between those that are looked at first: most windows are not flat, and show it at once


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
        self, batch: Windows, forward: Callable[[Windows], Float[Tensor, "b k patch_z patch_y patch_x"]]
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
