"""nnUNetPlans.json and dataset_fingerprint.json, ours against theirs, value by value."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

RELATIVE = 1e-6
"""Lengths that agree to this part of theirs are equal: readers differ in the last bits of a spacing."""
INTENSITY_TOLERANCE = 0.02
"""In standard deviations: nnU-Net draws its values at random, with replacement, ours are those of all voxels. Drawing
msd-hippocampus anew 40 times moved its 99.5 percentile by -0.010 to +0.005."""
_OURS_ALONE = frozenset({"dataset_name", "image_reader_writer"})
"""What names the folder, and a class of nnU-Net's that our records have no word for."""
_INTENSITIES = "foreground_intensity_properties_per_channel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One value that differs: where, and both as JSON (`absent` where there is none)."""

    place: str
    ours: str
    theirs: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """How many values were compared, which differ, and the worst intensity in standard deviations of theirs."""

    values: int
    differences: tuple[Difference, ...]
    intensity_deviation: float = 0.0


def compare_plans(ours: Any, theirs: Any) -> Compared:
    """Compare the contents of two nnUNetPlans.json; intensities are those of the fingerprint and left to it."""
    left, right = (
        {key: value for key, value in tree.items() if key not in _OURS_ALONE | {_INTENSITIES}}
        for tree in (ours, theirs)
    )
    return _counted(left, right)


def compare_fingerprints(ours: Any, theirs: Any) -> Compared:
    """Compare the contents of two dataset_fingerprint.json, intensities to the accuracy of drawing them."""
    left, right = ({k: v for k, v in tree.items() if k != _INTENSITIES} for tree in (ours, theirs))
    rest = _counted(left, right)
    values, worst, found = rest.values, 0.0, list(rest.differences)
    for channel, statistics in theirs[_INTENSITIES].items():
        for name, value in statistics.items():
            mine = ours[_INTENSITIES].get(channel, {}).get(name)
            deviation = math.inf if mine is None else abs(mine - value) / (statistics["std"] or 1.0)
            values += 1
            if math.isfinite(deviation):
                worst = max(worst, deviation)
            if deviation > INTENSITY_TOLERANCE:
                found.append(_difference(f"{_INTENSITIES}.{channel}.{name}", mine, value))
    return Compared(values=values, differences=tuple(found), intensity_deviation=worst)


def _counted(ours: Any, theirs: Any) -> Compared:
    found = list(_walk("", ours, theirs))
    return Compared(values=len(found), differences=tuple(item for item in found if item is not None))


def _walk(place: str, ours: Any, theirs: Any) -> Iterator[Difference | None]:
    """Yield one item a value: None where both agree."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for key in sorted({*ours, *theirs}):
            inner = f"{place}.{key}".lstrip(".")
            if key in ours and key in theirs:
                yield from _walk(inner, ours[key], theirs[key])
            else:
                yield _difference(inner, ours.get(key, "absent"), theirs.get(key, "absent"))
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (x, y) in enumerate(zip(ours, theirs, strict=True)):
            yield from _walk(f"{place}[{index}]", x, y)
    else:
        yield None if _same(ours, theirs) else _difference(place, ours, theirs)


def _same(ours: Any, theirs: Any) -> bool:
    if any(isinstance(value, float) for value in (ours, theirs)) and isinstance(ours, int | float):
        return isinstance(theirs, int | float) and math.isclose(ours, theirs, rel_tol=RELATIVE)
    return bool(ours == theirs)


def _difference(place: str, ours: Any, theirs: Any) -> Difference:
    return Difference(place=place, ours=json.dumps(ours), theirs=json.dumps(theirs))
