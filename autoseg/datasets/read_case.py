"""One case as arrays: the image, and its reference in the label values of the dataset."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoseg.core.errors import AutosegError
from autoseg.datasets.dataset import Case, Dataset
from autoseg.datasets.load import load_image, load_label
from autoseg.imaging.volume import Grid, Volume
from planners.fingerprint import Label

_UNDECLARED = -1
MOST_VALUE = 65535
"""Of a label: what 16 bits hold."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CaseArrays:
    """A case's image (c, z, y, x) and its reference on the image's grid.

    The reference holds label values (z, y, x), int16 where they fit, or one 0/1 mask uint8 per label (l, z, y, x) when
    the dataset's structures overlap; it is None for an unlabelled case.
    """

    image: Volume
    label: NDArray[np.integer[Any]] | None


def read_case(dataset: Dataset, case: Case) -> CaseArrays:
    """Read and check the files of one case.

    Raises:
        AutosegError: a file is missing or damaged; channels or reference lie on another grid than the image; the
            number of channels is not the dataset's; a label value is not an integer or not declared.

    """
    folder = Path(dataset.folder)
    image = load_image(folder, case.images, dataset.reading)
    if len(image.array) != len(dataset.channels):
        what = f"{len(image.array)} channels where {len(dataset.channels)} are expected"
        raise AutosegError.at(folder / case.images[0], what, f"give the channels {', '.join(dataset.channels)}")
    return CaseArrays(image=image, label=read_reference(dataset, case, image.grid) if case.references else None)


def read_reference(dataset: Dataset, case: Case, grid: Grid) -> NDArray[np.integer[Any]]:
    """Return the reference of a labelled case on the grid of its image, as `CaseArrays.label` has it.

    Raises:
        AutosegError: as `read_case`, for the reference.

    """
    place = _Place(folder=Path(dataset.folder), image=case.images[0], grid=grid)
    if dataset.reference_kind == "map":
        return _label_map(dataset, case.references[0], place)
    if dataset.reference_kind == "instances":
        merged = np.zeros(grid.shape, np.int16)
        for name in case.references:
            merged[_mask(dataset, name, place)] = dataset.labels[0].values[0]
        return merged
    if not dataset.overlapping:
        together = np.zeros(grid.shape, np.int16)
        for label, name in zip(dataset.labels, case.references, strict=True):
            if name:
                together[_mask(dataset, name, place)] = label.values[0]
        return together
    masks = np.zeros((len(dataset.labels), *grid.shape), np.uint8)
    for mask, name in zip(masks, case.references, strict=True):
        if name:
            mask[_mask(dataset, name, place)] = 1
    return masks


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """The image that references are read for."""

    folder: Path
    image: str
    grid: Grid


def _read(dataset: Dataset, name: str, place: _Place) -> NDArray[np.integer[Any]]:
    return load_label(place.folder / name, place.grid, dataset.reading, place.folder / place.image)


def _mask(dataset: Dataset, name: str, place: _Place) -> NDArray[np.bool_]:
    found = _read(dataset, name, place)
    moved = [value for value, target in dataset.value_map if target == 0]
    if moved:
        return np.asarray((found != 0) & ~np.isin(found, moved))
    return np.asarray(found != 0)


def _label_map(dataset: Dataset, name: str, place: _Place) -> NDArray[np.integer[Any]]:
    path, found = place.folder / name, _read(dataset, name, place)
    if dataset.merge_instances:
        return (found > 0).astype(np.int16) * np.int16(dataset.labels[0].values[0])
    low, high = int(found.min()), int(found.max())
    if low < 0 or high > MOST_VALUE:
        raise AutosegError.at(path, f"label values from {low} to {high}", "use values from 0 to 65535")
    table = _table(dataset.value_map, dataset.labels, high)
    label: NDArray[np.integer[Any]] = table[found]
    if (label == _UNDECLARED).any():
        unknown = ", ".join(map(str, np.unique(found[label == _UNDECLARED])[:5].tolist()))
        raise AutosegError.at(
            path, f"label values that are not declared: {unknown}", "declare them or correct the file"
        )
    return label


def _table(value_map: tuple[tuple[int, int], ...], labels: tuple[Label, ...], highest: int) -> NDArray[np.integer[Any]]:
    """Return the label value for each value in a file from 0 to `highest`, in the smallest type that holds them."""
    values = [value for label in labels for value in label.values]
    size = max(highest, *values, *(value for value, _ in value_map), 0) + 1
    kind = np.int16 if max(values, default=0) <= np.iinfo(np.int16).max else np.int32
    table: NDArray[np.integer[Any]] = np.full(size, _UNDECLARED, kind)
    table[0] = 0
    for label in labels:
        table[list(label.values)] = label.values
    for value, target in value_map:
        table[value] = target
    return table
