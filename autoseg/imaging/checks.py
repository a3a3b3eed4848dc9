"""Checks that every reader makes: enough memory, no NaN or infinity, whole numbers in label maps."""

import os
from pathlib import Path

import numpy as np
from jaxtyping import Int32, Integer, Real, Shaped

from autoseg.core.errors import AutosegError, ResourceError

INTEGER_TOLERANCE = 1e-3
"""A label this close to a whole number is that number: files written through a float scale are off by about 1e-7."""

_VALUES_SHOWN = 5


def refuse_more_than_memory(path: Path, needed_bytes: int) -> None:
    """Raise before allocating more than the machine has.

    Raises:
        ResourceError: the image alone is larger than the physical memory.

    """
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed_bytes > memory_bytes:
        raise ResourceError.at(
            path,
            f"the image takes {needed_bytes / 1e9:.1f} GB, this machine has {memory_bytes / 1e9:.1f} GB",
            "crop it, or use a machine with more memory",
        )


def refuse_non_finite(path: Path, array: Shaped[np.ndarray, "c z y x"]) -> None:
    """Raise when a (channel, z, y, x) array holds NaN or infinity, with their number and the first place.

    The sum in double precision is finite exactly when all single-precision values are: one pass, no temporary array.

    Raises:
        AutosegError: at least one voxel is not finite.

    """
    if array.dtype.kind != "f":
        return
    with np.errstate(all="ignore"):
        total = array.sum(dtype=np.float64)
    if np.isfinite(total):
        return
    counts = [int(np.count_nonzero(~np.isfinite(plane))) for channel in array for plane in channel]
    first_plane = next(index for index, count in enumerate(counts) if count)
    channel, z = divmod(first_plane, array.shape[1])
    y, x = (int(v) for v in np.argwhere(~np.isfinite(array[channel, z]))[0])
    place = f"(z, y, x) = ({z}, {y}, {x})" + (f" of channel {channel}" if array.shape[0] > 1 else "")
    raise AutosegError.at(
        path,
        f"{sum(counts)} of {array.size} voxels are NaN or infinite, the first at {place}",
        "replace them with the background value or leave the case out",
    )


def as_integers(path: Path, array: Real[np.ndarray, "*axes"]) -> Integer[np.ndarray, "*axes"]:
    """Return a label array as integers: unchanged if it is one already, else rounded to int32.

    Raises:
        AutosegError: a value is further than `INTEGER_TOLERANCE` from a whole number, or beyond 32 bits.

    """
    if array.dtype.kind in "iu":
        return array
    rounded = np.rint(array)
    wrong = np.abs(array - rounded) > INTEGER_TOLERANCE
    if wrong.any():
        values = np.unique(array[wrong])
        shown = ", ".join(f"{value:g}" for value in values[:_VALUES_SHOWN])
        more = f" and {len(values) - _VALUES_SHOWN} more" if len(values) > _VALUES_SHOWN else ""
        raise AutosegError.at(
            path,
            f"label values must be whole numbers, found {shown}{more} in {int(wrong.sum())} voxels",
            "save the label map without interpolation, or give the file that holds the labels",
        )
    if rounded.size and np.abs(rounded).max() > np.iinfo(np.int32).max:
        raise AutosegError.at(path, f"a label value is {np.abs(rounded).max():g}", "use label values below 65536")
    integers: Int32[np.ndarray, "*axes"] = rounded.astype(np.int32)
    return integers
