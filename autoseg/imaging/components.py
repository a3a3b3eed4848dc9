"""Connected components of a mask.

Neighbours share a face, edge or corner (26 in three axes, 8 in a single slice): a thin oblique structure is one part.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int32, Int64

Mask = Bool[np.ndarray, "*axes"]
_COUNTED_AT_ONCE = 1 << 24
"""Voxels of which bincount may make an int64 copy."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Components:
    """`labels` (z, y, x) int32 numbers the components from 1; `sizes_voxels[i]` is the size of component i + 1."""

    labels: Int32[np.ndarray, "*axes"]
    sizes_voxels: Int64[np.ndarray, " components"]

    @property
    def count(self) -> int:
        """How many components there are."""
        return len(self.sizes_voxels)


def connected_components(mask: Mask) -> Components:
    """Return the components of a mask (z, y, x), numbered in array order of their first voxels."""
    from scipy import ndimage  # takes a while to load: prediction begins before

    labels = np.empty(mask.shape, dtype=np.int32)
    count = ndimage.label(mask, structure=np.ones((3,) * mask.ndim, dtype=np.bool_), output=labels)
    flat, sizes = labels.reshape(-1), np.zeros(count + 1, dtype=np.int64)
    for start in range(0, flat.size, _COUNTED_AT_ONCE):
        sizes += np.bincount(flat[start : start + _COUNTED_AT_ONCE], minlength=count + 1)
    return Components(labels=labels, sizes_voxels=sizes[1:])


def largest_component(mask: Mask) -> Mask:
    """Return the largest component of a mask; all of them when several share the largest size."""
    components = connected_components(mask)
    if components.count <= 1:
        return mask.copy()
    return _chosen(components, components.sizes_voxels == components.sizes_voxels.max())


def remove_small_components(mask: Mask, minimum_voxels: int) -> Mask:
    """Return the mask without components of fewer than `minimum_voxels` voxels."""
    components = connected_components(mask)
    return _chosen(components, components.sizes_voxels >= minimum_voxels)


def _chosen(components: Components, keep: Bool[np.ndarray, " components"]) -> Mask:
    table = np.concatenate([[False], keep])
    chosen: Mask = table[components.labels]
    return chosen
