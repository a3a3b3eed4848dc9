"""An image in space: an array with its grid.

Arrays are (channel, z, y, x), slowest axis first. A grid's affine takes (z, y, x, 1) indexes to millimetres in the
patient's right-anterior-superior (RAS+) frame, rows (x, y, z), the frame of NIfTI.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Shaped

Affine = tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Shape (z, y, x) and the 4x4 affine from array index to RAS millimetres. A 2D image has shape (1, y, x)."""

    shape: tuple[int, int, int]
    affine: Affine
    dimensions: Literal[2, 3] = 3

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along (z, y, x), in mm."""
        matrix = np.asarray(self.affine, dtype=np.float64)[:3, :3]
        z, y, x = (float(v) for v in np.sqrt((matrix**2).sum(axis=0)))
        return (z, y, x)


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """An array (channel, z, y, x) on a grid; `notes` say what the reader was allowed to mend or had to assume.

    `modalities` are the DICOM tag Modality of each channel, such as "CT", "" for a channel whose file has none; () is
    the same as none for all.
    """

    array: Shaped[np.ndarray, "channel z y x"]
    grid: Grid
    channel_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse an array that does not fit its grid."""
        if self.array.ndim != 4 or self.array.shape[1:] != self.grid.shape:
            msg = f"array {self.array.shape} does not fit grid {self.grid.shape}"
            raise ValueError(msg)
