"""What windows are cut from; NumPy alone, no torch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Integer

from autoseg.learning.turns import Window
from autoseg.learning.windows import Shape

Windows = Float32[np.ndarray, "b c patch_z patch_y patch_x"]


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
