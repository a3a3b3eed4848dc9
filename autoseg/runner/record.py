"""What an exported folder holds besides its plan: networks, recipe, label table."""

from dataclasses import dataclass
from typing import ClassVar

from autoseg.imaging.changes import Change
from autoseg.imaging.nifti_write import DISCLAIMER
from autoseg.imaging.orientation import Orientation
from autoseg.imaging.resampling import ANISOTROPY, CUBIC, LINEAR, POLE, PREFILTER_REACH
from autoseg.learning.windows import SIGMA_FRACTION, STEP_FRACTION

RECORD_NAME = "runner.json"
PLAN_NAME = "plan.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One ONNX network: its file inside the folder. Those of one configuration are averaged as logits."""

    configuration: str
    fold: int
    file: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelValue:
    """A structure and its value in label maps; the order is that of the networks' outputs."""

    name: str
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Resampling:
    """How the operators of one axis are built, and which are used; autoseg/imaging/resampling.py builds them.

    Output i of an axis lies at (i + 0.5) * n_in / n_out - 0.5; beyond its ends the signal goes on constant. Order 3 is
    the cubic B-spline after a prefilter with `pole`, cut at `prefilter_reach` voxels, 1 is linear, 0 nearest. Where the
    largest spacing is more than `anisotropy` times the smallest, the axis that has it takes the nearest sample.
    """

    image_order: int = CUBIC
    logits_order: int = LINEAR
    pole: float = POLE
    prefilter_reach: int = PREFILTER_REACH
    anisotropy: float = ANISOTROPY


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """How windows lie and count: at most `step` patches apart, Gaussian weights with `sigma` patches."""

    step: float = STEP_FRACTION
    sigma: float = SIGMA_FRACTION


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerRecord:
    """What an exported folder holds and how it predicts; spacing, patch and normalization are in its plan.json.

    `configurations` predict, several by averaged probabilities; `networks` are theirs and those of the stages before
    them. `mirror`: mirrored views are averaged, along the axes that the plan gives for each configuration.
    `postprocessing` changes every label map, in this order. `preparation` is done to an image in this order.
    `calibration` are the temperatures of probabilities, one for all labels or one for each region: p^(1/T) over their
    sum (of one configuration softmax or sigmoid of logits / T). They change no label; None where none were fitted.
    `orientation`: images are turned to it before all that, and label maps back; None where they stay as stored.
    """

    schema: ClassVar[str] = "autoseg.runner/1"

    dataset: str
    version: str
    model_digest: str
    configurations: tuple[str, ...]
    networks: tuple[Network, ...]
    mirror: bool
    labels: tuple[LabelValue, ...]
    postprocessing: tuple[Change, ...]
    preparation: tuple[str, ...] = ("transpose", "crop to nonzero", "normalize", "resample")
    resampling: Resampling = Resampling()
    windows: Windows = Windows()
    calibration: tuple[float, ...] | None = None
    orientation: Orientation | None = None
    use: str = DISCLAIMER
