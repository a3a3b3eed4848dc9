"""What of nnU-Net 2's plans we compute in the same way; everything else is named and refused.

Pure: plain data in, plain data out. Nothing that a plan names is ever imported.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

Json = Any

_NETWORKS = "dynamic_network_architectures.architectures."
_OLD_NETWORKS: Mapping[str, str] = MappingProxyType(
    {"PlainConvUNet": "n_conv_per_stage", "ResidualEncoderUNet": "n_blocks_per_stage"}
)
_RESAMPLING: Mapping[str, Mapping[str, Json]] = MappingProxyType(
    {
        what: MappingProxyType({"is_seg": what == "seg", "order": order, "order_z": 0, "force_separate_z": None})
        for what, order in (("data", 3), ("seg", 1), ("probabilities", 1))
    }
)
_RESAMPLER = "resample_data_or_seg_to_shape"
REORIENTING_READERS = frozenset({"SimpleITKIOWithReorient", "NibabelIOWithReorient"})
"""Those that turn every image to RAS before anything else."""
_READERS = frozenset({"SimpleITKIO", "NibabelIO", "NaturalImage2DIO", "Tiff3DIO"}) | REORIENTING_READERS
_BLOCKS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "conv_op": frozenset(f"torch.nn.modules.conv.Conv{d}d" for d in (2, 3)),
        "norm_op": frozenset(f"torch.nn.modules.instancenorm.InstanceNorm{d}d" for d in (2, 3)),
        "nonlin": frozenset({"torch.nn.LeakyReLU", "torch.nn.modules.activation.LeakyReLU"}),
    }
)
_NORM_KWARGS = {"eps": 1e-05, "affine": True}


def modern_configuration(given: Mapping[str, Json]) -> Mapping[str, Json]:
    """Return a configuration as nnU-Net writes it since 2.3; before, its network was described by numbers alone."""
    if "architecture" in given or "UNet_class_name" not in given:
        return given
    network, dimensions = str(given["UNet_class_name"]), len(given["patch_size"])
    counts = given["n_conv_per_stage_encoder"]
    first, most = given["UNet_base_num_features"], given["unet_max_num_features"]
    return {
        **given,
        "architecture": {
            "network_class_name": f"{_NETWORKS}unet.{network}",
            "arch_kwargs": {
                "n_stages": len(counts),
                "features_per_stage": [min(first * 2**index, most) for index in range(len(counts))],
                "conv_op": f"torch.nn.modules.conv.Conv{dimensions}d",
                "kernel_sizes": given["conv_kernel_sizes"],
                "strides": given["pool_op_kernel_sizes"],
                _OLD_NETWORKS.get(network, "n_conv_per_stage"): counts,
                "n_conv_per_stage_decoder": given["n_conv_per_stage_decoder"],
                "conv_bias": True,
                "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dimensions}d",
                "norm_op_kwargs": dict(_NORM_KWARGS),
                "dropout_op": None,
                "nonlin": "torch.nn.LeakyReLU",
            },
        },
    }


def refuse_unlike(plans: Mapping[str, Json], name: str, configuration: Mapping[str, Json]) -> None:
    """Refuse what we would not compute as nnU-Net does; `configuration` is resolved and modern.

    Raises:
        ValueError: another preprocessor, resampling, label manager or building block; the message names it.

    """
    _only(plans.get("label_manager", "LabelManager"), {"LabelManager"}, "label_manager")
    _only(plans.get("image_reader_writer", "SimpleITKIO"), _READERS, "image_reader_writer")
    _only(configuration.get("preprocessor_name", "DefaultPreprocessor"), {"DefaultPreprocessor"}, "preprocessor_name")
    for what, expected in _RESAMPLING.items():
        _only(configuration.get(f"resampling_fn_{what}", _RESAMPLER), {_RESAMPLER}, f"{name}: resampling_fn_{what}")
        given = configuration.get(f"resampling_fn_{what}_kwargs", expected)
        if dict(given) != dict(expected):
            msg = f"{name}: resampling_fn_{what}_kwargs are {given}, not {dict(expected)}"
            raise ValueError(msg)
    blocks = configuration.get("architecture", {}).get("arch_kwargs", {})
    for key, known in _BLOCKS.items():
        _only(str(blocks.get(key)), known, f"{name}: {key}")
    norm, slope = blocks.get("norm_op_kwargs") or {}, blocks.get("nonlin_kwargs") or {}
    if dict(norm) != _NORM_KWARGS or blocks.get("conv_bias") is not True or slope.get("negative_slope", 0.01) != 0.01:
        msg = f"{name}: norm, bias or slope of its convolutions are not nnU-Net's own"
        raise ValueError(msg)


def ordered_labels(labels: Mapping[str, Json], order: list[int] | None) -> dict[str, Json]:
    """Return the labels of dataset.json in the order of the network's outputs, each with its value to be written first.

    Without regions nnU-Net's outputs follow the values, not the file. With regions, `order` (regions_class_order) says
    what the regions are written as, in the order of the file.

    Raises:
        ValueError: two names for one value, or another number of values in `order` than there are regions.

    """
    foreground = {name: values for name, values in labels.items() if values not in (0, [0]) and name != "ignore"}
    rest = {name: values for name, values in labels.items() if name not in foreground}
    if not any(isinstance(values, list) and len(values) > 1 for values in foreground.values()):
        single = {name: values[0] if isinstance(values, list) else values for name, values in foreground.items()}
        if len(set(single.values())) != len(single):
            msg = "labels: two names for one value"
            raise ValueError(msg)
        return dict(sorted(single.items(), key=lambda item: item[1])) | rest
    if order is None or len(order) != len(foreground):
        msg = f"regions_class_order {order} does not give each of {len(foreground)} regions its value"
        raise ValueError(msg)
    written = {}
    for value, (name, values) in zip(order, foreground.items(), strict=True):
        several = values if isinstance(values, list) else [values]
        written[name] = [value, *(other for other in several if other != value)]
    return written | rest


def _only(given: Json, known: frozenset[str] | set[str], place: str) -> None:
    if given not in known:
        msg = f"{place} is {given!r}, which we do not compute; only {', '.join(sorted(known))}"
        raise ValueError(msg)
