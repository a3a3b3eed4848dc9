"""The nonzero part of an image: where anything was measured at all."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Shaped

from autoseg.imaging.runs import fill_holes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NonzeroBox:
    """The smallest box [lower, upper) around the nonzero voxels and the mask (z, y, x) inside it, holes filled."""

    lower: tuple[int, int, int]
    upper: tuple[int, int, int]
    mask: Bool[np.ndarray, "z y x"]

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The box as an index of (z, y, x)."""
        z, y, x = (slice(low, high) for low, high in zip(self.lower, self.upper, strict=True))
        return (z, y, x)


def nonzero_box(array: Shaped[np.ndarray, "c z y x"]) -> NonzeroBox:
    """Return the box around all voxels of the image (c, z, y, x) that are not 0 in some channel.

    Holes of the mask are filled: regions of zeros that reach no face of the image. In a single slice they are
    filled in the plane. An image of zeros alone is kept whole.
    """
    nonzero = np.not_equal(array[0], 0)
    for channel in array[1:]:
        nonzero |= channel != 0
    lower, upper = [], []
    for axis in range(nonzero.ndim):
        hit = np.flatnonzero(nonzero.any(axis=tuple(a for a in range(nonzero.ndim) if a != axis)))
        if not hit.size:
            nonzero[:] = True
            return NonzeroBox(lower=(0, 0, 0), upper=(*nonzero.shape,), mask=nonzero)
        lower.append(int(hit[0]))
        upper.append(int(hit[-1]) + 1)
    box = tuple(slice(low, high) for low, high in zip(lower, upper, strict=True))
    flat = tuple(axis for axis, n in enumerate(nonzero.shape) if n == 1)
    part = nonzero[box]
    mask = fill_holes(part.squeeze(axis=flat)).reshape(part.shape)
    return NonzeroBox(lower=(lower[0], lower[1], lower[2]), upper=(upper[0], upper[1], upper[2]), mask=mask)
