"""Distances between two surfaces, measured once; Hausdorff, average and tolerance scores are read off them.

Two forms. Voxels: the surface of a mask is its voxels with a 6-neighbour outside (4-neighbour in a single slice; the
image's edge counts as outside), each weighing the same. Surfels: the marching-cubes triangles of each 2x2x2
neighbourhood, weighing their area (Nikolov et al., Deep learning to achieve clinically applicable segmentation of head
and neck anatomy, 2018). Distances are Euclidean, in mm, from surface element to nearest surface element of the other.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8
from scipy.ndimage import find_objects
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes, mesh_surface_area

Mask = Bool[np.ndarray, "*axes"]
SpacingMm = tuple[float, ...]
_ROUNDING = 1e-6
_WIDEST_MARGIN = 16
_LEAF_SIZE = 64
_MOST_NEIGHBOURS = 192
"""Looking at more of them takes longer than the k-d tree."""

_TIE = 1e-9
"""A neighbour at 0.7 mm is within 0.7 mm, although 4 * 0.7 - 3 * 0.7 is a little more in floating point."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SurfaceDistances:
    """From every surface element of one mask to the nearest of the other, in mm, with the elements' weights.

    Weights are 1 for voxels and areas in mm2 (lengths in mm in a single slice) for surfels.
    """

    to_reference: Float64[np.ndarray, " prediction"]
    to_prediction: Float64[np.ndarray, " reference"]
    prediction_weights: Float64[np.ndarray, " prediction"]
    reference_weights: Float64[np.ndarray, " reference"]


def surface_distances(prediction: Mask, reference: Mask, spacing_mm: SpacingMm) -> SurfaceDistances | None:
    """Return the distances between surface voxels of two masks (z, y, x); None when one of them is empty."""
    cropped = _crop(prediction, reference, spacing_mm)
    if cropped is None:
        return None
    a, b, spacing = cropped
    near = _neighbours(spacing)
    p, r = (_surface(np.pad(mask, near.margin)) for mask in (a, b))
    only_p, only_r = _apart(p, r)
    shared = np.zeros(np.count_nonzero(p) - len(only_p))
    to_reference = np.concatenate([shared, _nearest(only_p, r, near, np.inf)])
    to_prediction = np.concatenate([shared, _nearest(only_r, p, near, np.inf)])
    return SurfaceDistances(
        to_reference=to_reference,
        to_prediction=to_prediction,
        prediction_weights=np.ones(len(to_reference)),
        reference_weights=np.ones(len(to_prediction)),
    )


def surfel_distances(
    prediction: Mask, reference: Mask, spacing_mm: SpacingMm, reach_mm: float = np.inf
) -> SurfaceDistances | None:
    """Return the distances between surfels of two masks (z, y, x), with areas; None when one of them is empty.

    Distances beyond `reach_mm` may come back as infinite: a tolerance need not know them, and the search ends sooner.
    """
    cropped = _crop(prediction, reference, spacing_mm)
    if cropped is None:
        return None
    a, b, spacing = cropped
    areas, near = surfel_areas(spacing), _neighbours(spacing)
    p_codes, r_codes = (_cell_codes(np.pad(mask, near.margin)) for mask in (a, b))
    inside = np.uint8(len(areas) - 1)
    p, r = (codes - np.uint8(1) < inside - np.uint8(1) for codes in (p_codes, r_codes))  # neither 0 nor `inside`
    shared, (only_p, only_r) = _places(p & r), _apart(p, r)
    nothing = np.zeros(len(shared))
    return SurfaceDistances(
        to_reference=np.concatenate([nothing, _nearest(only_p, r, near, reach_mm)]),
        to_prediction=np.concatenate([nothing, _nearest(only_r, p, near, reach_mm)]),
        prediction_weights=areas[p_codes.reshape(-1)[np.concatenate([shared, only_p])]],
        reference_weights=areas[r_codes.reshape(-1)[np.concatenate([shared, only_r])]],
    )


def surface_voxels(mask: Mask) -> Mask:
    """Return the voxels of a mask (any number of axes) that have a face neighbour outside it or outside the array."""
    return _surface(np.pad(mask, 1))


def hausdorff(distances: SurfaceDistances) -> float:
    """Return the largest distance, in mm."""
    return float(max(distances.to_reference.max(), distances.to_prediction.max()))


def hausdorff_95(distances: SurfaceDistances) -> float:
    """Return the larger of the two directed 95th percentiles, in mm."""
    return float(max(np.percentile(distances.to_reference, 95), np.percentile(distances.to_prediction, 95)))


def hausdorff_95_pooled(distances: SurfaceDistances) -> float:
    """Return the 95th percentile of both directions together, in mm: the form of older papers (medpy)."""
    return float(np.percentile(np.concatenate([distances.to_reference, distances.to_prediction]), 95))


def average_symmetric(distances: SurfaceDistances) -> float:
    """Return ASSD in mm: the mean over all surface elements of both masks."""
    return float(np.concatenate([distances.to_reference, distances.to_prediction]).mean())


def mean_average(distances: SurfaceDistances) -> float:
    """Return MASD in mm: the mean of the two directed means."""
    return float((distances.to_reference.mean() + distances.to_prediction.mean()) / 2)


def surface_dice(distances: SurfaceDistances, tolerance_mm: float) -> float:
    """Return NSD: the share of both surfaces, by weight, that lies within the tolerance of the other."""
    within_mm = tolerance_mm * (1 + _TIE)
    near = distances.prediction_weights[distances.to_reference <= within_mm].sum()
    near += distances.reference_weights[distances.to_prediction <= within_mm].sum()
    return float(near / (distances.prediction_weights.sum() + distances.reference_weights.sum()))


@lru_cache(maxsize=64)
def surfel_areas(spacing_mm: SpacingMm) -> Float64[np.ndarray, " codes"]:
    """Return the surface inside a cell for each occupancy code: area (256,) in mm2, or length (16,) in mm for two axes.

    Bit i of the code is the cell's i-th corner in array order.
    """
    corners = 2 ** len(spacing_mm)
    full = 2**corners - 1
    areas = np.zeros(full + 1)
    for code in range(1, full):
        if code.bit_count() > corners // 2:
            continue  # the same surface as its complement's, set below
        cell = np.array([(code >> bit) & 1 for bit in range(corners)], dtype=np.float64)
        if len(spacing_mm) == 3:
            vertices, faces, _, _ = marching_cubes(cell.reshape(2, 2, 2), 0.5, method="lorensen")
            vertices = vertices.astype(np.float64) * spacing_mm  # in single precision only halves are exact
            areas[code] = mesh_surface_area(vertices, faces)
        else:
            areas[code] = _contour_length(cell.reshape(2, 2), spacing_mm)
        areas[full - code] = areas[code]
    areas.setflags(write=False)
    return areas


def _contour_length(cell: Float64[np.ndarray, "2 2"], spacing_mm: SpacingMm) -> float:
    """Return the length of the half-way contour inside a 2x2 cell."""
    if cell[0, 0] == cell[0, 1] and cell[1, 0] == cell[1, 1]:
        return spacing_mm[1]
    if cell[0, 0] == cell[1, 0] and cell[0, 1] == cell[1, 1]:
        return spacing_mm[0]
    corner = float(np.linalg.norm(spacing_mm)) / 2
    return 2 * corner if cell.sum() == 2 else corner


def _surface(padded: Bool[np.ndarray, "..."]) -> Bool[np.ndarray, "..."]:
    """Return the surface voxels of a mask with a margin, as an array that is smaller by one voxel on every side."""
    mask = padded[(slice(1, -1),) * padded.ndim]
    inside = mask.copy()
    for axis in range(padded.ndim):
        for start, stop in ((0, -2), (2, None)):
            window = [slice(1, -1)] * padded.ndim
            window[axis] = slice(start, stop)
            inside &= padded[tuple(window)]
    return np.asarray(mask & ~inside)


def _cell_codes(padded: Bool[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
    """Return the occupancy code of every cell between neighbouring voxels of a mask with a margin."""
    codes = padded.view(np.uint8)
    for bits, axis in enumerate(reversed(range(padded.ndim))):
        near, far = [slice(None)] * padded.ndim, [slice(None)] * padded.ndim
        near[axis], far[axis] = slice(None, -1), slice(1, None)
        shifted = codes[tuple(far)] << np.uint8(1 << bits)
        shifted |= codes[tuple(near)]
        codes = shifted
    return codes


def _crop(
    prediction: Mask, reference: Mask, spacing_mm: SpacingMm
) -> tuple[Bool[np.ndarray, "*box"], Bool[np.ndarray, "*box"], SpacingMm] | None:
    """Return both masks in the box around their union, a single slice as two axes, with the spacing; None if empty."""
    if prediction.shape != reference.shape:
        msg = f"prediction {prediction.shape} and reference {reference.shape} differ in shape"
        raise ValueError(msg)
    if not prediction.any() or not reference.any():
        return None
    first = 1 if prediction.ndim == 3 and len(prediction) == 1 else 0
    a, b = (prediction[0], reference[0]) if first else (prediction, reference)
    either = a | b
    faces = (either.take(end, axis) for axis in range(either.ndim) for end in (0, -1))
    box = (...,) if all(face.any() for face in faces) else find_objects(either.view(np.uint8))[0]
    return a[box], b[box], tuple(float(s) for s in spacing_mm[first:])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Neighbours:
    """The nearest neighbours of a voxel: offsets by distance in mm, along each axis all fewer than `margin` voxels."""

    spacing: tuple[float, ...]
    shells: tuple[tuple[float, Int64[np.ndarray, "_ axes"]], ...]
    margin: tuple[tuple[int, int], ...]


@lru_cache(maxsize=64)
def _neighbours(spacing_mm: SpacingMm) -> _Neighbours:
    """Return all neighbours within a ball that holds about _MOST_NEIGHBOURS of them."""
    axes, unit = len(spacing_mm), np.pi * (4 / 3 if len(spacing_mm) == 3 else 1)
    radius_mm = float((_MOST_NEIGHBOURS * np.prod(spacing_mm) / unit) ** (1 / axes))
    radius_mm = min(radius_mm, _WIDEST_MARGIN * min(spacing_mm))
    margin = [int(radius_mm / s) for s in spacing_mm]
    around = np.meshgrid(*(np.arange(-m, m + 1) for m in margin), indexing="ij")
    offsets = np.stack(around, axis=-1).reshape(-1, axes)
    mm = np.linalg.norm(offsets * np.asarray(spacing_mm), axis=1)
    found: dict[float, list[int]] = {}
    for place in np.argsort(mm, kind="stable"):
        if 0 < mm[place] <= radius_mm:
            found.setdefault(round(float(mm[place]), 9), []).append(int(place))
    shells = tuple((float(mm[places[0]]), offsets[places]) for places in found.values())
    return _Neighbours(spacing=spacing_mm, shells=shells, margin=tuple((m + 1, m + 1) for m in margin))


def _places(sparse: Mask) -> Int64[np.ndarray, " places"]:
    """Return the flat indexes where an array is true, as np.flatnonzero does, eight voxels at a time."""
    flat = sparse.reshape(-1)
    whole = len(flat) // 8 * 8
    words = np.flatnonzero(flat[:whole].view(np.uint64))
    word, byte = np.nonzero(flat[:whole].reshape(-1, 8)[words])
    return np.concatenate([words[word] * 8 + byte, np.flatnonzero(flat[whole:]) + whole])


def _apart(first: Mask, second: Mask) -> tuple[Int64[np.ndarray, " p"], Int64[np.ndarray, " r"]]:
    """Return the flat indexes of what only the first array has, and of what only the second has."""
    differing = _places(first ^ second)
    in_first = first.reshape(-1)[differing]
    return differing[in_first], differing[~in_first]


def _nearest(
    apart: Int64[np.ndarray, " elements"], other: Mask, near: _Neighbours, reach_mm: float
) -> Float64[np.ndarray, " elements"]:
    """Return the distance in mm from each flat index to the nearest element (true) of an array that lacks them.

    The array has a margin without elements. Most indexes have an element nearby, which a walk over the neighbours in
    order of their distance finds; the k-d tree is for the rest.
    """
    there = other.reshape(-1)
    distances, left = np.full(len(apart), np.inf), np.arange(len(apart))
    strides = [int(np.prod(other.shape[axis + 1 :])) for axis in range(other.ndim)]
    # A tie at the reach must be found whatever rounding does to its square.
    bound_mm = reach_mm * (1 + _ROUNDING) + _ROUNDING
    walked_mm = 0.0
    for walked_mm, offsets in near.shells:
        if not len(left) or walked_mm > bound_mm:
            break
        places = apart[left]
        hit = np.zeros(len(left), np.bool_)
        for step in offsets @ strides:
            hit |= there[places + step]
        distances[left[hit]] = walked_mm
        left = left[~hit]
    if len(left) and walked_mm <= bound_mm:
        # Few are left, so the tree is made fast to build rather than to search.
        points, others = (
            np.stack(np.unravel_index(at, other.shape), axis=1) * near.spacing for at in (apart[left], _places(other))
        )
        tree = cKDTree(others, _LEAF_SIZE, compact_nodes=False, balanced_tree=False)
        distances[left] = tree.query(points, distance_upper_bound=bound_mm)[0]
    return distances
