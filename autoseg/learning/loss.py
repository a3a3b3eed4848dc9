"""Losses over logits: soft Dice with cross-entropy, for softmax labels and for sigmoid regions.

Sums run in float32. Voxels marked IGNORE take no part. Definitions after nnU-Net (facts and constants: Isensee et al.,
Nature Methods 2021): Dice = -mean over (sample,) class of (2I + s) / (G + P + s), background left out under softmax.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Float32, Int64, Integer
from torch import Tensor
from torch.nn import functional

from autoseg.core.labels import IGNORE

SMOOTH = 1e-5
TOPK_FRACTION = 0.1  # share of the hardest voxels that the TopK cross-entropy keeps; nnU-Net's value

LossName = Literal["dice-ce", "ce", "dice-topk"]
Loss = Float32[Tensor, ""]


def _own(part: Tensor) -> Tensor:
    return part


@dataclass(frozen=True, slots=True, kw_only=True)
class LossOptions:
    """Which loss, over softmax `labels` or sigmoid `regions`, with Dice sums per sample or over the batch."""

    name: LossName
    target: Literal["labels", "regions"]
    batch_dice: bool
    level_weights: tuple[float, ...] | None = None
    total: Callable[[Tensor], Tensor] = _own
    """Adds a sum over all workers that share the batch; TopK keeps the hardest voxels of each worker."""


def segmentation_loss(
    logits: Float[Tensor, "batch outputs *spatial"] | Sequence[Float[Tensor, "batch outputs ..."]],
    target: Integer[Tensor, "batch labels *spatial"],
    options: LossOptions,
) -> Loss:
    """Return the scalar loss of one output or of all deep-supervision outputs, full resolution first.

    Args:
        logits: (batch, outputs, *spatial), or a list of such, each coarser than the one before.
        target: (batch, labels, *spatial) int; class indexes with labels == 1, or one 0/1 mask per region.
        options: the loss.

    Returns:
        A float32 scalar: Dice in [-1, 0] plus cross-entropy >= 0.

    """
    if isinstance(logits, Tensor):
        return _single_loss(logits, target, options)
    weights = options.level_weights or (1.0, *(0.0 for _ in logits[1:]))
    total = logits[0].new_zeros((), dtype=torch.float32)
    for level, weight in zip(logits, weights, strict=True):
        if weight > 0:
            total = total + weight * _single_loss(level, _resize_target(target, level.shape[2:]), options)
    return total


def _resize_target(
    target: Integer[Tensor, "batch labels *spatial"], shape: torch.Size
) -> Integer[Tensor, "batch labels *coarse"]:
    if target.shape[2:] == shape:
        return target
    resized: Tensor = functional.interpolate(target.float(), size=tuple(shape), mode="nearest-exact")
    return resized.to(target.dtype)


def _single_loss(
    logits: Float[Tensor, "batch outputs *spatial"],
    target: Integer[Tensor, "batch labels *spatial"],
    options: LossOptions,
) -> Loss:
    logits = logits.float()
    if options.target == "labels":
        return _label_loss(logits, target[:, 0].long(), options)
    return _region_loss(logits, target, options)


def _label_loss(
    logits: Float32[Tensor, "batch outputs *spatial"], target: Int64[Tensor, " batch *spatial"], options: LossOptions
) -> Loss:
    log_probabilities = functional.log_softmax(logits, dim=1)
    voxel_loss = functional.nll_loss(log_probabilities, target, ignore_index=IGNORE, reduction="none")
    valid = target != IGNORE
    count = options.total(valid.sum().float()).clamp_min(1)
    if options.name == "dice-topk":
        kept = max(1, int(TOPK_FRACTION * int(valid.sum())))
        hardest = torch.topk(voxel_loss.flatten(), kept, sorted=False).values.sum()
        entropy = options.total(hardest) / options.total(hardest.new_tensor(float(kept)))
    else:
        entropy = options.total(voxel_loss.sum()) / count
    if options.name == "ce":
        return entropy
    probabilities = log_probabilities[:, 1:].exp()
    classes = torch.arange(1, logits.shape[1], device=target.device).view(1, -1, *(1 for _ in target.shape[1:]))
    reference = (target.unsqueeze(1) == classes).float()
    if not bool(valid.all()):
        probabilities = probabilities * valid.unsqueeze(1)
    return entropy + _dice_loss(probabilities, reference, options)


def _region_loss(
    logits: Float32[Tensor, "batch outputs *spatial"],
    target: Integer[Tensor, "batch outputs *spatial"],
    options: LossOptions,
) -> Loss:
    valid = (target != IGNORE).float()
    reference = (target > 0).float()
    voxel_loss = functional.binary_cross_entropy_with_logits(logits, reference, reduction="none") * valid
    entropy = options.total(voxel_loss.sum()) / options.total(valid.sum()).clamp_min(1)
    if options.name == "ce":
        return entropy
    return entropy + _dice_loss(torch.sigmoid(logits) * valid, reference, options)


def _dice_loss(
    probabilities: Float32[Tensor, "batch classes *spatial"],
    reference: Float32[Tensor, "batch classes *spatial"],
    options: LossOptions,
) -> Loss:
    axes = tuple(range(2, probabilities.ndim))
    if options.batch_dice:
        axes = (0, *axes)
    intersection = (probabilities * reference).sum(axes)
    total = probabilities.sum(axes) + reference.sum(axes)
    if options.batch_dice:
        intersection, total = options.total(torch.stack((intersection, total))).unbind()
        return -((2 * intersection + SMOOTH) / (total + SMOOTH)).mean()
    samples = total.new_tensor(float(len(probabilities)))
    share = samples / options.total(samples)  # of the batch's samples; 1 for a worker alone
    return -options.total(((2 * intersection + SMOOTH) / (total + SMOOTH)).mean() * share)
