"""How often and along which axes a U-Net halves its feature maps, and the stages that follow from it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from planners.plan import Architecture, Stage
from planners.recipe import Recipe

# Axes are pooled together, and get a 3-wide kernel, while their spacings differ by less. Source: nnU-Net.
_SIMILAR = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """Kernels and strides of every stage, and the patch padded up to a multiple of `divisor`."""

    kernels: tuple[tuple[int, ...], ...]
    strides: tuple[tuple[int, ...], ...]
    divisor: tuple[int, ...]
    patch: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network as far as its cost goes."""

    architecture: Architecture
    patch: tuple[int, ...]
    stages: tuple[Stage, ...]
    channels: int
    outputs: int


def topology(
    spacing_mm: Sequence[float], edges: Sequence[float], edge_min: int, stages_max: int | None = None
) -> Topology:
    """Return the deepest topology, of at most `stages_max`, whose feature maps keep `edge_min` voxels an axis.

    Only axes whose spacing is within a factor of two of the finest poolable one are halved, so that feature maps
    become isotropic before they become small; an axis has 1-wide kernels until then. Source: nnU-Net,
    get_pool_and_conv_props.
    """
    axes = range(len(edges))
    spacing, size = list(spacing_mm), [float(edge) for edge in edges]
    divisor, kernel, stride = [1] * len(size), [1] * len(size), [1] * len(size)
    kernels, strides = [], [tuple(stride)]
    while stages_max is None or len(strides) < stages_max:
        large = [axis for axis in axes if size[axis] >= 2 * edge_min]
        if not large:
            break
        finest = min(spacing[axis] for axis in large)
        pooled = [axis for axis in large if spacing[axis] / finest < _SIMILAR]
        if len(pooled) == 1 and size[pooled[0]] < 3 * edge_min:
            break
        finest = min(spacing)
        kernel = [3 if k == 3 or spacing[axis] / finest < _SIMILAR else 1 for axis, k in enumerate(kernel)]
        stride = [1] * len(size)
        for axis in pooled:
            stride[axis] = 2
            divisor[axis] *= 2
            spacing[axis] *= 2
            size[axis] = math.ceil(size[axis] / 2)
        kernels.append(tuple(kernel))
        strides.append(tuple(stride))
    kernels.append((3,) * len(size))
    patch = tuple(math.ceil(edge / d) * d for edge, d in zip(edges, divisor, strict=True))
    return Topology(kernels=tuple(kernels), strides=tuple(strides), divisor=tuple(divisor), patch=patch)


def build_stages(shape: Topology, recipe: Recipe, features_first: int) -> tuple[Stage, ...]:
    """Return the encoder's stages: features double from `features_first` to the recipe's maximum for the width."""
    limits = recipe.volume if len(shape.patch) == 3 else recipe.slice
    features_max = limits.features_max * features_first // recipe.features_first
    last = len(shape.strides) - 1
    blocks = recipe.encoder_convolutions
    return tuple(
        Stage(
            features=min(features_max, features_first * 2**index),
            kernel=kernel,
            stride=stride,
            convolutions=blocks[min(index, len(blocks) - 1)],
            decoder_convolutions=recipe.decoder_convolutions if index < last else 0,
        )
        for index, (kernel, stride) in enumerate(zip(shape.kernels, shape.strides, strict=True))
    )


def stage_shapes(patch: Sequence[int], stages: Sequence[Stage]) -> tuple[tuple[int, ...], ...]:
    """Return the shape of every stage's feature maps."""
    shapes: list[tuple[int, ...]] = []
    edges = tuple(patch)
    for stage in stages:
        edges = tuple([max(1, edge // step) for edge, step in zip(edges, stage.stride, strict=True)])
        shapes.append(edges)
    return tuple(shapes)
