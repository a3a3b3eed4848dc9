"""Why each number of a plan is what it is: one Decision a parameter, in plain sentences with the numbers."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from planners.coarse import Coarse
from planners.fingerprint import Fingerprint
from planners.fit import Fit
from planners.patch import Space, Task
from planners.plan import Configuration, Convergence, Decision, Normalization, Schedule
from planners.recipe import Budget, Recipe
from planners.spacing import is_anisotropic, median_per_axis, permuted, working_spacing


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Everything that the rules found, for telling why. `fits` are in the order of `configurations`."""

    fingerprint: Fingerprint
    recipe: Recipe
    budget: Budget
    task: Task
    volume: Space
    transpose: tuple[int, int, int]
    configurations: tuple[Configuration, ...]
    fits: tuple[Fit, ...]
    coarse: Coarse | None


def decisions(findings: Findings) -> tuple[Decision, ...]:
    """Return the decisions of a plan, those about the dataset first, then those of each configuration."""
    about = [_configurations(findings), _transpose(findings), _spacing(findings), _target(findings)]
    about += [_normalization(item, findings) for item in findings.configurations[0].normalizations]
    for index, configuration in enumerate(findings.configurations):
        fit = findings.fits[index] if findings.fits else None
        about += _about_configuration(configuration, fit, findings)
    return tuple(about)


def times(values: Sequence[float]) -> str:
    """Return `40x56x40`."""
    return "x".join(f"{value:.4g}" if value != int(value) else f"{int(value)}" for value in values)


def count(number: float) -> str:
    """Return a number as a person would say it: `1.4 million`, `3300`."""
    for size, name in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if number >= size:
            return f"{number / size:.3g} {name}"
    return f"{number:.0f}"


def size_of(number: float) -> str:
    """Return bytes as `372 MiB` or `9.4 GiB`."""
    return f"{number / 2**30:.1f} GiB" if number >= 2**30 else f"{number / 2**20:.0f} MiB"


def _configurations(findings: Findings) -> Decision:
    names = [configuration.name for configuration in findings.configurations]
    slices = findings.volume.median_shape[0]
    rejected = None
    if findings.coarse is not None:
        low = findings.coarse
        reasons = [f"at full resolution a patch would cover {low.coverage:.2%} of the median case"]
        if low.prediction_seconds is not None:
            reasons.append(f"predicting one would take {low.prediction_seconds:.0f} s")
        because = f"{' and '.join(reasons)}; {low.reduction:.1f} times fewer voxels mend that"
        if low.structure_voxels is not None:
            because += f" and leave the smallest structure {count(low.structure_voxels)} voxels"
        rejected = "full resolution first: sharper borders, but too little context and time"
    elif len(names) == 1:
        because = "the cases are single slices"
    elif names[0] == "2d":
        because = f"the median case has {slices:g} slices, too few to learn from across slices"
        rejected = "3d_fullres first: its patch would be thinner than its smallest feature map"
    else:
        because = f"the median case is a volume of {times(findings.volume.median_shape)} voxels"
        rejected = "2d first: it cannot see from slice to slice"
    if "3d_cascade_fullres" in names and findings.coarse is None:
        because += "; a full-resolution patch covers less than a quarter of it, so a coarse network may go before"
    return Decision(
        configuration=None,
        parameter="configurations",
        value=", ".join(names),
        rule="the first is trained, the others on request",
        because=because,
        rejected=rejected,
    )


def _transpose(findings: Findings) -> Decision:
    spacing_mm = findings.volume.spacing_mm
    order = findings.transpose
    if order == (0, 1, 2):
        because = "the slices already lie along the first axis"
        if len(set(spacing_mm)) == 1:
            because = "voxels are as long as wide, so no axis is the one across slices"
    else:
        because = f"axis {order[0]} of the files has the coarsest voxels or a single one"
    if all(case.dimensions == 2 for case in findings.fingerprint.cases):
        because = "pictures have no axis across slices"
    return Decision(
        configuration=None,
        parameter="transpose",
        value=" ".join(str(axis) for axis in order),
        rule="the axis across slices comes first",
        because=because,
    )


def _spacing(findings: Findings) -> Decision:
    cases, recipe = findings.fingerprint.cases, findings.recipe
    planar = all(case.dimensions == 2 for case in cases)
    chosen = findings.volume.spacing_mm[1:] if planar else findings.volume.spacing_mm
    rule, rejected = "median of the cases, each axis for itself", None
    spacings = [working_spacing(case) for case in cases]
    median = permuted(median_per_axis(spacings), findings.transpose)
    shape = permuted(median_per_axis([case.shape_after_crop for case in cases]), findings.transpose)
    spread = [max(s) / min(s) for s in zip(*spacings, strict=True)]
    because = f"{len(cases)} cases have spacings up to {max(spread):.2g} times apart"
    if max(spread) == 1:
        because = f"{len(cases)} cases have the same spacing" if len(cases) > 1 else "there is one case"
    if recipe.spacing_mm is not None:
        rule, because = "given", "it was asked for"
    elif not planar and is_anisotropic(median, shape, recipe.anisotropy):
        rule = f"median of the cases; percentile {recipe.anisotropic_percentile:g} across slices"
        because += f", and slices are {median[0] / max(median[1:]):.1f} times thicker than pixels are wide"
        rejected = f"the median of {median[0]:.4g} mm across slices: thin-sliced cases would lose slices"
    return Decision(
        configuration=None,
        parameter="spacing",
        value=f"{times(chosen)} mm",
        rule=rule,
        because=because,
        rejected=rejected,
    )


def _target(findings: Findings) -> Decision:
    labels = findings.fingerprint.labels
    foreground = sum(label.role == "foreground" for label in labels)
    regions = findings.task.outputs == foreground
    because = f"{foreground} structures exclude each other" if foreground > 1 else "there is one structure"
    if regions:
        because = f"some of the {foreground} structures overlap or unite several label values"
    if len(labels) > foreground:
        because += "; voxels labelled ignore teach nothing"
    return Decision(
        configuration=None,
        parameter="target",
        value="regions" if regions else "labels",
        rule="one softmax over exclusive labels, else a sigmoid each",
        because=because,
    )


def _normalization(normalization: Normalization, findings: Findings) -> Decision:
    channel = next(c for c in findings.fingerprint.channels if c.name == normalization.channel)
    modality = f"it looks like {channel.modality} ({channel.modality_reason})"
    rejected = None
    if normalization.scheme == "ct":
        value, because = "CT", f"{modality}, and Hounsfield units mean the same in every case"
        if normalization.lower is not None and normalization.upper is not None:
            value = f"CT, clipped to {normalization.lower:g} .. {normalization.upper:g}"
        rejected = "z-score of each case: it would hide that the units are absolute"
    elif normalization.scheme == "window":
        value = f"window {normalization.lower:g} .. {normalization.upper:g} HU to 0 .. 1"
        because = f"{modality}, but no foreground voxel was there to measure"
    elif normalization.scheme == "zscore":
        inside = " inside the nonzero mask" if normalization.use_mask else ""
        value, because = f"z-score{inside}", f"{modality}, whose scale differs from case to case"
        if normalization.use_mask:
            kept = findings.fingerprint.median_relative_size_after_crop
            because += f"; only {kept:.0%} of the median image is left after cropping to nonzero"
    else:
        value, because = normalization.scheme, f"{modality}, or its name says so"
    return Decision(
        configuration=None,
        parameter=f"normalization of {normalization.channel}",
        value=value,
        rule="by modality" if findings.recipe.normalization == "modality" else "by channel name",
        because=because,
        rejected=rejected,
    )


def _about_configuration(configuration: Configuration, fit: Fit | None, findings: Findings) -> Iterator[Decision]:
    if configuration.previous is not None:
        return
    if fit is None:
        yield from _reference_sizes(configuration, findings)
    else:
        yield from _fitted_sizes(configuration, fit, findings)
    yield _depth(configuration, findings)
    yield _augmentation(configuration, findings)
    yield from _learning(configuration, fit)


def _reference_sizes(configuration: Configuration, findings: Findings) -> Iterator[Decision]:
    recipe, name = findings.recipe, configuration.name
    image = times(configuration.median_shape)
    yield Decision(
        configuration=name,
        parameter="patch",
        value=times(configuration.patch),
        rule="equal millimetres an axis, then one divisor less where it is longest relative to the image (nnU-Net)",
        because=f"{recipe.memory_target_gb:g} GB hold no more by nnU-Net's count; the median image is {image}",
    )
    share = (
        math.prod(configuration.patch)
        * configuration.batch
        / (math.prod(findings.volume.median_shape) * findings.fingerprint.n_training)
    )
    yield Decision(
        configuration=name,
        parameter="batch",
        value=str(configuration.batch),
        rule=f"what memory holds, in {recipe.batch_share:.0%} of the dataset, at least {recipe.batch_min} (nnU-Net)",
        because=f"a batch then holds {share:.2%} of the dataset's voxels",
    )


def _fitted_sizes(configuration: Configuration, fit: Fit, findings: Findings) -> Iterator[Decision]:
    name, largest, limit = configuration.name, fit.capacity.shapes[0].patch, _limit(fit)
    yield Decision(
        configuration=name,
        parameter="patch",
        value=times(configuration.patch),
        rule="equal millimetres an axis within the image, as much as time and memory allow",
        because=f"the median image is {times(configuration.median_shape)} voxels"
        + ("" if configuration.patch == largest else f", and {limit}"),
        rejected=None if configuration.patch == largest else f"{times(largest)}: {_excess(fit)}",
    )
    yield Decision(
        configuration=name,
        parameter="batch",
        value=str(configuration.batch),
        rule=f"at most the cases and {findings.recipe.batch_share:.0%} of their voxels; given up after width",
        because=f"{findings.task.n_training} training cases justify {fit.capacity.batch}"
        + ("" if configuration.batch == fit.capacity.batch else f", but {limit}"),
        rejected=None if configuration.batch == fit.capacity.batch else str(fit.capacity.batch),
    )
    yield Decision(
        configuration=name,
        parameter="width",
        value=f"{configuration.stages[0].features} features in the first stage",
        rule="as wide as the labelled voxels justify and time allows; the first to be given up",
        because=_width_reason(configuration, fit, findings),
        rejected=None
        if configuration.stages[0].features == findings.recipe.features_first
        else f"{findings.recipe.features_first}, nnU-Net's",
    )


def _width_reason(configuration: Configuration, fit: Fit, findings: Findings) -> str:
    width, by_data = configuration.stages[0].features, fit.capacity.width
    reason = "the labelled voxels were not counted"
    if findings.task.foreground_voxels is not None and fit.capacity.parameters_allowed is not None:
        reason = (
            f"{count(findings.task.foreground_voxels)} labelled voxels justify "
            f"{count(fit.capacity.parameters_allowed)} parameters, which is a width of {by_data}"
        )
    return reason if width == by_data else f"{reason}, but {_limit(fit)}"


def _limit(fit: Fit) -> str:
    """Say what a step may cost."""
    allowed = fit.allowance
    memory = f"{size_of(allowed.memory_bytes)} of memory may be filled"
    if allowed.seconds is None:
        return f"a step may take {count(allowed.operations)} operations and {memory}"
    if allowed.steps is None:
        return f"a step may take {allowed.seconds:.2g} s and {memory}"
    return f"{allowed.steps} steps have to fit into the training time, so a step may take {allowed.seconds:.2g} s"


def _excess(fit: Fit) -> str:
    """Say what a step of the chosen size costs."""
    cost = f"{count(fit.operations)} operations" if fit.seconds is None else f"{fit.seconds:.2g} s"
    tail = "" if fit.fits else ", more than allowed, and there is nothing smaller to try"
    return f"too much; a step of the chosen size takes {cost} and {size_of(fit.memory_bytes)}{tail}"


def _depth(configuration: Configuration, findings: Findings) -> Decision:
    coarsest = [1] * configuration.dimensions
    for stage in configuration.stages:
        coarsest = [total * step for total, step in zip(coarsest, stage.stride, strict=True)]
    bottom = [edge // total for edge, total in zip(configuration.patch, coarsest, strict=True)]
    return Decision(
        configuration=configuration.name,
        parameter="depth",
        value=f"{len(configuration.stages)} stages",
        rule=f"axes are halved while they keep {findings.recipe.feature_map_edge_min} voxels, the finest first",
        because=f"the patch of {times(configuration.patch)} then ends at {times(bottom)}",
    )


def _augmentation(configuration: Configuration, findings: Findings) -> Decision:
    turns = configuration.augmentation
    mirrored = f"mirrored along {len(turns.mirror_axes)} axes" if turns.mirror_axes else "not mirrored"
    if turns.mirror_swaps:
        mirrored += ", left and right labels then exchanged"
    plane = " in the plane only" if turns.in_plane_only else ""
    because = "what it shows has no upright position"
    if findings.recipe.mirror == "all-axes" and len(turns.mirror_axes) < configuration.dimensions:
        because = "so does nnU-Net, but labels with a side would lie on the wrong one in a mirrored patch"
    elif findings.recipe.mirror == "all-axes":
        because = "so does nnU-Net"
    elif not turns.mirror_axes:
        because = "bodies lie alike, left is not right, and one pass predicts instead of many"
    if turns.in_plane_only:
        because += f"; the patch is more than {findings.recipe.in_plane_above:g} times longer than thick"
    return Decision(
        configuration=configuration.name,
        parameter="augmentation",
        value=f"turned by up to {turns.rotation_deg[-1]:g} degrees{plane}, {mirrored}",
        rule="by shape of the patch and by modality",
        because=because,
        rejected=None if turns.mirror_axes else "mirroring, which nnU-Net does by default",
    )


def _ending(name: str, schedule: Schedule, rule: Convergence) -> Decision:
    return Decision(
        configuration=name,
        parameter="end of training",
        value=f"when validation rises no more, after {schedule.steps} steps at the latest; then annealed over"
        f" {rule.anneal_share:.0%} of the steps so far",
        rule=f"a saturating curve is fitted to validation Dice from {rule.steps_min} steps on; enough when training on"
        f" to {rule.horizon:g} times the steps would add less than the noise around it, {rule.noise_min:g} to"
        f" {rule.noise_max:g}, by {rule.agreeing} validations in a row",
        because="no budget was given; a fold without a labelled validation case trains all of the steps",
        rejected="a fixed number of steps: nnU-Net's are ten to fifty times too many on easy tasks; stopping at a"
        " plateau without annealing: tumours gain most in the final decay",
    )


def _learning(configuration: Configuration, fit: Fit | None) -> Iterator[Decision]:
    schedule = configuration.schedule
    adam = schedule.optimizer == "adamw"
    length = "to the end of the budget" if schedule.steps is None else f"over {schedule.steps} steps"
    if schedule.convergence is not None:
        yield _ending(configuration.name, schedule, schedule.convergence)
        length = f"over the last {schedule.convergence.anneal_share / (1 + schedule.convergence.anneal_share):.0%}"
    yield Decision(
        configuration=configuration.name,
        parameter="learning rate",
        value=f"{schedule.learning_rate:g} ({schedule.optimizer}), {schedule.decay} decay {length}",
        rule="by recipe; the schedule always anneals to its end",
        because="short schedules converge with it, and a tenth of its steps suffices" if adam else "it is nnU-Net's",
        rejected="SGD with momentum 0.99: Dice 0.31 after the minutes in which AdamW reached 0.87" if adam else None,
    )
    yield Decision(
        configuration=configuration.name,
        parameter="foreground fraction",
        value=f"{schedule.foreground_fraction:g}",
        rule="share of patches centred on a labelled voxel, by recipe",
        because="six of ten tuned nnU-Nets ended between 0.52 and 0.71" if adam else "it is nnU-Net's",
        rejected="0.33, nnU-Net's" if adam else None,
    )
    cost = "" if fit is None or fit.seconds is None else f", {fit.seconds:.2g} s a step"
    yield Decision(
        configuration=configuration.name,
        parameter="memory",
        value=size_of(configuration.estimated_bytes),
        rule="weights, gradients, optimizer, kept activations, input and workspace",
        because=f"that is one step of batch {configuration.batch} of {times(configuration.patch)}{cost}",
    )
