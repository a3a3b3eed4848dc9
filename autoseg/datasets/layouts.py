"""The layouts that are known, in the order in which they are tried."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from autoseg.core.errors import AutosegError
from autoseg.datasets import (
    layout_case_folders,
    layout_decathlon,
    layout_folders,
    layout_given,
    layout_list,
    layout_nnunet,
    layout_suffix,
)
from autoseg.datasets.arrangement import Arrangement, shown
from autoseg.datasets.listing import Listing
from autoseg.datasets.options import Options

Layout = Callable[[Listing, Options], Arrangement | None]

LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "list": layout_list.read,
        "given": layout_given.read,
        "Decathlon": layout_decathlon.read,
        "nnU-Net": layout_nnunet.read,
        "folders": layout_folders.read,
        "case folders": layout_case_folders.read,
        "suffix": layout_suffix.read,
    }
)
"""Name -> reader. What the user said comes first, then what the folder declares, then what its names suggest."""


def arrange(listing: Listing, options: Options) -> Arrangement:
    """Return the cases of a folder by the first layout that fits it.

    Raises:
        AutosegError: no layout fits, or the one that fits finds a contradiction.

    """
    for layout in LAYOUTS.values():
        arrangement = layout(listing, options)
        if arrangement is not None and (arrangement.cases or arrangement.findings):
            return arrangement
    found = shown([str(item.path) for item in listing.items])
    raise AutosegError.at(
        listing.folder,
        f"cannot tell images from labels among {found}",
        "put them into images/ and labels/, or say where they are with --images and --labels",
    )
