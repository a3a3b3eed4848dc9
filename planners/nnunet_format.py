"""Our records as nnU-Net 2's: dataset_fingerprint.json and nnUNetPlans.json, as plain data. nnunet_import reads them.

Pure: whoever calls writes the files. The image reader is always SimpleITK's, and resampling nnU-Net's default.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from planners.fingerprint import Fingerprint
from planners.plan import Architecture, Configuration, Plan, Scheme
from planners.spacing import median_per_axis, permuted, working_spacing

Json = Any  # plain data as a JSON parser returns and takes it

SCHEMES: Mapping[str, Scheme] = MappingProxyType(
    {
        "ZScoreNormalization": "zscore",
        "CTNormalization": "ct",
        "NoNormalization": "none",
        "RescaleTo01Normalization": "rescale-0-1",
        "RGBTo01Normalization": "rgb-0-1",
    }
)
_NETWORKS = "dynamic_network_architectures.architectures.unet."
ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {_NETWORKS + "PlainConvUNet": "plain-unet", _NETWORKS + "ResidualEncoderUNet": "residual-unet"}
)
COUNTED: Mapping[Architecture, str] = MappingProxyType(
    {"plain-unet": "n_conv_per_stage", "residual-unet": "n_blocks_per_stage"}
)
# Names of the planners that make our recipes: plans file, planner class.
PLANNERS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "nnunet": ("nnUNetPlans", "ExperimentPlanner"),
        "nnunet-resenc": ("nnUNetResEncUNetPlans", "ResEncUNetPlanner"),
        "nnunet-resenc-m": ("nnUNetResEncUNetMPlans", "nnUNetPlannerResEncM"),
        "nnunet-resenc-l": ("nnUNetResEncUNetLPlans", "nnUNetPlannerResEncL"),
        "nnunet-resenc-xl": ("nnUNetResEncUNetXLPlans", "nnUNetPlannerResEncXL"),
    }
)
STATISTICS = ("mean", "std", "min", "max", "median", "percentile_00_5", "percentile_99_5")
STATISTIC_NAMES: Mapping[str, str] = MappingProxyType({"min": "minimum", "max": "maximum"})


def fingerprint_to_nnunet(fingerprint: Fingerprint) -> dict[str, Json]:
    """Return the contents of dataset_fingerprint.json."""
    return {
        "spacings": [list(working_spacing(case)) for case in fingerprint.cases],
        "shapes_after_crop": [list(case.shape_after_crop) for case in fingerprint.cases],
        "median_relative_size_after_cropping": fingerprint.median_relative_size_after_crop,
        "foreground_intensity_properties_per_channel": _intensities(fingerprint),
    }


def plan_to_nnunet(plan: Plan, fingerprint: Fingerprint) -> dict[str, Json]:
    """Return the contents of nnUNetPlans.json for a plan and the fingerprint that it was made from."""
    file, planner = PLANNERS.get(plan.recipe, (f"autoseg-{plan.recipe}", "ExperimentPlanner"))
    spacings = [working_spacing(case) for case in fingerprint.cases]
    shapes = [case.shape_after_crop for case in fingerprint.cases]
    return {
        "dataset_name": plan.dataset,
        "plans_name": file,
        "original_median_spacing_after_transp": list(permuted(median_per_axis(spacings), plan.transpose)),
        "original_median_shape_after_transp": [int(edge) for edge in permuted(median_per_axis(shapes), plan.transpose)],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": list(plan.transpose),
        "transpose_backward": [plan.transpose.index(axis) for axis in range(3)],
        "configurations": {item.name: _configuration_to_nnunet(item, file) for item in plan.configurations},
        "experiment_planner_used": planner,
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": _intensities(fingerprint),
    }


def _configuration_to_nnunet(configuration: Configuration, file: str) -> dict[str, Json]:
    if configuration.previous is not None:
        return {"inherits_from": "3d_fullres", "previous_stage": configuration.previous}
    schemes = {ours: theirs for theirs, ours in SCHEMES.items()}
    unknown = [item.scheme for item in configuration.normalizations if item.scheme not in schemes]
    if unknown:
        msg = f"{configuration.name}: nnU-Net has no normalization {unknown[0]!r}"
        raise ValueError(msg)
    written = {
        "data_identifier": f"{file}_{configuration.name}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": configuration.batch,
        "patch_size": list(configuration.patch),
        "median_image_size_in_voxels": list(configuration.median_shape),
        "spacing": list(configuration.spacing_mm),
        "normalization_schemes": [schemes[item.scheme] for item in configuration.normalizations],
        "use_mask_for_norm": [item.use_mask for item in configuration.normalizations],
        **_resampling("data", is_seg=False, order=3),
        **_resampling("seg", is_seg=True, order=1),
        **_resampling("probabilities", is_seg=False, order=1),
        "architecture": _architecture_to_nnunet(configuration),
        "batch_dice": configuration.batch_dice,
    }
    return written | ({"next_stage": "3d_cascade_fullres"} if configuration.name == "3d_lowres" else {})


def _resampling(what: str, *, is_seg: bool, order: int) -> dict[str, Json]:
    return {
        f"resampling_fn_{what}": "resample_data_or_seg_to_shape",
        f"resampling_fn_{what}_kwargs": {
            "is_seg": is_seg,
            "order": order,
            "order_z": 0,
            "force_separate_z": None,
        },
    }


def _architecture_to_nnunet(configuration: Configuration) -> dict[str, Json]:
    stages, dimensions = configuration.stages, configuration.dimensions
    classes = {ours: theirs for theirs, ours in ARCHITECTURES.items()}
    if configuration.architecture not in classes:
        msg = f"{configuration.name}: nnU-Net has no architecture {configuration.architecture!r}"
        raise ValueError(msg)
    counted = COUNTED[configuration.architecture]
    return {
        "network_class_name": classes[configuration.architecture],
        "arch_kwargs": {
            "n_stages": len(stages),
            "features_per_stage": [stage.features for stage in stages],
            "conv_op": f"torch.nn.modules.conv.Conv{dimensions}d",
            "kernel_sizes": [list(stage.kernel) for stage in stages],
            "strides": [list(stage.stride) for stage in stages],
            counted: [stage.convolutions for stage in stages],
            "n_conv_per_stage_decoder": [stage.decoder_convolutions for stage in stages[:-1]],
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dimensions}d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def _intensities(fingerprint: Fingerprint) -> dict[str, Json]:
    return {
        str(index): {key: getattr(channel, STATISTIC_NAMES.get(key, key)) for key in STATISTICS}
        for index, channel in enumerate(fingerprint.channels)
    }
