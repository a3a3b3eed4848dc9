"""What a file says about its image before its pixels are read."""

from dataclasses import dataclass

from autoseg.imaging.volume import Grid


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Grid, number of channels and NumPy name of the type that `read_image` would return."""

    grid: Grid
    channels: int
    dtype: str
