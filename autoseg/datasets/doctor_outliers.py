"""Cases unlike the others in voxel size, field of view, orientation or intensity."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from autoseg.datasets.dataset import Case
from autoseg.datasets.inspection import CaseFacts, Examined, Finding

_FEWEST = 5
_FACTOR = 2.0
"""A voxel size or field of view this many times the usual one, or its inverse, is worth a look."""
_DEVIATIONS = 6.0
"""So many robust standard deviations: protocols differ between scanners, and a mixture of two is no outlier."""
_MAD_TO_SIGMA = 1.4826
_USUAL_SHARE = 0.9
"""An orientation that fewer than a tenth of the cases have is unusual."""
_ALWAYS_OUTLIERS = 2
_SPREADS = 0.5
"""An intensity percentile this far from the usual one, in spreads (percentiles 5 to 95) of a usual image."""


def outliers(labelled: Examined, channels: Sequence[str]) -> Iterator[Finding]:
    """Yield a warning for each case that is far from the others; with fewer than five cases nothing is usual."""
    read = [(case, fact) for case, fact in labelled if fact.channels]
    for dimensions in (2, 3):
        some = [(case, fact) for case, fact in read if fact.dimensions == dimensions]
        if len(some) >= _FEWEST:
            yield from _sizes(some)
            yield from _orientations(some)
            yield from _intensities(some, channels)


def _sizes(read: Sequence[tuple[Case, CaseFacts]]) -> Iterator[Finding]:
    """Compare voxel sizes and fields of view, each sorted, so that the order of the axes is the same for all."""
    spacing = np.array([fact.spacing_mm for _, fact in read])
    field = spacing * np.array([fact.shape for _, fact in read])
    told: set[int] = set()
    for values, name, mend in (
        (spacing, "voxels", "check the voxel size in the file's header"),
        (field, "a field of view", "check that it shows what the others show, and its voxel size"),
    ):
        ordered = np.sort(values, axis=1)
        usual = np.median(ordered, axis=0)
        far = _far(np.log(ordered), np.log(_FACTOR)).any(axis=1)
        found = []
        for index in sorted({*np.flatnonzero(far).tolist()} - told):  # a wrong voxel size makes a wrong field, too
            told.add(index)
            what = f"{name} of {_millimetres(values[index])} mm (z, y, x) where {_millimetres(usual)} mm are usual"
            found.append(Finding(severity="warning", where=read[index][0].images[0], what=what, mend=mend))
        yield from _told(found, len(read))


def _orientations(read: Examined) -> Iterator[Finding]:
    codes = Counter(fact.orientation for _, fact in read)
    usual, count = codes.most_common(1)[0]
    if count < _USUAL_SHARE * len(read):
        return
    for case, fact in read:
        if fact.orientation != usual:
            what = f"its axes point to {fact.orientation} (x, y, z) where {usual} is usual"
            mend = "check its orientation in a viewer; export it like the others"
            yield Finding(severity="warning", where=case.images[0], what=what, mend=mend)


def _intensities(read: Examined, channels: Sequence[str]) -> Iterator[Finding]:
    for number, name in enumerate(channels):
        some = [(case, fact.channels[number]) for case, fact in read if number < len(fact.channels)]
        if len(some) < _FEWEST:
            continue
        values = np.array([(channel.low, channel.high) for _, channel in some])
        usual = np.median(values, axis=0)
        far = (values[:, 0] < values[:, 1]) & _far(values, _SPREADS * float(usual[1] - usual[0])).any(axis=1)
        found = []
        for index in np.flatnonzero(far).tolist():
            case, channel = some[index]
            what = f"{name} from {channel.low:.4g} to {channel.high:.4g} (percentiles 5 to 95) where"
            what += f" {usual[0]:.4g} to {usual[1]:.4g} is usual"
            mend = "check that it is the same kind of image, in the same units"
            where = case.images[min(number, len(case.images) - 1)]
            found.append(Finding(severity="warning", where=where, what=what, mend=mend))
        yield from _told(found, len(some))


def _told(found: Sequence[Finding], cases: int) -> Iterator[Finding]:
    """Yield the findings one by one while they are rare; many are a kind of their own, told once as a note."""
    if len(found) <= max(_ALWAYS_OUTLIERS, (1 - _USUAL_SHARE) * cases):
        yield from found
    else:
        more = f" (so are {len(found) - 1} more of {cases}: no outliers but a second kind)"
        yield replace(found[0], severity="note", what=found[0].what + more)


def _far(values: NDArray[np.float64], least: float) -> NDArray[np.bool_]:
    """Return which values are further from the median than `least` and than six robust standard deviations."""
    off = np.abs(values - np.median(values, axis=0))
    sigma = _MAD_TO_SIGMA * np.median(off, axis=0)
    far: NDArray[np.bool_] = off > np.maximum(least, _DEVIATIONS * sigma)
    return far


def _millimetres(values: NDArray[np.float64]) -> str:
    return " x ".join(f"{value:.3g}" for value in values)
