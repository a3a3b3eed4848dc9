"""How each channel's intensities become network input."""

from collections.abc import Mapping
from types import MappingProxyType

from planners.fingerprint import ChannelFingerprint, Fingerprint
from planners.plan import Normalization, Scheme
from planners.recipe import Recipe

# Displayed HU ranges by their clinical names: (lower, upper) = level -/+ width/2. Source: common radiology presets
# (soft tissue W400 L40, lung W1500 L-600, bone W1800 L400, brain W80 L40).
WINDOWS_HU: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "soft-tissue": (-160.0, 240.0),
        "lung": (-1350.0, 150.0),
        "bone": (-500.0, 1300.0),
        "brain": (0.0, 80.0),
    }
)

# Channel names that say how to normalise, lower case. Source: nnU-Net, map_channel_name_to_normalization.
_SCHEME_BY_NAME: Mapping[str, Scheme] = MappingProxyType(
    {"ct": "ct", "nonorm": "none", "zscore": "zscore", "rescale_to_0_1": "rescale-0-1", "rgb_to_0_1": "rgb-0-1"}
)
_SCHEME_BY_MODALITY: Mapping[str, Scheme] = MappingProxyType({"ct": "ct", "rgb": "rgb-0-1"})


def normalization(channel: ChannelFingerprint, fingerprint: Fingerprint, recipe: Recipe) -> Normalization:
    """Return how `channel` is normalised.

    CT values mean the same everywhere, so they are clipped and scaled by numbers of the whole dataset; RGB is divided
    by 255; anything else has no fixed scale and is standardised case by case, within the nonzero mask when cropping
    removed much. A channel named like one of nnU-Net's schemes gets that scheme; without a foreground voxel to
    measure, `auto` shows CT in the soft-tissue window.
    """
    scheme = _SCHEME_BY_NAME.get(channel.name.lower()) or _SCHEME_BY_MODALITY.get(channel.modality, "zscore")
    if scheme == "zscore":
        use_mask = fingerprint.median_relative_size_after_crop < recipe.mask_below_relative_size
        return Normalization(channel=channel.name, scheme=scheme, use_mask=use_mask)
    if scheme != "ct":
        return Normalization(channel=channel.name, scheme=scheme)
    if channel.percentile_00_5 is None and recipe.normalization == "modality":
        return window(channel.name, "soft-tissue")
    return Normalization(
        channel=channel.name,
        scheme="ct",
        lower=channel.percentile_00_5,
        upper=channel.percentile_99_5,
        mean=channel.mean,
        std=channel.std,
    )


def window(channel: str, name: str) -> Normalization:
    """Return the named HU window (soft-tissue, lung, bone, brain) mapped to [0, 1]."""
    lower, upper = WINDOWS_HU[name]
    return Normalization(channel=channel, scheme="window", lower=lower, upper=upper)
