"""Files of plans in nnU-Net's words: cases, each an input and the plans that nnU-Net made for it.

{"about": ..., "cases": {NAME: {"input": FileInput, "plans": {PLANNER[@OPTION]: FilePlan}}}}
"""

import msgspec


class FileInput(msgspec.Struct, frozen=True, kw_only=True):
    """One dataset as nnU-Net's planner sees it. Axes in array order; spacing in mm."""

    channel_names: dict[str, str]
    labels: dict[str, int | list[int]]
    n_training: int
    spacings: list[tuple[float, float, float]]
    shapes_after_crop: list[tuple[int, int, int]]
    median_relative_size_after_cropping: float
    regions_class_order: list[int] | None = None
    natural_image_2d: bool = False
    overwrite_target_spacing: tuple[float, float, float] | None = None


class FileConfiguration(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One configuration in nnU-Net's words; a cascade has only the first two fields."""

    inherits_from: str | None = None
    previous_stage: str | None = None
    spacing: tuple[float, ...] | None = None
    median_shape: tuple[float, ...] | None = None
    patch_size: tuple[int, ...] | None = None
    batch_size: int | None = None
    batch_dice: bool | None = None
    normalization: tuple[str, ...] | None = None
    use_mask_for_norm: tuple[bool, ...] | None = None
    architecture: str | None = None
    features_per_stage: tuple[int, ...] | None = None
    kernel_sizes: tuple[tuple[int, ...], ...] | None = None
    strides: tuple[tuple[int, ...], ...] | None = None
    convs_or_blocks_per_stage: tuple[int, ...] | None = None
    convs_per_decoder_stage: tuple[int, ...] | None = None
    next_stage: str | None = None
    rotation_range_deg: tuple[float, float] | None = None
    do_dummy_2d_data_aug: bool | None = None
    mirror_axes: tuple[int, ...] | None = None
    deep_supervision_weights: tuple[float | None, ...] | None = None
    conv_feature_map_estimate: int | None = None
    dataloader_initial_patch_size: tuple[int, ...] | None = None


class FilePlan(msgspec.Struct, frozen=True, kw_only=True):
    """One plan in nnU-Net's words."""

    transpose_forward: tuple[int, int, int]
    configurations: dict[str, FileConfiguration]


class FileCase(msgspec.Struct, frozen=True, kw_only=True):
    """One input and the plans made for it; keys are planner, then optional @memory or @suppress_transpose."""

    input: FileInput
    plans: dict[str, FilePlan]


class PlanFile(msgspec.Struct, frozen=True, kw_only=True):
    """A whole file."""

    about: str = ""
    cases: dict[str, FileCase]
