"""What each change of a label map would do to the Dice of a case whose reference is known."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64, Integer

from autoseg.core.scores import dice_of
from autoseg.imaging.changes import Change, Kind, apply_change, least_voxels
from autoseg.imaging.components import connected_components
from autoseg.imaging.runs import bounding_boxes


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """Values of label maps that make up a structure, the one that it is written as first, and what else they may be.

    `otherwise`: the value of its voxels without it, that of background or of the smallest region around it.
    """

    values: tuple[int, ...]
    otherwise: int = 0

    def change(self, kind: Kind, minimum_mm3: float = 0.0) -> Change:
        """Return a change of this structure."""
        return Change(kind=kind, values=self.values, minimum_mm3=minimum_mm3, otherwise=self.otherwise)


def structures_of(regions: Sequence[tuple[int, ...]]) -> tuple[Structure | None, ...]:
    """Return the structure of each of these sets of values: labels of one value each, or regions of several.

    None where no value says "all but this region": regions that share values and do not contain each other, or one
    around them that is written as a value of a region inside.

    >>> [each.otherwise for each in structures_of([(1, 2, 3), (2, 3), (3,)])]  # a tumour, its core, its active part
    [0, 1, 2]
    >>> structures_of([(1, 2), (2, 3)])
    (None, None)

    """
    return tuple(_structure_of(values, regions) for values in regions)


def _structure_of(values: tuple[int, ...], regions: Sequence[tuple[int, ...]]) -> Structure | None:
    own = set(values)
    around = sorted((other for other in regions if own < set(other)), key=len)
    others = [set(other) for other in regions if not own < set(other)]
    if any(own & other and not other <= own for other in others):
        return None
    otherwise = around[0][0] if around else 0
    kept = all(otherwise in other for other in around) and not any(otherwise in other for other in others)
    return Structure(values=values, otherwise=otherwise) if kept else None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parts:
    """The connected parts of a predicted structure in one case, and how much of each is right.

    All changes follow from these numbers: `sizes` and `hits` (voxels, those inside the reference) per part,
    `reference` voxels in all, `reference_sizes` of its parts, and voxels and hits of the holes.
    """

    sizes: Int64[np.ndarray, " parts"]
    hits: Int64[np.ndarray, " parts"]
    reference: int
    reference_sizes: Int64[np.ndarray, " reference_parts"]
    holes: tuple[int, int]
    voxel_mm3: float

    def dice(self, change: Change | None) -> float | None:
        """Return the Dice of the structure after a change, None where neither side has a voxel."""
        kept = np.ones(len(self.sizes), dtype=np.bool_)
        more = (0, 0)
        if change is not None and change.kind == "keep-largest":
            kept = self.sizes == self.sizes.max(initial=0)
        elif change is not None and change.kind == "remove-small":
            kept = self.sizes >= least_voxels(change.minimum_mm3, self.voxel_mm3)
        elif change is not None:
            more = self.holes
        voxels, hits = int(self.sizes[kept].sum()) + more[0], int(self.hits[kept].sum()) + more[1]
        return dice_of(hits, voxels - hits, self.reference - hits)


def measure_parts(
    prediction: Integer[np.ndarray, "z y x"],
    reference: Bool[np.ndarray, "z y x"],
    structure: Structure,
    voxel_mm3: float,
) -> Parts:
    """Return the parts of a structure in a predicted label map, held against its reference mask."""
    predicted = np.isin(prediction, structure.values)
    box = bounding_boxes((predicted | reference).astype(np.uint8)).get(1)
    if box is None:
        none = np.zeros(0, dtype=np.int64)
        return Parts(sizes=none, hits=none, reference=0, reference_sizes=none, holes=(0, 0), voxel_mm3=voxel_mm3)
    predicted, inside = predicted[box], reference[box]
    found = connected_components(predicted)
    hits = np.bincount(found.labels[inside], minlength=found.count + 1)[1:]
    change = Change(kind="fill-holes", values=(1,))
    blocked = np.where(predicted, 1, np.where(prediction[box] != structure.otherwise, 2, 0)).astype(np.uint8)
    holes = (apply_change(blocked, change, voxel_mm3) == 1) & ~predicted
    return Parts(
        sizes=found.sizes_voxels,
        hits=hits.astype(np.int64),
        reference=int(inside.sum()),
        reference_sizes=connected_components(inside).sizes_voxels,
        holes=(int(holes.sum()), int((holes & inside).sum())),
        voxel_mm3=voxel_mm3,
    )


def removals_to_try(parts: Sequence[Parts], structure: Structure) -> tuple[Change, ...]:
    """Return the removals worth a trial for a structure: thresholds are volumes that parts of references have.

    The least that any reference has, and their 5th and 25th percentile: smaller parts of a prediction may be noise.
    """
    volumes: Float64[np.ndarray, " volumes"] = np.concatenate(
        [np.zeros(0), *(part.reference_sizes * part.voxel_mm3 for part in parts)]
    )
    limits = sorted({float(np.percentile(volumes, share)) for share in (0, 5, 25)}) if len(volumes) else []
    return (
        *(structure.change("remove-small", minimum_mm3=limit) for limit in limits),
        structure.change("keep-largest"),
    )
