"""How scores are made: which metrics, at which tolerance, and how challenges do it, as data."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from autoseg.core.definitions import DEFINITIONS, TOLERANT, Metric, in_order
from autoseg.core.errors import AutosegError
from planners.fingerprint import Label


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateOptions:
    """What `autoseg evaluate` may be told; what is given replaces what the preset says."""

    metrics: str | None = None
    """Names such as dice,hd95,nsd, or groups: overlap, distances, lesions, all; by default dice,hd95,assd."""

    preset: str | None = None
    """Metrics, labels and rules of a challenge: msd, msd-liver, kits23, brats-lesion-wise and others."""

    tolerance_mm: str | None = None
    """Tolerance of NSD in mm, which is then measured: what readers disagree by; one, or one for each label (1,2.5)."""

    partial: bool = False
    """Leave out references without a prediction instead of scoring them as empty."""

    empty_is_one: bool = False
    """A label that neither side holds scores 1 in overlap; by default it is undefined, left out and counted."""

    groups: str | None = None
    """A CSV (columns case, group) of which cases are of one patient; by default as their names or the dataset tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionWise:
    """Rules of lesion-wise scores.

    `dilations` rounds of growth join reference lesions; lesions must exceed `minimum_mm3`; `penalty_mm` is the HD95 of
    a missed or false lesion.
    """

    dilations: int
    minimum_mm3: float
    penalty_mm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What is measured, and how.

    `tolerances_mm` of NSD are one for all labels, one for each, or none. `both_empty` is the overlap score (Dice, IoU,
    NSD, lesion-wise Dice) of a label that neither side holds; None leaves it undefined. A case whose maps differ in
    more than `most_apart` voxels, and change in as many places, has overlap scores only: its distances take minutes.
    """

    metrics: tuple[Metric, ...] = ("dice",)
    tolerances_mm: tuple[float, ...] = ()
    both_empty: float | None = None
    lesion_wise: LesionWise | None = None
    most_apart: int | None = None

    def tolerance_mm(self, position: int) -> float | None:
        """Return the tolerance of the foreground label at `position`, None when there is none."""
        if not self.tolerances_mm:
            return None
        return self.tolerances_mm[position if len(self.tolerances_mm) > 1 else 0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One challenge: its rules, and labels that replace those of the references where there are any."""

    rules: Rules
    labels: tuple[Label, ...] = ()
    source: str


_KITS_REGIONS = (
    Label(name="kidney_and_masses", values=(1, 2, 3)),
    Label(name="masses", values=(2, 3)),
    Label(name="tumour", values=(2,)),
)
_BRATS_REGIONS = (
    Label(name="whole_tumour", values=(1, 2, 3)),
    Label(name="tumour_core", values=(1, 3)),
    Label(name="enhancing_tumour", values=(3,)),
)
_BRATS_PENALTY_MM = 374.0
"""About the diagonal of the atlas (240 x 240 x 155 voxels of 1 mm) that BraTS images lie on."""

_BRATS_SOURCE = "BraTS 2023 lesion-wise metrics (rachitsaluja/BraTS-2023-Metrics)"


def _brats(dilations: int, minimum_mm3: float) -> Preset:
    rules = LesionWise(dilations=dilations, minimum_mm3=minimum_mm3, penalty_mm=_BRATS_PENALTY_MM)
    metrics: tuple[Metric, ...] = ("dice", "hd95_mm", "lesion_wise_dice", "lesion_wise_hd95_mm")
    return Preset(
        labels=_BRATS_REGIONS, rules=Rules(metrics=metrics, both_empty=1.0, lesion_wise=rules), source=_BRATS_SOURCE
    )


def _decathlon(tolerance_mm: float | None) -> Preset:
    return Preset(
        rules=Rules(metrics=("dice", "nsd"), tolerances_mm=() if tolerance_mm is None else (tolerance_mm,)),
        source="Medical Segmentation Decathlon (Antonelli et al., Nature Communications 2022)",
    )


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        # The Decathlon has one tolerance a task. Its program is not public; the tolerances here are those that a second
        # source (the tables of SegEvalKit) repeats, the other tasks take `msd` with --tolerance-mm.
        "msd": _decathlon(None),
        "msd-liver": _decathlon(7.0),
        "msd-pancreas": _decathlon(5.0),
        "msd-colon": _decathlon(4.0),
        # KiTS23 (its evaluation program): hierarchical classes, tolerances from the disagreement of its readers.
        "kits23": Preset(
            labels=_KITS_REGIONS,
            rules=Rules(
                metrics=("dice", "nsd"), tolerances_mm=(1.0330772532, 1.1328796488, 1.1498198361), both_empty=1.0
            ),
            source="KiTS23 evaluation program (neheller/kits23)",
        ),
        # BraTS 2023: dilation and volume for gliomas (GLI, and SSA and PED), meningiomas (MEN) and metastases (MET).
        "brats-lesion-wise": _brats(3, 50.0),
        "brats-men-lesion-wise": _brats(1, 50.0),
        "brats-met-lesion-wise": _brats(1, 2.0),
    }
)
"""Each challenge by its name on the command line."""


def preset_named(name: str) -> Preset:
    """Return a challenge's preset.

    Raises:
        AutosegError: there is none of this name; the message has the nearest one.

    """
    preset = PRESETS.get(name.lower())
    if preset:
        return preset
    near = difflib.get_close_matches(name.lower(), PRESETS, n=1)
    mend = f"did you mean {near[0]}?" if near else f"choose from {', '.join(PRESETS)}"
    raise AutosegError.at("--preset", f"no preset is called {name!r}", mend)


def checked_rules(rules: Rules, foreground: int | None = None) -> Rules:
    """Return the rules with their metrics in order, each with what it needs.

    Args:
        rules: as asked for.
        foreground: number of foreground labels, where known.

    Raises:
        AutosegError: no metric, a tolerance that is missing or no distance, as many tolerances as there are no labels,
            or lesion-wise scores without rules.

    """
    metrics = in_order(rules.metrics)
    if not metrics:
        raise AutosegError.at("--metrics", "no metric given", f"choose from {', '.join(DEFINITIONS)}")
    for tolerance in rules.tolerances_mm:
        if not 0 <= tolerance < math.inf:
            raise AutosegError.at("tolerance", f"{tolerance} mm is no distance", "give millimetres, such as 1")
    tolerant = [metric for metric in metrics if metric in TOLERANT]
    if tolerant and not rules.tolerances_mm:
        mend = "give what readers of these images disagree by, such as --tolerance-mm 1"
        raise AutosegError.at(DEFINITIONS[tolerant[0]].title, "needs a tolerance", mend)
    if foreground is not None and len(rules.tolerances_mm) not in (0, 1, foreground):
        what = f"{len(rules.tolerances_mm)} tolerances for {foreground} labels"
        raise AutosegError.at("tolerance", what, "give one for all, or one for each")
    if not rules.lesion_wise and {"lesion_wise_dice", "lesion_wise_hd95_mm"} & set(metrics):
        mend = "add --preset brats-lesion-wise, or take lesion_f1 and pq"
        raise AutosegError.at("lesion-wise scores", "need the rules of a challenge", mend)
    return replace(rules, metrics=metrics)
