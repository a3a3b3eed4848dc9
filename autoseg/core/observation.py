"""What is known of a prediction without a reference: sums of its probabilities, its parts, how its image looks."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class StructureObservation:
    """One predicted structure, before postprocessing.

    `voxels` are of its mask; sums over all voxels: `mass` of probabilities p, `inside` of p in the mask, `entropy` of p
    against 1 - p in nats, `disagreement` of the mean distance of each configuration's p from theirs together. Parts
    touch at faces, edges or corners; `surface_voxels` have a neighbour across a face outside; `centre` is relative to
    the image, 0 to 1 along (z, y, x), None where nothing is predicted.
    """

    label: str
    voxels: int
    mass: float
    inside: float
    entropy: float
    disagreement: float
    volume_mm3: float
    components: int
    largest_voxels: int
    surface_voxels: int
    centre: tuple[float, float, float] | None

    @property
    def expected_dice(self) -> float:
        """Dice between the mask and what the probabilities expect: 1 where the network is sure of every voxel."""
        total = self.voxels + self.mass
        return min(1.0, 2 * self.inside / total) if total > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseObservation:
    """One prediction: its structures in the order of the plan, and the statistics of its prepared image."""

    schema: ClassVar[str] = "autoseg.observation/1"

    case: str
    model_digest: str
    structures: tuple[StructureObservation, ...]
    image: tuple[float, ...]
