"""What is done under faults: predict, preprocess and train, as small as can be.

python -m tests.faults.jobs WORK JOB     make in WORK what the job needs
"""

import dataclasses
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK
import torch

from autoseg.core.files import TEMPORARY_PREFIX
from autoseg.core.plans import read_plan
from autoseg.core.records import read_record, write_record
from autoseg.core.workspace import Workspace, open_workspace
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.folds import make_folds
from autoseg.datasets.options import Options
from autoseg.imaging.probabilities import ProbabilitiesRecord
from autoseg.imaging.store import CaseRecord
from autoseg.learning.model_files import TrainedNetwork, load_model_record, plan_outputs, save_network
from autoseg.learning.network import build_network
from autoseg.predicting.files import PROBABILITIES
from autoseg.predicting.records import CasePrediction, PredictionRecord
from autoseg.recorded import LOG
from autoseg.steps.fingerprint import make_fingerprint
from autoseg.steps.inspect import inspect
from autoseg.steps.preprocess import preprocess
from planners.plan import Plan
from planners.recipe import Machine
from tests.builders import SHORT_SCHEDULE, configuration
from tests.steps.test_predict import make_model, save

FOLDS = 5
STEPS = 2
MACHINE = Machine(device="cpu", cores=1, memory_bytes=8 << 30, bf16=False, flops_per_s=1e9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A command, the workspace that it starts from (None: an empty place), and what it leaves, by name.

    `marks` are files by which `autoseg verify` knows the place.
    """

    name: str
    before: str | None
    arguments: Callable[[Path, Path], list[str]]
    contents: Callable[[Path], dict[str, object]]
    marks: tuple[str, ...]


def final(output: Path, pattern: str) -> list[Path]:
    return [p for p in sorted(output.glob(pattern)) if p.is_file() and not p.name.startswith(TEMPORARY_PREFIX)]


def predicted(output: Path) -> dict[str, object]:
    """Return label maps and tables as bytes, records without what was measured; the log tells of every call."""
    found: dict[str, object] = {}
    measured = {"seconds": 0, "peak_memory_bytes": 0, "peak_memory_of": "case"}
    measured |= {"estimated_seconds": None, "estimated_bytes": None}
    for path in final(output, "**/*"):
        if path.name == LOG:
            continue
        if path.name == "prediction.json":
            record = read_record(path, PredictionRecord)
            cases = tuple(dataclasses.replace(case, **measured) for case in record.cases)
            found[path.name] = dataclasses.replace(record, cases=cases, skipped=(), peak_memory_bytes=None)
        elif path.suffix == ".json" and path.parent.name == PROBABILITIES:
            found[f"{PROBABILITIES}/{path.name}"] = read_record(path, ProbabilitiesRecord)
        elif path.suffix == ".json":
            found[path.name] = dataclasses.replace(read_record(path, CasePrediction), **measured)
        else:
            found[path.name] = path.read_bytes()
    return found


def stored(output: Path) -> dict[str, object]:
    folder = Workspace(output).preprocessed("3d_fullres")
    return {
        path.name: read_record(path, CaseRecord) if path.suffix == ".json" else path.read_bytes()
        for path in final(folder, "*")
    }


def trained(output: Path) -> dict[str, object]:
    """Return the finished networks and what they predict of their validation cases."""
    found = {path.name: path.read_bytes() for path in final(output, "model/*-fold_?.safetensors")}
    return found | {path.name: path.read_bytes() for path in final(output, "validation/*/*/*.nii.gz")}


def saved_step(output: Path) -> int:
    """Return the steps of the newest checkpoint of the first fold."""
    index = Workspace(output).training("3d_fullres", 0) / "checkpoint.json"
    return json.loads(index.read_bytes())["checkpoints"][0]["progress"]["step"] if index.exists() else 0


def _predict(work: Path, output: Path) -> list[str]:
    return ["predict", str(work / "images"), "--model", str(work / "model"), "-o", str(output), "--device", "cpu"]


def _predict_probabilities(work: Path, output: Path) -> list[str]:
    return [*_predict(work, output), "--probabilities"]


def _train(_work: Path, output: Path) -> list[str]:
    return ["train", str(output), "--steps", str(STEPS), "--device", "cpu"]


JOBS = {
    job.name: job
    for job in (
        Job(name="predict", before=None, arguments=_predict, contents=predicted, marks=("prediction.json",)),
        Job(
            name="predict-probabilities",
            before=None,
            arguments=_predict_probabilities,
            contents=predicted,
            marks=("prediction.json",),
        ),
        Job(
            name="preprocess",
            before="planned.autoseg",
            arguments=lambda _, output: ["preprocess", str(output)],
            contents=stored,
            marks=("workspace.json",),
        ),
        Job(
            name="train",
            before="preprocessed.autoseg",
            arguments=_train,
            contents=trained,
            marks=("workspace.json",),
        ),
    )
}


def make(work: Path, job: str) -> Path:
    """Make what a job needs in the folder `work`, and return it."""
    work.mkdir(parents=True, exist_ok=True)
    if job.startswith("predict"):
        _make_model(work)
        return work
    planned = planned_workspace(work, work / "planned.autoseg")
    if job == "train":
        preprocess(planned, "3d_fullres")
        shutil.copytree(planned.root, work / "preprocessed.autoseg")
    return work


def _make_model(work: Path) -> None:
    """Make a model with random weights, and three images: label maps of noise, so that a file takes several writes."""
    folder = make_model(work / "model")
    plan = read_plan(folder / "plan.json")
    torch.manual_seed(0)
    (planned,) = plan.configurations
    module = build_network(planned, 1, plan_outputs(plan)).eval()
    network = TrainedNetwork(
        configuration=planned.name, fold=0, module=module, steps=1, seconds=1.0, validation_dice=None
    )
    file = save_network(folder, network)
    write_record(folder / "model.json", replace(load_model_record(folder), networks=(file,)))
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        save(work / "images" / f"{name}.nii.gz", random.integers(0, 99, (40, 36, 12)).astype(np.int16))
    noise = SimpleITK.GetImageFromArray(random.integers(0, 99, (12, 36, 40)).astype(np.int16))
    SimpleITK.WriteImage(noise, work / "images" / "c.nrrd")


def planned_workspace(
    work: Path, root: Path, cases: int = FOLDS, shape: tuple[int, int, int] = (10, 12, 9)
) -> Workspace:
    """Make a dataset of `cases` little images in `work`/data, and a workspace at `root` with a plan for it."""
    random = np.random.default_rng(0)
    for index in range(cases):
        label = np.zeros(shape, np.uint8)
        label[2:6, 3 + index % 3 : 8, 2:7] = 1
        image = (label + 0.3 * random.standard_normal(label.shape)).astype(np.float32)
        for kind, array in (("images", image), ("labels", label)):
            path = work / "data" / kind / f"case_{index:04d}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array.transpose(2, 1, 0), np.eye(4)), path)
    workspace = open_workspace(root, work / "data", 0)
    inspect(work / "data", workspace, Options())
    fingerprint = make_fingerprint(workspace)
    plan = Plan(
        dataset="data",
        recipe="auto",
        channels=("image",),
        labels=fingerprint.labels,
        target="labels",
        transpose=(0, 1, 2),
        configurations=(replace(configuration(3), schedule=replace(SHORT_SCHEDULE, steps=STEPS, steps_per_epoch=2)),),
        decisions=(),
    )
    write_record(workspace.plan, plan)
    write_record(workspace.folds, make_folds(read_record(workspace.dataset, Dataset), FOLDS, 0))
    write_record(workspace.machine, MACHINE)
    return workspace


if __name__ == "__main__":
    make(Path(sys.argv[1]), sys.argv[2])
