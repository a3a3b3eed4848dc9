"""Where a training patch comes from: position, rotation, scaling and mirroring in one interpolation.

The parameters are drawn first (tiny, seeded), then only the voxels that the patch needs are read, so that a patch that
is not rotated costs no more than itself.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int16, Real
from torch import Tensor
from torch.nn import functional

from autoseg.core.labels import IGNORE, OUTSIDE
from planners.plan import Augmentation

MAXIMUM_ONE_HOT = 16
"""With more classes than this, labels are taken from the nearest voxel instead of interpolated as indicators."""

Field = Float32[Tensor, "axes *patch"]
_LEAST = 1e-12  # keeps a deformation that is zero everywhere from dividing by zero


@dataclass(frozen=True, slots=True, kw_only=True)
class Elastic:
    """A smooth random displacement: along each axis at most `reach_voxels`, noise blurred by `sigma_voxels`."""

    reach_voxels: tuple[float, ...]
    sigma_voxels: tuple[float, ...]
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpatialDraw:
    """How one patch is taken: its centre in voxels of the stored image, the matrix from patch to image offsets.

    `matrix` is None where neither rotation nor scaling was drawn; `mirror` are spatial axes of the patch to flip;
    `swaps` are classes that then change places. `elastic` deforms before the matrix turns.
    """

    centre: tuple[float, ...]
    matrix: tuple[tuple[float, ...], ...] | None
    mirror: tuple[int, ...]
    swaps: tuple[tuple[int, int], ...] = ()
    elastic: Elastic | None = None

    @property
    def interpolated(self) -> bool:
        """Whether the patch is more than a crop."""
        return self.matrix is not None or self.elastic is not None


def draw_matrix(
    augmentation: Augmentation, spacing_mm: tuple[float, ...], random: np.random.Generator
) -> tuple[tuple[float, ...], ...] | None:
    """Draw rotation and scaling; None where neither fires.

    Rotation is in millimetres, so anisotropic voxels are not sheared. Scale above 1 shrinks objects.
    """
    dimensions = len(spacing_mm)
    rotate = random.random() < augmentation.rotation_probability
    scale = random.random() < augmentation.scaling_probability
    low, high = augmentation.rotation_deg[0], augmentation.rotation_deg[-1]
    angles = np.deg2rad(random.uniform(low, high, size=3))
    factor = float(random.uniform(*augmentation.scaling))
    if not rotate and not scale:
        return None
    matrix = np.eye(dimensions)
    if rotate:
        planes = [(0, 1)] if dimensions == 2 else [(1, 2), (0, 2), (0, 1)]
        if augmentation.in_plane_only and dimensions == 3:
            planes = planes[:1]
        for (a, b), angle in zip(planes, angles, strict=False):
            turn = np.eye(dimensions)
            turn[a, a] = turn[b, b] = np.cos(angle)
            turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
            matrix = matrix @ turn
        spacing = np.asarray(spacing_mm)
        matrix = matrix * spacing[None, :] / spacing[:, None]
    if scale:
        factors = np.full(dimensions, factor)
        if augmentation.in_plane_only and dimensions == 3:
            factors[0] = 1.0
        matrix = matrix * factors[None, :]
    return tuple(tuple(float(v) for v in row) for row in matrix)


def draw_mirror(augmentation: Augmentation, random: np.random.Generator) -> tuple[int, ...]:
    """Draw the axes to flip, each with probability one half."""
    return tuple(axis for axis in augmentation.mirror_axes if random.random() < 0.5)


def draw_elastic(augmentation: Augmentation, patch: tuple[int, ...], random: np.random.Generator) -> Elastic | None:
    """Draw an elastic deformation; None where it does not fire. Nothing is drawn where it never does."""
    if augmentation.elastic_probability <= 0 or random.random() >= augmentation.elastic_probability:
        return None
    reach, smoothness = random.uniform(*augmentation.elastic_reach), random.uniform(*augmentation.elastic_smoothness)
    flat = augmentation.in_plane_only and len(patch) == 3
    return Elastic(
        reach_voxels=tuple(0.0 if flat and axis == 0 else float(reach * n) for axis, n in enumerate(patch)),
        sigma_voxels=tuple(float(smoothness * n) for n in patch),
        seed=int(random.integers(2**62)),
    )


def mirror_swaps(augmentation: Augmentation, mirror: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Return the outputs that change places when a patch is flipped along `mirror`: left and right of a structure."""
    return augmentation.mirror_swaps if augmentation.mirror_swap_axis in mirror else ()


def swapped_order(count: int, swaps: tuple[tuple[int, int], ...]) -> list[int]:
    """Return the order of `count` outputs after pairs of them changed places.

    >>> swapped_order(5, ((1, 3),))
    [0, 3, 2, 1, 4]

    """
    order = list(range(count))
    for a, b in swaps:
        order[a], order[b] = b, a
    return order


def swap_sides(label: Int16[Tensor, " l *patch"], swaps: tuple[tuple[int, int], ...]) -> Int16[Tensor, " l *patch"]:
    """Return a label (l, *patch) in which pairs of classes (l == 1) or of masks changed places."""
    if not swaps:
        return label
    if label.shape[0] > 1:
        return label[swapped_order(label.shape[0], swaps)]
    swapped = label.clone()
    for a, b in swaps:
        swapped[label == a] = b
        swapped[label == b] = a
    return swapped


def source_box(draw: SpatialDraw, patch: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return (lower, upper) corners, half-open, of the voxels of the stored image that the patch needs.

    Corners may lie outside the image.
    """
    size = np.asarray(patch)
    if not draw.interpolated:
        lower = np.round(np.asarray(draw.centre) - (size - 1) / 2).astype(int)
        return tuple(int(v) for v in lower), tuple(int(v) for v in lower + size)
    deformed = 0.0 if draw.elastic is None else np.asarray(draw.elastic.reach_voxels)
    reach = np.abs(_matrix(draw)) @ ((size - 1) / 2 + deformed)
    lower = np.floor(np.asarray(draw.centre) - reach).astype(int)
    upper = np.ceil(np.asarray(draw.centre) + reach).astype(int) + 1
    return tuple(int(v) for v in lower), tuple(int(v) for v in upper)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceBlock:
    """Voxels read for one patch: image (c, *box), label (l, *box), and the box's lower corner."""

    image: Float32[Tensor, " c *box"]
    label: Int16[Tensor, " l *box"]
    lower: tuple[int, ...]


def take_patch(
    block: SourceBlock, draw: SpatialDraw, patch: tuple[int, ...], classes: int
) -> tuple[Float32[Tensor, " c *patch"], Int16[Tensor, " l *patch"]]:
    """Return image (c, *patch) float32 and label (l, *patch) int16 of one sample, on the block's device.

    The image is interpolated linearly with zeros outside; labels as one linear interpolation of all class indicators
    followed by argmax, outside is background. `classes` counts background.
    """
    if not draw.interpolated:
        image, label = block.image, block.label
    else:
        grid = _sampling_grid(block, draw, patch)
        image = _sample(block.image, grid, "bilinear")
        label = _sample_label(block.label, grid, classes)
    label = torch.where(label == OUTSIDE, torch.zeros_like(label), label)
    if draw.mirror:
        axes = [axis + 1 for axis in draw.mirror]
        image, label = image.flip(axes), label.flip(axes)
    return image, swap_sides(label, draw.swaps)


def _sampling_grid(block: SourceBlock, draw: SpatialDraw, patch: tuple[int, ...]) -> Float32[Tensor, "1 *patch axes"]:
    """Build the coordinates in the block, (1, *patch, axes), last axis ordered x first, in [-1, 1]."""
    shape, device = block.image.shape[1:], block.image.device
    axes = []
    for axis, size in enumerate(patch):
        view = [-1 if a == axis else 1 for a in range(len(patch))]
        axes.append((torch.arange(size, dtype=torch.float32, device=device) - (size - 1) / 2).view(view))
    if draw.elastic is not None:
        generator = torch.Generator(device=device).manual_seed(draw.elastic.seed)
        noise = torch.rand((len(patch), *patch), generator=generator, device=device) * 2 - 1
        axes = [axis + moved for axis, moved in zip(axes, displacement(noise, draw.elastic), strict=True)]
    matrix = _matrix(draw)
    coordinates = []
    for row in range(len(patch)):
        value = torch.full((), draw.centre[row] - block.lower[row], device=device)
        for column, axis_positions in enumerate(axes):
            if matrix[row, column]:
                value = value + float(matrix[row, column]) * axis_positions
        coordinates.append(value.expand(patch) * (2 / max(1, shape[row] - 1)) - 1)
    return torch.stack(coordinates[::-1], dim=-1).unsqueeze(0)


def displacement(noise: Field, elastic: Elastic) -> Field:
    """Return in voxels, for each axis, `noise` (axes, *patch) blurred and scaled to its largest displacement.

    The blur is periodic, multiplied out in frequency as in batchgenerators' elastic_deform_coordinates_2: along each
    axis a matrix, which is faster than a Fourier transform on patches of these sizes.
    """
    for axis, sigma in enumerate(elastic.sigma_voxels, start=1):
        size = noise.shape[axis]
        response = np.fft.ifft(np.exp(-2 * (np.pi * np.fft.fftfreq(size) * sigma) ** 2)).real
        matrix = response[(np.arange(size)[:, None] - np.arange(size)[None, :]) % size].astype(np.float32)
        noise = (noise.movedim(axis, -1) @ torch.from_numpy(matrix).to(noise.device)).movedim(-1, axis)
    largest = noise.flatten(1).abs().amax(1).clamp_min(_LEAST)
    reach = torch.tensor(elastic.reach_voxels, device=noise.device)
    return noise * (reach / largest).view(-1, *(1 for _ in noise.shape[1:]))


def _matrix(draw: SpatialDraw) -> Float64[np.ndarray, "axes axes"]:
    return np.eye(len(draw.centre)) if draw.matrix is None else np.asarray(draw.matrix)


def _sample(
    array: Real[Tensor, " c *box"], grid: Float32[Tensor, "1 *patch axes"], mode: str
) -> Float32[Tensor, " c *patch"]:
    sampled: Tensor = functional.grid_sample(
        array.unsqueeze(0).float(), grid, mode=mode, padding_mode="zeros", align_corners=True
    )
    return sampled[0]


def _sample_label(
    label: Int16[Tensor, " l *box"], grid: Float32[Tensor, "1 *patch axes"], classes: int
) -> Int16[Tensor, " l *patch"]:
    if label.shape[0] > 1:
        return (_sample((label > 0).float(), grid, "bilinear") > 0.5).to(label.dtype)
    if classes > MAXIMUM_ONE_HOT:
        return _sample(label, grid, "nearest").round().to(label.dtype)
    values = [*range(classes), IGNORE] if bool((label == IGNORE).any()) else list(range(classes))
    indicators = torch.cat([label == value for value in values]).float()
    lookup = torch.tensor(values, dtype=label.dtype, device=label.device)
    return lookup[_sample(indicators, grid, "bilinear").argmax(0, keepdim=True)]
