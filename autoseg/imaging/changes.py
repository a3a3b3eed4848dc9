"""Changes of a finished label map, by NumPy alone, as an exported model makes them, too."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from autoseg.imaging.runs import LabelMap, fill_holes, keep_largest, remove_small

Kind = Literal["keep-largest", "remove-small", "fill-holes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A step of postprocessing of all voxels with one of the label `values`, which count as one structure.

    `keep-largest` leaves the largest connected part; `remove-small` removes parts under `minimum_mm3`; `fill-holes`
    gives what a structure encloses to the first value. What is removed gets the value `otherwise`, and only voxels with
    it are filled: background, or of a region the value of the smallest region around it.
    """

    kind: Kind = "keep-largest"
    values: tuple[int, ...]
    minimum_mm3: float = 0.0
    otherwise: int = 0

    def __str__(self) -> str:
        """Return the change in words."""
        limit = f" under {self.minimum_mm3:.4g} mm3" if self.kind == "remove-small" else ""
        return {"keep-largest": "largest part", "remove-small": "no parts", "fill-holes": "holes filled"}[
            self.kind
        ] + limit


def apply_change(label_map: LabelMap, change: Change, voxel_mm3: float) -> LabelMap:
    """Return the label map (z, y, x) after a change; `voxel_mm3` is the volume of a voxel."""
    if change.kind == "keep-largest":
        return keep_largest(label_map, change.values, change.otherwise)
    if change.kind == "remove-small":
        least = least_voxels(change.minimum_mm3, voxel_mm3)
        return remove_small(label_map, change.values, least, change.otherwise)
    mask = np.isin(label_map, change.values)
    if not mask.any():
        return label_map
    flat = [axis for axis, length in enumerate(mask.shape) if length == 1]
    holes = np.expand_dims(fill_holes(mask.squeeze(tuple(flat))), tuple(flat)) & (label_map == change.otherwise)
    if not holes.any():
        return label_map
    filled = label_map.copy()
    filled[holes] = change.values[0]
    return filled


def least_voxels(minimum_mm3: float, voxel_mm3: float) -> int:
    """Return the smallest number of voxels whose volume is not under `minimum_mm3`."""
    return int(np.ceil(minimum_mm3 / voxel_mm3 - 1e-9))
