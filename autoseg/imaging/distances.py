"""Distances between two surfaces, measured once; Hausdorff, average and tolerance scores are read off them.

Two forms. Voxels: the surface of a mask is its voxels with a 6-neighbour outside (4-neighbour in a single slice; the
image's edge counts as outside), each weighing the same. Surfels: the marching-cubes triangles of each 2x2x2
neighbourhood, weighing their area (Nikolov et al., Deep learning to achieve clinically applicable segmentation of head
and neck anatomy, 2018). Distances are Euclidean, in mm, from surface element to nearest surface element of the other.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float64, UInt8
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes, mesh_surface_area

Mask = Bool[np.ndarray, "*axes"]
SpacingMm = tuple[float, ...]
_ROUNDING = 1e-6

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
    to_reference, to_prediction = _between(surface_voxels(a), surface_voxels(b), spacing, np.inf)
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
    areas = surfel_areas(tuple(float(s) for s in spacing))
    p_codes, r_codes = _neighbour_codes(a), _neighbour_codes(b)
    full = len(areas) - 1
    p_at, r_at = (p_codes > 0) & (p_codes < full), (r_codes > 0) & (r_codes < full)
    to_reference, to_prediction = _between(p_at, r_at, spacing, reach_mm)
    return SurfaceDistances(
        to_reference=to_reference,
        to_prediction=to_prediction,
        prediction_weights=areas[p_codes[p_at]],
        reference_weights=areas[r_codes[r_at]],
    )


def surface_voxels(mask: Mask) -> Mask:
    """Return the voxels of a mask (any number of axes) that have a face neighbour outside it or outside the array."""
    padded = np.pad(mask, 1)
    inside = mask.copy()
    for axis in range(mask.ndim):
        for start in (0, 2):
            window = [slice(1, -1)] * mask.ndim
            window[axis] = slice(start, start + mask.shape[axis])
            inside &= padded[tuple(window)]
    surface: Mask = mask & ~inside
    return surface


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
            vertices, faces, _, _ = marching_cubes(cell.reshape(2, 2, 2), 0.5, spacing=spacing_mm, method="lorensen")
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


def _neighbour_codes(mask: Mask) -> UInt8[np.ndarray, "..."]:
    """Return the occupancy code of every cell between neighbouring voxels, the array padded with outside."""
    padded = np.pad(mask, 1).view(np.uint8)
    codes = np.zeros([n + 1 for n in mask.shape], dtype=np.uint8)
    for bit, corner in enumerate(np.ndindex(*(2,) * mask.ndim)):
        window = tuple(slice(start, start + n + 1) for start, n in zip(corner, mask.shape, strict=True))
        codes |= padded[window] << np.uint8(bit)
    return codes


def _crop(
    prediction: Mask, reference: Mask, spacing_mm: SpacingMm
) -> tuple[Bool[np.ndarray, "*box"], Bool[np.ndarray, "*box"], Float64[np.ndarray, " axes"]] | None:
    """Return both masks in the box around their union, a single slice as two axes, with the spacing; None if empty."""
    if prediction.shape != reference.shape:
        msg = f"prediction {prediction.shape} and reference {reference.shape} differ in shape"
        raise ValueError(msg)
    if not prediction.any() or not reference.any():
        return None
    first = 1 if prediction.ndim == 3 and len(prediction) == 1 else 0
    a, b = (prediction[0], reference[0]) if first else (prediction, reference)
    either = a | b
    box = []
    for axis in range(either.ndim):
        hit = np.flatnonzero(either.any(axis=tuple(i for i in range(either.ndim) if i != axis)))
        box.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return a[tuple(box)], b[tuple(box)], np.asarray(spacing_mm[first:], dtype=np.float64)


def _between(
    prediction: Mask, reference: Mask, spacing: Float64[np.ndarray, " axes"], reach_mm: float
) -> tuple[Float64[np.ndarray, " p"], Float64[np.ndarray, " r"]]:
    """Return from each element of either array (true where there is one) the distance to the nearest of the other.

    Elements that both arrays have are at distance 0 and need no search.
    """
    found = []
    points = [np.argwhere(elements) * spacing for elements in (prediction, reference)]
    # A tie at the reach must be found whatever rounding does to its square.
    bound = reach_mm * (1 + _ROUNDING) + _ROUNDING
    for elements, own, other in ((prediction, points[0], reference), (reference, points[1], prediction)):
        distances = np.zeros(len(own))
        apart = ~other[elements]
        if apart.any():
            tree = cKDTree(points[1] if other is reference else points[0], compact_nodes=False, balanced_tree=False)
            distances[apart] = tree.query(own[apart], distance_upper_bound=bound)[0]
        found.append(distances)
    return found[0], found[1]
