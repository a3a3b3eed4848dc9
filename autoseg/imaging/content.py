"""Digests of what an image holds, whatever file format, compression or number type holds it."""

import hashlib

import numpy as np
from jaxtyping import Real

from autoseg.imaging.volume import Grid

_DECIMALS = 6  # of a millimetre: NIfTI keeps single precision


def content_digest(array: Real[np.ndarray, "..."]) -> str:
    """Return a digest of the values and shape of an array: the same for int16 and for float32 that hold the same.

    Values are compared in single precision, which holds every integer up to 2**24; beyond it, near ones are one.
    """
    values = np.ascontiguousarray(array, dtype="<f4")
    values = values + np.float32(0) if array.dtype.kind == "f" else values  # -0.0 is 0.0
    key = hashlib.sha256(f"{array.shape}".encode()).digest()
    return hashlib.blake2b(values.data, digest_size=16, key=key).hexdigest()


def place_digest(grid: Grid) -> str:
    """Return a digest of where a grid lies, its affine rounded to a millionth of a millimetre."""
    rounded = np.round(np.asarray(grid.affine, np.float64), _DECIMALS) + 0.0
    return hashlib.sha256(f"{grid.shape} {rounded.tolist()}".encode()).hexdigest()[:32]
