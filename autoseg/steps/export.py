"""Export: a trained model as one folder that runs on NumPy and onnxruntime alone, without torch and without autoseg."""

import hashlib
from pathlib import Path

import torch

from autoseg.core.errors import AutosegError
from autoseg.core.files import write_bytes, write_text
from autoseg.core.records import write_record
from autoseg.core.runtime import say
from autoseg.core.version import VERSION
from autoseg.learning.model_files import LoadedModel, LoadedNetwork, load_networks, plan_inputs
from autoseg.learning.network import UNet
from autoseg.learning.onnx_export import AGREEMENT, largest_difference, network_to_onnx
from autoseg.learning.trust import load_trust
from autoseg.runner.record import PLAN_NAME, RECORD_NAME, LabelValue, Network, RunnerRecord
from autoseg.runner.sources import PACKAGE, runner_files

_RUN = f'''"""Segment one case: python run.py INPUT.nii.gz [one per channel] OUTPUT.nii.gz."""

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER))

from {PACKAGE}.runner.command import main  # noqa: E402 (the folder has to be known first)

if __name__ == "__main__":
    sys.exit(main([str(FOLDER), *sys.argv[1:]]))
'''

_REQUIREMENTS = "numpy>=2.0\nonnxruntime>=1.20\nnibabel>=5.2\n"

_README = """# {dataset}: a segmentation model that needs no torch

Takes {channels}; finds {labels}. Exported by autoseg {version}. {use}.

```sh
pip install -r requirements.txt
python run.py INPUT.nii.gz OUTPUT.nii.gz{several}
```

The label map has the grid and geometry of the input. From Python, with this folder on `sys.path`, or with autoseg
installed (`from autoseg.runner import load`) and arrays in (z, y, x) order{turned}:

```python
from {package}.runner import load

labels = load("THIS_FOLDER").predict(array, spacing_mm=(3.0, 0.8, 0.8))
```

| file | what |
| --- | --- |
| `*.onnx` | networks, operator set 17, float32; input (batch, channel, *patch), output logits |
| `plan.json` | axes, spacing, patch, normalization of every configuration |
| `runner.json` | networks with their SHA-256, label values, what is done before and after them; written last |
| `run.py`, `{package}/` | the runner: NumPy and onnxruntime; nibabel for files. Apache-2.0 |

Nothing in these files is executed but the runner's own source text; the records are plain JSON.
"""


def export(model: Path, output: Path) -> RunnerRecord:
    """Write the model that `model` is or holds into the folder `output` and return what it holds.

    Each network is compared with torch's on one window of noise first. The record is written last: a folder that has
    it is complete. An earlier export there is replaced.

    Raises:
        AutosegError: no model, `output` holds something else, onnx or onnxruntime is not installed, or a network's
            outputs differ from torch's.
        ResourceError: the disk is full.

    """
    loaded = load_networks(model, torch.device("cpu"))
    _make_room(output)
    networks = []
    for network in loaded.networks:
        data = _onnx(loaded, network)
        name = f"{network.configuration}-fold_{network.fold}.onnx"
        write_bytes(output / name, data)
        digest = hashlib.sha256(data).hexdigest()
        entry = Network(configuration=network.configuration, fold=network.fold, file=name, sha256=digest)
        networks.append(entry)
    record = RunnerRecord(
        dataset=loaded.record.dataset,
        version=VERSION,
        model_digest=loaded.digest,
        configurations=loaded.configurations,
        networks=tuple(networks),
        mirror=loaded.record.mirror,
        labels=tuple(
            LabelValue(name=label.name, value=label.values[0])
            for label in loaded.plan.labels
            if label.role == "foreground"
        ),
        postprocessing=loaded.record.postprocessing,
        calibration=load_trust(model, loaded).temperatures or None,
        orientation=loaded.record.orientation,
    )
    for name, text in (*runner_files().items(), ("run.py", _RUN), ("requirements.txt", _REQUIREMENTS)):
        write_text(output / name, text)
    write_text(output / "README.md", _readme(record, loaded.plan.channels))
    write_record(output / PLAN_NAME, loaded.plan)
    write_record(output / RECORD_NAME, record)
    return record


def _make_room(output: Path) -> None:
    """Remove an earlier export's record and networks; refuse a folder that holds anything else."""
    if output.exists() and not output.is_dir():
        raise AutosegError.at(output, "is a file", "give a new folder")
    if output.is_dir() and any(output.iterdir()) and not (output / "run.py").is_file():
        raise AutosegError.at(output, "holds other files", "give a new or empty folder")
    for path in (output / RECORD_NAME, *output.glob("*.onnx")):
        path.unlink(missing_ok=True)


def _onnx(loaded: LoadedModel, network: LoadedNetwork) -> bytes:
    """Return one network as ONNX, after comparing it with torch's."""
    name, module = network.configuration, network.module
    patch, channels = loaded.plan.configuration(name).patch, plan_inputs(loaded.plan, name)
    if not isinstance(module, UNet):
        raise AutosegError.at(name, f"{type(module).__name__} cannot be written as ONNX", "export one of our networks")
    data = network_to_onnx(module, channels, patch)
    difference = largest_difference(data, module, (1, channels, *patch))
    if not difference <= AGREEMENT:
        what = f"onnxruntime's outputs differ from torch's by {difference:.2g} of their range"
        raise AutosegError.at(f"{name} fold {network.fold}", what, "take another version of onnxruntime")
    say(f"{name} fold {network.fold}: {len(data) / 1e6:.1f} MB, within {difference:.1g} of torch's outputs")
    return data


def _readme(record: RunnerRecord, channels: tuple[str, ...]) -> str:
    several = f"   # several inputs, one per channel: {', '.join(channels)}" if len(channels) > 1 else ""
    turned = "" if record.orientation is None else f", turned to {record.orientation}, as the files are by themselves"
    return _README.format(
        dataset=record.dataset,
        channels=f"NIfTI images with the channel{'s' if len(channels) > 1 else ''} {', '.join(channels)}",
        labels=", ".join(f"{label.name} ({label.value})" for label in record.labels),
        version=record.version,
        use=record.use.capitalize(),
        several=several,
        turned=turned,
        package=PACKAGE,
    )
