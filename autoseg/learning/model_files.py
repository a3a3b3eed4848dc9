"""The model folder: plan, fingerprint and weights, self-contained and movable.

Weights are safetensors; `model.json` names them with their SHA-256. Nothing in the folder is executed: the network is
built from the plan by a literal mapping.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from autoseg.core.errors import AutosegError
from autoseg.core.files import write_bytes
from autoseg.core.seals import FileDigest, digests_of
from autoseg.core.starts import Started
from autoseg.imaging.changes import Change
from autoseg.imaging.orientation import Orientation
from autoseg.learning.network import build_network, output_count
from autoseg.learning.nnunet_folder import is_nnunet
from autoseg.learning.norm import to_fast_layout
from planners.fingerprint import Fingerprint
from planners.plan import Plan

if TYPE_CHECKING:
    from autoseg.datasets.manifest import TrainingCases

MODEL_NAME = "model.json"
PLAN_NAME = "plan.json"
FINGERPRINT_NAME = "fingerprint.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFile:
    """One trained network: its file inside the model folder, and what it scored on its validation cases.

    `finished` is False for what a stopped training left: weights that were neither annealed nor validated. `schedule`
    says in words how the learning rate went and why training ended. `started` is what it began with, None for nothing;
    `seed` is what all its draws came from, None where an older version did not say.
    """

    configuration: str
    fold: int
    file: str
    sha256: str
    steps: int
    seconds: float
    validation_dice: float | None
    finished: bool = True
    schedule: str = ""
    started: Started | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecord:
    """What a model folder holds, and how it predicts unless it is told otherwise.

    `configuration` is the one that predicts; where `ensemble` names several, they do, and their probabilities are
    averaged. The networks (folds) of a configuration are averaged as logits. `mirror`: mirrored views are averaged,
    along the axes that the plan gives for each configuration; `mirror_axes` are those of `configuration`. In a view
    that is mirrored along `mirror_swap_axis`, left-right, the pairs of outputs `mirror_swaps` change places.
    `postprocessing` is applied to every label map, in this order. `orientation`: images are turned to it first.
    `companions` are the other records of the folder, as they were written; older versions name none.
    """

    schema: ClassVar[str] = "autoseg.model/1"

    dataset: str
    version: str
    configuration: str
    networks: tuple[NetworkFile, ...]
    mirror_axes: tuple[int, ...]
    ensemble: tuple[str, ...] = ()
    mirror: bool = False
    postprocessing: tuple[Change, ...] = ()
    mirror_swap_axis: int | None = None
    mirror_swaps: tuple[tuple[int, int], ...] = ()
    orientation: Orientation | None = None
    companions: tuple[FileDigest, ...] = ()

    @property
    def predicting(self) -> tuple[str, ...]:
        """The configurations that predict."""
        return self.ensemble or (self.configuration,)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedNetwork:
    """A network in evaluation mode on its device."""

    configuration: str
    fold: int
    module: nn.Module


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model ready to predict with `configurations`, whose networks, and those of stages before, are `networks`.

    Without `configurations` all predict, save those that are only the stage before another. `digest` names all weights.
    """

    record: ModelRecord
    plan: Plan
    fingerprint: Fingerprint
    networks: tuple[LoadedNetwork, ...]
    digest: str
    configurations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedNetwork:
    """A network to be saved."""

    configuration: str
    fold: int
    module: nn.Module
    steps: int
    seconds: float
    validation_dice: float | None
    finished: bool = True


def weights_bytes(module: nn.Module) -> bytes:
    """Return the module's weights as safetensors bytes, the same for the same weights."""
    return tensors_bytes(module.state_dict())


def tensors_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Return named tensors as safetensors bytes, the same for the same tensors."""
    from safetensors.torch import save

    return save({name: tensor.detach().cpu().contiguous() for name, tensor in sorted(tensors.items())})


def save_network(folder: Path, trained: TrainedNetwork) -> NetworkFile:
    """Write one network's weights into a model folder; an unfinished one's name says its steps, so it replaces none."""
    data = weights_bytes(trained.module)
    unfinished = "" if trained.finished else f"-step_{trained.steps}"
    name = f"{trained.configuration}-fold_{trained.fold}{unfinished}.safetensors"
    write_bytes(folder / name, data)
    return NetworkFile(
        configuration=trained.configuration,
        fold=trained.fold,
        file=name,
        sha256=hashlib.sha256(data).hexdigest(),
        steps=trained.steps,
        seconds=trained.seconds,
        validation_dice=trained.validation_dice,
        finished=trained.finished,
    )


def save_model(
    folder: Path, record: ModelRecord, plan: Plan, fingerprint: Fingerprint, seen: "TrainingCases | None" = None
) -> None:
    """Write plan, fingerprint, what was trained on and, last, the record that makes the folder a model.

    Weights are there already. What is unchanged is not written again.
    """
    from autoseg.core.records import encode, write_record
    from autoseg.core.seals import sealed_record
    from autoseg.datasets.manifest import TRAINING_CASES

    beside = {PLAN_NAME: plan, FINGERPRINT_NAME: fingerprint} | ({} if seen is None else {TRAINING_CASES: seen})
    data = {name: sealed_record(encode(each)) for name, each in beside.items()}
    changed = [name for name in data if not (folder / name).is_file() or (folder / name).read_bytes() != data[name]]
    others = tuple(each for each in _forgotten(folder, changed) if each.file not in data)
    for name in changed:
        write_bytes(folder / name, data[name])
    own = tuple(FileDigest(file=name, sha256=hashlib.sha256(data[name]).hexdigest()) for name in data)
    write_record(folder / MODEL_NAME, replace(record, companions=_ordered(*own, *others)))


@contextmanager
def companions_written(folder: Path, *names: str) -> Iterator[None]:
    """Let the block write records beside a model's own, which then names their digests, and none of them meanwhile."""
    from autoseg.core.records import write_record

    others = tuple(each for each in _forgotten(folder, names) if each.file not in names)
    yield
    written = digests_of((folder / name for name in names if (folder / name).is_file()), folder)
    write_record(folder / MODEL_NAME, replace(load_model_record(folder), companions=_ordered(*others, *written)))


def _ordered(*companions: FileDigest) -> tuple[FileDigest, ...]:
    """Return companions by their names, so that the order in which they were written leaves the record as it is."""
    return tuple(sorted(companions, key=lambda each: each.file))


def _forgotten(folder: Path, names: Sequence[str]) -> tuple[FileDigest, ...]:
    """Remove companions from a folder's record, lest a kill leaves digests of what came before; return the others."""
    from autoseg.core.records import write_record

    try:
        record = load_model_record(folder)
    except AutosegError:  # none yet, or damaged
        return ()
    kept = tuple(each for each in record.companions if each.file not in names)
    if kept != record.companions:
        write_record(folder / MODEL_NAME, replace(record, companions=kept))
    return kept


def find_model(path: Path) -> Path:
    """Return the model folder that `path` is, or holds as a workspace; `path` itself for a model of nnU-Net's.

    Raises:
        AutosegError: there is no model.

    """
    for folder in (path, path / "model"):
        if (folder / MODEL_NAME).is_file():
            return folder
    if is_nnunet(path):
        return path
    raise AutosegError.at(
        path, "no trained model here (no model.json)", "give a workspace after training, its model/, or nnU-Net's"
    )


def load_model_record(folder: Path) -> ModelRecord:
    """Read what a model folder holds.

    Raises:
        AutosegError: the record is damaged, or names a file outside the folder.

    """
    from autoseg.core.records import read_record

    record = read_record(folder / MODEL_NAME, ModelRecord)
    for name in (*(network.file for network in record.networks), *(file.file for file in record.companions)):
        if Path(name).name != name:
            raise AutosegError.at(folder / MODEL_NAME, f"its file {name!r} would lie elsewhere", "use an intact model")
    return record


def choose_prediction(path: Path, configurations: Sequence[str], postprocessing: Sequence[Change]) -> ModelRecord:
    """Write into the model that `path` is or holds which configurations predict and what is done after them.

    Raises:
        AutosegError: no model, or it has no network of one of the configurations or of the stage before it.

    """
    from autoseg.core.plans import read_plan
    from autoseg.core.records import write_record

    folder = find_model(path)
    record = load_model_record(folder)
    plan = read_plan(folder / PLAN_NAME)
    _networks_of(folder, record, plan, tuple(configurations))
    augmentation = plan.configuration(configurations[0]).augmentation
    chosen = replace(
        record,
        configuration=configurations[0],
        mirror_axes=augmentation.mirror_axes,
        mirror_swap_axis=augmentation.mirror_swap_axis,
        mirror_swaps=augmentation.mirror_swaps,
        ensemble=tuple(configurations) if len(configurations) > 1 else (),
        postprocessing=tuple(postprocessing),
    )
    write_record(folder / MODEL_NAME, chosen)
    return chosen


def load_networks(path: Path, device: torch.device, configurations: Sequence[str] = ()) -> LoadedModel:
    """Load the model that `path` is or holds, also one of nnU-Net's, its networks in evaluation mode on `device`.

    `configurations` are those that predict, () for those that the model's record names; the stages before them are
    loaded, too.

    Raises:
        AutosegError: no model, it has no such configuration, or a file of it is missing, damaged or does not fit the
            plan.

    """
    from autoseg.core.plans import read_plan
    from autoseg.core.records import read_record

    folder = find_model(path)
    if not (folder / MODEL_NAME).is_file():
        from autoseg.learning.nnunet_model import load_nnunet

        return load_nnunet(folder, device, configurations)
    record = load_model_record(folder)
    plan = read_plan(folder / PLAN_NAME)
    fingerprint = read_record(folder / FINGERPRINT_NAME, Fingerprint)
    predicting = tuple(configurations) or record.predicting
    chosen = _networks_of(folder, record, plan, predicting)
    _say_if_unfinished(folder, chosen)
    networks = tuple(
        LoadedNetwork(configuration=n.configuration, fold=n.fold, module=_load_module(folder, n, plan, device))
        for n in chosen
    )
    digest = hashlib.sha256("".join(n.sha256 for n in chosen).encode()).hexdigest()
    return LoadedModel(
        record=record,
        plan=plan,
        fingerprint=fingerprint,
        networks=networks,
        digest=digest,
        configurations=predicting,
    )


def _say_if_unfinished(folder: Path, networks: Sequence[NetworkFile]) -> None:
    from autoseg.core.runtime import say

    steps = [network.steps for network in networks if not network.finished]
    if steps:
        say(f"warning: {folder}: training was stopped after {steps[0]} steps, so it is neither annealed nor validated")


def load_network(path: Path, configuration: str, fold: int, device: torch.device) -> LoadedNetwork:
    """Load one network of the model that `path` is or holds, also of a configuration that does not predict by default.

    Raises:
        AutosegError: there is no such network, or a file is missing, damaged or does not fit the plan.

    """
    from autoseg.core.plans import read_plan

    folder = find_model(path)
    plan = read_plan(folder / PLAN_NAME)
    for network in load_model_record(folder).networks:
        if (network.configuration, network.fold) == (configuration, fold):
            module = _load_module(folder, network, plan, device)
            return LoadedNetwork(configuration=configuration, fold=fold, module=module)
    raise AutosegError.at(folder, f"no network {configuration} fold {fold}", "train it")


def foreground_names(plan: Plan) -> tuple[str, ...]:
    """Names of the labels that are predicted, in the order of the network's outputs."""
    return tuple(label.name for label in plan.labels if label.role == "foreground")


def plan_outputs(plan: Plan) -> int:
    """Logit channels of every network of `plan`."""
    return output_count(len(foreground_names(plan)), plan.target)


def label_values(plan: Plan) -> tuple[int, ...]:
    """Every value that a label map of `plan` may have besides 0, rising: a cascade's extra channels, one for each."""
    return tuple(sorted({value for label in plan.labels if label.role == "foreground" for value in label.values}))


def plan_inputs(plan: Plan, configuration: str) -> int:
    """Channels that the networks of a configuration see: the image's, and in a cascade one for each label value."""
    previous = plan.configuration(configuration).previous
    return len(plan.channels) + (0 if previous is None else len(label_values(plan)))


def _networks_of(
    folder: Path, record: ModelRecord, plan: Plan, configurations: tuple[str, ...]
) -> tuple[NetworkFile, ...]:
    """Return the networks of the configurations and of the stages before them, in the order of the record."""
    present = {network.configuration for network in record.networks}
    needed: list[str] = list(configurations)
    for name in needed:  # grows: the stage before has one before it, perhaps
        if name not in present:
            has = f"it has {', '.join(sorted(present))}" if present else "it has none"
            raise AutosegError.at(
                folder, f"no network {name}; {has}", "train it, or predict with another configuration"
            )
        previous = plan.configuration(name).previous
        needed += [] if previous is None or previous in needed else [previous]
    return tuple(network for network in record.networks if network.configuration in needed)


def _load_module(folder: Path, network: NetworkFile, plan: Plan, device: torch.device) -> nn.Module:
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = folder / network.file
    if not path.is_file():
        raise AutosegError.at(path, "missing", "copy the whole model folder")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != network.sha256:
        raise AutosegError.at(path, "damaged: its SHA-256 is not the one in model.json", "copy the model again")
    name = network.configuration
    module = build_network(plan.configuration(name), plan_inputs(plan, name), plan_outputs(plan))
    try:
        weights = load(data)
    except (SafetensorError, KeyError, ValueError, RuntimeError, OverflowError) as error:
        what = f"no safetensors file ({str(error).splitlines()[0][:200]})"
        raise AutosegError.at(path, what, "copy the model again") from error
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise AutosegError.at(
            path, "the weights do not fit the plan's network", "use weights and plan of one run"
        ) from error
    to_fast_layout(module.to(device), device)
    return module.eval().requires_grad_(False)
