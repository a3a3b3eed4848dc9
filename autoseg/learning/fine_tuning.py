"""Weights of another model in a new network: layers by their names, heads by their labels, the stem by its channels.

Where the image has other channels than the model's, each channel begins with the weights of the channel of its name.
Others begin with the mean over the model's channels; where no name agrees it is scaled so that one picture in all
channels gives what it gave in the model.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from autoseg.core.errors import AutosegError
from autoseg.core.starts import START_NAME, Started, StartRecord
from autoseg.learning.model_files import PLAN_NAME, foreground_names, label_values, plan_inputs, plan_outputs
from autoseg.learning.network import UNet, build_network
from planners.fine_tuning import matched_channels
from planners.plan import Plan

_HEAD = "heads."
_ENCODER = ("stem.", "encoder.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Weights to begin with. `plan` is that of the model; None for an encoder alone, of unknown labels and channels."""

    source: str
    sha256: str
    weights: Mapping[str, Tensor]
    plan: Plan | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """The weights of a whole network, and where they come from."""

    weights: Mapping[str, Tensor]
    started: Started


def beginning_of(folder: Path, plan: Plan, configuration: str, fold: int, seed: int) -> Beginning | None:
    """Return what a network of `plan` begins with, read from a workspace's `start/`; None where it is drawn at random.

    Parts that are not taken are drawn from the seed.

    Raises:
        AutosegError: as `read_given` and `begin_with`.

    """
    if not plan.start:
        return None
    given = read_given(folder, configuration, fold)
    torch.manual_seed(seed)
    fresh = build_network(plan.configuration(configuration), plan_inputs(plan, configuration), plan_outputs(plan))
    return begin_with(given, fresh, plan, configuration)


def begin_with(given: Given, network: UNet, plan: Plan, configuration: str) -> Beginning:
    """Return the weights with which `network`, freshly drawn, of a configuration of `plan` begins.

    Raises:
        AutosegError: a layer that both have has another shape, or the network has one that was not given.

    """
    fresh = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    if given.plan is None:
        return _encoder_alone(given, fresh)
    taken: dict[str, Tensor] = {}
    stem = _stem_name(fresh)
    for name, tensor in fresh.items():
        if name.startswith(_HEAD):
            continue
        found = _given(given, name)
        if name != stem and found.shape != tensor.shape:
            raise _unlike(given, name, found, tensor)
        taken[name] = found
    inputs = _input_channels(given.plan, plan, configuration)
    taken[stem], adapted = _stem(taken[stem], fresh[stem], inputs, given)
    heads = _heads(given.weights, fresh, _matched_heads(given.plan, plan))
    names = foreground_names(plan)
    known = foreground_names(given.plan)
    same_kind = given.plan.target == plan.target
    started = Started(
        source=given.source,
        sha256=given.sha256,
        taken=("encoder", "decoder", *(f"head of {name}" for name in names if same_kind and name in known)),
        adapted=adapted,
        fresh=tuple(
            f"head of {name} ({'the model has no such label' if same_kind else _other_kind(plan)})"
            for name in names
            if not (same_kind and name in known)
        ),
        ignored=tuple(
            f"head of {name} ({'no label here' if same_kind else _other_kind(plan)})"
            for name in known
            if not (same_kind and name in names)
        ),
    )
    return Beginning(weights={**fresh, **taken, **heads}, started=started)


def _other_kind(plan: Plan) -> str:
    here, there = ("exclude each other", "overlap") if plan.target == "labels" else ("overlap", "exclude each other")
    return f"structures {here} here and {there} in the model"


def _given(given: Given, name: str) -> Tensor:
    if name not in given.weights:
        raise AutosegError.at(given.source, f"it has no layer {name}", "take a model of the same architecture")
    return given.weights[name].float()


def _unlike(given: Given, name: str, found: Tensor, wanted: Tensor) -> AutosegError:
    there, here = ("x".join(map(str, tensor.shape)) for tensor in (found, wanted))
    return AutosegError.at(
        given.source, f"{name} has the shape {there} where the plan has {here}", "take a plan with the same stages"
    )


def _stem_name(weights: Mapping[str, Tensor]) -> str:
    """Return the name of the first convolution, which sees the channels."""
    return "stem.0.weight" if "stem.0.weight" in weights else "encoder.0.0.0.weight"


def _input_channels(source: Plan, plan: Plan, configuration: str) -> tuple[int | None, ...]:
    """Return for each channel that the network sees the one of the model's that it continues.

    In a cascade the channels of label values follow those of the image: they continue those of the label's name.
    """
    images = matched_channels(source.channels, plan.channels)
    if plan.configuration(configuration).previous is None:
        return images
    there = {value: name for name, value in _single_values(source).items()}
    positions = {there[v]: len(source.channels) + i for i, v in enumerate(label_values(source)) if v in there}
    here = {value: name for name, value in _single_values(plan).items()}
    return (*images, *(positions.get(here.get(value, "")) for value in label_values(plan)))


def _single_values(plan: Plan) -> dict[str, int]:
    return {
        label.name: label.values[0] for label in plan.labels if label.role == "foreground" and len(label.values) == 1
    }


def _stem(
    found: Float[Tensor, "features known *kernel"],
    fresh: Float[Tensor, "features channels *kernel"],
    inputs: Sequence[int | None],
    given: Given,
) -> tuple[Float[Tensor, "features channels *kernel"], tuple[str, ...]]:
    """Return the stem's weights for the channels that each continue one of the model's, and what was done to them."""
    if found.shape[0] != fresh.shape[0] or found.shape[2:] != fresh.shape[2:]:
        raise _unlike(given, "the stem", found, fresh)
    if tuple(inputs) == tuple(range(found.shape[1])):
        return found, ()
    unmatched = [index for index in range(found.shape[1]) if index not in inputs]
    matched = any(index is not None for index in inputs)
    rest = found[:, unmatched] if matched and unmatched else found
    mean = rest.mean(1) if matched else found.sum(1) / len(inputs)
    made = torch.stack([mean if index is None else found[:, index] for index in inputs], dim=1)
    new = sum(index is None for index in inputs)
    how = f"stem ({len(inputs)} channels of {found.shape[1]}"
    return made, (f"{how}, {new} begin with their mean)" if new else f"{how}, by name)",)


def _matched_heads(source: Plan, plan: Plan) -> tuple[int | None, ...]:
    """Return for each output of the network the one of the model's with the same meaning."""
    if source.target != plan.target:
        return (None,) * (len(foreground_names(plan)) + (plan.target == "labels"))
    known = foreground_names(source)
    names = [known.index(name) if name in known else None for name in foreground_names(plan)]
    if plan.target == "regions":
        return tuple(names)
    return (0, *(None if index is None else index + 1 for index in names))


def _heads(
    weights: Mapping[str, Tensor], fresh: Mapping[str, Tensor], outputs: Sequence[int | None]
) -> dict[str, Tensor]:
    """Return the heads: rows of the model's where outputs mean the same, freshly drawn ones elsewhere."""
    counts = [sum(name.startswith(_HEAD) and name.endswith("bias") for name in each) for each in (weights, fresh)]
    made = {}
    for name, tensor in fresh.items():
        if not name.startswith(_HEAD):
            continue
        _, number, kind = name.split(".")
        level = int(number) + counts[0] - counts[1]  # the last head is that of the full resolution
        found = weights.get(f"{_HEAD}{level}.{kind}")
        rows = tensor.clone()
        for output, index in enumerate(outputs):
            if found is not None and index is not None:
                rows[output] = found[index]
        made[name] = rows
    return made


def _encoder_alone(given: Given, fresh: Mapping[str, Tensor]) -> Beginning:
    """Return a network whose encoder begins with the given one and whose decoder is drawn."""
    stem = _stem_name(fresh)
    taken: dict[str, Tensor] = {}
    adapted: tuple[str, ...] = ()
    for name, tensor in fresh.items():
        if not name.startswith(_ENCODER):
            continue
        found = _given(given, name)
        if name == stem and found.ndim == tensor.ndim and found.shape[1] != tensor.shape[1]:
            found, adapted = _stem(found, tensor, (None,) * tensor.shape[1], given)
        if found.shape != tensor.shape:
            raise _unlike(given, name, found, tensor)
        taken[name] = found
    ignored = tuple(sorted(set(given.weights) - set(taken)))
    more = [f"and {len(ignored) - 3} more"] if len(ignored) > 3 else []
    started = Started(
        source=given.source,
        sha256=given.sha256,
        taken=("encoder",),
        adapted=adapted,
        fresh=("decoder (the file has an encoder to begin with)", "heads (labels are these data's own)"),
        ignored=(*ignored[:3], *more),
    )
    return Beginning(weights={**fresh, **taken}, started=started)


def read_given(folder: Path, configuration: str, fold: int) -> Given:
    """Return the weights in a workspace's `start/` that a training begins with.

    Raises:
        AutosegError: they are missing or damaged, or the model has no network of this configuration.

    """
    from safetensors.torch import load

    from autoseg.core.plans import read_plan
    from autoseg.core.records import read_record

    record = read_record(folder / START_NAME, StartRecord)
    network = record.network(configuration, fold)
    if network is None:
        has = ", ".join(dict.fromkeys(each.configuration for each in record.networks))
        raise AutosegError.at(
            f"--from {record.source}", f"no network {configuration}, it has {has}", "train one of these"
        )
    path = folder / network.file
    data = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(data).hexdigest() != network.sha256:
        raise AutosegError.at(path, "missing or not what was copied", "give --from with the model again")
    plan = read_plan(folder / PLAN_NAME) if record.kind == "model" else None
    return Given(source=record.source, sha256=network.sha256, weights=load(data), plan=plan)
