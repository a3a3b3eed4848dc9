"""A model trained with nnU-Net 2 as one of ours: its plans, its weights, its mirroring and its postprocessing.

Nothing of nnunetv2 is needed, and nothing in its files is executed: plans are JSON, checkpoints go through torch's
weights-only reader with a literal list of what they may construct, postprocessing.pkl through core.pickle_reader.
"""

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autoseg.core.archives import Place, read_bytes
from autoseg.core.errors import AutosegError
from autoseg.core.version import VERSION
from autoseg.imaging.changes import Change
from autoseg.learning.model_files import (
    LoadedModel,
    LoadedNetwork,
    ModelRecord,
    NetworkFile,
    plan_inputs,
    plan_outputs,
    weights_bytes,
)
from autoseg.learning.network import build_network
from autoseg.learning.nnunet_folder import (
    DATASET,
    PLANS,
    checkpoints,
    choose,
    read_json,
    read_postprocessing,
    sibling,
)
from autoseg.learning.nnunet_weights import load_nnunet_weights
from autoseg.learning.norm import to_fast_layout
from planners.check import check_plan
from planners.fingerprint import CasesFrom, Fingerprint
from planners.nnunet_import import fingerprint_from_nnunet, plan_from_nnunet, resolved_configuration
from planners.nnunet_known import REORIENTING_READERS, ordered_labels, refuse_unlike
from planners.plan import Plan

FINGERPRINT = "dataset_fingerprint.json"
_CHECKPOINT_BYTES_MAX = 16 << 30

# What a checkpoint may construct besides tensors: NumPy's numbers, in which nnU-Net keeps its training log.
_SCALAR: Any = np.float64(0).__reduce__()[0]
_CONSTRUCTED: tuple[Any, ...] = (
    (_SCALAR, "numpy._core.multiarray.scalar"),
    (_SCALAR, "numpy.core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(code)) for code in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedModel:
    """A model of nnU-Net's in our records, its networks in evaluation mode on the CPU."""

    record: ModelRecord
    plan: Plan
    fingerprint: Fingerprint
    networks: tuple[LoadedNetwork, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checkpoint:
    """What a checkpoint says about itself, and its weights."""

    trainer: str
    configuration: str
    mirror_axes: tuple[int, ...]
    weights: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """A trained configuration: its folder, its name in nnU-Net's plans and in ours, its mirroring."""

    place: Place
    theirs: str
    ours: str
    mirror_axes: tuple[int, ...]


def open_nnunet(path: Path, configurations: Sequence[str] = ()) -> OpenedModel:
    """Read the model in nnU-Net's results folder, or exported zip, at `path`.

    `configurations` are those that predict; () for nnU-Net's own choice (`nnunet_folder.choose`).

    Raises:
        AutosegError: no such model, a part of it is missing or damaged, or it computes what we do not.

    """
    chosen = choose(path, configurations)
    members = list(_members(chosen.members))
    dataset, plans = read_json(members[0].place / DATASET), read_json(members[0].place / PLANS)
    for member in members[1:]:
        if read_json(member.place / PLANS).get("transpose_forward") != plans.get("transpose_forward"):
            raise AutosegError.at(
                str(member.place / PLANS), f"does not go with {members[0].place.name}", "give one model"
            )
    try:
        fingerprint, plan = _planned(members, dataset, plans)
    except (ValueError, TypeError, KeyError) as error:
        where = str(members[0].place)
        raise AutosegError.at(where, f"cannot be run: {error}", "nnU-Net's own networks are what we run") from error
    problems = check_plan(plan)
    if problems:
        what = f"{problems[0].field}: {problems[0].what}"
        raise AutosegError.at(str(members[0].place / PLANS), what, "use the plans as nnU-Net wrote them")
    networks = tuple(network for member in members for network in _networks(member, plan))
    predicting = tuple(member.ours for member in members if member.place in chosen.members)
    steps = () if chosen.postprocessing is None else read_postprocessing(chosen.postprocessing)
    record = ModelRecord(
        dataset=plan.dataset,
        version=VERSION,
        configuration=predicting[0],
        networks=tuple(_file(network) for network in networks),
        mirror_axes=plan.configuration(predicting[0]).augmentation.mirror_axes,
        ensemble=predicting if len(predicting) > 1 else (),
        mirror=any(member.mirror_axes for member in members),
        postprocessing=tuple(Change(values=values) for values in steps),
        orientation="RAS" if plans.get("image_reader_writer") in REORIENTING_READERS else None,
    )
    return OpenedModel(record=record, plan=plan, fingerprint=fingerprint, networks=networks)


def load_nnunet(path: Path, device: torch.device, configurations: Sequence[str] = ()) -> LoadedModel:
    """Load the model at `path` as `model_files.load_networks` loads ours, its networks on `device`.

    Raises:
        AutosegError: as `open_nnunet`.

    """
    opened = open_nnunet(path, configurations)
    for network in opened.networks:
        to_fast_layout(network.module.to(device), device)
    return LoadedModel(
        record=opened.record,
        plan=opened.plan,
        fingerprint=opened.fingerprint,
        networks=opened.networks,
        digest=hashlib.sha256("".join(file.sha256 for file in opened.record.networks).encode()).hexdigest(),
        configurations=opened.record.predicting,
    )


def _members(places: tuple[Place, ...]) -> Iterator[_Member]:
    """Yield each trained configuration at `places`, and before it those whose labels it takes as input."""
    done: set[str] = set()
    for place in places:
        chain = [_member(place)]
        while (previous := _configuration(chain[0]).get("previous_stage")) is not None:
            if previous in {member.theirs for member in chain}:
                raise AutosegError.at(str(place), "its stages depend on each other in a circle", "mend plans.json")
            chain.insert(0, _member(sibling(chain[0].place, str(previous))))
        for member in chain:
            if member.ours in done and member.place in places:
                raise AutosegError.at(str(member.place), f"two models of kind {member.ours}", "give the folder of one")
            if member.ours not in done:
                done.add(member.ours)
                yield member


def _member(place: Place) -> _Member:
    first = _read_checkpoint(checkpoints(place)[0][1])
    member = _Member(place=place, theirs=first.configuration, ours="", mirror_axes=first.mirror_axes)
    given = _configuration(member)
    if first.configuration in ("2d", "3d_fullres", "3d_lowres", "3d_cascade_fullres"):
        ours = first.configuration
    elif given.get("previous_stage") is not None:
        ours = "3d_cascade_fullres"
    else:
        ours = "2d" if len(given.get("patch_size", ())) == 2 else "3d_fullres"
    return replace(member, ours=ours)


def _configuration(member: _Member) -> Mapping[str, Any]:
    """Return what the plans say about a member."""
    place = member.place / PLANS
    try:
        return resolved_configuration(read_json(place), member.theirs)
    except (ValueError, KeyError, TypeError) as error:
        raise AutosegError.at(str(place), f"configuration {member.theirs}: {error}", "copy it again") from error


def _planned(members: list[_Member], dataset: Mapping[str, Any], plans: Mapping[str, Any]) -> tuple[Fingerprint, Plan]:
    """Return fingerprint and plan of the configurations that were trained.

    Raises:
        ValueError: the plans lack something, or ask for what we do not compute.

    """
    names = {member.theirs: member.ours for member in members}
    configurations = {}
    for member in members:
        given = dict(_configuration(member))
        refuse_unlike(plans, member.theirs, given)
        if given.get("previous_stage") is not None:
            given["previous_stage"] = names[given["previous_stage"]]
        configurations[member.ours] = given
    labels = ordered_labels(dataset["labels"], dataset.get("regions_class_order"))
    name = str(plans.get("dataset_name", members[0].place.name))
    measured = _fingerprint(members[0].place, plans)
    cases_from: CasesFrom = "crops" if (members[0].place / FINGERPRINT).is_file() else "plan"
    fingerprint = fingerprint_from_nnunet(name, {**dataset, "labels": labels}, measured)
    fingerprint = replace(fingerprint, cases_from=cases_from)
    plan = plan_from_nnunet(fingerprint, {**plans, "configurations": configurations})
    axes = {member.ours: member.mirror_axes for member in members}
    made = tuple(
        replace(item, augmentation=replace(item.augmentation, mirror_axes=axes[item.name]))
        for item in plan.configurations
    )
    return fingerprint, replace(plan, configurations=made)


def _fingerprint(place: Place, plans: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return dataset_fingerprint.json, or what the plans say of it if it is not there; intensities are the plans'."""
    statistics = plans.get("foreground_intensity_properties_per_channel")
    given: dict[str, Any] = dict(read_json(place / FINGERPRINT)) if (place / FINGERPRINT).is_file() else {}
    if not given:
        back = plans["transpose_backward"]
        spacing, shape = (plans[f"original_median_{what}_after_transp"] for what in ("spacing", "shape"))
        given = {
            "spacings": [[spacing[axis] for axis in back]],
            "shapes_after_crop": [[shape[axis] for axis in back]],
            "median_relative_size_after_cropping": 1.0,
        }
    return given if statistics is None else {**given, "foreground_intensity_properties_per_channel": statistics}


def _networks(member: _Member, plan: Plan) -> Iterator[LoadedNetwork]:
    """Yield the network of every fold.

    Raises:
        AutosegError: the folds are of different trainings, or the weights are not those of the planned network.

    """
    planned = plan.configuration(member.ours)
    for fold, place in checkpoints(member.place):
        found = _read_checkpoint(place)
        if (found.configuration, found.mirror_axes) != (member.theirs, member.mirror_axes):
            raise AutosegError.at(str(place), f"is of {found.configuration}, mirrored {found.mirror_axes}", "one model")
        module = build_network(planned, plan_inputs(plan, member.ours), plan_outputs(plan))
        try:
            load_nnunet_weights(module, found.weights)
        except (KeyError, RuntimeError) as error:
            reason = str(error).replace("\n", " ").replace("\t", "")[:160]
            raise AutosegError.at(
                str(place),
                f"trainer {found.trainer} made another network than its plans describe ({reason})",
                "only the plain and the residual-encoder U-Net are run",
            ) from error
        yield LoadedNetwork(configuration=member.ours, fold=fold, module=module.eval().requires_grad_(False))


def _read_checkpoint(place: Place) -> _Checkpoint:
    """Read a checkpoint; tensors on disk are mapped, so that the optimiser's state is not read."""
    source: Any = place if isinstance(place, Path) else io.BytesIO(read_bytes(place, _CHECKPOINT_BYTES_MAX))
    try:
        with torch.serialization.safe_globals(list(_CONSTRUCTED)):
            found = torch.load(source, map_location="cpu", weights_only=True, mmap=isinstance(place, Path))
        axes, configuration = found.get("inference_allowed_mirroring_axes"), found["init_args"]["configuration"]
        return _Checkpoint(
            trainer=str(found["trainer_name"]),
            configuration=str(configuration),
            mirror_axes=tuple(int(axis) for axis in axes or ()),
            weights=_tensors(found["network_weights"]),
        )
    except Exception as error:  # torch raises whatever a damaged file makes of its reader
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise AutosegError.at(str(place), f"no checkpoint of nnU-Net's ({reason})", "copy it again") from error


def _tensors(given: Mapping[str, Any]) -> dict[str, Tensor]:
    if not all(isinstance(tensor, Tensor) for tensor in given.values()):
        msg = "its weights are no tensors"
        raise ValueError(msg)
    return dict(given)


def _file(network: LoadedNetwork) -> NetworkFile:
    return NetworkFile(
        configuration=network.configuration,
        fold=network.fold,
        file=f"{network.configuration}-fold_{network.fold}.safetensors",
        sha256=hashlib.sha256(weights_bytes(network.module)).hexdigest(),
        steps=0,
        seconds=0.0,
        validation_dice=None,
    )
