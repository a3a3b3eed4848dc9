"""Which kind of image a channel is, guessed from its name and its values, with the reason."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from statistics import median
from types import MappingProxyType
from typing import Literal

from autoseg.datasets.names import words
from planners.fingerprint import Modality

_WORDS: Mapping[str, Modality] = MappingProxyType(
    {
        **dict.fromkeys(("ct", "cbct", "ldct", "hu"), "ct"),
        **dict.fromkeys(("mr", "mri", "flair", "dwi", "adc", "swi", "t"), "mr"),  # t: T1, T2w, T1ce
        **dict.fromkeys(("pet", "suv", "fdg"), "pet"),
        **dict.fromkeys(("rgb", "red", "green", "blue"), "rgb"),
        **dict.fromkeys(("sem", "tem", "em", "microscopy", "micr", "dapi"), "microscopy"),
        **dict.fromkeys(("xray", "cxr", "dr", "radiograph"), "xray"),
    }
)
_DICOM: Mapping[str, Modality] = MappingProxyType(
    {"CT": "ct", "MR": "mr", "PT": "pet", **dict.fromkeys(("CR", "DX", "RG", "MG"), "xray")}
)
"""The DICOM tag Modality of images (PS3.3, C.7.3.1.1.1) that is one of ours for certain."""
_AIR_HU = (-1100.0, -900.0)
LOWEST_HU = -200.0
"""Fat is at -100 HU and lung below -500: a CT reaches below this; images without Hounsfield units do not."""
HIGHEST_HU = 100.0
"""Soft tissue and bone lie above."""
_AIR_SHARE = 0.01
_PICTURES = frozenset({".png", ".bmp", ".gif", ".jpg", ".jpeg"})
_MICROSCOPES = frozenset({".tif", ".tiff"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelRange:
    """Values of one channel of one case: extremes and the share of voxels that would be air in Hounsfield units."""

    minimum: float
    maximum: float
    air: float


def air_range_hu() -> tuple[float, float]:
    """Return the values between which a voxel counts as air."""
    return _AIR_HU


def guess_modality(
    name: str, ranges: Sequence[ChannelRange], file: str, dimensions: Literal[2, 3]
) -> tuple[Modality, str]:
    """Return what a channel is and why.

    Args:
        name: of the channel.
        ranges: one per case.
        file: name of an image file.
        dimensions: of the images.

    """
    named = modality_by_name(name)
    if named:
        return named, f"the channel is named {name}"
    lowest, highest = median(r.minimum for r in ranges), median(r.maximum for r in ranges)
    shown = f"values from {lowest:.4g} to {highest:.4g} in the median case"
    air = median(r.air for r in ranges)
    if lowest < LOWEST_HU and highest > HIGHEST_HU:
        reason = f", {air:.0%} of them near -1000 (air)" if air > _AIR_SHARE else ""
        return "ct", f"{shown}{reason}: Hounsfield units"
    ending = PurePosixPath(file).suffix.lower()
    if ending in _MICROSCOPES:
        return "microscopy", f"TIFF files, {shown}"
    if dimensions == 2 or ending in _PICTURES:
        return "other", f"2D gray pictures, {shown}"
    return "mr", f"3D without Hounsfield units ({shown}) or another name: taken as MR"


def modality_by_tag(tag: str) -> Modality | None:
    """Return what the DICOM tag Modality says, None where it says nothing that we know."""
    return _DICOM.get(tag)


def modality_by_name(name: str) -> Modality | None:
    """Return what the name of a channel says, None where it says nothing."""
    for word in words(name):
        if word.text.lower() in _WORDS:
            return _WORDS[word.text.lower()]
    return None
