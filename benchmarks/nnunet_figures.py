"""What nnU-Net's planner decides, in this project's words; tests/golden/nnunet_plans holds such records."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import ClassVar

from benchmarks.nnunet_file import FileInput
from planners.augmentation import loader_patch
from planners.fingerprint import CaseFingerprint, ChannelFingerprint, Fingerprint, Label
from planners.plan import Configuration, Plan
from planners.planner import make_plan
from planners.recipe import RECIPES, Budget, Recipe
from planners.spacing import PLANE_THICKNESS

_RECIPES: Mapping[str, str] = MappingProxyType(
    {
        "plain": "nnunet",
        "resenc": "nnunet-resenc",
        "resenc-m": "nnunet-resenc-m",
        "resenc-l": "nnunet-resenc-l",
        "resenc-xl": "nnunet-resenc-xl",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationFigures:
    """What the planner decides about one configuration, in the words of planners.plan.Configuration."""

    name: str
    previous: str | None
    spacing_mm: tuple[float, ...]
    median_shape: tuple[float, ...]
    patch: tuple[int, ...]
    batch: int
    batch_dice: bool
    schemes: tuple[str, ...]
    use_mask: tuple[bool, ...]
    architecture: str
    features: tuple[int, ...]
    kernels: tuple[tuple[int, ...], ...]
    strides: tuple[tuple[int, ...], ...]
    convolutions: tuple[int, ...]
    decoder_convolutions: tuple[int, ...]
    rotation_deg: tuple[float, ...]
    in_plane_only: bool
    mirror_axes: tuple[int, ...]
    deep_supervision_weights: tuple[float, ...] | None
    feature_map_estimate: int
    loader_patch: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFigures:
    """One plan of a golden case; `variant` is the recipe's key in files of plans."""

    variant: str
    transpose: tuple[int, int, int]
    configurations: tuple[ConfigurationFigures, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenPlans:
    """What nnU-Net plans for one fingerprint; `spacing_mm` is the target spacing where the user chose it."""

    schema: ClassVar[str] = "autoseg.golden-plans/1"

    fingerprint: Fingerprint
    spacing_mm: tuple[float, float, float] | None
    plans: tuple[PlanFigures, ...]


def recipe_of(variant: str, spacing_mm: tuple[float, float, float] | None) -> Recipe:
    """Return the recipe of a key such as `plain`, `resenc-m@80GB` or `plain@suppress_transpose`.

    Raises:
        ValueError: no such planner or option.

    """
    planner, *options = variant.split("@")
    if planner not in _RECIPES:
        msg = f"no planner {planner!r}; known are {', '.join(_RECIPES)}"
        raise ValueError(msg)
    recipe = replace(RECIPES[_RECIPES[planner]], spacing_mm=spacing_mm)
    for option in options:
        if option == "suppress_transpose":
            recipe = replace(recipe, transpose="keep")
        elif option.removesuffix("GB") != option:
            recipe = replace(recipe, memory_target_gb=float(option.removesuffix("GB")))
        else:
            msg = f"no option @{option} of planner {planner}"
            raise ValueError(msg)
    return recipe


def fingerprint_of(name: str, given: FileInput) -> Fingerprint:
    """Return the fingerprint that an input describes; intensities and labelled voxels are unknown."""
    return Fingerprint(
        dataset=name,
        channels=tuple(_channel(channel) for channel in given.channel_names.values()),
        labels=tuple(
            Label(
                name=label,
                values=(values,) if isinstance(values, int) else tuple(values),
                role="ignore" if label == "ignore" else "foreground",
            )
            for label, values in given.labels.items()
            if values != 0
        ),
        overlapping=False,
        cases=tuple(
            _case(index, shape, spacing)
            for index, (shape, spacing) in enumerate(zip(given.shapes_after_crop, given.spacings, strict=True))
        ),
        median_relative_size_after_crop=given.median_relative_size_after_cropping,
        n_training=given.n_training,
    )


def _channel(name: str) -> ChannelFingerprint:
    return ChannelFingerprint(
        name=name,
        modality="other",
        modality_reason="not known from its name",
        mean=None,
        std=None,
        minimum=None,
        maximum=None,
        median=None,
        percentile_00_5=None,
        percentile_99_5=None,
    )


def _case(index: int, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> CaseFingerprint:
    z, y, x = spacing_mm
    picture = shape[0] == 1 and z == PLANE_THICKNESS * max(y, x)
    return CaseFingerprint(
        name=str(index),
        dimensions=2 if picture else 3,
        shape=shape,
        shape_after_crop=shape,
        spacing_mm=(1.0, y, x) if picture else spacing_mm,
        label_voxels=(),
        label_components=(),
    )


def planned_figures(golden: GoldenPlans, variant: str) -> PlanFigures:
    """Plan a golden case and return our figures."""
    plan = make_plan(golden.fingerprint, recipe_of(variant, golden.spacing_mm), Budget())
    return figures(plan, variant)


def figures(plan: Plan, variant: str) -> PlanFigures:
    """Return the figures of a plan, configurations in order of their names."""
    ordered = sorted(plan.configurations, key=lambda configuration: configuration.name)
    return PlanFigures(
        variant=variant, transpose=plan.transpose, configurations=tuple(_figures(item) for item in ordered)
    )


def _figures(configuration: Configuration) -> ConfigurationFigures:
    stages = configuration.stages
    return ConfigurationFigures(
        name=configuration.name,
        previous=configuration.previous,
        spacing_mm=configuration.spacing_mm,
        median_shape=configuration.median_shape,
        patch=configuration.patch,
        batch=configuration.batch,
        batch_dice=configuration.batch_dice,
        schemes=tuple(normalization.scheme for normalization in configuration.normalizations),
        use_mask=tuple(normalization.use_mask for normalization in configuration.normalizations),
        architecture=configuration.architecture,
        features=tuple(stage.features for stage in stages),
        kernels=tuple(stage.kernel for stage in stages),
        strides=tuple(stage.stride for stage in stages),
        convolutions=tuple(stage.convolutions for stage in stages),
        decoder_convolutions=tuple(stage.decoder_convolutions for stage in stages[:-1]),
        rotation_deg=configuration.augmentation.rotation_deg,
        in_plane_only=configuration.augmentation.in_plane_only,
        mirror_axes=configuration.augmentation.mirror_axes,
        deep_supervision_weights=configuration.deep_supervision_weights,
        feature_map_estimate=configuration.feature_map_estimate,
        loader_patch=loader_patch(configuration),
    )
