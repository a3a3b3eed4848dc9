"""Arrays that come from a caller instead of a file."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoseg.core.errors import AutosegError


def as_channels(array: NDArray[Any], spacing_mm: Sequence[float]) -> NDArray[Any]:
    """Return the array as (channel, z, y, x) after checking it against its spacing.

    Args:
        array: (z, y, x) or (channel, z, y, x); for 2D images (y, x) or (channel, y, x).
        spacing_mm: along (z, y, x), or (y, x) for 2D images: its length says which.

    Raises:
        AutosegError: the array does not fit the spacing, or holds other than finite real numbers.

    """
    dimensions = len(spacing_mm)
    if dimensions not in (2, 3) or not all(0 < s < float("inf") for s in spacing_mm):
        raise AutosegError.at("spacing_mm", f"is {tuple(spacing_mm)}", "give (z, y, x) or (y, x) in mm, each above 0")
    if array.ndim not in (dimensions, dimensions + 1):
        axes = "(y, x)" if dimensions == 2 else "(z, y, x)"
        raise AutosegError.at("array", f"has shape {array.shape}", f"give {axes}, or channels in front of it")
    if array.dtype.kind not in "buif" or not bool(np.isfinite(array).all()):
        raise AutosegError.at("array", f"of type {array.dtype} is not all finite real numbers", "mend it first")
    channels = array if array.ndim == dimensions + 1 else array[None]
    return channels if dimensions == 3 else channels[:, None]
