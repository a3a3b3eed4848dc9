"""Grids in space: building one from a file's matrix, and telling whether two are the same."""

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float64, Real

from autoseg.core.errors import AutosegError
from autoseg.imaging.volume import Affine, Grid, Volume

MAX_CORNER_DISPLACEMENT_VOXELS = 0.1
"""Corners this close count as the same grid. Header noise between formats is below 1e-4 voxel, a mistaken geometry is
half a voxel or more, so a tenth separates them; a tolerance in millimetres would depend on the scale."""

MOST_CORNER_DISPLACEMENT_VOXELS = 0.5
"""Corners this close are told but used: each voxel is still nearest to its own. Farther away it is another place."""

_SMALLEST_MM, _LARGEST_MM = 1e-7, 1e4  # a tenth of a nanometre; ten metres


def affine_tuple(matrix: Real[np.ndarray, "4 4"]) -> Affine:
    """Return a 4x4 matrix as the tuple that `Grid` holds."""
    rows = [[float(v) for v in row] for row in np.asarray(matrix, dtype=np.float64)]
    return tuple((a, b, c, d) for a, b, c, d in rows)


def grid_from_xyz(
    path: Path,
    shape: tuple[int, int, int],
    affine: Real[np.ndarray, "4 4"],
    *,
    dimensions: Literal[2, 3],
    flat: bool = False,
) -> Grid:
    """Build a grid from an affine that takes (x, y, z, 1) indexes to RAS millimetres.

    A `flat` file has no third axis: its z column becomes the unit normal of the plane, so that z spacing is 1.

    Raises:
        AutosegError: the matrix is not finite, singular, or its spacings are impossible.

    """
    matrix = np.array(affine, dtype=np.float64)
    if flat and np.isfinite(matrix).all():
        matrix[:3, 2] = _normal(matrix[:3, 0], matrix[:3, 1])
    spacing = np.sqrt((matrix[:3, :3] ** 2).sum(axis=0))
    if not np.isfinite(matrix).all() or spacing.min() < _SMALLEST_MM or spacing.max() > _LARGEST_MM:
        shown = " x ".join(f"{v:g}" for v in spacing)
        raise AutosegError.at(path, f"impossible voxel size {shown} mm (x, y, z)", "export it with its true voxel size")
    if abs(np.linalg.det(matrix[:3, :3] / spacing)) < 1e-3:
        raise AutosegError.at(path, "its axes do not span space", "export it with its true geometry")
    return Grid(shape=shape, affine=affine_tuple(matrix[:, [2, 1, 0, 3]]), dimensions=dimensions)


def _normal(x: Float64[np.ndarray, "3"], y: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3"]:
    normal = np.cross(x, y)
    length = float(np.linalg.norm(normal))
    return normal / length if length else np.zeros(3)


def xyz_affine(grid: Grid) -> Float64[np.ndarray, "4 4"]:
    """Return the 4x4 affine that takes (x, y, z, 1) indexes to RAS millimetres, the form of NIfTI."""
    return np.asarray(grid.affine, dtype=np.float64)[:, [2, 1, 0, 3]]


def corner_displacement_voxels(a: Grid, b: Grid) -> float:
    """Return the largest distance between equal corners of two grids of one shape, in voxels of `a`.

    The displacement in millimetres is measured along the axes of `a`, each in units of its own spacing, so that a
    shift of a whole thick slice counts as one voxel and not as several.

    >>> a = Grid(shape=(2, 2, 2), affine=((0, 0, 1, 0), (0, 1, 0, 0), (5, 0, 0, 0), (0, 0, 0, 1)))
    >>> b = Grid(shape=(2, 2, 2), affine=((0, 0, 1, 0), (0, 1, 0, 0), (5, 0, 0, 2.5), (0, 0, 0, 1)))
    >>> corner_displacement_voxels(a, b)
    0.5

    """
    corners = np.array([(*corner, 1) for corner in product(*((0, n - 1) for n in a.shape))], dtype=np.float64).T
    matrix = np.asarray(a.affine, dtype=np.float64)
    shift_mm = (np.asarray(b.affine, dtype=np.float64) - matrix) @ corners
    shift_voxels = np.linalg.solve(matrix[:3, :3], shift_mm[:3])
    return float(np.sqrt((shift_voxels**2).sum(axis=0)).max())


def corner_displacement_mm(a: Grid, b: Grid) -> float:
    """Return the largest distance between equal corners of two grids of one shape, in millimetres."""
    corners = np.array([(*corner, 1) for corner in product(*((0, n - 1) for n in a.shape))], dtype=np.float64).T
    shift_mm = (np.asarray(b.affine, dtype=np.float64) - np.asarray(a.affine, dtype=np.float64)) @ corners
    return float(np.sqrt((shift_mm[:3] ** 2).sum(axis=0)).max())


def check_same_grid(
    image: Grid, label: Grid, where: Path | str, most_voxels: float = MAX_CORNER_DISPLACEMENT_VOXELS
) -> None:
    """Refuse a label that does not lie on the grid of its image.

    Raises:
        AutosegError: another shape, or a corner further away than `most_voxels`.

    """
    if image.shape != label.shape:
        raise AutosegError.at(
            where,
            f"the label has {_sizes(label)} voxels (x, y, z), its image {_sizes(image)}",
            "pair the label with the image it was drawn on, or resample it to that image",
        )
    if corner_displacement_voxels(image, label) > most_voxels:
        raise AutosegError.at(
            where,
            f"the label lies {displacement_text(image, label)} away from its image",
            "pair the label with the image it was drawn on, or resample it to that image",
        )


def displacement_text(a: Grid, b: Grid) -> str:
    """Return how far apart two grids of one shape lie, for messages.

    >>> a = Grid(shape=(2, 2, 2), affine=((0, 0, 1, 0), (0, 1, 0, 0), (5, 0, 0, 0), (0, 0, 0, 1)))
    >>> displacement_text(a, Grid(shape=a.shape, affine=((0, 0, 1, 0), (0, 1, 0, 0), (5, 0, 0, 2), (0, 0, 0, 1))))
    '2 mm (0.4 voxels)'

    """
    return f"{corner_displacement_mm(a, b):.3g} mm ({corner_displacement_voxels(a, b):.3g} voxels)"


def orthonormal(grid: Grid) -> Grid:
    """Return the grid with axes at right angles that is nearest to a skewed one: same spacing, same centre.

    The nearest rotation in the least-squares sense is the orthogonal factor of the polar decomposition.
    """
    matrix = np.array(grid.affine, dtype=np.float64)
    spacing = np.asarray(grid.spacing_mm)
    left, _, right = np.linalg.svd(matrix[:3, :3] / spacing)
    straight = matrix.copy()
    straight[:3, :3] = (left @ right) * spacing
    middle = (np.asarray(grid.shape) - 1) / 2
    straight[:3, 3] += (matrix[:3, :3] - straight[:3, :3]) @ middle
    return replace(grid, affine=affine_tuple(straight))


def canonical_axes(grid: Grid) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Return which array axis runs most along superior, anterior and right, and which of them run the other way.

    >>> canonical_axes(Grid(shape=(2, 2, 2), affine=((0, 0, -1, 0), (0, 1, 0, 0), (5, 0, 0, 0), (0, 0, 0, 1))))
    ((0, 1, 2), (False, False, True))

    """
    directions = np.asarray(grid.affine, dtype=np.float64)[:3, :3] / np.asarray(grid.spacing_mm)
    order: list[int] = []
    for world in (2, 1, 0):
        order.append(max((a for a in range(3) if a not in order), key=lambda axis: abs(directions[world, axis])))
    z, y, x = (bool(directions[world, axis] < 0) for world, axis in zip((2, 1, 0), order, strict=True))
    return (order[0], order[1], order[2]), (z, y, x)


def orientation_code(grid: Grid) -> str:
    """Return where the file's x, y and z axes point, as three letters of R L A P S I.

    >>> orientation_code(Grid(shape=(2, 2, 2), affine=((0, 0, -1, 0), (0, 1, 0, 0), (5, 0, 0, 0), (0, 0, 0, 1))))
    'LAS'

    """
    order, flips = canonical_axes(grid)
    of_axis = {axis: pair[flip] for axis, flip, pair in zip(order, flips, ("SI", "AP", "RL"), strict=True)}
    return of_axis[2] + of_axis[1] + of_axis[0]


def oriented_like(volume: Volume, grid: Grid) -> Volume:
    """Return a volume with its axes exchanged and flipped to run like those of `grid`; no voxel moves in space.

    Tools store one anatomy in different axis orders; a label that another tool wrote may run the other way than its
    image. Nothing is interpolated: what does not fit `grid` afterwards is another grid. A volume whose axes lie
    askew to `grid` by more than 45 degrees in two ways at once comes back unchanged.
    """
    matrix = np.asarray(volume.grid.affine, dtype=np.float64)
    turns = np.linalg.solve(np.asarray(grid.affine, dtype=np.float64)[:3, :3], matrix[:3, :3])
    turns *= np.asarray(grid.spacing_mm)[:, np.newaxis] / np.asarray(volume.grid.spacing_mm)  # cosines, not voxels
    order = [int(axis) for axis in np.argmax(np.abs(turns), axis=1)]  # the volume's axis along each axis of `grid`
    flips = [bool(turns[row, axis] < 0) for row, axis in enumerate(order)]
    if sorted(order) != [0, 1, 2] or (order == [0, 1, 2] and not any(flips)):
        return volume
    sizes = [volume.grid.shape[axis] for axis in order]
    matrix = matrix[:, [*order, 3]]
    for axis, flip in enumerate(flips):
        if flip:
            matrix[:, 3] += matrix[:, axis] * (sizes[axis] - 1)
            matrix[:, axis] *= -1
    array = np.transpose(volume.array, (0, *(axis + 1 for axis in order)))
    array = array[(slice(None), *(slice(None, None, -1 if flip else 1) for flip in flips))]
    new = replace(volume.grid, shape=(sizes[0], sizes[1], sizes[2]), affine=affine_tuple(matrix))
    return replace(volume, array=np.ascontiguousarray(array), grid=new)


def _sizes(grid: Grid) -> str:
    z, y, x = grid.shape
    return f"{x} x {y} x {z}"
