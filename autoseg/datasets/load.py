"""The arrays of one case from its files: channels on one grid, references on the image's grid."""

from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoseg.core.errors import AutosegError
from autoseg.imaging.geometry import MAX_CORNER_DISPLACEMENT_VOXELS, check_same_grid, corner_displacement_voxels
from autoseg.imaging.read import read_image, read_label
from autoseg.imaging.volume import Grid, Volume


def load_image(folder: Path, images: tuple[str, ...]) -> Volume:
    """Return the channels of a case as one volume on the grid of the first.

    Raises:
        AutosegError: a file cannot be read, or the channels lie on different grids.

    """
    volumes = [read_image(folder / name) for name in images]
    first = volumes[0]
    if len(volumes) == 1:
        return first
    for name, volume in zip(images[1:], volumes[1:], strict=True):
        if volume.grid.shape != first.grid.shape or not _same(first.grid, volume.grid):
            raise AutosegError.at(
                folder / name,
                f"another grid than {Path(images[0]).name} ({_shape(volume.grid)} against {_shape(first.grid)})",
                "resample the channels of a case to one grid",
            )
    array = np.concatenate([volume.array.astype(np.float32, copy=False) for volume in volumes])
    return Volume(array=array, grid=first.grid)


def load_label(path: Path, grid: Grid) -> NDArray[np.integer[Any]]:
    """Return a label map (z, y, x) on the grid of its image.

    A map whose voxels are the image's in another order (axes swapped or reversed) is put into the image's order: it is
    the same place in space.

    Raises:
        AutosegError: the file cannot be read, holds no integers, or lies elsewhere than the image.

    """
    volume = read_label(path)
    label: NDArray[np.integer[Any]] = volume.array[0]
    if grid.dimensions == 2 or (volume.grid.shape == grid.shape and _same(grid, volume.grid)):
        check_same_grid(grid, volume.grid, path)
        return label
    for order in permutations(range(3)):
        if tuple(volume.grid.shape[axis] for axis in order) != grid.shape:
            continue
        for flips in product((False, True), repeat=3):
            if _same(grid, _reordered(volume.grid, order, flips)):
                steps = tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)
                return np.ascontiguousarray(label.transpose(order)[steps])
    check_same_grid(grid, volume.grid, path)
    return label


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
