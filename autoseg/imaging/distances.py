"""Distances between two surfaces, measured once; Hausdorff, average and tolerance scores are read off them.

Two forms. Voxels: the surface of a mask is its voxels with a 6-neighbour outside (4-neighbour in a single slice; the
image's edge counts as outside), each weighing the same. Surfels: the marching-cubes triangles of each 2x2x2
neighbourhood, weighing their area (Nikolov et al., Deep learning to achieve clinically applicable segmentation of head
and neck anatomy, 2018). Distances are Euclidean, in mm, from surface element to nearest surface element of the other.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float64, Int
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes, mesh_surface_area

Mask = Bool[np.ndarray, "*axes"]
SpacingMm = tuple[float, ...]


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
    p, r = np.argwhere(surface_voxels(a)) * spacing, np.argwhere(surface_voxels(b)) * spacing
    return _between(p, r, (np.ones(len(p)), np.ones(len(r))))


def surfel_distances(prediction: Mask, reference: Mask, spacing_mm: SpacingMm) -> SurfaceDistances | None:
    """Return the distances between surfels of two masks (z, y, x), with areas; None when one of them is empty."""
    cropped = _crop(prediction, reference, spacing_mm)
    if cropped is None:
        return None
    a, b, spacing = cropped
    areas = surfel_areas(tuple(float(s) for s in spacing))
    p_codes, r_codes = _neighbour_codes(a), _neighbour_codes(b)
    full = len(areas) - 1
    p_at, r_at = (p_codes > 0) & (p_codes < full), (r_codes > 0) & (r_codes < full)
    return _between(
        np.argwhere(p_at) * spacing, np.argwhere(r_at) * spacing, (areas[p_codes[p_at]], areas[r_codes[r_at]])
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
    near = distances.prediction_weights[distances.to_reference <= tolerance_mm].sum()
    near += distances.reference_weights[distances.to_prediction <= tolerance_mm].sum()
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


def _neighbour_codes(mask: Mask) -> Int[np.ndarray, "..."]:
    """Return the occupancy code of every cell between neighbouring voxels, the array padded with outside."""
    padded = np.pad(mask, 1)
    codes = np.zeros([n + 1 for n in mask.shape], dtype=np.intp)
    for bit, corner in enumerate(np.ndindex(*(2,) * mask.ndim)):
        window = tuple(slice(start, start + n + 1) for start, n in zip(corner, mask.shape, strict=True))
        codes |= padded[window].astype(np.intp) << bit
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
    prediction: Float64[np.ndarray, "p axes"],
    reference: Float64[np.ndarray, "r axes"],
    weights: tuple[Float64[np.ndarray, " p"], Float64[np.ndarray, " r"]],
) -> SurfaceDistances:
    return SurfaceDistances(
        to_reference=cKDTree(reference).query(prediction)[0],
        to_prediction=cKDTree(prediction).query(reference)[0],
        prediction_weights=weights[0],
        reference_weights=weights[1],
    )
