"""Attacks by what makes a model: pickles, checkpoints, archives, weights, plans and nnU-Net's records."""

import hashlib
import json
import stat
import struct
import warnings
import zipfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch

from autoseg.core.archives import open_archive
from autoseg.core.pickle_reader import read_pickle
from autoseg.learning.model_files import load_networks
from autoseg.learning.nnunet_folder import CHECKPOINT
from tests.core.test_pickle_reader import MALICIOUS, NAMES
from tests.learning.test_model_files import model
from tests.learning.test_nnunet_model import FULL, Evil, folder_of
from tests.nnunet_results import checkpoint, made_plan, networks, write_theirs

Attack = Callable[[Path], object]
CPU = torch.device("cpu")


# ---------------------------------------------------------------------------------------------------- pickles
def _pickled(data: bytes) -> Attack:
    return lambda place: read_pickle(data, place / "postprocessing.pkl", NAMES)


def _checkpoint(**changes: Any) -> Attack:
    def attack(place: Path) -> object:
        results = write_theirs(place, made_plan(), FULL)
        torch.save(checkpoint(_network(), FULL, **changes), folder_of(results) / "fold_0" / CHECKPOINT)
        return load_networks(results, CPU)

    return attack


def _checkpoint_bytes(data: bytes) -> Attack:
    def attack(place: Path) -> object:
        results = write_theirs(place, made_plan(), FULL)
        (folder_of(results) / "fold_0" / CHECKPOINT).write_bytes(data)
        return load_networks(results, CPU)

    return attack


@cache
def _network() -> torch.nn.Module:
    return networks(made_plan(), FULL)[0]


def _scripted(place: Path) -> object:
    results = write_theirs(place, made_plan(), FULL)
    path = folder_of(results) / "fold_0" / CHECKPOINT
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", MALICIOUS["posix.system"])
        archive.writestr("archive/code/__torch__.py", "def forward(self):\n  os.system('touch executed')\n")
        archive.writestr("archive/constants.pkl", MALICIOUS["eval"])
        archive.writestr("archive/version", "3\n")
    return load_networks(results, CPU)


CHECKPOINTS: Mapping[str, Attack] = {
    "weights that execute": _checkpoint(network_weights=Evil()),
    "one tensor that executes": _checkpoint(network_weights={"a": Evil()}),
    "initial arguments that execute": _checkpoint(init_args=Evil()),
    "a logger that executes": _checkpoint(logging=Evil()),
    "a bare pickle": _checkpoint_bytes(MALICIOUS["posix.system"]),
    "a bare pickle behind torch's magic number": _checkpoint_bytes(
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + MALICIOUS["posix.system"]
    ),
    "a script": _checkpoint_bytes(b"#!/bin/sh\ntouch executed\n"),
    "a TorchScript archive": _scripted,
}


# ---------------------------------------------------------------------------------------------------- archives
def _zipped(*names: str, mode: int = 0, data: bytes = b"x") -> Attack:
    def attack(place: Path) -> object:
        path = place / "model.zip"
        with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            warnings.simplefilter("ignore")  # of the same name twice
            for name in names:
                member = zipfile.ZipInfo("placeholder")
                member.filename, member.external_attr = name, mode << 16
                member.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(member, data)
        return open_archive(path)

    return attack


def file_attack(name: str, data: bytes, read: Callable[[Path], object]) -> Attack:
    def attack(place: Path) -> object:
        (place / name).write_bytes(data)
        return read(place / name)

    return attack


ARCHIVES: Mapping[str, Attack] = {
    "a name that climbs": _zipped("../executed"),
    "a name that climbs from within": _zipped("a/../../executed"),
    "an absolute name": _zipped("/etc/executed"),
    "a drive": _zipped("C:/executed"),
    "a drive without a slash": _zipped("C:executed"),
    "backslashes": _zipped("..\\executed"),
    "a network share": _zipped("\\\\host\\executed"),
    "an empty part": _zipped("a//executed"),
    "a dot": _zipped("./executed"),
    "no name": _zipped(""),
    "the same name twice": _zipped("a", "a"),
    "a link": _zipped("a", mode=stat.S_IFLNK | 0o777, data=b"/etc/passwd"),
    "a pipe": _zipped("a", mode=stat.S_IFIFO | 0o666),
    "a device": _zipped("a", mode=stat.S_IFCHR | 0o666),
    "a socket": _zipped("a", mode=stat.S_IFSOCK | 0o666),
    "a bomb": _zipped("a", data=bytes(8 << 20)),
    "no archive": file_attack("model.zip", b"PK\x05\x06 and nothing", open_archive),
}

# ---------------------------------------------------------------------------------------- our own model folders
_FLOATS = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


def _weights(data: bytes) -> Attack:
    """A model whose record agrees with the hostile weights: the attacker wrote both."""

    def attack(place: Path) -> object:
        model(place)
        record = json.loads((place / "model.json").read_text())
        network = record["networks"][0]
        (place / network["file"]).write_bytes(data)
        network["sha256"] = hashlib.sha256(data).hexdigest()
        (place / "model.json").write_text(json.dumps(record))
        return load_networks(place, CPU)

    return attack


def _tensors(header: object, data: bytes = bytes(4)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def _modelled(file: str, **changes: Any) -> Attack:
    """A model folder with some keys of a record changed; `networks__file` means that key of its first network."""

    def attack(place: Path) -> object:
        model(place)
        record = json.loads((place / file).read_text())
        for key, value in changes.items():
            *outer, last = key.split("__")
            target = record
            for part in outer:
                target = target[part][0] if isinstance(target[part], list) else target[part]
            target[last] = value
        (place / file).write_text(json.dumps(record))
        return load_networks(place, CPU)

    return attack


MODELS: Mapping[str, Attack] = {
    "header longer than the file": _weights(struct.pack("<Q", 1 << 62) + b"{}"),
    "header of no bytes": _weights(struct.pack("<Q", 0)),
    "header that is no JSON": _weights(_tensors(b"\xff" * 20)),
    "header nested without end": _weights(_tensors(b'{"a":' * 20000)),
    "tensor beyond the end": _weights(_tensors({"a": {**_FLOATS, "data_offsets": [0, 1 << 40]}})),
    "tensor that ends before it begins": _weights(_tensors({"a": {**_FLOATS, "data_offsets": [4, 0]}})),
    "negative offsets": _weights(_tensors({"a": {**_FLOATS, "data_offsets": [-4, 0]}})),
    "tensors on top of each other": _weights(_tensors({"a": _FLOATS, "b": _FLOATS})),
    "shape that overflows": _weights(_tensors({"a": {**_FLOATS, "shape": [1 << 33, 1 << 33]}})),
    "type that is none": _weights(_tensors({"a": {**_FLOATS, "dtype": "os.system"}})),
    "tensors of another network": _weights(_tensors({"a": _FLOATS})),
    "a pickle for weights": _weights(MALICIOUS["posix.system"]),
    "weights that climb": _modelled("model.json", networks__file="../../executed.safetensors"),
    "weights at an absolute place": _modelled("model.json", networks__file="/etc/passwd"),
    "weights called ..": _modelled("model.json", networks__file=".."),
    "weights without a name": _modelled("model.json", networks__file=""),
    "weights behind a zero byte": _modelled("model.json", networks__file="a\0b"),
    "a configuration that climbs": _modelled("plan.json", configurations__name="../../executed"),
    "an architecture by its import": _modelled("plan.json", configurations__architecture="os.system"),
    "a patch of a billion voxels an axis": _modelled("plan.json", configurations__patch_size=[1 << 30] * 3),
    "a patch of nothing": _modelled("plan.json", configurations__patch_size=[0, 0, 0]),
    "no stages": _modelled("plan.json", configurations__stages=[]),
    "features without end": _modelled("plan.json", configurations__stages__features=1 << 40),
    "a negative batch": _modelled("plan.json", configurations__batch_size=-1),
    "a label of no value": _modelled("plan.json", labels__values=[]),
    "another schema": _modelled("plan.json", schema="os.system/1"),
    "mirrored along an axis that is not there": _modelled("model.json", configuration="2d"),
}


# ------------------------------------------------------------------------------------------- nnU-Net's records
def _planned(*path: str, value: object) -> Attack:
    def attack(place: Path) -> object:
        results = write_theirs(place, made_plan(), FULL)
        file = folder_of(results) / path[0]
        document = json.loads(file.read_text())
        target = document
        for key in path[1:-1]:
            target = target[key]
        target[path[-1]] = value
        file.write_text(json.dumps(document))
        return load_networks(results, CPU)

    return attack


_ARCHITECTURE = ("plans.json", "configurations", "3d_fullres", "architecture")
NNUNET: Mapping[str, Attack] = {
    "a network class of the system's": _planned(*_ARCHITECTURE, "network_class_name", value="os.system"),
    "a network class that is evaluated": _planned(*_ARCHITECTURE, "network_class_name", value="builtins.eval"),
    "a network class that starts a process": _planned(*_ARCHITECTURE, "network_class_name", value="subprocess.Popen"),
    "a layer by its import": _planned(*_ARCHITECTURE, "arch_kwargs", "conv_op", value="os.getcwd"),
    "a norm by its import": _planned(*_ARCHITECTURE, "arch_kwargs", "norm_op", value="pty.spawn"),
    "imports that it asks for": _planned(*_ARCHITECTURE, "_kw_requires_import", value=["os.system"]),
    "a reader by its import": _planned("plans.json", "image_reader_writer", value="subprocess.check_output"),
    "features without end": _planned(*_ARCHITECTURE, "arch_kwargs", "features_per_stage", value=[1 << 40] * 3),
    "stages without end": _planned(*_ARCHITECTURE, "arch_kwargs", "n_stages", value=10**9),
    "a resampling by its import": _planned(
        "plans.json", "configurations", "3d_fullres", "resampling_fn_data", value="os.system"
    ),
    "spacing that is not a number": _planned(
        "plans.json", "configurations", "3d_fullres", "spacing", value=[float("nan"), 1, 1]
    ),
    "labels that are no numbers": _planned("dataset.json", "labels", value={"background": 0, "a": "__import__('os')"}),
}

PICKLES: Mapping[str, Attack] = {name: _pickled(data) for name, data in MALICIOUS.items()}
