"""Intensities: normalisation as the plan says, and CT windows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Float32, Real

from autoseg.core.errors import AutosegError
from planners.plan import Normalization

SMALLEST_SPREAD = 1e-8
"""Divisors are at least this, so that a constant channel becomes zeros; nnU-Net's value."""
RGB_MAXIMUM = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A range of Hounsfield units that shows one kind of tissue."""

    lower_hu: float
    upper_hu: float


WINDOWS: Mapping[str, Window] = MappingProxyType(
    {
        # level and width as radiology departments preset them: 40/400, -600/1500, 400/1800, 40/80
        "soft-tissue": Window(lower_hu=-160, upper_hu=240),
        "lung": Window(lower_hu=-1350, upper_hu=150),
        "bone": Window(lower_hu=-500, upper_hu=1300),
        "brain": Window(lower_hu=0, upper_hu=80),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Mean and population standard deviation."""

    mean: float
    std: float


def normalize(
    array: Real[np.ndarray, "c z y x"], normalizations: Sequence[Normalization], mask: Bool[np.ndarray, "z y x"]
) -> Float32[np.ndarray, "c z y x"]:
    """Return the image (c, z, y, x), of any real type, normalised channel by channel, a new float32 array.

    `mask` (z, y, x) is the nonzero mask; a masked z-score takes its statistics from it and changes nothing outside.

    Raises:
        AutosegError: a channel planned as RGB has values outside 0..255.

    """
    result = np.array(array, dtype=np.float32, order="C")
    for channel, rule in zip(result, normalizations, strict=True):
        _normalize_channel(channel, rule, mask)
    return result


def _normalize_channel(
    channel: Float32[np.ndarray, "z y x"], rule: Normalization, mask: Bool[np.ndarray, "z y x"]
) -> None:
    """Normalise one channel (z, y, x) in place."""
    if rule.scheme == "zscore":
        _zscore(channel, mask if rule.use_mask and not mask.all() else None)
    elif rule.scheme == "ct":
        np.clip(channel, _known(rule.lower), _known(rule.upper), out=channel)
        _shift_and_scale(channel, _known(rule.mean), _known(rule.std))
    elif rule.scheme == "window":
        lower, upper = _known(rule.lower), _known(rule.upper)
        np.clip(channel, lower, upper, out=channel)
        _shift_and_scale(channel, lower, upper - lower)
    elif rule.scheme == "rescale-0-1":
        lower, upper = float(channel.min()), float(channel.max())
        _shift_and_scale(channel, lower, upper - lower)
    elif rule.scheme == "rgb-0-1":
        lower, upper = float(channel.min()), float(channel.max())
        if lower < 0 or upper > RGB_MAXIMUM:
            raise AutosegError.at(
                f"channel {rule.channel}",
                f"values {lower:g}..{upper:g} are not 0..255 as in the training images",
                "give images of the same kind",
            )
        _shift_and_scale(channel, 0, RGB_MAXIMUM)


def moments(values: Float32[np.ndarray, "*axes"], mask: Bool[np.ndarray, "*axes"] | None = None) -> Moments:
    """Return mean and standard deviation, summed in double precision slice by slice along the first axis.

    Only voxels in `mask` count, if given; with none of them both are 0.
    """
    count, total = 0, 0.0
    parts = range(len(values))
    for part in parts:
        chosen = values[part] if mask is None else values[part][mask[part]]
        count += chosen.size
        total += float(chosen.sum(dtype=np.float64))
    if not count:
        return Moments(mean=0.0, std=0.0)
    mean, squares = total / count, 0.0
    for part in parts:
        chosen = values[part] if mask is None else values[part][mask[part]]
        squares += float(np.square(chosen.astype(np.float64) - mean).sum())
    return Moments(mean=mean, std=(squares / count) ** 0.5)


def _zscore(channel: Float32[np.ndarray, "z y x"], mask: Bool[np.ndarray, "z y x"] | None) -> None:
    found = moments(channel, mask)
    for part in range(len(channel)):
        if mask is None:
            _shift_and_scale(channel[part], found.mean, found.std)
        else:
            inside = channel[part][mask[part]]
            _shift_and_scale(inside, found.mean, found.std)
            channel[part][mask[part]] = inside


def _shift_and_scale(values: Float32[np.ndarray, "..."], shift: float, spread: float) -> None:
    values -= np.float32(shift)
    values /= np.float32(max(spread, SMALLEST_SPREAD))


def _known(value: float | None) -> float:
    if value is None:
        msg = "the plan's normalization lacks a number that its scheme needs"
        raise ValueError(msg)
    return value
