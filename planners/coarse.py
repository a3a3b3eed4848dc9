"""When an `auto` network works coarser: where patches would see too little, or prediction would take too long."""

import math
from dataclasses import dataclass

from planners.fingerprint import Fingerprint
from planners.fit import Fit, fitted_sizes
from planners.patch import Space, Task, coarsened
from planners.prediction import window_count, window_seconds
from planners.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Coarse:
    """A coarser space, the network for it, and why: `reduction` times fewer voxels than at full resolution.

    `prediction_seconds` is the time for one case at full resolution, None where it does not matter or is unknown;
    `structure_voxels` is what is left of the smallest structure, None where structures were not counted.
    """

    space: Space
    fit: Fit
    reduction: float
    coverage: float
    prediction_seconds: float | None
    structure_voxels: float | None


def coarse(full: Space, fit: Fit, fingerprint: Fingerprint, task: Task, recipe: Recipe) -> Coarse | None:
    """Return the coarser space to work in, or None where full resolution serves.

    Voxels are made larger until a patch covers enough of the median case and a few cases can be predicted in their
    share of the budget, but never so large that the smallest structure falls below a few voxels an edge.
    """
    voxels = math.prod(full.median_shape)
    coverage = math.prod(fit.sizes.network.patch) / voxels
    wanted = recipe.patch_coverage_min / coverage
    allowed_seconds = fit.allowance.case_seconds
    machine, network = fit.allowance.machine, fit.sizes.network
    seconds = None
    if machine is not None and allowed_seconds is not None:
        seconds = window_seconds(network, window_count(full.median_shape, network.patch), machine)
    if seconds is not None and allowed_seconds is not None:
        wanted = max(wanted, seconds / allowed_seconds)
    if wanted < recipe.lowres_gain_min:
        return None
    structure = smallest_structure_voxels(fingerprint, full.spacing_mm)
    if structure is not None:
        wanted = min(wanted, structure / recipe.structure_voxels_min)
    if wanted < recipe.lowres_gain_min:
        return None
    spacing_mm = full.spacing_mm
    while math.prod(s / f for s, f in zip(spacing_mm, full.spacing_mm, strict=True)) < wanted:
        spacing_mm = coarsened(spacing_mm, recipe.lowres_factor)
    shape = tuple(f / s * n for f, s, n in zip(full.spacing_mm, spacing_mm, full.median_shape, strict=True))
    reduction = voxels / math.prod(shape)
    space = Space(
        spacing_mm=spacing_mm,
        median_shape=tuple(max(1.0, float(round(edge))) for edge in shape),
        dataset_voxels=math.prod(shape) * task.n_training,
    )
    return Coarse(
        space=space,
        fit=fitted_sizes(space, task, recipe, fit.allowance),
        reduction=reduction,
        coverage=coverage,
        prediction_seconds=seconds,
        structure_voxels=None if structure is None else structure / reduction,
    )


def smallest_structure_voxels(fingerprint: Fingerprint, spacing_mm: tuple[float, ...]) -> float | None:
    """Return the voxels, at `spacing_mm`, of a typical connected part of the label whose parts are smallest.

    Typical is the median over the cases that hold the label; None where nothing was counted.
    """
    typical = []
    for index, label in enumerate(fingerprint.labels):
        if label.role != "foreground":
            continue
        volumes_mm3 = sorted(
            case.label_voxels[index] / case.label_components[index] * math.prod(case.spacing_mm)
            for case in fingerprint.cases
            if len(case.label_components) > index and case.label_components[index] > 0
        )
        if volumes_mm3:
            typical.append(volumes_mm3[len(volumes_mm3) // 2])
    return min(typical) / math.prod(spacing_mm) if typical else None
