"""Which label belongs to which image, by where they lie: for names that do not say it."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autoseg.datasets.arrangement import ambiguous
from autoseg.datasets.listing import Item
from autoseg.datasets.load import same_place
from autoseg.datasets.pairing import Pair, Pairing
from autoseg.imaging.geometry import MAX_CORNER_DISPLACEMENT_VOXELS
from autoseg.imaging.read import read_header
from autoseg.imaging.reading import STRICT, ReadOptions
from autoseg.imaging.volume import Grid


def pair_in_space(
    folder: Path, images: Sequence[Item], labels: Sequence[Item], options: ReadOptions = STRICT
) -> Pairing | None:
    """Put together the images and labels whose voxels lie at the same places, whatever the order of their axes.

    Returns:
        The pairing, or None if no label lies on an image or something is no 3D image.

    Raises:
        AutosegError: a label lies on several images or several labels on one, or a header cannot be read.

    """
    grids = [read_header(folder / item.path, options).grid for item in (*images, *labels)]
    if any(grid.dimensions == 2 for grid in grids):
        return None
    of_label = grids[len(images) :]
    centres = np.array([_centre(grid) for grid in grids[: len(images)]])
    on: dict[int, list[Item]] = {}
    for label, grid in zip(labels, of_label, strict=True):
        near = np.abs(centres - _centre(grid)).max(axis=1) <= MAX_CORNER_DISPLACEMENT_VOXELS * max(grid.spacing_mm)
        found = [int(index) for index in np.flatnonzero(near) if same_place(grids[index], grid)]
        if len(found) > 1:
            what = f"the names do not pair images and labels, and {label.path} lies on the grid of several images"
            raise ambiguous(folder, what, [str(images[index].path) for index in found], "--cases")
        for index in found:
            on.setdefault(index, []).append(label)
    if not on:
        return None
    variants: list[Item] = []
    for index, some in on.items():
        plain = _plainest(some)
        if plain is None:
            what = (
                f"the names do not pair images and labels, and several labels lie on the grid of {images[index].path}"
            )
            raise ambiguous(folder, what, [str(item.path) for item in some], "--labels")
        variants += [item for item in some if item is not plain]
        on[index] = [plain]
    paired = {item.path for some in on.values() for item in some} | {item.path for item in variants}
    return Pairing(
        tuple(Pair(images[index].stem, (images[index],), tuple(some)) for index, some in sorted(on.items())),
        tuple(Pair(image.stem, (image,), ()) for index, image in enumerate(images) if index not in on),
        tuple(item for item in labels if item.path not in paired),
        "the same voxels in space",
        tuple(variants),
    )


def _plainest(labels: Sequence[Item]) -> Item | None:
    """Return the label whose name all others only add words to (`seg` of `seg`, `seg_fast`), None if there is none."""
    shortest = min(labels, key=lambda item: len(item.stem))
    begun = all(item is shortest or re.match(rf"{re.escape(shortest.stem)}[-_. ]", item.stem) for item in labels)
    return shortest if begun else None


def _centre(grid: Grid) -> NDArray[np.float64]:
    """Return the centre of a grid in mm, which no order or direction of axes changes."""
    middle = [*((n - 1) / 2 for n in grid.shape), 1.0]
    centre: NDArray[np.float64] = (np.asarray(grid.affine, np.float64) @ middle)[:3]
    return centre
