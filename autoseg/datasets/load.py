"""The arrays of one case from its files: channels on one grid, references on the image's grid."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoseg.core.errors import AutosegError
from autoseg.imaging.dicom_geometry import Stack, ordered
from autoseg.imaging.dicom_labels import is_structure, read_structure
from autoseg.imaging.geometry import (
    MAX_CORNER_DISPLACEMENT_VOXELS,
    MOST_CORNER_DISPLACEMENT_VOXELS,
    check_same_grid,
    corner_displacement_voxels,
    oriented_like,
)
from autoseg.imaging.raster import pixel_grid
from autoseg.imaging.read import IMAGE_ENDINGS, ending_of, read_image, read_label
from autoseg.imaging.reading import STRICT, ReadOptions
from autoseg.imaging.volume import Grid, Volume

LEAST_COVERED = 0.5
"""A channel that shows less than half of the reference channel's field of view is of another part of the body."""


def load_image(folder: Path, images: tuple[str, ...], options: ReadOptions = STRICT) -> Volume:
    """Return the channels of a case as one volume on the grid of the first, as `load_channels` does.

    Raises:
        AutosegError: a file cannot be read, or a channel does not cover the first.

    """
    return load_channels(folder, images, options).volume


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Channels:
    """The channels of a case on one grid, and the files that were resampled to it."""

    volume: Volume
    resampled: tuple[str, ...]


def load_channels(folder: Path, images: tuple[str, ...], options: ReadOptions = STRICT) -> Channels:
    """Return the channels of a case on the grid of the first; 3D channels on other grids are resampled linearly.

    Raises:
        AutosegError: a file cannot be read; pictures differ in size; a channel covers less than half of the first.

    """
    first = read_image(folder / images[0], options)
    if len(images) == 1:
        return Channels(volume=first, resampled=())
    arrays, resampled, notes = [first.array], [], list(first.notes)
    modalities = list(_modalities(first))
    for name in images[1:]:
        volume = read_image(folder / name, options)
        notes += volume.notes
        modalities += _modalities(volume)
        if volume.grid.shape != first.grid.shape or not _same(first.grid, volume.grid):
            what = f"another grid than {Path(images[0]).name} ({_shape(volume.grid)} against {_shape(first.grid)})"
            if 2 in (first.grid.dimensions, volume.grid.dimensions):
                raise AutosegError.at(folder / name, what, "give the channels of a picture the same size")
            covered = covered_share(first.grid, volume.grid)
            if covered < LEAST_COVERED:
                what = f"covers only {covered:.0%} of {Path(images[0]).name}"
                raise AutosegError.at(folder / name, what, "give channels of the same part of the body")
            volume = _resampled(volume, first.grid)
            resampled.append(name)
        arrays.append(volume.array)
    array = np.concatenate([part.astype(np.float32, copy=False) for part in arrays])
    told = tuple(modalities) if any(modalities) else ()
    volume = Volume(array=array, grid=first.grid, notes=tuple(dict.fromkeys(notes)), modalities=told)
    return Channels(volume=volume, resampled=tuple(resampled))


def _modalities(volume: Volume) -> tuple[str, ...]:
    """Return the DICOM modality of each channel, "" where its file has none."""
    return volume.modalities or ("",) * len(volume.array)


def _resampled(volume: Volume, grid: Grid) -> Volume:
    """Return the volume on another grid by linear interpolation, its minimum where it does not reach."""
    from scipy import ndimage  # takes a while to load

    to_own = np.linalg.solve(np.asarray(volume.grid.affine), np.asarray(grid.affine))
    array = np.empty((len(volume.array), *grid.shape), np.float32)
    for target, channel in zip(array, volume.array, strict=True):
        ndimage.affine_transform(
            channel.astype(np.float32, copy=False),
            to_own,
            output_shape=grid.shape,
            output=target,
            order=1,
            mode="constant",
            cval=float(channel.min()),
        )
    return Volume(array=array, grid=grid, channel_names=volume.channel_names)


def covered_share(grid: Grid, other: Grid) -> float:
    """Return the share of a grid's box that the box around another grid covers, both in indexes of the first."""
    corners = np.array([(*corner, 1) for corner in product(*((-0.5, n - 0.5) for n in other.shape))]).T
    inside = np.linalg.solve(np.asarray(grid.affine), np.asarray(other.affine) @ corners)[:3]
    shape = np.asarray(grid.shape)
    lower, upper = np.maximum(inside.min(axis=1), -0.5), np.minimum(inside.max(axis=1), shape - 0.5)
    return float(np.prod(np.clip(upper - lower, 0, None) / shape))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlacedLabel:
    """A label map (z, y, x) in the order of its image's voxels, and its grid in that order."""

    array: NDArray[np.integer[Any]]
    grid: Grid


def load_label(
    path: Path, grid: Grid, options: ReadOptions = STRICT, image: Path | None = None
) -> NDArray[np.integer[Any]]:
    """Return a label map (z, y, x) on the grid of its image, as `load_placed_label` does."""
    return load_placed_label(path, grid, options, image).array


def _mended(image: Path | None, options: ReadOptions) -> Stack | None:
    """Return the slices of a DICOM series that may have been resampled, as they were scanned."""
    if not options.resample or image is None or ending_of(image):
        return None
    return _slices(image, image.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _slices(series: Path, _changed_ns: int) -> Stack:
    return ordered(series, resample=True)  # kept for the next structure of the same series


def load_placed_label(path: Path, grid: Grid, options: ReadOptions = STRICT, image: Path | None = None) -> PlacedLabel:
    """Return a label map (z, y, x) on the grid of its image, and where its own file places it.

    A map whose voxels are the image's in another order (axes swapped or reversed) is put into the image's order: it is
    the same place in space. A reference `FILE#NUMBER` to a structure of a DICOM SEG or RTSTRUCT gives its 0/1 mask; if
    its `image` is a series that was resampled, the mask is resampled by the same mapping.

    Raises:
        AutosegError: the file cannot be read, holds no integers, or lies more than half a voxel off its image.

    """
    if is_structure(path):
        return PlacedLabel(array=read_structure(path, grid, _mended(image, options)), grid=grid)
    volume = read_label(path, options)
    if says_no_place(path, volume.grid) and volume.grid.shape == grid.shape:
        return PlacedLabel(array=volume.array[0], grid=grid)
    if grid.dimensions == 3:
        volume = oriented_like(volume, grid)
    check_same_grid(grid, volume.grid, path, MOST_CORNER_DISPLACEMENT_VOXELS)
    label: NDArray[np.integer[Any]] = volume.array[0]
    return PlacedLabel(array=label, grid=volume.grid)


def says_no_place(path: Path, grid: Grid) -> bool:
    """Tell whether a file is of a kind that knows no millimetres, and none are stated beside it."""
    family = IMAGE_ENDINGS.get(ending_of(path))
    return family in ("raster", "tiff") and grid == pixel_grid(path, grid.shape)


def same_place(a: Grid, b: Grid) -> bool:
    """Tell whether two 3D grids are the same voxels in space, whatever the order and direction of their axes."""
    if sorted(a.shape) != sorted(b.shape):
        return False
    orders = (order for order in permutations(range(3)) if tuple(b.shape[axis] for axis in order) == a.shape)
    return any(_same(a, _reordered(b, o, flips)) for o in orders for flips in product((False, True), repeat=3))


def _reordered(grid: Grid, order: tuple[int, ...], flips: tuple[bool, ...]) -> Grid:
    """Return the grid of an array after `transpose(order)` and reversal of the flipped axes."""
    old = np.asarray(grid.affine, dtype=np.float64)
    shape = (grid.shape[order[0]], grid.shape[order[1]], grid.shape[order[2]])
    new = old.copy()
    for axis, (source, flip) in enumerate(zip(order, flips, strict=True)):
        column = old[:3, source]
        new[:3, axis] = -column if flip else column
        if flip:
            new[:3, 3] += column * (shape[axis] - 1)
    rows = [[float(v) for v in row] for row in new]
    return Grid(shape=shape, affine=tuple((a, b, c, d) for a, b, c, d in rows), dimensions=grid.dimensions)


def _same(a: Grid, b: Grid) -> bool:
    return corner_displacement_voxels(a, b) <= MAX_CORNER_DISPLACEMENT_VOXELS


def _shape(grid: Grid) -> str:
    z, y, x = grid.shape
    return f"{x} x {y} x {z} voxels"
