"""What a cascade's network sees beside the image in training: the label map of the stage before, one channel a value.

The channels follow the patch's turns and mirrors, are made binary again, and are then changed on their own, drawn first
and then applied: morphological operators and lost components, after nnU-Net (Isensee et al., Nature Methods 2021), so
that the network does not copy what it is shown. What the values are is data in `planners.cascade`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int16
from torch import Tensor
from torch.nn import functional

from autoseg.imaging.components import connected_components
from autoseg.learning.cascade_channels import value_positions
from autoseg.learning.feeding import CACHE_BYTES, MemorySource
from autoseg.learning.model_files import label_values
from autoseg.learning.sampling import BatchDraw, CaseSource
from planners.cascade import CascadeAugmentation
from planners.plan import Configuration, Plan

Operator = Literal["dilation", "erosion", "opening", "closing"]

_FAR = 4000  # more than the square of any radius that a plan may have, and twice that is still an int16
_STREAM = 1  # apart from the patch's own draws, which use (seed, stream, step) alone

Mask = Bool[Tensor, "*patch"]
OneHot = Float[Tensor, "batch value *patch"]


class CascadeSource(MemorySource):
    """Cases whose last label map is that of the stage before: it becomes one channel (0 or 1) for each of `values`.

    The channels are made for the part that is read, so that no array of all values x case exists.
    """

    def __init__(self, source: CaseSource, values: Sequence[int], limit_bytes: int = CACHE_BYTES) -> None:
        """Wrap `source`; label values that are not among `values` are background."""
        super().__init__(source, limit_bytes)
        self._values = tuple(values)

    def read_image(self, name: str, lower: tuple[int, ...], upper: tuple[int, ...]) -> Float32[np.ndarray, "c z y x"]:
        """Image and, after it, one channel a value, (c, z, y, x), between two corners."""
        image = super().read_image(name, lower, upper)
        before = super().read_label(name, lower, upper)[-1]
        one_hot = np.stack([before == value for value in self._values])
        return np.concatenate([image, one_hot.astype(np.float32)])

    def read_label(self, name: str, lower: tuple[int, ...], upper: tuple[int, ...]) -> Int16[np.ndarray, "l z y x"]:
        """Reference (l, z, y, x) between two corners, without the label map of the stage before."""
        return super().read_label(name, lower, upper)[:-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorDraw:
    """One structure of one sample, and the operator with its ball's radius."""

    sample: int
    value: int
    operator: Operator
    radius_voxels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalDraw:
    """One structure of one sample that loses a component: `which` in [0, 1) chooses among those small enough."""

    sample: int
    value: int
    which: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeDraw:
    """Every change of one batch's one-hot channels, in the order in which they are applied."""

    operators: tuple[OperatorDraw, ...]
    removals: tuple[RemovalDraw, ...]


def draw_cascade(
    augmentation: CascadeAugmentation, batch: int, values: int, random: np.random.Generator
) -> CascadeDraw:
    """Draw the changes of `batch` samples with `values` one-hot channels; structures come in random order."""
    low, high = augmentation.operator_radius_voxels
    operators: list[OperatorDraw] = []
    removals: list[RemovalDraw] = []
    for sample in range(batch):
        if random.random() < augmentation.operator_probability:
            operators += [
                OperatorDraw(
                    sample=sample,
                    value=int(value),
                    operator=get_args(Operator)[int(random.integers(len(get_args(Operator))))],
                    radius_voxels=int(random.integers(low, high + 1)),
                )
                for value in random.permutation(values)
                if random.random() < augmentation.operator_label_probability
            ]
        if random.random() < augmentation.removal_probability:
            removals += [
                RemovalDraw(sample=sample, value=int(value), which=float(random.random()))
                for value in random.permutation(values)
                if random.random() < augmentation.removal_label_probability
            ]
    return CascadeDraw(operators=tuple(operators), removals=tuple(removals))


def apply_cascade(one_hot: OneHot, draw: CascadeDraw, removal_share_max: float) -> OneHot:
    """Return binary one-hot channels (batch, value, *patch), changed in place as drawn.

    Voxels that an operator adds to a structure are taken from the others: no voxel is two.
    """
    for each in draw.operators:
        channels = one_hot[each.sample]
        before = channels[each.value] > 0
        after = apply_operator(before, each.operator, each.radius_voxels)
        channels[:, after & ~before] = 0
        channels[each.value] = after.to(one_hot.dtype)
    for lost in draw.removals:
        channel = one_hot[lost.sample, lost.value]
        found = connected_components((channel > 0).cpu().numpy())
        small = np.flatnonzero(found.sizes_voxels < removal_share_max * channel.numel())
        if len(small):
            chosen = small[int(lost.which * len(small))] + 1
            channel[torch.from_numpy(found.labels == chosen).to(channel.device)] = 0
    return one_hot


def apply_operator(mask: Mask, operator: Operator, radius_voxels: int) -> Mask:
    """Return the mask (*patch) after a morphological operator with a ball; what is beyond the patch changes nothing."""
    if operator == "dilation":
        return _dilated(mask, radius_voxels)
    if operator == "erosion":
        return _eroded(mask, radius_voxels)
    if operator == "opening":
        return _dilated(_eroded(mask, radius_voxels), radius_voxels)
    return _eroded(_dilated(mask, radius_voxels), radius_voxels)


def _dilated(mask: Mask, radius: int) -> Mask:
    """Return where the mask is at most `radius` away: squared distances, one axis after the other."""
    distance = torch.where(mask, 0, _FAR).to(torch.int16)
    for axis, size in enumerate(mask.shape):
        moved = functional.pad(distance.movedim(axis, -1), (radius, radius), value=_FAR)
        nearest = moved[..., radius : radius + size]
        for shift in range(1, radius + 1):
            for start in (radius - shift, radius + shift):
                nearest = torch.minimum(nearest, moved[..., start : start + size] + shift**2)
        distance = nearest.movedim(-1, axis)
    return distance <= radius**2


def _eroded(mask: Mask, radius: int) -> Mask:
    return ~_dilated(~mask, radius)


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeInput:
    """What a cascade's network sees beside the image's `channels`: one binary channel for each of `values`.

    `outputs` gives the position among them for each output of the network that is a single value, None for others.
    """

    augmentation: CascadeAugmentation | None
    channels: int
    values: tuple[int, ...]
    outputs: tuple[int | None, ...]
    seed: int
    stream: int

    def finish(
        self, images: Float32[Tensor, "batch channel *patch"], draw: BatchDraw, step: int
    ) -> Float32[Tensor, "batch channel *patch"]:
        """Return the images of a step, changed in place: made binary again, sides swapped, augmented."""
        one_hot = images[:, self.channels :]
        background = 1 - one_hot.sum(1, keepdim=True)
        winner = torch.cat([background, one_hot], dim=1).argmax(1)
        for value in range(one_hot.shape[1]):
            one_hot[:, value] = winner == value + 1
        for sample, each in zip(one_hot, draw.samples, strict=True):
            sample[:] = sample[self._order(one_hot.shape[1], each.spatial.swaps)]
        if self.augmentation is not None:
            random = np.random.default_rng(np.random.SeedSequence((self.seed, self.stream, step, _STREAM)))
            drawn = draw_cascade(self.augmentation, len(images), one_hot.shape[1], random)
            apply_cascade(one_hot, drawn, self.augmentation.removal_share_max)
        return images

    def _order(self, values: int, swaps: tuple[tuple[int, int], ...]) -> list[int]:
        """Return the order of the channels after left and right of a mirrored patch changed places."""
        order = list(range(values))
        for one, other in swaps:
            first, second = self.outputs[one], self.outputs[other]
            if first is not None and second is not None:
                order[first], order[second] = second, first
        return order


def cascade_input(plan: Plan, configuration: Configuration, *, seed: int, stream: int) -> CascadeInput | None:
    """Return what the networks of a configuration see beside the image, None if there is no stage before it."""
    if configuration.previous is None:
        return None
    values = label_values(plan)
    return CascadeInput(
        augmentation=configuration.previous_augmentation,
        channels=len(plan.channels),
        values=values,
        outputs=value_positions(plan, values),
        seed=seed,
        stream=stream,
    )
