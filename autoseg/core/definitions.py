"""Every metric by name: what it measures, what it is where something is empty, and whose numbers it equals.

Programs differ in what they call by one name; a score without its definition is half a number. So the definitions are
data: the record, the table and docs/metrics.md take their words from here.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from autoseg.core.errors import AutosegError

Metric = Literal[
    "dice",
    "iou",
    "sensitivity",
    "precision",
    "volume_difference_ml",
    "relative_volume_difference",
    "hd_mm",
    "hd95_mm",
    "hd95_pooled_mm",
    "assd_mm",
    "masd_mm",
    "nsd",
    "nsd_voxel",
    "lesion_f1",
    "lesion_sensitivity",
    "lesion_precision",
    "lesion_false_positives",
    "lesion_dice",
    "pq",
    "sq",
    "rq",
    "cldice",
    "lesion_wise_dice",
    "lesion_wise_hd95_mm",
]
Family = Literal["overlap", "surface", "surfels", "lesions", "centreline", "lesion-wise"]
Better = Literal["higher", "lower", "nearer zero"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """What a metric is.

    `both_empty` and `one_empty` say what it is where neither side holds the label, and where only one does. `better`
    is the side that a better prediction lies on; `source` names the paper or the programs it agrees with.
    """

    metric: Metric
    title: str
    family: Family
    better: Better
    text: str
    both_empty: str
    one_empty: str
    source: str


_UNDEFINED = "undefined"
_RELOADED = "Metrics Reloaded (Maier-Hein et al., Nature Methods 2024)"
_WORST = "infinite: inf in scores.csv, the image's diagonal in means"
_BOUNDARY = (
    "boundary voxels: a face neighbour outside (in a single slice: an edge neighbour), the image's edge is outside"
)
_LESIONS = "Lesions: connected components (26 neighbours, 8 in a single slice)"
_DETECTION = f"{_LESIONS}, paired one to one (Hungarian method) where their IoU is at least 0.1"
_QUALITY = f"{_LESIONS}, paired where their IoU is at least 0.5"
_KIRILLOV = "Kirillov et al., Panoptic segmentation, CVPR 2019"
_BRATS = "BraTS 2023 (README of BraTS-2023-Metrics); differs where its program errs, see docs/metrics.md"


def _define(
    what: tuple[Metric, Family, Better], words: tuple[str, str], empty: tuple[str, str], source: str
) -> Definition:
    (metric, family, better), (title, text) = what, words
    return Definition(
        metric=metric,
        title=title,
        family=family,
        better=better,
        text=text,
        both_empty=empty[0],
        one_empty=empty[1],
        source=source,
    )


_ALL = (
    _define(
        ("dice", "overlap", "higher"), ("Dice", "2 tp / (2 tp + fp + fn), over voxels"), (_UNDEFINED, "0"), _RELOADED
    ),
    _define(("iou", "overlap", "higher"), ("IoU", "tp / (tp + fp + fn): what Dice says"), (_UNDEFINED, "0"), _RELOADED),
    _define(
        ("sensitivity", "overlap", "higher"),
        ("sensitivity", "tp / (tp + fn), over voxels"),
        (_UNDEFINED, "0, undefined without a reference"),
        _RELOADED,
    ),
    _define(
        ("precision", "overlap", "higher"),
        ("precision", "tp / (tp + fp), over voxels"),
        (_UNDEFINED, "0, undefined without a prediction"),
        _RELOADED,
    ),
    _define(
        ("volume_difference_ml", "overlap", "nearer zero"),
        ("volume difference (ml)", "prediction minus reference; not defined for a 2D image"),
        ("0", "the volume, with its sign"),
        "plain",
    ),
    _define(
        ("relative_volume_difference", "overlap", "nearer zero"),
        ("relative volume difference", "(prediction - reference) / reference, in voxels"),
        (_UNDEFINED, "-1, undefined without a reference"),
        "panoptica's RVD",
    ),
    _define(
        ("hd_mm", "surface", "lower"),
        ("HD (mm)", f"the largest distance from one boundary to the other; {_BOUNDARY}"),
        (_UNDEFINED, _WORST),
        "MONAI, MetricsReloaded, medpy, SimpleITK",
    ),
    _define(
        ("hd95_mm", "surface", "lower"),
        ("HD95 (mm)", f"the larger of the two directed 95th percentiles of the distances between {_BOUNDARY}"),
        (_UNDEFINED, _WORST),
        "MONAI, MetricsReloaded; not medpy and panoptica, which pool the directions (hd95_pooled_mm)",
    ),
    _define(
        ("hd95_pooled_mm", "surface", "lower"),
        ("HD95 pooled (mm)", f"the 95th percentile of both directions together; {_BOUNDARY}"),
        (_UNDEFINED, _WORST),
        "medpy, panoptica: the form of older papers",
    ),
    _define(
        ("assd_mm", "surface", "lower"),
        ("ASSD (mm)", f"the mean of all distances of both boundaries; {_BOUNDARY}"),
        (_UNDEFINED, _WORST),
        "MONAI, MetricsReloaded; panoptica's is our MASD, SimpleITK's average distance is neither",
    ),
    _define(
        ("masd_mm", "surface", "lower"),
        ("MASD (mm)", f"the mean of the two directed mean distances; {_BOUNDARY}"),
        (_UNDEFINED, _WORST),
        "MetricsReloaded; panoptica calls it ASSD",
    ),
    _define(
        ("nsd", "surfels", "higher"),
        ("NSD", "share of both surfaces, by area of their marching-cubes elements, within the tolerance of the other"),
        (_UNDEFINED, "0"),
        "surface-distance (Nikolov et al. 2018; KiTS, FLARE, Decathlon)",
    ),
    _define(
        ("nsd_voxel", "surface", "higher"),
        ("NSD voxel", f"share of the boundary voxels of both within the tolerance of the other; {_BOUNDARY}"),
        (_UNDEFINED, "0"),
        "MONAI, MetricsReloaded; panoptica takes the mean of the two shares",
    ),
    _define(
        ("lesion_f1", "lesions", "higher"),
        ("lesion F1", f"2 tp / (2 tp + fp + fn), over lesions. {_DETECTION}"),
        (_UNDEFINED, "0"),
        "PI-CAI's pairing (picai_eval)",
    ),
    _define(
        ("lesion_sensitivity", "lesions", "higher"),
        ("lesion sensitivity", f"tp / (tp + fn), over lesions. {_DETECTION}"),
        (_UNDEFINED, "0, undefined without a reference lesion"),
        "PI-CAI's pairing (picai_eval)",
    ),
    _define(
        ("lesion_precision", "lesions", "higher"),
        ("lesion precision", f"tp / (tp + fp), over lesions. {_DETECTION}"),
        (_UNDEFINED, "0, undefined without a predicted lesion"),
        "PI-CAI's pairing (picai_eval)",
    ),
    _define(
        ("lesion_false_positives", "lesions", "lower"),
        ("false lesions per case", f"predicted lesions without a partner. {_DETECTION}"),
        ("0", "the number of predicted lesions"),
        "FROC's abscissa",
    ),
    _define(
        ("lesion_dice", "lesions", "higher"),
        ("per-lesion Dice", f"mean Dice of the paired lesions. {_DETECTION}"),
        (_UNDEFINED, "undefined: no pair"),
        "mean over true positives, as panoptica",
    ),
    _define(
        ("pq", "lesions", "higher"),
        ("PQ", f"panoptic quality, SQ * RQ. {_QUALITY}"),
        (_UNDEFINED, "0"),
        _KIRILLOV,
    ),
    _define(
        ("sq", "lesions", "higher"),
        ("SQ", f"mean IoU of the paired lesions. {_QUALITY}"),
        (_UNDEFINED, "undefined: no pair"),
        _KIRILLOV,
    ),
    _define(("rq", "lesions", "higher"), ("RQ", f"F1 of the lesions. {_QUALITY}"), (_UNDEFINED, "0"), _KIRILLOV),
    _define(
        ("cldice", "centreline", "higher"),
        ("clDice", "harmonic mean of the share of each mask's centreline (scikit-image's thinning) inside the other"),
        (_UNDEFINED, "0"),
        "Shit et al., clDice, CVPR 2021",
    ),
    _define(
        ("lesion_wise_dice", "lesion-wise", "higher"),
        (
            "lesion-wise Dice",
            "mean over reference lesions (those that dilation joins are one) and false ones, which score 0",
        ),
        (_UNDEFINED, "0"),
        _BRATS,
    ),
    _define(
        ("lesion_wise_hd95_mm", "lesion-wise", "lower"),
        ("lesion-wise HD95 (mm)", "as lesion-wise Dice; a missed or false lesion costs the penalty of the rules"),
        (_UNDEFINED, "the penalty"),
        _BRATS,
    ),
)
DEFINITIONS: Mapping[Metric, Definition] = MappingProxyType({definition.metric: definition for definition in _ALL})
"""Every metric's definition, in the order of tables and columns."""

TOLERANT: frozenset[Metric] = frozenset({"nsd", "nsd_voxel"})
"""Metrics that need a tolerance."""

ONE_IF_EMPTY: frozenset[Metric] = frozenset({"dice", "iou", "nsd", "nsd_voxel", "lesion_wise_dice"})
"""What challenges that reward a rightly empty prediction count as 1 (KiTS, FLARE, BraTS)."""

ZERO_IF_EMPTY: frozenset[Metric] = frozenset({"lesion_wise_hd95_mm"})
"""What they count as 0."""

ENDLESS: frozenset[Metric] = frozenset({"hd_mm", "hd95_mm", "hd95_pooled_mm", "assd_mm", "masd_mm"})
"""Distances that are infinite where only one side holds the label."""

_GROUPS: Mapping[str, tuple[Family, ...]] = MappingProxyType(
    {
        "overlap": ("overlap",),
        "distances": ("surface", "surfels"),
        "lesions": ("lesions",),
        "all": ("overlap", "surface", "surfels", "lesions", "centreline"),
    }
)
"""Words on the command line for several metrics at once."""


def title_of(metric: Metric) -> str:
    """Return what people call a metric, with its unit."""
    return DEFINITIONS[metric].title


def described(metric: Metric) -> str:
    """Return the definition as one line: what it is, what it is where something is empty, and the source."""
    d = DEFINITIONS[metric]
    return f"{d.title}: {d.text}. Both empty: {d.both_empty}; one empty: {d.one_empty}. Source: {d.source}."


def parse_metrics(text: str, tolerance: bool = True) -> tuple[Metric, ...]:
    """Return the metrics that a list such as `dice,hd95` or `distances` names, in the order of DEFINITIONS.

    Units may be left out (hd95 for hd95_mm), `-` is `_`. A group leaves out what needs a tolerance when there is none.

    Raises:
        AutosegError: a name is not known; the message has the nearest one.

    >>> parse_metrics("HD95, dice")
    ('dice', 'hd95_mm')

    """
    names = _names()
    wanted: set[Metric] = set()
    for word in text.split(","):
        key = word.strip().lower().replace("-", "_")
        if key in _GROUPS:
            found = [d.metric for d in _ALL if d.family in _GROUPS[key]]
            wanted.update(metric for metric in found if tolerance or metric not in TOLERANT)
        elif key in names:
            wanted.add(names[key])
        else:
            near = difflib.get_close_matches(key, [*names, *_GROUPS], n=1)
            mend = f"did you mean {near[0]}?" if near else f"choose from {', '.join([*_short_names(), *_GROUPS])}"
            raise AutosegError.at("--metrics", f"no metric is called {word.strip()!r}", mend)
    return in_order(wanted)


def in_order(metrics: Sequence[Metric] | set[Metric]) -> tuple[Metric, ...]:
    """Return the metrics once each, in the order of DEFINITIONS."""
    return tuple(definition.metric for definition in _ALL if definition.metric in metrics)


def _short_names() -> list[str]:
    return [definition.metric.removesuffix("_mm").removesuffix("_ml") for definition in _ALL]


def _names() -> dict[str, Metric]:
    metrics = [definition.metric for definition in _ALL]
    return dict(zip([*_short_names(), *metrics], [*metrics, *metrics], strict=True))
