"""begin: copy the weights of another model, or of an encoder, into the workspace, for its trainings.

The workspace keeps them: a training goes on, and another fold begins, where the model they are from is gone.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch

from autoseg.core.errors import AutosegError
from autoseg.core.files import write_bytes
from autoseg.core.records import write_record
from autoseg.core.runtime import say
from autoseg.core.starts import START_NAME, StartNetwork, StartRecord, start_folder
from autoseg.core.workspace import Workspace
from autoseg.learning.encoder_files import read_encoder
from autoseg.learning.model_files import LoadedNetwork, load_networks, tensors_bytes
from autoseg.learning.nnunet_folder import is_nnunet


def begin(workspace: Workspace, source: Path, configurations: Sequence[str], folds: Sequence[int]) -> StartRecord:
    """Copy what trainings of `folds` begin with, and return its record.

    `source` is a model (a workspace, its model folder, nnU-Net's folder or zip), whose networks of `configurations` are
    taken, by default those that predict; or a file with an encoder.

    Raises:
        AutosegError: it is neither, it is damaged, or it has no such network.

    """
    if source.is_file() and not is_nnunet(source):
        record = _encoder(workspace, source)
    elif source.exists():
        record = _model(workspace, source, configurations, folds)
    else:
        raise AutosegError.at(f"--from {source}", "nothing there", "give a model's folder, or a file with an encoder")
    write_record(start_folder(workspace.root) / START_NAME, record)
    return record


def _encoder(workspace: Workspace, source: Path) -> StartRecord:
    network = _written(workspace, "encoder", 0, tensors_bytes(read_encoder(source)))
    say(f"begins with the encoder in {source.name}")
    return StartRecord(source=source.name, kind="encoder", networks=(network,))


def _model(workspace: Workspace, source: Path, configurations: Sequence[str], folds: Sequence[int]) -> StartRecord:
    model = load_networks(source, torch.device("cpu"), configurations)
    names = dict.fromkeys(network.configuration for network in model.networks)
    networks = []
    for name in names:
        own = [network for network in model.networks if network.configuration == name]
        needed = {each.fold: each for each in (_of_fold(own, fold) for fold in folds)}
        networks += [
            _written(workspace, name, each.fold, tensors_bytes(each.module.state_dict())) for each in needed.values()
        ]
    write_record(start_folder(workspace.root) / workspace.plan.name, model.plan)
    taken = ", ".join(f"{network.configuration} fold {network.fold}" for network in networks)
    source_name = source.resolve().parent.name if source.resolve().name == "model" else source.name
    say(f"begins with the model {source_name} of {model.plan.dataset}: {taken}")
    return StartRecord(source=source_name, kind="model", networks=tuple(networks))


def _of_fold(networks: Sequence[LoadedNetwork], fold: int) -> LoadedNetwork:
    return next((network for network in networks if network.fold == fold), networks[0])


def _written(workspace: Workspace, configuration: str, fold: int, data: bytes) -> StartNetwork:
    name = f"{configuration}-fold_{fold}.safetensors"
    write_bytes(start_folder(workspace.root) / name, data)
    return StartNetwork(configuration=configuration, fold=fold, file=name, sha256=hashlib.sha256(data).hexdigest())
