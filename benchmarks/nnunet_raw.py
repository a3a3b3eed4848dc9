"""A dataset in nnU-Net's raw layout: links to images, references with consecutive values, dataset.json."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import msgspec
import numpy as np

from autoseg.core.errors import AutosegError
from autoseg.core.files import write_bytes
from autoseg.datasets.dataset import Case, Dataset
from autoseg.datasets.read_case import read_case
from autoseg.imaging.read import ending_of
from autoseg.imaging.write import write_label
from planners.fingerprint import Fingerprint, Modality

DATASET_ID = 1
DATASET_NAME = f"Dataset{DATASET_ID:03d}_compared"


_MODALITY_NAMES: Mapping[Modality, str] = MappingProxyType({"ct": "CT", "rgb": "rgb_to_0_1"})


def channel_names(fingerprint: Fingerprint) -> tuple[str, ...]:
    """Return the names of the channels; those of a kind that nnU-Net knows only by name get the name it knows."""
    return tuple(_MODALITY_NAMES.get(channel.modality, channel.name) for channel in fingerprint.channels)


def write_raw(dataset: Dataset, channels: Sequence[str], folder: Path) -> None:
    """Write `dataset` into `folder` as nnU-Net reads it; the cases are numbered in our order, which it keeps.

    `channels` are names such as CT, by which nnU-Net chooses how to normalise.

    Raises:
        AutosegError: several structures share voxels, a file holds several channels, or endings differ: nnU-Net can
            read none of them.

    """
    source = Path(dataset.folder)
    endings = {ending_of(source / name) for case in dataset.cases for name in case.images}
    if len(endings) != 1 or dataset.overlapping or len(dataset.cases[0].images) != len(dataset.channels):
        raise AutosegError.at(source, "nothing that nnU-Net can read", "one map, one ending, one file per channel")
    ending = endings.pop()
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "labelsTr").mkdir()
    for number, case in enumerate(dataset.cases):
        _write_case(dataset, case, folder, f"case_{number:04d}{ending}")
    labels = {"background": 0} | {label.name: index for index, label in enumerate(dataset.labels, start=1)}
    description = {
        "channel_names": {str(index): name for index, name in enumerate(channels)},
        "labels": labels,
        "numTraining": len(dataset.cases),
        "file_ending": ending,
    }
    write_bytes(folder / "dataset.json", msgspec.json.format(msgspec.json.encode(description), indent=1))


def _write_case(dataset: Dataset, case: Case, folder: Path, name: str) -> None:
    source = Path(dataset.folder)
    stem, dot, ending = name.partition(".")
    for index, image in enumerate(case.images):
        (folder / "imagesTr" / f"{stem}_{index:04d}{dot}{ending}").symlink_to((source / image).absolute())
    target = folder / "labelsTr" / name
    values = [label.values for label in dataset.labels]
    if dataset.reference_kind == "map" and not dataset.value_map and values == [(n + 1,) for n in range(len(values))]:
        target.symlink_to((source / case.references[0]).absolute())
        return
    label = read_case(dataset, case).label
    if label is None:
        raise AutosegError.at(case.name, "no reference", "inspect the dataset again")
    numbered = np.zeros(label.shape, np.uint8)
    for index, own in enumerate(values, start=1):
        numbered[np.isin(label, own)] = index
    write_label(target, numbered, source / case.images[0])
