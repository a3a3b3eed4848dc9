"""What the planner writes: every number that training and prediction obey, with the reasons.

Axes are in array order after `Plan.transpose`, slowest first. A 2D configuration has two axes (y, x).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from planners.cascade import CascadeAugmentation
from planners.fingerprint import Label

Architecture = Literal["plain-unet", "residual-unet", "attention-unet"]
ConfigurationName = Literal["2d", "3d_fullres", "3d_lowres", "3d_cascade_fullres"]
Scheme = Literal["zscore", "ct", "window", "rescale-0-1", "rgb-0-1", "none"]
Target = Literal["labels", "regions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One encoder resolution. `stride` leads into it; `decoder_convolutions` is 0 for the bottleneck."""

    features: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    convolutions: int
    decoder_convolutions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalization:
    """How one channel becomes network input.

    `ct` clips to [lower, upper] and subtracts `mean`, divides by `std`; `window` maps [lower, upper] to [0, 1];
    `zscore` takes mean and std from the case (from its nonzero mask only, when `use_mask`).
    """

    channel: str
    scheme: Scheme
    use_mask: bool = False
    lower: float | None = None
    upper: float | None = None
    mean: float | None = None
    std: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """Random changes of a training patch. Probabilities are per sample; ranges are (low, high).

    Where `mirror_axes` holds `mirror_swap_axis`, the axis of the patch that is left-right, outputs of the network that
    are two sides of one structure change places (`mirror_swaps`) in a patch or prediction mirrored along it.

    From `elastic_probability` on all is off until an ablation asks for it; the ranges are not measured. Elastic
    deformation moves by up to `elastic_reach` of the patch's edges, smooth over `elastic_smoothness` of them. A bias
    field has coefficients up to `bias_field`; ghosts take the share `ghosting` of the lines that make
    `ghosting_copies`; spikes are `spikes` standard deviations high; thick slices keep the share `thick_slices` of the
    samples along an axis.
    """

    rotation_probability: float
    rotation_deg: tuple[float, ...]
    scaling_probability: float
    scaling: tuple[float, float]
    noise_probability: float
    noise_std: tuple[float, float]
    blur_probability: float
    blur_sigma_voxels: tuple[float, float]
    brightness_probability: float
    brightness: tuple[float, float]
    contrast_probability: float
    contrast: tuple[float, float]
    low_resolution_probability: float
    low_resolution: tuple[float, float]
    gamma_inverted_probability: float
    gamma_probability: float
    gamma: tuple[float, float]
    mirror_axes: tuple[int, ...]
    in_plane_only: bool
    mirror_swap_axis: int | None = None
    mirror_swaps: tuple[tuple[int, int], ...] = ()
    elastic_probability: float = 0.0
    elastic_reach: tuple[float, float] = (0.01, 0.05)
    elastic_smoothness: tuple[float, float] = (0.1, 0.25)
    motion_probability: float = 0.0
    motion_voxels: tuple[float, float] = (0.5, 3.0)
    bias_field_probability: float = 0.0
    bias_field: tuple[float, float] = (0.1, 0.5)
    ghosting_probability: float = 0.0
    ghosting: tuple[float, float] = (0.2, 0.8)
    ghosting_copies: tuple[int, int] = (2, 6)
    spikes_probability: float = 0.0
    spikes: tuple[float, float] = (0.1, 0.5)
    thick_slices_probability: float = 0.0
    thick_slices: tuple[float, float] = (0.25, 0.5)
    anisotropic_blur_probability: float = 0.0
    anisotropic_blur_sigma_voxels: tuple[float, float] = (0.5, 2.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Convergence:
    """When a training without a budget has learned enough, and how it then ends; planners/convergence.py has the rule.

    The rate rises over `warmup_steps`, stays until validation promises less than its noise, and anneals to zero over
    `anneal_share` of the steps so far. A curve counts from `steps_min` steps and `points_min` validations on, once
    `agreeing` of them in a row say enough. What training on to `horizon` times the steps would gain is held against
    the noise of Dice around the curve, taken as at least `noise_min` and at most `noise_max`. A structure whose Dice
    is below `unlearned` has not begun to be learned.
    """

    warmup_steps: int
    anneal_share: float
    steps_min: int
    points_min: int
    agreeing: int
    horizon: float
    noise_min: float
    noise_max: float
    unlearned: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Optimiser and learning rate over progress, which runs from 0 to 1 by steps or by the clock.

    `steps` None: the budget's clock decides. `warmup` is the fraction of progress with a rising rate. With a
    `convergence` training ends by its validation curve, after `steps` at the latest.
    """

    optimizer: Literal["adamw", "sgd"]
    learning_rate: float
    weight_decay: float
    momentum: float | None
    warmup: float
    decay: Literal["poly", "cosine"]
    decay_power: float
    gradient_clip: float
    ema_decay: float | None
    loss: Literal["dice-ce", "ce", "dice-topk"]
    foreground_fraction: float
    steps: int | None
    steps_per_epoch: int
    convergence: Convergence | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """One network to train. In a cascade it also sees what `previous` predicted, changed in training as data say."""

    name: ConfigurationName
    architecture: Architecture
    dimensions: Literal[2, 3]
    spacing_mm: tuple[float, ...]
    median_shape: tuple[float, ...]
    patch: tuple[int, ...]
    batch: int
    stages: tuple[Stage, ...]
    deep_supervision_weights: tuple[float, ...] | None
    batch_dice: bool
    normalizations: tuple[Normalization, ...]
    augmentation: Augmentation
    schedule: Schedule
    feature_map_estimate: int
    estimated_bytes: int
    previous: ConfigurationName | None = None
    previous_augmentation: CascadeAugmentation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Why a number is what it is, in a sentence a colleague would say."""

    configuration: str | None
    parameter: str
    value: str
    rule: str
    because: str
    rejected: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything to do with a dataset; `transpose` is applied to (z, y, x) arrays first.

    `start` names the weights that the networks begin with by their SHA-256; "" for weights drawn at random.
    """

    schema: ClassVar[str] = "autoseg.plan/1"

    dataset: str
    recipe: str
    channels: tuple[str, ...]
    labels: tuple[Label, ...]
    target: Target
    transpose: tuple[int, int, int]
    configurations: tuple[Configuration, ...]
    decisions: tuple[Decision, ...]
    start: str = ""

    def configuration(self, name: str) -> Configuration:
        """Return the configuration called `name`; KeyError lists those that exist."""
        for configuration in self.configurations:
            if configuration.name == name:
                return configuration
        msg = f"no configuration {name!r}; the plan has {', '.join(c.name for c in self.configurations)}"
        raise KeyError(msg)
