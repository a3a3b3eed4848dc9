"""Figures of plans to nnU-Net's words and back."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

from benchmarks.nnunet_figures import ConfigurationFigures, PlanFigures
from benchmarks.nnunet_file import FileConfiguration, FilePlan
from planners.plan import Scheme

_SCHEMES: Mapping[Scheme, str] = MappingProxyType(
    {
        "zscore": "ZScoreNormalization",
        "ct": "CTNormalization",
        "none": "NoNormalization",
        "rescale-0-1": "RescaleTo01Normalization",
        "rgb-0-1": "RGBTo01Normalization",
    }
)
_ARCHITECTURES = MappingProxyType({"plain-unet": "PlainConvUNet", "residual-unet": "ResidualEncoderUNet"})


T = TypeVar("T")
K = TypeVar("K")

_CASCADE = "3d_cascade_fullres"
_LOWRES, _FULLRES = "3d_lowres", "3d_fullres"


def to_file(figures: PlanFigures) -> FilePlan:
    """Return the figures in nnU-Net's words."""
    return FilePlan(
        transpose_forward=figures.transpose,
        configurations={item.name: _to_file(item) for item in figures.configurations},
    )


def _to_file(figures: ConfigurationFigures) -> FileConfiguration:
    if figures.name == _CASCADE:
        return FileConfiguration(inherits_from=_FULLRES, previous_stage=figures.previous)
    outputs = len(figures.strides) - 1
    weights = figures.deep_supervision_weights
    return FileConfiguration(
        spacing=figures.spacing_mm,
        median_shape=figures.median_shape,
        patch_size=figures.patch,
        batch_size=figures.batch,
        batch_dice=figures.batch_dice,
        normalization=tuple(_SCHEMES[scheme] for scheme in figures.schemes),
        use_mask_for_norm=figures.use_mask,
        architecture=_ARCHITECTURES[figures.architecture],
        features_per_stage=figures.features,
        kernel_sizes=figures.kernels,
        strides=figures.strides,
        convs_or_blocks_per_stage=figures.convolutions,
        convs_per_decoder_stage=figures.decoder_convolutions,
        next_stage=_CASCADE if figures.name == _LOWRES else None,
        rotation_range_deg=(figures.rotation_deg[0], figures.rotation_deg[-1]),
        do_dummy_2d_data_aug=figures.in_plane_only,
        mirror_axes=figures.mirror_axes,
        # nnU-Net divides 0 by 0 where there is a single output.
        deep_supervision_weights=(None,) * outputs if weights is None else weights,
        conv_feature_map_estimate=figures.feature_map_estimate,
        dataloader_initial_patch_size=figures.loader_patch,
    )


def from_file(variant: str, plan: FilePlan) -> PlanFigures:
    """Return a plan of a file as figures, configurations in order of their names; a cascade takes what it inherits.

    Raises:
        ValueError: a field is missing, or a class is not known.

    """
    configurations = []
    for name, given in sorted(plan.configurations.items()):
        base = given if given.inherits_from is None else plan.configurations[given.inherits_from]
        configurations.append(_from_file(name, given.previous_stage, base))
    return PlanFigures(variant=variant, transpose=plan.transpose_forward, configurations=tuple(configurations))


def _from_file(name: str, previous: str | None, given: FileConfiguration) -> ConfigurationFigures:
    weights = _present(given.deep_supervision_weights)
    finite = tuple(weight for weight in weights if weight is not None)
    return ConfigurationFigures(
        name=name,
        previous=previous,
        spacing_mm=_present(given.spacing),
        median_shape=_present(given.median_shape),
        patch=_present(given.patch_size),
        batch=_present(given.batch_size),
        batch_dice=_present(given.batch_dice),
        schemes=tuple(_key(_SCHEMES, scheme) for scheme in _present(given.normalization)),
        use_mask=_present(given.use_mask_for_norm),
        architecture=_key(_ARCHITECTURES, _present(given.architecture)),
        features=_present(given.features_per_stage),
        kernels=_present(given.kernel_sizes),
        strides=_present(given.strides),
        convolutions=_present(given.convs_or_blocks_per_stage),
        decoder_convolutions=_present(given.convs_per_decoder_stage),
        rotation_deg=_present(given.rotation_range_deg),
        in_plane_only=_present(given.do_dummy_2d_data_aug),
        mirror_axes=_present(given.mirror_axes),
        deep_supervision_weights=finite if len(finite) == len(weights) and weights else None,
        feature_map_estimate=_present(given.conv_feature_map_estimate),
        loader_patch=_present(given.dataloader_initial_patch_size),
    )


def _present(value: T | None) -> T:
    if value is None:
        msg = "a configuration lacks a field that every configuration has"
        raise ValueError(msg)
    return value


def _key(names: Mapping[K, str], name: str) -> K:
    for key, value in names.items():
        if value == name:
            return key
    msg = f"no class {name!r}; known are {', '.join(names.values())}"
    raise ValueError(msg)
