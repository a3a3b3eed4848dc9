"""What nnU-Net 2 reached on each hippocampus case, as published.

Source: result files of the repository automl/AutoNNUNet (nnU-Net 2 baselines: plain, residual encoder M and L planners;
1000 epochs, 5-fold cross-validation over all 260 labelled cases of MSD task 4, each case predicted by the network that
did not see it). Reduced to the 200 cases of the public copy this benchmark uses, rounded to four digits.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).parent / "nnunet_per_case.csv"
SOURCE = "automl/AutoNNUNet result files: 1000 epochs, 5-fold cross-validation over 260 cases"
PLAIN, RESENC_M, RESENC_L = "plain", "resenc_m", "resenc_l"
VARIANTS = (PLAIN, RESENC_M, RESENC_L)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedCase:
    """One case of one variant; Dice of the hippocampus' anterior and posterior part."""

    case: str
    variant: str
    anterior: float
    posterior: float

    @property
    def dice(self) -> float:
        """Mean over both labels."""
        return (self.anterior + self.posterior) / 2


def published(variant: str) -> tuple[PublishedCase, ...]:
    """Return the 200 published cases of a variant, in the order of the table."""
    with TABLE.open(encoding="utf-8", newline="") as handle:
        return tuple(
            PublishedCase(
                case=row["case"],
                variant=variant,
                anterior=float(row[f"{variant}_anterior"]),
                posterior=float(row[f"{variant}_posterior"]),
            )
            for row in csv.DictReader(handle)
        )
