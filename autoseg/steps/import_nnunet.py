"""Import: a model that nnU-Net 2 trained becomes a model folder of ours."""

from pathlib import Path

from autoseg.core.errors import AutosegError
from autoseg.core.files import write_bytes
from autoseg.learning.model_files import ModelRecord, save_model, weights_bytes
from autoseg.learning.nnunet_model import open_nnunet


def import_nnunet(source: Path, output: Path, configurations: tuple[str, ...] = ()) -> ModelRecord:
    """Write the model in nnU-Net's results folder, or exported zip, at `source` into the folder `output`.

    `configurations` are those that predict, () for nnU-Net's own choice. What is written predicts without `source`.

    Raises:
        AutosegError: there is something at `output`, no model at `source`, or one that we do not compute alike.

    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise AutosegError.at(output, "is there already", "give another --output, or remove it")
    opened = open_nnunet(source, configurations)
    for network, file in zip(opened.networks, opened.record.networks, strict=True):
        write_bytes(output / file.file, weights_bytes(network.module))
    save_model(output, opened.record, opened.plan, opened.fingerprint)
    return opened.record
