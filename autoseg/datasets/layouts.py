"""The layouts that are known, in the order in which they are tried."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import NoReturn

from autoseg.core.errors import AutosegError
from autoseg.core.files import is_inside
from autoseg.datasets import (
    layout_bids,
    layout_case_folders,
    layout_decathlon,
    layout_dicom,
    layout_folders,
    layout_given,
    layout_list,
    layout_nnunet,
    layout_pattern,
    layout_suffix,
    layout_zarr,
)
from autoseg.datasets.arrangement import Arrangement, shown
from autoseg.datasets.dataset import Inference
from autoseg.datasets.description import described
from autoseg.datasets.listing import Listing, is_series
from autoseg.datasets.names import LABEL_WORDS, has_word
from autoseg.datasets.options import Options

Layout = Callable[[Listing, Options], Arrangement | None]

LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "list": layout_list.read,
        "pattern": layout_pattern.read,
        "DICOM": layout_dicom.read,
        "given": layout_given.read,
        "OME-Zarr": layout_zarr.read,
        "Decathlon": layout_decathlon.read,
        "nnU-Net": layout_nnunet.read,
        "BIDS": layout_bids.read,
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
    try:
        found = _first_that_fits(listing, options)
    except AutosegError:
        found = _by_headers(listing, options)
        if found is None:
            raise
    return _confined(listing, found or _by_headers(listing, options) or _refuse(listing))


def _confined(listing: Listing, arrangement: Arrangement) -> Arrangement:
    """Return the arrangement if all its files lie in the folder: a list of files may name others."""
    for case in (*arrangement.cases, *arrangement.test_cases):
        for name in (*case.images, *case.references):
            if not is_inside(name):
                mend = "write paths relative to the dataset; nothing outside of it is read"
                raise AutosegError.at(listing.folder, f"{name!a} lies outside the dataset", mend)
    return arrangement


def _first_that_fits(listing: Listing, options: Options) -> Arrangement | None:
    kept, aside = _without_dicom_labels(listing)
    for name, layout in LAYOUTS.items():
        arrangement = layout(listing if name == "DICOM" else kept, options)
        if arrangement is not None and (arrangement.cases or arrangement.findings):
            arrangement = described(kept, arrangement)
            said = () if name == "DICOM" else aside
            return replace(arrangement, inferences=(*arrangement.inferences, *said))
    return None


def _by_headers(listing: Listing, options: Options) -> Arrangement | None:
    """Return what the headers of DICOM files declare where names do not pair, files of other kinds aside."""
    series = listing.where(lambda item: is_series(listing.folder, item))
    if not series or len(series) == len(listing.items):
        return None
    arrangement = layout_dicom.read(replace(listing, items=series), options)
    if arrangement is None:
        return None
    count = f"{len(listing.items) - len(series)} files"
    said = Inference(what="left aside", value=count, because="no DICOM, and their names pair nothing")
    return replace(arrangement, inferences=(*arrangement.inferences, said))


def _refuse(listing: Listing) -> NoReturn:
    found = shown([str(item.path) for item in listing.items])
    if not any(has_word(str(item.path), LABEL_WORDS) for item in listing.items):
        what, mend = f"images without any label ({found})", "add labels, or give it to autoseg predict"
        raise AutosegError.at(listing.folder, what, mend)
    raise AutosegError.at(
        listing.folder,
        f"cannot tell images from labels among {found}",
        "put them into images/ and labels/, or say where they are with --images and --labels",
    )


def _without_dicom_labels(listing: Listing) -> tuple[Listing, tuple[Inference, ...]]:
    """Set aside folders of DICOM labels (SEG, RTSTRUCT), with the series beside them, where other images lie too."""
    folder = listing.folder
    series = listing.where(lambda item: is_series(folder, item))
    holders = {item.folder for item in series if has_word(item.stem, LABEL_WORDS)}
    kept = tuple(item for item in listing.items if not (item.folder in holders and item in series))
    if not holders or not kept:
        return listing, ()
    because = "DICOM labels beside images in other formats; give --images and --labels to take them"
    where = shown(sorted(map(str, holders)))
    return replace(listing, items=kept), (Inference(what="left aside", value=where, because=because),)
