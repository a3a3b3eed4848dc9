"""How well a label lies on the edges of its image, and whether it would lie better if it were mirrored or turned."""

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoseg.datasets.inspection import TurnGain

SAMPLED_VOXELS = 1 << 18
"""Edges of larger images are looked at on a coarser grid: a turned label is wrong at every scale."""
_MOST_BOUNDARY_VOXELS = 20_000
_AXES = "zyx"


def turn_gains(image: NDArray[Any], label: NDArray[np.integer[Any]]) -> tuple[TurnGain, ...]:
    """Return for each way to turn a label (z, y, x) over its image how much more edge its boundary would meet.

    The gain is the logarithm of the mean gradient (its square root, so that few bright edges do not decide) under the
    turned boundary over that under the boundary as it is; a label in its place has negative gains. Mirroring along
    each set of axes is tried, and exchanging x and y where they are of equal size. Nothing comes back for a label
    without boundary or an image without edges.
    """
    steps = tuple(slice(None, None, step) for step in sampling_steps(image.shape))
    boundary = np.argwhere(_boundary(label[steps]))
    if not len(boundary):
        return ()
    boundary = boundary[:: -(-len(boundary) // _MOST_BOUNDARY_VOXELS)]
    edges = _edges(image[steps])
    base = float(edges[tuple(boundary.T)].mean())
    last = np.array(edges.shape) - 1
    gains = []
    for name, exchanged, flips in _turns(edges.shape):
        places = boundary[:, [0, 2, 1]] if exchanged else boundary
        met = float(edges[tuple(np.where(flips, last - places, places).T)].mean())
        if base <= 0 or met <= 0:
            return ()
        gains.append(TurnGain(turn=name, gain=float(np.log(met / base))))
    return tuple(gains)


def sampling_steps(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a step per axis that leaves at most `SAMPLED_VOXELS` voxels, the longest axes thinned most."""
    steps = [1] * len(shape)
    while np.prod([-(-n // s) for n, s in zip(shape, steps, strict=True)]) > SAMPLED_VOXELS:
        steps[max(range(len(shape)), key=lambda axis: shape[axis] / steps[axis])] += 1
    return tuple(steps)


def _boundary(label: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Return the voxels with a neighbour of another label along an axis."""
    found = np.zeros(label.shape, bool)
    for axis in range(label.ndim):
        low, high = _sides(label.ndim, axis)
        differs = label[low] != label[high]
        found[low] |= differs
        found[high] |= differs
    return found


def _edges(image: NDArray[Any]) -> NDArray[np.float32]:
    """Return the square root of the sum of absolute differences to all neighbours."""
    values = image.astype(np.float32)
    total = np.zeros(image.shape, np.float32)
    for axis in range(image.ndim):
        low, high = _sides(image.ndim, axis)
        step = np.abs(values[high] - values[low])
        total[low] += step
        total[high] += step
    return np.sqrt(total, out=total)


def _sides(axes: int, axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    whole = [slice(None)] * axes
    return (
        tuple(slice(0, -1) if a == axis else s for a, s in enumerate(whole)),
        tuple(slice(1, None) if a == axis else s for a, s in enumerate(whole)),
    )


def _turns(shape: tuple[int, ...]) -> list[tuple[str, bool, tuple[bool, ...]]]:
    """Return (name, whether x and y are exchanged, flips) of every turn but none at all that keeps the shape."""
    turns = []
    for exchanged in (False, True) if shape[1] == shape[2] else (False,):
        for flips in product((False, True), repeat=3):
            changes = exchanged or any(flips)
            if not changes or any(flip and size == 1 for flip, size in zip(flips, shape, strict=True)):
                continue
            axes = " and ".join(axis for axis, flip in zip(_AXES, flips, strict=True) if flip)
            parts = (["x and y exchanged"] if exchanged else []) + ([f"mirrored along {axes}"] if axes else [])
            turns.append((", ".join(parts), exchanged, flips))
    return turns
