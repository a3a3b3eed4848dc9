"""What the planner reads: a dataset in numbers, as frozen records.

Axes are in array order, slowest first: (z, y, x). A 2D image is one slice, shape (1, y, x), with `dimensions` 2.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

LabelRole = Literal["foreground", "ignore"]
CasesFrom = Literal["images", "crops", "plan"]
Modality = Literal["ct", "mr", "pet", "rgb", "microscopy", "xray", "other"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One structure to segment; a region when it has several values. Background (0) is never listed."""

    name: str
    values: tuple[int, ...]
    role: LabelRole = "foreground"

    def __post_init__(self) -> None:
        """Refuse a label without a name or value."""
        if not self.name:
            msg = "a label needs a name"
            raise ValueError(msg)
        if not self.values or 0 in self.values or len(set(self.values)) != len(self.values):
            msg = f"label {self.name}: values {self.values} must be distinct, at least one, and not 0 (background)"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelFingerprint:
    """Foreground intensities of one channel, pooled over cases; None where no foreground voxel exists.

    `modality_known`: by its name, its images' headers or Hounsfield units, and not guessed; False, too, where an older
    version made the fingerprint.
    """

    name: str
    modality: Modality
    modality_reason: str
    modality_known: bool = False
    mean: float | None
    std: float | None
    minimum: float | None
    maximum: float | None
    median: float | None
    percentile_00_5: float | None
    percentile_99_5: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFingerprint:
    """One case: geometry before and after cropping to nonzero, and how much of each label it holds.

    `left_right_axis` of the stored array (z, y, x) lies nearest to the patient's left-right, by the image's header;
    None for 2D images.
    """

    name: str
    dimensions: Literal[2, 3]
    shape: tuple[int, int, int]
    shape_after_crop: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    label_voxels: tuple[int, ...]
    label_components: tuple[int, ...]
    left_right_axis: Literal[0, 1, 2] | None = None

    def __post_init__(self) -> None:
        """Refuse empty shapes and spacings that are not positive."""
        if min(self.shape) < 1 or min(self.shape_after_crop) < 1:
            msg = f"case {self.name}: shape {self.shape} has an empty axis"
            raise ValueError(msg)
        if not all(0 < s < float("inf") for s in self.spacing_mm):
            msg = f"case {self.name}: spacing {self.spacing_mm} mm must be positive"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """The dataset in numbers. `label_voxels` and `label_components` of the cases are in the order of `labels`.

    `cases_from` says what is known of the cases: all ("images"); spacings, and shapes after cropping that stand for the
    original ones ("crops"); or nothing but the medians of a plan, which stand for one case ("plan").
    """

    schema: ClassVar[str] = "autoseg.fingerprint/1"

    dataset: str
    channels: tuple[ChannelFingerprint, ...]
    labels: tuple[Label, ...]
    overlapping: bool
    cases: tuple[CaseFingerprint, ...]
    median_relative_size_after_crop: float
    n_training: int
    cases_from: CasesFrom = "images"

    def __post_init__(self) -> None:
        """Refuse a fingerprint from which nothing can be planned."""
        if not self.cases or not self.channels:
            msg = "a fingerprint needs at least one case and one channel"
            raise ValueError(msg)
