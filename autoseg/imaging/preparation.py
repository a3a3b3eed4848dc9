"""From a case's own grid to the network's and back: transpose, crop, normalise, resample.

Intensities are normalised before resampling, at the resolution they were measured at.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int16, Int32, Integer, Real, Shaped

from autoseg.core.labels import IGNORE, OUTSIDE
from autoseg.imaging.crop import nonzero_box
from autoseg.imaging.intensity import normalize
from autoseg.imaging.resampling import (
    CUBIC,
    LINEAR,
    AxisOperator,
    Order,
    axis_operator,
    axis_orders,
    new_shape,
    resize,
    resize_labels,
)
from planners.plan import Configuration, Plan

Shape = tuple[int, int, int]
SpacingMm = tuple[float, float, float]

MOST_LOCATIONS = 10_000
"""Foreground voxels remembered per label and case: enough to sample patches from, little to load. nnU-Net's number."""
_UNDECLARED = -3


@dataclass(frozen=True, slots=True, kw_only=True)
class GridMapping:
    """The way from a case's native grid to the network's and back.

    Native numbers are in the file's axes (z, y, x); crop and network numbers in the transposed axes, in which axis i is
    native axis `transpose[i]`. The crop is half-open.
    """

    native_shape: Shape
    native_spacing_mm: SpacingMm
    transpose: Shape
    crop_lower: Shape
    crop_upper: Shape
    network_shape: Shape
    network_spacing_mm: SpacingMm

    def __post_init__(self) -> None:
        """Refuse numbers that do not fit each other."""
        bounds = zip(self.crop_lower, self.crop_upper, self._transposed_shape, strict=True)
        if sorted(self.transpose) != [0, 1, 2] or not all(0 <= low < high <= n for low, high, n in bounds):
            crop = f"{self.crop_lower}..{self.crop_upper}"
            msg = f"transpose {self.transpose} and crop {crop} do not fit shape {self.native_shape}"
            raise ValueError(msg)
        if min(self.network_shape) < 1 or min(*self.network_spacing_mm, *self.native_spacing_mm) <= 0:
            msg = f"network shape {self.network_shape} or a spacing is not positive"
            raise ValueError(msg)

    @property
    def _transposed_shape(self) -> Shape:
        a, b, c = self.transpose
        return (self.native_shape[a], self.native_shape[b], self.native_shape[c])

    @property
    def cropped_shape(self) -> Shape:
        """Shape of the crop at native resolution, transposed axes."""
        z, y, x = (high - low for low, high in zip(self.crop_lower, self.crop_upper, strict=True))
        return (z, y, x)

    @property
    def cropped_spacing_mm(self) -> SpacingMm:
        """Native spacing in transposed axes."""
        a, b, c = self.transpose
        return (self.native_spacing_mm[a], self.native_spacing_mm[b], self.native_spacing_mm[c])

    def crop(self, array: Shaped[np.ndarray, "*lead z y x"]) -> Shaped[np.ndarray, "*lead crop_z crop_y crop_x"]:
        """Return a view of the array (..., z, y, x) on the native grid, transposed and cropped."""
        lead = array.ndim - 3
        view = array.transpose(*range(lead), *(lead + axis for axis in self.transpose))
        z, y, x = (slice(low, high) for low, high in zip(self.crop_lower, self.crop_upper, strict=True))
        return view[..., z, y, x]

    def to_network(self, image: Float32[np.ndarray, "c z y x"]) -> Float32[np.ndarray, "c new_z new_y new_x"]:
        """Return the image (c, z, y, x) on the network's grid: transposed, cropped, resampled with a cubic spline."""
        return self.resample(self.crop(image))

    def label_to_network(self, label: Integer[np.ndarray, "z y x"]) -> Integer[np.ndarray, "new_z new_y new_x"]:
        """Return the label map (z, y, x) on the network's grid."""
        return self.resample_label(self.crop(label))

    def resample(
        self, cropped: Float32[np.ndarray, "c crop_z crop_y crop_x"]
    ) -> Float32[np.ndarray, "c new_z new_y new_x"]:
        """Resample a cropped image (c, z, y, x) with a cubic spline; thick slices are not interpolated."""
        orders = axis_orders(self.cropped_spacing_mm, self.network_spacing_mm, CUBIC)
        return resize(cropped, self.network_shape, orders)

    def resample_label(
        self, cropped: Integer[np.ndarray, "crop_z crop_y crop_x"]
    ) -> Integer[np.ndarray, "new_z new_y new_x"]:
        """Resample a cropped label map (z, y, x) by linear indicators; thick slices are not interpolated."""
        orders = axis_orders(self.cropped_spacing_mm, self.network_spacing_mm, LINEAR)
        return np.ascontiguousarray(resize_labels(cropped, self.network_shape, orders))

    def operators_to_native(self, order: Order = LINEAR) -> tuple[AxisOperator, AxisOperator, AxisOperator]:
        """Return the operators per axis that take logits from the network's grid to the crop."""
        orders = axis_orders(self.network_spacing_mm, self.cropped_spacing_mm, order)
        z, y, x = (axis_operator(*n) for n in zip(self.network_shape, self.cropped_shape, orders, strict=True))
        return (z, y, x)

    def crop_to_native(self, cropped: Shaped[np.ndarray, "crop_z crop_y crop_x"]) -> Shaped[np.ndarray, "z y x"]:
        """Paste a crop (z, y, x) at native resolution into zeros and transpose back to the native grid."""
        if cropped.shape != self.cropped_shape:
            msg = f"array {cropped.shape} is not the crop {self.cropped_shape}"
            raise ValueError(msg)
        native = np.zeros(self.native_shape, dtype=cropped.dtype)
        self.crop(native)[...] = cropped
        return native


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """An image ready for the network: float32 (c, z, y, x) on its grid, the way there, the nonzero mask of the crop.

    `mask` (z, y, x) is at native resolution, transposed and cropped, as `prepare_label` wants it.
    """

    image: Float32[np.ndarray, "c new_z new_y new_x"]
    mapping: GridMapping
    mask: Bool[np.ndarray, "crop_z crop_y crop_x"]

    def label_to_network(self, label: Integer[np.ndarray, "z y x"]) -> Int16[np.ndarray, "new_z new_y new_x"]:
        """Return a label map (z, y, x) that was predicted for this image on the network's grid, as a cascade sees it.

        Background outside the mask is OUTSIDE and counts as a label of its own when neighbours outvote each other.
        Source: nnU-Net, DefaultPreprocessor, which gives a cascade its first stage's label map in this way.
        """
        return self.mapping.resample_label(_mark_outside(self.mapping.crop(label), self.mask))


def prepare_image(
    array: Real[np.ndarray, "c z y x"], spacing_mm: SpacingMm, plan: Plan, configuration: Configuration
) -> Prepared:
    """Return the image (c, z, y, x) on the grid that the configuration wants, normalised.

    Args:
        array: any real type, native grid.
        spacing_mm: native spacing (z, y, x).
        plan: gives the transposition.
        configuration: gives normalizations and spacing. A 2D configuration has no say along the first (transposed)
            axis: slices stay as they are.

    Raises:
        AutosegError: values that the planned normalization cannot take.

    """
    a, b, c = plan.transpose
    view = array.transpose(0, 1 + a, 1 + b, 1 + c)
    spacing = (spacing_mm[a], spacing_mm[b], spacing_mm[c])
    box = nonzero_box(view)
    cropped = view[(slice(None), *box.slices)]
    target = _target_spacing_mm(configuration, spacing)
    z, y, x = new_shape(cropped.shape[1:], spacing, target)
    mapping = GridMapping(
        native_shape=(array.shape[1], array.shape[2], array.shape[3]),
        native_spacing_mm=spacing_mm,
        transpose=plan.transpose,
        crop_lower=box.lower,
        crop_upper=box.upper,
        network_shape=(z, y, x),
        network_spacing_mm=target,
    )
    image = mapping.resample(normalize(cropped, configuration.normalizations, box.mask))
    return Prepared(image=image, mapping=mapping, mask=box.mask)


def prepare_label(
    label: Integer[np.ndarray, "*labels z y x"],
    mapping: GridMapping,
    plan: Plan,
    mask: Bool[np.ndarray, "crop_z crop_y crop_x"],
) -> Int16[np.ndarray, "l new_z new_y new_x"]:
    """Return the reference on the network's grid as int16 (l, z, y, x).

    Args:
        label: native grid: label values (z, y, x), or one 0/1 mask per foreground label (l, z, y, x).
        mapping: the image's way to the network.
        plan: target "labels" gives l = 1 with class indexes 0 (background), 1 ...; "regions" one 0/1 map per label.
        mask: the image's nonzero mask (`Prepared.mask`); background outside it becomes OUTSIDE.

    Raises:
        ValueError: a label value that the plan does not declare.

    """
    foreground = [entry for entry in plan.labels if entry.role == "foreground"]
    if label.ndim == 4:
        return np.stack([mapping.resample_label(_mark_outside(mapping.crop(part) != 0, mask)) for part in label])
    ignored = {value: IGNORE for entry in plan.labels if entry.role == "ignore" for value in entry.values}
    values = sorted({value for entry in foreground for value in entry.values})
    if plan.target == "labels":
        codes = {value: index for index, entry in enumerate(foreground, start=1) for value in entry.values}
    else:
        codes = {value: index for index, value in enumerate(values, start=1)}
    coded = _mark_outside(_translate(mapping.crop(label), codes | ignored), mask)
    resampled = mapping.resample_label(coded)
    if plan.target == "labels":
        return resampled[None]
    inside = [[int(value in entry.values) for value in values] for entry in foreground]
    # one row per region over the codes 0, 1 ..., and from the end OUTSIDE (-1) and IGNORE (-2)
    table = np.array([[0, *row, IGNORE, OUTSIDE] for row in inside], dtype=np.int16)
    regions: Int16[np.ndarray, "l new_z new_y new_x"] = table[:, resampled]
    return regions


def foreground_locations(
    label: Int16[np.ndarray, "l z y x"], n_foreground: int, generator: np.random.Generator
) -> tuple[Int32[np.ndarray, "_places 3"], ...]:
    """Return for each foreground label up to MOST_LOCATIONS of its voxels, int32 (n, 3), in array order.

    `label` (l, z, y, x) is as `prepare_label` returns it; the voxels are drawn without replacement.
    """
    found = []
    for index in range(n_foreground):
        mask = label[0] == index + 1 if len(label) == 1 else label[index] == 1
        places = np.flatnonzero(mask)
        if len(places) > MOST_LOCATIONS:
            places = np.sort(generator.choice(places, MOST_LOCATIONS, replace=False, shuffle=False))
        found.append(np.stack(np.unravel_index(places, mask.shape), axis=1).astype(np.int32))
    return tuple(found)


def _target_spacing_mm(configuration: Configuration, spacing_mm: SpacingMm) -> SpacingMm:
    target: Sequence[float] = configuration.spacing_mm
    z, y, x = (spacing_mm[0], *target) if configuration.dimensions == 2 else target
    return (z, y, x)


def _translate(values: Integer[np.ndarray, "z y x"], codes: dict[int, int]) -> Int16[np.ndarray, "z y x"]:
    """Look every label value up in `codes`; 0 stays 0."""
    table = np.full(max(codes, default=0) + 1, _UNDECLARED, dtype=np.int16)
    table[0] = 0
    table[list(codes)] = list(codes.values())
    if values.min() < 0 or values.max() >= len(table):
        raise _undeclared(values, codes)
    coded: Int16[np.ndarray, "z y x"] = table[values]
    if (coded == _UNDECLARED).any():
        raise _undeclared(values, codes)
    return coded


def _undeclared(values: Integer[np.ndarray, "z y x"], codes: dict[int, int]) -> ValueError:
    unknown = np.setdiff1d(values, [0, *codes])[:5].tolist()
    return ValueError(f"label values {unknown} are not declared; the plan has {sorted(codes)}")


def _mark_outside(coded: Shaped[np.ndarray, "z y x"], mask: Bool[np.ndarray, "z y x"]) -> Int16[np.ndarray, "z y x"]:
    """Background outside the mask becomes OUTSIDE; labelled voxels there stay what they are."""
    marked: Int16[np.ndarray, "z y x"] = coded.astype(np.int16)
    marked[~mask & (marked == 0)] = OUTSIDE
    return marked
