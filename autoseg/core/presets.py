"""How challenges score, as data: their labels, tolerances and rules for what is empty."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from planners.fingerprint import Label


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
class Preset:
    """One challenge.

    `labels` replace those of the references where there are any. `tolerances_mm` of NSD are one for all labels, one for
    each, or none. `both_empty` is the Dice and NSD of a label that neither side holds.
    """

    labels: tuple[Label, ...] = ()
    tolerances_mm: tuple[float, ...] = ()
    both_empty: float | None = None
    lesion_wise: LesionWise | None = None


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

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        # KiTS23 (its evaluation program): hierarchical classes, tolerances from the disagreement of its readers.
        "kits23": Preset(
            labels=_KITS_REGIONS, tolerances_mm=(1.0330772532, 1.1328796488, 1.1498198361), both_empty=1.0
        ),
        # BraTS 2023: dilation and volume for gliomas (GLI, and SSA and PED), metastases (MET) and meningiomas (MEN).
        "brats": Preset(
            labels=_BRATS_REGIONS,
            lesion_wise=LesionWise(dilations=3, minimum_mm3=50.0, penalty_mm=_BRATS_PENALTY_MM),
        ),
        "brats-men": Preset(
            labels=_BRATS_REGIONS,
            lesion_wise=LesionWise(dilations=1, minimum_mm3=50.0, penalty_mm=_BRATS_PENALTY_MM),
        ),
        "brats-met": Preset(
            labels=_BRATS_REGIONS,
            lesion_wise=LesionWise(dilations=1, minimum_mm3=2.0, penalty_mm=_BRATS_PENALTY_MM),
        ),
    }
)
"""Each challenge by its name on the command line."""
