"""Recipes: every constant of the planner as data, each with its reason and source, and the budget it plans within.

Sources: "nnU-Net" means nnunetv2 2.8.1, whose rules the `nnunet*` recipes reproduce to the last number; "AutoNNUnet"
means the five-fold runs of nnU-Net that project published; "prototype" means our own runs on MSD Hippocampus with two
CPU cores.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import ClassVar, Literal

from planners.plan import Architecture, Augmentation, Convergence, Schedule

Sizing = Literal["reference-memory", "budget"]
NormalizationRule = Literal["channel-name", "modality"]
MirrorRule = Literal["all-axes", "without-upright-position"]
TransposeRule = Literal["slices-first", "worst-axis-first", "keep"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a job may use: `seconds` of working time for all of it, or training `steps` per network, or neither."""

    seconds: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        """Refuse budgets that are not positive and budgets of both kinds at once."""
        if self.seconds is not None and not 0 < self.seconds < float("inf"):
            msg = f"a budget of {self.seconds} seconds is not positive"
            raise ValueError(msg)
        if self.steps is not None and self.steps < 1:
            msg = f"a budget of {self.steps} steps is not positive"
            raise ValueError(msg)
        if self.seconds is not None and self.steps is not None:
            msg = "a budget is either seconds or steps, not both"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What was measured once of the machine that trains; None where nothing was measured.

    `flops_per_s` is the throughput (two operations per multiply-add) of a 3x3x3 convolution forward and backward in
    the precision that training uses; `bytes_per_s` that of an elementwise operation on an array larger than any cache.
    """

    schema: ClassVar[str] = "autoseg.machine/1"

    device: str
    cores: int
    memory_bytes: int
    bf16: bool
    flops_per_s: float | None = None
    bytes_per_s: float | None = None
    halved: tuple[str, ...] = ()  # configurations whose batch its memory does not hold at once

    def __post_init__(self) -> None:
        """Refuse measurements that are not positive."""
        numbers = (self.cores, self.memory_bytes, self.flops_per_s, self.bytes_per_s)
        if any(number is not None and number <= 0 for number in numbers):
            raise ValueError(f"machine {self.device}: cores, memory and speeds must be positive, got {numbers}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Width:
    """Features, blocks and starting size of networks of one dimensionality."""

    features_max: int
    # Deepest network; None: as deep as the smallest feature map allows.
    stages_max: int | None
    start_edge: int
    reference_elements: float
    reference_batch: int
    patch_batch: int
    patch_voxels_max: int
    patch_voxels_comfortable: int
    patch_voxels_min: int
    batch_preferred: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Every knob of the planner; `dataclasses.replace` makes variants, for example another memory target.

    Fields without a comment here are explained where the recipes below set them.
    """

    name: str
    sizing: Sizing
    architecture: Architecture
    # Convolutions (or residual blocks) of the encoder stages; the last number repeats.
    encoder_convolutions: tuple[int, ...]
    decoder_convolutions: int
    features_first: int
    # Widths that `auto` may fall back to, widest first; the last but one is the narrowest it likes.
    feature_choices: tuple[int, ...]
    volume: Width
    slice: Width
    # Memory that the reference sizes stand for, and that the user has.
    reference_memory_gb: float
    memory_target_gb: float
    batch_min: int
    # Share of the training voxels that one batch may hold.
    batch_share: float
    # No feature map gets smaller than this along any axis. nnU-Net: UNet_featuremap_min_edge_length.
    feature_map_edge_min: int
    # Spacing ratio from which an axis counts as anisotropic. nnU-Net: ANISO_THRESHOLD.
    anisotropy: float
    # Percentile of the worst axis' spacings that replaces the median when the data are anisotropic. nnU-Net.
    anisotropic_percentile: float
    # Slices never become thinner than pixels are wide plus this. nnU-Net; it keeps the slices the worst axis.
    thinnest_slice_margin_mm: float
    # Target spacing in the order of the arrays on disk; None: from the data.
    spacing_mm: tuple[float, float, float] | None
    transpose: TransposeRule
    # A low-resolution network is planned when a patch covers less than this of the median case. nnU-Net.
    lowres_coverage: float
    # Spacing grows by this factor until the coverage is reached. nnU-Net.
    lowres_factor: float
    # ... and is dropped when it saves less than this factor of voxels. nnU-Net.
    lowres_gain_min: float
    normalization: NormalizationRule
    # Normalise within the nonzero mask when cropping removes more than a quarter of the median case. nnU-Net.
    mask_below_relative_size: float
    # Patches flatter than this (longest edge over first edge) are augmented in-plane only. nnU-Net.
    in_plane_above: float
    # Turns: about each axis of a volume, in-plane, and in-plane when the patch is elongated. nnU-Net.
    rotation_volume_deg: float
    rotation_plane_deg: float
    rotation_elongated_deg: float
    elongated_above: float
    # Turns in-plane of images with an upright position.
    rotation_upright_deg: float
    mirror: MirrorRule
    # Zero weight for the coarsest output, as nnU-Net has it (0/0 when it is the only one).
    coarsest_output_weight: float
    augmentation: Augmentation
    schedule: Schedule
    # Network parameters per labelled foreground voxel of the training cases.
    parameters_per_foreground_voxel: float
    # Longest patch edge over the second longest, in millimetres.
    patch_aspect_max: float
    # Share of an image's edge that a patch may leave out rather than be padded beyond the image.
    patch_trim_max: float
    # A coarser resolution is planned when a patch covers less of the median case than this, ...
    patch_coverage_min: float
    # ... or predicting this many cases takes more than this share of the budget, ...
    predicted_cases: int
    prediction_share: float
    # ... but the smallest structure keeps this many voxels.
    structure_voxels_min: float
    # Share of a time budget that training may use; the rest reads, prepares, validates, predicts and reports.
    training_share: float
    # Steps that a training of `steps_reference_seconds` should hold; grows with the root of time, down to the least
    # with which a schedule converges.
    steps_wanted: int
    steps_min: int
    steps_reference_seconds: float
    # Step cost for plans that must not depend on the machine (a budget of steps, or nothing measured).
    operations_per_step: float
    # Longest step without any budget.
    step_seconds_max: float
    steps_without_budget: int
    # Share of the machine's memory that training may fill.
    memory_share: float


_NNUNET_AUGMENTATION = Augmentation(  # nnU-Net: get_training_transforms
    rotation_probability=0.2,
    rotation_deg=(),
    scaling_probability=0.2,
    scaling=(0.7, 1.4),
    noise_probability=0.1,
    noise_std=(0.0, 0.1),
    blur_probability=0.2,
    blur_sigma_voxels=(0.5, 1.0),
    brightness_probability=0.15,
    brightness=(0.75, 1.25),
    contrast_probability=0.15,
    contrast=(0.75, 1.25),
    low_resolution_probability=0.25,
    low_resolution=(0.5, 1.0),
    gamma_inverted_probability=0.1,
    gamma_probability=0.3,
    gamma=(0.7, 1.5),
    mirror_axes=(),
    in_plane_only=False,
)

_NNUNET_SCHEDULE = Schedule(  # nnU-Net: nnUNetTrainer, 1000 epochs of 250 steps
    optimizer="sgd",
    learning_rate=0.01,
    weight_decay=3e-5,
    momentum=0.99,
    warmup=0.0,
    decay="poly",
    decay_power=0.9,
    gradient_clip=12.0,
    ema_decay=None,
    loss="dice-ce",
    foreground_fraction=0.33,
    steps=250_000,
    steps_per_epoch=250,
)

_NNUNET_VOLUME = Width(
    features_max=320,
    stages_max=None,
    start_edge=256,
    reference_elements=560e6,
    reference_batch=2,
    patch_batch=2,
    patch_voxels_max=256**3,
    patch_voxels_comfortable=256**3,
    patch_voxels_min=1,
    batch_preferred=2,
)

_NNUNET_SLICE = Width(
    features_max=512,
    stages_max=None,
    start_edge=2048,
    reference_elements=85e6,
    reference_batch=12,
    patch_batch=2,  # a plain 2D patch may grow until two samples fill the memory
    patch_voxels_max=2048**2,
    patch_voxels_comfortable=2048**2,
    patch_voxels_min=1,
    batch_preferred=12,
)

_NNUNET = Recipe(
    name="nnunet",
    sizing="reference-memory",
    architecture="plain-unet",
    encoder_convolutions=(2,),
    decoder_convolutions=2,
    features_first=32,
    feature_choices=(32,),
    volume=_NNUNET_VOLUME,
    slice=_NNUNET_SLICE,
    reference_memory_gb=8.0,
    memory_target_gb=8.0,
    batch_min=2,
    batch_share=0.05,
    feature_map_edge_min=4,
    anisotropy=3.0,
    anisotropic_percentile=10.0,
    thinnest_slice_margin_mm=1e-5,
    spacing_mm=None,
    transpose="worst-axis-first",
    lowres_coverage=0.25,
    lowres_factor=1.03,
    lowres_gain_min=2.0,
    normalization="channel-name",
    mask_below_relative_size=0.75,
    in_plane_above=3.0,
    rotation_volume_deg=30.0,
    rotation_plane_deg=180.0,
    rotation_elongated_deg=15.0,
    elongated_above=1.5,
    rotation_upright_deg=180.0,
    mirror="all-axes",
    coarsest_output_weight=0.0,
    augmentation=_NNUNET_AUGMENTATION,
    schedule=_NNUNET_SCHEDULE,
    parameters_per_foreground_voxel=float("inf"),
    patch_aspect_max=float("inf"),
    patch_trim_max=0.0,
    patch_coverage_min=0.0,
    predicted_cases=0,
    prediction_share=1.0,
    structure_voxels_min=0.0,
    training_share=0.8,
    steps_wanted=250_000,
    steps_min=250_000,
    steps_reference_seconds=1.0,
    operations_per_step=float("inf"),
    step_seconds_max=float("inf"),
    steps_without_budget=250_000,
    memory_share=1.0,
)

_NNUNET_RESENC = replace(  # ResEncUNetPlanner; 2D patches shrink until twelve samples fit
    _NNUNET,
    name="nnunet-resenc",
    architecture="residual-unet",
    encoder_convolutions=(1, 3, 4, 6),
    decoder_convolutions=1,
    volume=replace(_NNUNET_VOLUME, reference_elements=680e6),
    slice=replace(_NNUNET_SLICE, reference_elements=135e6, patch_batch=12),
)


def _preset(name: str, gigabytes: float, volume_elements: float, slice_elements: float) -> Recipe:
    """Return one of nnU-Net's ResEnc presets, which drop the 5 % limit on the batch."""
    return replace(
        _NNUNET_RESENC,
        name=name,
        reference_memory_gb=gigabytes,
        memory_target_gb=gigabytes,
        batch_share=1.0,
        volume=replace(_NNUNET_RESENC.volume, reference_elements=volume_elements),
        slice=replace(_NNUNET_RESENC.slice, reference_elements=slice_elements),
    )


_AUTO = replace(
    _NNUNET,
    name="auto",
    sizing="budget",
    # Prototype: 16 features reach nnU-Net's Dice on Hippocampus in 25 CPU minutes; 32 are nnU-Net's for long runs.
    feature_choices=(32, 24, 16, 8),
    volume=replace(
        _NNUNET_VOLUME,
        stages_max=6,  # what nnU-Net's 8 GB plans have; a seventh sees nothing that the sixth does not
        patch_voxels_max=128**3,  # what nnU-Net's 8 GB plans hold on isotropic data
        patch_voxels_comfortable=128**3,
        patch_voxels_min=32**3,
        batch_preferred=4,  # prototype
    ),
    slice=replace(
        _NNUNET_SLICE,
        stages_max=7,
        patch_voxels_max=512**2,  # what nnU-Net's 8 GB plans hold
        patch_voxels_comfortable=256**2,
        patch_voxels_min=64**2,
        batch_preferred=8,
    ),
    batch_share=0.2,  # at least five batches to see everything once; nnU-Net's 5 % leaves two slices of 24
    thinnest_slice_margin_mm=0.0,  # an absolute length would tie plans to the unit
    transpose="slices-first",
    normalization="modality",
    # Between the 8 of nnU-Net's plain plan on Hippocampus (5.6 M parameters, 0.7 M foreground voxels), which won, and
    # the 39 of its ResEnc plans (25.9 M), which lost (AutoNNUnet).
    parameters_per_foreground_voxel=20.0,
    patch_aspect_max=4.0,
    # On Hippocampus (36x50x35 voxels) 32x48x32 had 72 % more steps in the same time than 40x56x40 and a Dice 0.003
    # higher (docs/log.md).
    patch_trim_max=0.15,
    patch_coverage_min=1 / 64,  # four patches along each axis; TotalSegmentator's whole-body models work at 1.5 mm
    predicted_cases=5,  # what validation and the report's final prediction need at least
    prediction_share=0.1,
    structure_voxels_min=64.0,  # a cube of four voxels, the smallest that Dice can measure sensibly
    rotation_upright_deg=30.0,  # prototype; a short schedule has no steps to spare for bodies upside down
    # Prototype. It also keeps left apart from right (nnU-Net issues 80 to 3004). What lies under a microscope has
    # neither, and few of its images are labelled.
    mirror="without-upright-position",
    coarsest_output_weight=0.0,
    schedule=Schedule(  # prototype; foreground_fraction: 0.52-0.71 in 6 of 10 tuned nnU-Nets (AutoNNUnet)
        optimizer="adamw",
        learning_rate=2e-3,
        weight_decay=1e-2,
        momentum=None,
        warmup=0.03,
        decay="poly",
        decay_power=0.9,
        gradient_clip=1.0,
        ema_decay=0.995,
        loss="dice-ce",
        foreground_fraction=0.5,
        steps=None,
        steps_per_epoch=100,
        convergence=Convergence(
            warmup_steps=100,  # prototype: 0.03 of 1300 to 3000 steps
            anneal_share=0.25,  # a fifth of all steps; more than the tenth that suffices elsewhere, as ours are few
            steps_min=2000,  # prototype: Dice 0.883 after about 3000 where 0.884 is to be had; not measured further
            points_min=8,  # twice the numbers of a curve and its noise; not measured
            agreeing=3,  # not measured
            horizon=2.0,  # nobody waits twice as long for less than the noise
            noise_min=0.002,  # between seeds on Hippocampus less than this says nothing (docs/log.md)
            noise_max=0.01,  # noise above this tells of few validation cases, not of learning; not measured
            unlearned=0.05,  # not measured
        ),
    ),
    # Prototype: about 1300 steps in ten minutes gave 0.878, about 3000 in 25 gave 0.883 (nnU-Net in full: 0.884).
    steps_wanted=1400,
    steps_min=800,
    steps_reference_seconds=480.0,
    operations_per_step=1.5e11,  # about half a second on two cores with bf16
    step_seconds_max=1.0,
    steps_without_budget=50_000,
    memory_share=0.6,
)

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        recipe.name: recipe
        for recipe in (
            _AUTO,
            _NNUNET,
            _NNUNET_RESENC,
            _preset("nnunet-resenc-m", 8.0, 680e6, 135e6),
            _preset("nnunet-resenc-l", 24.0, 2100e6, 380e6),
            _preset("nnunet-resenc-xl", 40.0, 3600e6, 560e6),
        )
    }
)
