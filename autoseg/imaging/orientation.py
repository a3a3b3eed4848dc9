"""Arrays turned so that their axes run along the patient's, for models that were trained on such images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from autoseg.imaging.geometry import canonical_axes
from autoseg.imaging.volume import Grid

Orientation = Literal["RAS"]
"""The fastest axis (x) runs to the patient's right, y to the front, z to the head."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """How an array (..., z, y, x) as it is stored is turned: these of its last axes are flipped, then all ordered."""

    order: tuple[int, int, int]
    flipped: tuple[int, ...]

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the turned array; axes before the last three stay. A view."""
        first = array.ndim - 3
        turned = np.flip(array, tuple(first + axis for axis in self.flipped))
        return turned.transpose((*range(first), *(first + axis for axis in self.order)))

    def undo(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the array (z, y, x) as `apply` was given it."""
        return np.ascontiguousarray(np.flip(array.transpose(np.argsort(self.order)), self.flipped))

    def spacing(self, spacing_mm: Sequence[float]) -> tuple[float, float, float]:
        """Return the spacing (z, y, x) of the turned array."""
        z, y, x = (spacing_mm[axis] for axis in self.order)
        return (z, y, x)


def left_right_axis(grid: Grid) -> Literal[0, 1, 2] | None:
    """Return the stored axis (z, y, x) that lies nearest to the patient's left-right; None of a 2D image."""
    if grid.dimensions == 2:
        return None
    axes: tuple[Literal[0], Literal[1], Literal[2]] = (0, 1, 2)
    return axes[canonical_axes(grid)[0][2]]


def turn_to(orientation: Orientation, grid: Grid) -> Turn:
    """Return how arrays on `grid` become arrays whose axes run as `orientation` says, as nearly as turning can."""
    from nibabel.orientations import io_orientation

    assert orientation == "RAS"  # noqa: S101 (the one there is)
    along, signs = io_orientation(np.asarray(grid.affine)).T  # of every axis the patient's (right, front, head)
    z, y, x = (int(np.flatnonzero(along == axis)[0]) for axis in (2, 1, 0))
    return Turn(order=(z, y, x), flipped=tuple(int(axis) for axis in np.flatnonzero(signs < 0)))
