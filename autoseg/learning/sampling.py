"""Which patches a training step sees: cases, centres and changes, all drawn from (seed, step) alone.

A step's draw depends on nothing that came before, so a resumed training sees what an uninterrupted one would have.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int16, Int32

from autoseg.learning.artefacts import ArtefactDraw, draw_artefacts
from autoseg.learning.augmentation import IntensityDraw, draw_intensity
from autoseg.learning.spatial import SpatialDraw, draw_elastic, draw_matrix, draw_mirror, mirror_swaps
from planners.plan import Configuration

JITTER = 0.25
"""A forced foreground voxel lies within this fraction of the patch edge around the patch's centre, not always on it."""


@runtime_checkable
class CaseSource(Protocol):
    """Stored cases of one configuration; corners are half-open and inside the image."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the stored cases."""

    def shape(self, name: str) -> tuple[int, int, int]:
        """Shape (z, y, x) of a case."""

    def read_image(self, name: str, lower: tuple[int, ...], upper: tuple[int, ...]) -> Float32[np.ndarray, "c z y x"]:
        """Image (c, z, y, x) between two corners."""

    def read_label(self, name: str, lower: tuple[int, ...], upper: tuple[int, ...]) -> Int16[np.ndarray, "l z y x"]:
        """Label (l, z, y, x) between two corners."""

    def locations(self, name: str) -> tuple[Int32[np.ndarray, "_places 3"], ...]:
        """Voxels (n, 3) of each foreground label, capped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleDraw:
    """One sample: the case, how its patch is taken, and the slice (2D configurations)."""

    name: str
    spatial: SpatialDraw
    slice_index: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchDraw:
    """Everything random about one training step."""

    samples: tuple[SampleDraw, ...]
    intensity: IntensityDraw
    artefacts: tuple[ArtefactDraw, ...] = ()


def step_generator(seed: int, stream: int, step: int) -> np.random.Generator:
    """Return the generator of one step; `stream` separates folds and configurations."""
    return np.random.default_rng(np.random.SeedSequence((seed, stream, step)))


def forced_count(batch: int, fraction: float) -> int:
    """Number of samples of a batch that are centred on foreground, rounded half to even as nnU-Net does."""
    return batch - round(batch * (1 - fraction))


def draw_batch(
    source: CaseSource, names: tuple[str, ...], configuration: Configuration, channels: int, random: np.random.Generator
) -> BatchDraw:
    """Draw one batch of `configuration` from the cases `names`."""
    fraction = configuration.schedule.foreground_fraction
    forced = forced_count(configuration.batch, fraction)
    if configuration.batch == 1:
        forced = int(random.random() < fraction)
    samples = tuple(
        _draw_sample(
            source, str(random.choice(names)), configuration, random, forced=index >= configuration.batch - forced
        )
        for index in range(configuration.batch)
    )
    intensity = draw_intensity(configuration.augmentation, configuration.batch, channels, random)
    artefacts = draw_artefacts(configuration.augmentation, configuration.batch, configuration.patch, random)
    return BatchDraw(samples=samples, intensity=intensity, artefacts=artefacts)


def _draw_sample(
    source: CaseSource, name: str, configuration: Configuration, random: np.random.Generator, *, forced: bool
) -> SampleDraw:
    shape = source.shape(name)
    voxel = _foreground_voxel(source, name, random) if forced else None
    slice_index = None
    space: tuple[int, ...] = shape
    if configuration.dimensions == 2:
        slice_index = int(random.integers(shape[0])) if voxel is None else voxel[0]
        space = shape[1:]
        voxel = None if voxel is None else voxel[1:]
    augmentation = configuration.augmentation
    centre = _draw_centre(space, configuration.patch, voxel, random)
    matrix = draw_matrix(augmentation, configuration.spacing_mm, random)
    mirror = draw_mirror(augmentation, random)
    spatial = SpatialDraw(
        centre=centre,
        matrix=matrix,
        mirror=mirror,
        swaps=mirror_swaps(augmentation, mirror),
        elastic=draw_elastic(augmentation, configuration.patch, random),
    )
    return SampleDraw(name=name, spatial=spatial, slice_index=slice_index)


def _foreground_voxel(source: CaseSource, name: str, random: np.random.Generator) -> tuple[int, ...] | None:
    present = [voxels for voxels in source.locations(name) if len(voxels)]
    if not present:
        return None
    voxels = present[int(random.integers(len(present)))]
    return tuple(int(v) for v in voxels[int(random.integers(len(voxels)))])


def _draw_centre(
    shape: tuple[int, ...], patch: tuple[int, ...], voxel: tuple[int, ...] | None, random: np.random.Generator
) -> tuple[float, ...]:
    """Draw the patch's centre so that the patch stays in the image, or is centred on it where the image is smaller."""
    centre = []
    for axis, (size, edge) in enumerate(zip(shape, patch, strict=True)):
        shift = random.random()
        jitter = random.uniform(-JITTER, JITTER)
        room = size - edge
        if room <= 0:
            lower = -((-room) // 2)
        elif voxel is None:
            lower = int(shift * (room + 1))
        else:
            lower = min(max(voxel[axis] - edge // 2 + round(jitter * edge), 0), room)
        centre.append(lower + (edge - 1) / 2)
    return tuple(centre)
