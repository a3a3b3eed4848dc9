"""What nnU-Net 2 reached on each hippocampus case, as published; the table lies in the package (autoseg/suites)."""

from autoseg.suites.suite import per_case_results
from autoseg.suites.table import HIPPOCAMPUS

PLAIN, RESENC_M, RESENC_L = "plain", "resenc_m", "resenc_l"
VARIANTS = (PLAIN, RESENC_M, RESENC_L)
SOURCE = HIPPOCAMPUS.per_case_source


def published(variant: str) -> dict[str, float]:
    """Return case -> mean Dice over both labels for the 200 published cases, in the order of the table."""
    return per_case_results(HIPPOCAMPUS)[variant]
