"""Do models that nnU-Net trained predict with us what they predict with nnU-Net?

    python -m benchmarks.nnunet_models --datasets FOLDER --nnunet-python PATH [--work DIR] [--only NAME]

FOLDER holds public datasets under the names in SUBJECTS; PATH is the Python of an environment with nnunetv2. Small
networks are trained for at most an epoch by nnU-Net itself, which then predicts unseen cases with probabilities; the
same folder is given to us, in float32. With --work everything that nnU-Net made is kept and not made again. Prints a
line per model, writes the record, and exits 0 only when every model agrees.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from autoseg.core.errors import AutosegError
from autoseg.core.records import read_record, write_record
from autoseg.core.workspace import Workspace
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.load import load_image
from autoseg.imaging.changes import Change
from autoseg.learning.ensemble import Sink
from autoseg.learning.inference import InferenceOptions, LabelMap, Segmenter, make_segmenter
from autoseg.learning.model_files import load_networks
from benchmarks.nnunet_agreement import _VERSION, _output
from benchmarks.nnunet_raw import channel_names
from benchmarks.nnunet_training import (
    Peer,
    Training,
    ensemble,
    export,
    postprocess,
    predict_in_float32,
    split,
    train_and_predict,
)
from benchmarks.record import RESULTS, Hardware, these_versions, this_commit, this_hardware
from planners.fingerprint import Fingerprint

OUTPUT = RESULTS / "prediction" / "nnunet_models.json"
LABELS_EQUAL = 0.9999
PROBABILITY_DIFFERENCE = 1e-3
EPOCH = 250
"""Steps of one of nnU-Net's epochs. Regions need as many: after fewer, the network calls the corners of images
foreground, where nnU-Net's float16 sums keep no logits at all (a probability of exactly 0.5)."""

_SMALL = MappingProxyType({"features": 8, "batch_size": 2})
_SMALLER = MappingProxyType({"features": 4, "batch_size": 2, "patch_size": [32, 40, 32]})
_LOWRES = MappingProxyType(
    {
        **_SMALLER,
        "like": "3d_fullres",
        "spacing": [1.5, 1.5, 1.5],
        "median_image_size_in_voxels": [25, 34, 24],
        "patch_size": [24, 32, 24],
        "next_stage": "3d_cascade_fullres",
    }
)
_CASCADE = MappingProxyType({"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A public folder, how it is read, how many of its cases train and how many are predicted, and what is trained."""

    name: str
    folder: str
    training: Training
    training_cases: int
    judged_cases: int
    reading: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()


SUBJECTS = (
    Subject(
        name="hippocampus",
        folder="msd-hippocampus",
        training_cases=16,
        judged_cases=4,
        training=Training(
            configurations=("3d_fullres",),
            folds=("0", "1"),
            steps=EPOCH,
            edits={"3d_fullres": {**_SMALL, "patch_size": [32, 40, 32]}},
        ),
        rows=("3d_fullres", "postprocessed", "zip"),
    ),
    Subject(
        name="hippocampus-ensemble",
        folder="msd-hippocampus",
        training_cases=8,
        judged_cases=2,
        training=Training(
            configurations=("2d", "3d_fullres"),
            folds=("0",),
            steps=60,
            edits={"3d_fullres": _SMALLER, "2d": {"features": 4, "batch_size": 16}},
        ),
        rows=("2d", "ensemble"),
    ),
    Subject(
        name="hippocampus-residual",
        folder="msd-hippocampus",
        training_cases=8,
        judged_cases=2,
        training=Training(
            planner="nnUNetPlannerResEncM",
            plans="nnUNetResEncUNetMPlans",
            configurations=("3d_fullres",),
            folds=("0",),
            steps=100,
            edits={"3d_fullres": _SMALLER},
        ),
        rows=("3d_fullres",),
    ),
    Subject(
        name="hippocampus-cascade",
        folder="msd-hippocampus",
        training_cases=5,
        judged_cases=2,
        training=Training(
            configurations=("3d_lowres", "3d_cascade_fullres"),
            folds=("all",),
            steps=60,
            edits={"3d_fullres": _SMALLER, "3d_lowres": _LOWRES, "3d_cascade_fullres": _CASCADE},
        ),
        rows=("3d_lowres", "3d_cascade_fullres"),
    ),
    Subject(
        name="hippocampus-regions",
        folder="msd-hippocampus",
        training_cases=8,
        judged_cases=2,
        training=Training(
            configurations=("3d_fullres",),
            folds=("0",),
            steps=EPOCH,
            edits={"3d_fullres": _SMALLER},
            labels={"background": 0, "whole": [1, 2], "anterior": 1},
            regions_class_order=(2, 1),
        ),
        rows=("3d_fullres",),
    ),
    Subject(
        name="isbi2012-em",
        folder="isbi2012-em",
        training_cases=8,
        judged_cases=2,
        training=Training(
            configurations=("2d",),
            folds=("0",),
            steps=60,
            edits={"2d": {**_SMALLER, "patch_size": [256, 256]}},
        ),
        rows=("2d",),
    ),
    Subject(
        name="sts-ct",
        folder="sts-ct-mr-pet",
        reading=("--images", "nifti/*/CT_image.nii.gz", "--labels", "nifti/*/CT_mask.nii.gz"),
        training_cases=6,
        judged_cases=1,
        training=Training(
            configurations=("3d_fullres",),
            folds=("0",),
            steps=40,
            edits={"3d_fullres": {**_SMALLER, "spacing": [4.0, 1.3, 1.3], "patch_size": [32, 64, 64]}},
        ),
        rows=("3d_fullres",),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Float32Agreement:
    """How predictions compare with nnU-Net's when it adds in float32."""

    labels_equal: float
    probability_difference: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAgreement:
    """How one model's predictions compare: `labels_equal` and probabilities over all voxels of all cases.

    Probabilities are those of every output; None where nnU-Net writes none, after postprocessing. `widest_tie` is, of
    all voxels whose labels differ, the largest distance between nnU-Net's two best probabilities (of a region's from
    0.5): what its rounding of logits to float16 decides. `float32`: the same against nnU-Net with its sums in float32.
    """

    schema: ClassVar[str] = "autoseg.nnunet-model/1"

    name: str
    row: str
    architecture: str
    target: str
    folds: int
    mirror_axes: tuple[int, ...]
    cases: int
    voxels: int
    foreground_voxels: int
    labels_equal: float
    labels_equal_worst_case: float
    probability_difference: float | None
    probability_difference_worst: float | None
    widest_tie: float | None
    same_weights_as: str | None = None
    float32: Float32Agreement | None = None

    @property
    def agrees(self) -> bool:
        """Whether it keeps to the limits."""
        return self.labels_equal >= LABELS_EQUAL and (self.probability_difference or 0.0) <= PROBABILITY_DIFFERENCE


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAgreements:
    """Every model of a run, where it ran and with what."""

    schema: ClassVar[str] = "autoseg.nnunet-models/1"

    date: str
    commit: str
    command: str
    hardware: Hardware
    versions: tuple[tuple[str, str], ...]
    nnunet: str
    models: tuple[ModelAgreement, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare the models; 0 when all agree, 1 when one does not, 2 for a mistake in the arguments or data."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    try:
        if options.work:
            record = run(options, options.work.absolute())
        else:
            with tempfile.TemporaryDirectory(prefix="nnunet-models-") as folder:
                record = run(options, Path(folder))
    except AutosegError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    write_record(options.output, record)
    return int(not all(model.agrees for model in record.models))


def run(options: argparse.Namespace, work: Path) -> ModelAgreements:
    """Compare every wanted subject's models, or take what an earlier call of the same version finished.

    Raises:
        AutosegError: a folder is not there, or a program failed on it.

    """
    for subject in SUBJECTS:
        if options.only and subject.name not in options.only:
            continue
        peer = Peer(python=options.nnunet_python, work=work / subject.name / "nnunet")
        peer.work.mkdir(parents=True, exist_ok=True)
        made = prepared(subject, options.datasets / subject.folder, peer)
        for row in subject.rows:
            finished = _finished(work, subject, row)
            if not finished.exists():
                write_record(finished, agreement(subject, row, peer, made))
            print(describe(read_record(finished, ModelAgreement)), flush=True)
    every = [_finished(work, subject, row) for subject in SUBJECTS for row in subject.rows]
    return ModelAgreements(
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        commit=this_commit(),
        command="python -m benchmarks.nnunet_models --datasets FOLDER --nnunet-python PATH",
        hardware=this_hardware("cpu"),
        versions=these_versions(),
        nnunet=_output([str(options.nnunet_python), "-c", _VERSION]).strip(),
        models=tuple(read_record(place, ModelAgreement) for place in every if place.exists()),
    )


def _finished(work: Path, subject: Subject, row: str) -> Path:
    return work / subject.name / this_commit() / f"{row}.json"


def prepared(subject: Subject, source: Path, peer: Peer) -> Mapping[str, Path]:
    """Let nnU-Net train and predict; return for each of its configurations where its predictions are.

    Raises:
        AutosegError: the folder is not there, or a program failed on it.

    """
    if not source.is_dir():
        raise AutosegError.at(source, "no such folder", "--datasets FOLDER holds the folders named in SUBJECTS")
    workspace = Workspace(peer.work.parents[1] / f"{subject.folder}.autoseg")
    program = [sys.executable, "-m", "autoseg.cli"]
    if not workspace.fingerprint.exists():
        words = ["inspect", str(source), "--workspace", str(workspace.root), *subject.reading]
        _output([*program, *words], findings=True)
        _output([*program, "fingerprint", str(workspace.root)])
    dataset = read_record(workspace.dataset, Dataset)
    channels = channel_names(read_record(workspace.fingerprint, Fingerprint))
    training, judged = split(dataset, subject.training_cases, subject.judged_cases)
    return train_and_predict(peer, (training, judged), channels, subject.training)


def agreement(subject: Subject, row: str, peer: Peer, predicted: Mapping[str, Path]) -> ModelAgreement:
    """Predict with nnU-Net's model and compare with its own predictions.

    Raises:
        AutosegError: nnU-Net failed, or its model cannot be read.

    """
    training = subject.training
    first = training.configurations[0]
    place, wanted, theirs = peer.model(row, training.plans), (), predicted.get(row)
    same = None
    if row == "ensemble":
        place, wanted, theirs = peer.results, training.configurations, ensemble(peer, tuple(predicted.values()))
    elif row == "postprocessed":
        place, theirs = peer.model(first, training.plans), postprocess(peer, first, training, predicted[first])
    elif row == "zip":
        place, theirs = export(peer, training), predicted[first]
    model = load_networks(place, torch.device("cpu"), wanted)
    if row == "zip":
        beside = load_networks(peer.model(first, training.plans), torch.device("cpu"))
        same = first if beside.digest == model.digest else "none"
    steps = model.record.postprocessing if row == "postprocessed" else ()
    segmenter = make_segmenter(model.plan, model.networks, _options(model.configurations, steps, model.record.mirror))
    assert theirs is not None  # noqa: S101 (every other row is a configuration)
    configuration = segmenter.members[0].configuration
    made = ModelAgreement(
        name=subject.name,
        row=row,
        architecture=configuration.architecture,
        target=model.plan.target,
        folds=len(segmenter.members[0].predictor.networks),
        mirror_axes=segmenter.members[0].predictor.mirror_axes,
        cases=0,
        voxels=0,
        foreground_voxels=0,
        labels_equal=0.0,
        labels_equal_worst_case=1.0,
        probability_difference=None,
        probability_difference_worst=None,
        widest_tie=None,
        same_weights_as=same,
    )
    images = sorted(peer.judged.iterdir())
    compared = _compared(made, segmenter, theirs, images)
    if row not in predicted:
        return compared
    exact = _compared(made, segmenter, predict_in_float32(peer, row, training), images)
    return replace(
        compared,
        float32=Float32Agreement(labels_equal=exact.labels_equal, probability_difference=exact.probability_difference),
    )


def _options(configurations: tuple[str, ...], steps: tuple[Change, ...], mirror: bool) -> InferenceOptions:
    return InferenceOptions(mirror=mirror, dtype=torch.float32, postprocessing=steps, configurations=configurations)


def _compared(made: ModelAgreement, segmenter: Segmenter, theirs: Path, images: Sequence[Path]) -> ModelAgreement:
    """Return the row with its numbers over all cases."""
    equal, voxels, foreground, worst_case = 0, 0, 0, 1.0
    differences, worst, tie = [], 0.0, 0.0
    cases = sorted({path.name.rpartition("_0")[0] for path in images})
    for case in cases:
        channels = tuple(str(path) for path in images if path.name.startswith(f"{case}_0"))
        labels, probabilities = predicted_case(segmenter, channels)
        ending = Path(channels[0]).name.partition(".")[2]
        reference = load_image(Path(), (str(theirs / f"{case}.{ending}"),)).array[0]
        same = labels == reference
        equal, voxels = equal + int(same.sum()), voxels + same.size
        foreground += int((reference > 0).sum())
        worst_case = min(worst_case, float(same.mean()))
        if (theirs / f"{case}.npz").exists():
            with np.load(theirs / f"{case}.npz") as archive:
                expected = archive["probabilities"]
            difference = np.abs(expected - probabilities)
            tie = max(tie, _widest_tie(expected[:, ~same], made.target))
            differences.append(float(difference.mean()))
            worst = max(worst, float(difference.max()))
    return replace(
        made,
        cases=len(cases),
        voxels=voxels,
        foreground_voxels=foreground,
        labels_equal=round(equal / voxels, 7),
        labels_equal_worst_case=round(worst_case, 7),
        probability_difference=round(float(np.mean(differences)), 8) if differences else None,
        probability_difference_worst=round(worst, 6) if differences else None,
        widest_tie=round(tie, 6) if differences else None,
    )


def _widest_tie(probabilities: NDArray[Any], target: str) -> float:
    """Return how far apart the two best of probabilities (k, voxels) are at most; of regions, from 0.5 at least."""
    if probabilities.shape[1] == 0:
        return 0.0
    if target == "regions":
        return float(np.abs(probabilities - 0.5).min(axis=0).max())
    best = np.sort(probabilities, axis=0)
    return float((best[-1] - best[-2]).max())


def predicted_case(segmenter: Segmenter, channels: tuple[str, ...]) -> tuple[LabelMap, NDArray[Any]]:
    """Return our label map (z, y, x) and probabilities (k, z, y, x) of a case, on its own grid."""
    image = load_image(Path(), channels)
    prepared = segmenter.prepare(image.array, image.grid.spacing_mm)
    mapping = prepared.members[0].mapping
    outputs = segmenter.members[0].predictor.outputs
    native = np.zeros((outputs, *mapping.native_shape), np.float32)
    if segmenter.plan.target == "labels":
        native[0] = 1.0  # outside what is not zero: background, as nnU-Net writes it
    cropped = mapping.crop(native)

    def take(block: NDArray[Any], plane: int, row: int) -> None:
        cropped[:, plane : plane + block.shape[1], row : row + block.shape[2]] = block

    return segmenter.segment(prepared, Sink(take=take)), native


def describe(made: ModelAgreement) -> str:
    """Return a line."""
    difference = (
        "" if made.probability_difference is None else f", probabilities {made.probability_difference:.2g} apart"
    )
    same = "" if made.same_weights_as is None else f", weights those of {made.same_weights_as}"
    share = f"{100 * made.labels_equal:.4f} % of {made.voxels} voxels equal"
    exact = "" if made.float32 is None else f"; {100 * made.float32.labels_equal:.4f} % with float32 sums"
    return f"{made.name} {made.row}: {share}{difference}{same}{exact}{'' if made.agrees else ': DISAGREES'}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nnunet_models", description=__doc__)
    parser.add_argument("--datasets", type=Path, required=True, help="folder that holds the public datasets")
    parser.add_argument("--nnunet-python", type=Path, required=True, help="Python that can import nnunetv2")
    parser.add_argument("--work", type=Path, help="folder to keep and resume in; by default a temporary one")
    parser.add_argument(
        "--only", action="append", help="one of the subjects; may be repeated; what others left in --work is kept"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of our prediction")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the record")
    return parser


if __name__ == "__main__":
    sys.exit(main())
