"""How long it takes to predict a case, so that a time budget can keep enough for it."""

import math
from collections.abc import Sequence

from planners.fingerprint import CaseFingerprint
from planners.memory import network_of
from planners.plan import Configuration
from planners.recipe import Machine
from planners.schedule import FORWARD_AND_BACKWARD, network_seconds
from planners.topology import Network

# Windows overlap by half along each axis. Source: nnU-Net, tile_step_size.
_STEP = 0.5
# Weighting and adding windows, over the forward pass alone.
_OVERHEAD = 1.25
# Reading, resampling back and writing with gzip; measured on two cores, NIfTI int16.
_SECONDS_PER_NATIVE_VOXEL = 2e-7
# Resampling one logit channel to the image's grid with the banded operator; measured: 0.75 s for 20 x 7.9 M voxels.
_SECONDS_PER_LOGIT = 5e-9


def window_count(shape: Sequence[float], patch: Sequence[int]) -> int:
    """Return how many half-overlapping windows of `patch` cover `shape`; a 2D patch covers every slice on its own."""
    slices = math.prod(math.ceil(n) for n in shape[: len(shape) - len(patch)])
    in_patch = zip(shape[len(shape) - len(patch) :], patch, strict=True)
    return slices * math.prod(1 + math.ceil(max(0.0, n - p) / (p * _STEP)) for n, p in in_patch)


def window_seconds(network: Network, windows: int, machine: Machine) -> float | None:
    """Return the expected seconds that a network takes for a number of windows, None if nothing was measured."""
    step = network_seconds(network, 1, machine)
    return None if step is None else windows * step / FORWARD_AND_BACKWARD * _OVERHEAD


def prediction_seconds(
    case: CaseFingerprint, configuration: Configuration, channels: int, outputs: int, machine: Machine
) -> float | None:
    """Return the expected seconds to predict `case` with one network, None if the machine was not measured.

    The axes of the case need not be transposed: the order changes the number of windows little.
    """
    in_plane = configuration.spacing_mm[-configuration.dimensions :]
    spacing_mm = case.spacing_mm[: 3 - len(in_plane)] + in_plane
    shape = [n * old / new for n, old, new in zip(case.shape_after_crop, case.spacing_mm, spacing_mm, strict=True)]
    network = network_of(configuration, channels, outputs)
    seconds = window_seconds(network, window_count(shape, configuration.patch), machine)
    if seconds is None:
        return None
    return seconds + math.prod(case.shape) * (_SECONDS_PER_NATIVE_VOXEL + outputs * _SECONDS_PER_LOGIT)
