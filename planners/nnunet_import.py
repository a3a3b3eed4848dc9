"""nnU-Net 2's records, as parsed JSON, in ours: dataset.json, dataset_fingerprint.json and nnUNetPlans.json.

Pure: whoever calls reads the files. Everything is checked; nothing in them is ever executed or imported. Not carried
over, because our plans do not know them: image reader and dropout; nnunet_known says which resampling is ours.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from planners.augmentation import augmentation
from planners.cascade import CASCADE_AUGMENTATION
from planners.fingerprint import CaseFingerprint, ChannelFingerprint, Fingerprint, Label
from planners.memory import feature_map_elements, network_of, training_bytes
from planners.nnunet_format import ARCHITECTURES, COUNTED, PLANNERS, SCHEMES, STATISTIC_NAMES, STATISTICS, Json
from planners.nnunet_known import modern_configuration
from planners.plan import Architecture, Configuration, ConfigurationName, Decision, Normalization, Plan, Stage
from planners.planner import describe_task, target_of
from planners.recipe import RECIPES, Recipe
from planners.schedule import supervision_weights
from planners.spacing import PLANE_THICKNESS

_CONFIGURATIONS: tuple[ConfigurationName, ...] = ("3d_fullres", "2d", "3d_lowres", "3d_cascade_fullres")


def fingerprint_from_nnunet(name: str, dataset: Json, fingerprint: Json) -> Fingerprint:
    """Return the fingerprint in nnU-Net's `dataset` (dataset.json) and `fingerprint` (dataset_fingerprint.json).

    Original shapes, labelled voxels and modalities other than CT are not in these files; shapes after cropping stand
    for the originals.

    Raises:
        ValueError: a field is missing or of another kind; the message names it.

    """
    spacings = [_numbers(item, "spacings", 3) for item in _list(fingerprint, "spacings")]
    shapes = [_integers(item, "shapes_after_crop", 3) for item in _list(fingerprint, "shapes_after_crop")]
    if len(spacings) != len(shapes):
        msg = f"spacings has {len(spacings)} cases, shapes_after_crop {len(shapes)}"
        raise ValueError(msg)
    names = _mapping(dataset, "channel_names" if "channel_names" in dataset else "modality").values()
    statistics = _mapping(fingerprint, "foreground_intensity_properties_per_channel")
    pairs = zip(shapes, spacings, strict=True)
    return Fingerprint(
        dataset=name,
        channels=tuple(_channel(str(item), statistics.get(str(index))) for index, item in enumerate(names)),
        labels=_labels(_mapping(dataset, "labels")),
        overlapping=False,
        cases=tuple(_case(f"case_{index:04d}", shape, spacing) for index, (shape, spacing) in enumerate(pairs)),
        median_relative_size_after_crop=_number(
            fingerprint.get("median_relative_size_after_cropping"), "median_relative_size_after_cropping"
        ),
        n_training=_integer(dataset.get("numTraining"), "numTraining"),
    )


def plan_from_nnunet(fingerprint: Fingerprint, plans: Json) -> Plan:
    """Return the plan in nnU-Net's `plans` (nnUNetPlans.json); learning follows our recipe of nnU-Net's trainer.

    Raises:
        ValueError: a field is missing or of another kind, a class is not one of nnU-Net's own, or configurations
            inherit in a circle; the message names it.

    """
    given = _mapping(plans, "configurations")
    unknown = sorted(set(given) - set(_CONFIGURATIONS))
    if unknown:
        msg = f"configuration {unknown[0]!r} is not one of {', '.join(_CONFIGURATIONS)}"
        raise ValueError(msg)
    names = [name for name in _CONFIGURATIONS if name in given]
    file = plans.get("plans_name")
    recipe = RECIPES[next((recipe for recipe, (known, _) in PLANNERS.items() if known == file), "nnunet")]
    first, second, third = _integers(plans.get("transpose_forward"), "transpose_forward", 3)
    return Plan(
        dataset=fingerprint.dataset,
        recipe=recipe.name,
        channels=tuple(channel.name for channel in fingerprint.channels),
        labels=fingerprint.labels,
        target=target_of(fingerprint),
        transpose=(first, second, third),
        configurations=tuple(
            _configuration(name, resolved_configuration(plans, name), fingerprint, recipe) for name in names
        ),
        decisions=(
            Decision(
                configuration=None,
                parameter="configurations",
                value=", ".join(names),
                rule="imported",
                because=f"nnU-Net planned them, and they were read from its {file}",
            ),
        ),
    )


def _case(name: str, shape: tuple[int, ...], spacing_mm: tuple[float, ...]) -> CaseFingerprint:
    z, y, x = spacing_mm
    picture = shape[0] == 1 and z == PLANE_THICKNESS * max(y, x)
    return CaseFingerprint(
        name=name,
        dimensions=2 if picture else 3,
        shape=(shape[0], shape[1], shape[2]),
        shape_after_crop=(shape[0], shape[1], shape[2]),
        spacing_mm=(1.0 if picture else z, y, x),
        label_voxels=(),
        label_components=(),
    )


def _channel(name: str, statistics: Json) -> ChannelFingerprint:
    given = statistics if isinstance(statistics, Mapping) else {}
    known = {
        STATISTIC_NAMES.get(key, key): None if given.get(key) is None else _number(given[key], key)
        for key in STATISTICS
    }
    return ChannelFingerprint(
        name=name,
        modality="ct" if name.lower() == "ct" else "other",
        modality_reason=f"its name in dataset.json is {name}",
        modality_known=name.lower() == "ct",
        **known,
    )


def _labels(given: Mapping[str, Json]) -> tuple[Label, ...]:
    found = []
    for name, values in given.items():
        if values == 0:
            continue
        several = isinstance(values, Sequence) and not isinstance(values, str)
        found.append(
            Label(
                name=name,
                values=_integers(values, f"labels.{name}", None) if several else (_integer(values, f"labels.{name}"),),
                role="ignore" if name == "ignore" else "foreground",
            )
        )
    return tuple(found)


def resolved_configuration(plans: Json, name: str) -> Mapping[str, Json]:
    """Return a configuration of nnU-Net's `plans` with everything that it inherits, as nnU-Net writes it today.

    Raises:
        ValueError: there is no such configuration, or configurations inherit in a circle.

    """
    given = _mapping(plans, "configurations")
    chain, key = [name], name
    while "inherits_from" in _mapping(given, key):
        key = given[key]["inherits_from"]
        if key in chain:
            msg = f"configurations inherit in a circle: {' from '.join([*chain, key])}"
            raise ValueError(msg)
        chain.append(key)
    merged: dict[str, Json] = {}
    for link in reversed(chain):
        merged |= _mapping(given, link)
    merged.pop("inherits_from", None)
    return modern_configuration(merged)


def _configuration(
    name: ConfigurationName, given: Mapping[str, Json], fingerprint: Fingerprint, recipe: Recipe
) -> Configuration:
    patch = _integers(given.get("patch_size"), f"{name}.patch_size", None)
    stages, architecture = _stages(_mapping(given, "architecture"), name)
    task = describe_task(fingerprint)
    schemes, masks = _list(given, "normalization_schemes"), _list(given, "use_mask_for_norm")
    previous = given.get("previous_stage")
    configuration = Configuration(
        name=name,
        architecture=architecture,
        dimensions=3 if len(patch) == 3 else 2,
        spacing_mm=_numbers(given.get("spacing"), f"{name}.spacing", len(patch)),
        median_shape=_numbers(
            given.get("median_image_size_in_voxels"), f"{name}.median_image_size_in_voxels", len(patch)
        ),
        patch=patch,
        batch=_integer(given.get("batch_size"), f"{name}.batch_size"),
        stages=stages,
        deep_supervision_weights=supervision_weights(len(stages), recipe.coarsest_output_weight),
        batch_dice=bool(given.get("batch_dice")),
        normalizations=tuple(
            _normalization(channel, scheme, use_mask=bool(mask))
            for channel, scheme, mask in zip(fingerprint.channels, schemes, masks, strict=True)
        ),
        augmentation=augmentation(patch, fingerprint, recipe),
        schedule=recipe.schedule,
        feature_map_estimate=0,
        estimated_bytes=0,
        previous=None if previous is None else _name(previous),
        previous_augmentation=None if previous is None else CASCADE_AUGMENTATION,
    )
    network = network_of(configuration, task.channels, task.outputs)
    return replace(
        configuration,
        feature_map_estimate=feature_map_elements(network, task.label_entries),
        estimated_bytes=training_bytes(configuration, task.channels, task.outputs),
    )


def _name(given: Json) -> ConfigurationName:
    for name in _CONFIGURATIONS:
        if name == given:
            return name
    msg = f"previous_stage {given!r} is not one of {', '.join(_CONFIGURATIONS)}"
    raise ValueError(msg)


def _stages(given: Mapping[str, Json], name: str) -> tuple[tuple[Stage, ...], Architecture]:
    known = str(given.get("network_class_name"))
    if known not in ARCHITECTURES:
        msg = f"{name}: architecture {known!r} is not one of {', '.join(ARCHITECTURES)}"
        raise ValueError(msg)
    architecture = ARCHITECTURES[known]
    kwargs = _mapping(given, "arch_kwargs")
    features = _integers(kwargs.get("features_per_stage"), "features_per_stage", None)
    count = len(features)
    convolutions = _integers(kwargs.get(COUNTED[architecture]), COUNTED[architecture], count)
    decoder = (*_integers(kwargs.get("n_conv_per_stage_decoder"), "n_conv_per_stage_decoder", count - 1), 0)
    kernels = [_integers(item, "kernel_sizes", None) for item in _list(kwargs, "kernel_sizes")]
    strides = [_integers(item, "strides", None) for item in _list(kwargs, "strides")]
    columns = zip(features, kernels, strides, convolutions, decoder, strict=True)
    return tuple(
        Stage(features=f, kernel=kernel, stride=stride, convolutions=c, decoder_convolutions=d)
        for f, kernel, stride, c, d in columns
    ), architecture


def _normalization(channel: ChannelFingerprint, scheme: Json, *, use_mask: bool) -> Normalization:
    if scheme not in SCHEMES:
        msg = f"normalization {scheme!r} of {channel.name} is not one of {', '.join(SCHEMES)}"
        raise ValueError(msg)
    normalization = Normalization(channel=channel.name, scheme=SCHEMES[scheme], use_mask=use_mask)
    if normalization.scheme != "ct":
        return normalization
    return replace(
        normalization,
        lower=channel.percentile_00_5,
        upper=channel.percentile_99_5,
        mean=channel.mean,
        std=channel.std,
    )


def _mapping(given: Json, key: str) -> Mapping[str, Json]:
    value = given.get(key) if isinstance(given, Mapping) else None
    if not isinstance(value, Mapping):
        msg = f"{key} is missing or not an object"
        raise ValueError(msg)  # noqa: TRY004 (the user's file, not our types)
    return value


def _list(given: Mapping[str, Json], key: str) -> Sequence[Json]:
    value = given.get(key)
    if not isinstance(value, Sequence) or isinstance(value, str):
        msg = f"{key} is missing or not a list"
        raise ValueError(msg)  # noqa: TRY004
    return value


def _number(value: Json, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        msg = f"{place} is {value!r}, not a number"
        raise ValueError(msg)
    return float(value)


def _integer(value: Json, place: str) -> int:
    number = _number(value, place)
    if number != int(number):
        msg = f"{place} is {value!r}, not a whole number"
        raise ValueError(msg)
    return int(number)


def _numbers(value: Json, place: str, length: int | None) -> tuple[float, ...]:
    found = tuple(_number(item, place) for item in _list({place: value}, place))
    if length is not None and len(found) != length:
        msg = f"{place} has {len(found)} values instead of {length}"
        raise ValueError(msg)
    return found


def _integers(value: Json, place: str, length: int | None) -> tuple[int, ...]:
    return tuple(_integer(item, place) for item in _numbers(value, place, length))
