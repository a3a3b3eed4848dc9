"""Predict: new images in, label maps on their own grids out, with measurements and a record of each case.

Reading, prediction and writing overlap: one case is read while another is predicted and a third is measured and
written. A case that fails is recorded and the others go on.
"""

import resource
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from autoseg.core.errors import AutosegError, PartialError
from autoseg.core.files import write_text
from autoseg.core.records import read_record, write_record
from autoseg.core.runtime import digest_bytes, digest_file, free_memory_bytes, progress, say
from autoseg.core.workspace import Workspace
from autoseg.datasets.dataset import Dataset, Folds
from autoseg.datasets.inputs import InputCase, find_inputs
from autoseg.datasets.load import load_image
from autoseg.imaging.dicom_seg_write import write_segmentation
from autoseg.imaging.measurements import measure
from autoseg.imaging.read import ending_of
from autoseg.imaging.volume import Volume
from autoseg.imaging.write import label_ending, write_label
from autoseg.learning.inference import InferenceOptions, LabelMap, PreparedCase, Segmenter, make_segmenter
from autoseg.learning.machine import choose_device
from autoseg.learning.model_files import LoadedModel, find_model, load_network, load_networks
from autoseg.learning.unlike import unlike_training
from autoseg.predicting.records import RECORDS, CasePrediction, FailedCase, PredictionRecord, measurements_csv
from planners.plan import Plan

Format = Literal["nifti", "dicom-seg"]
FREE_MEMORY_SHARE = 0.75
"""Of the memory that is free when prediction starts: other programs want some too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictOptions:
    """What to predict with which model.

    `mirror` None: as the model's record says. `max_ram_bytes` None: 3/4 of what is free. `format` is for DICOM series.
    """

    inputs: Path | tuple[Path, ...]
    model: Path
    output: Path
    device: str = "auto"
    mirror: bool | None = None
    max_ram_bytes: int | None = None
    format: Format = "nifti"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """What predicts where. `model` None: no measurements and no comparison with the training data."""

    segmenter: Segmenter
    digest: str
    output: Path
    plan: Plan
    model: LoadedModel | None = None
    format: Format = "nifti"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Ready:
    """A case that was read and prepared."""

    case: InputCase
    digest: str
    image: Volume
    prepared: PreparedCase
    warnings: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Segmented:
    """A label map on the image's grid."""

    label_map: LabelMap
    seconds: float


@dataclass(slots=True)
class _Outcome:
    """What happened so far."""

    cases: dict[str, CasePrediction] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    failed: list[FailedCase] = field(default_factory=list)


def predict(options: PredictOptions) -> PredictionRecord:
    """Predict every case at the inputs; write label maps, measurements.csv, records/CASE.json and prediction.json.

    A label map has the name of its case and the grid and format of its image (a DICOM series gives NIfTI). Cases whose
    input and model are unchanged since an earlier call are skipped.

    Raises:
        AutosegError: there is no model or no input.
        PartialError: some cases failed; the message names them, the others are complete.

    """
    device = choose_device(options.device)
    places = (options.inputs,) if isinstance(options.inputs, Path) else options.inputs
    model = load_networks(options.model, device)
    cases = find_inputs(places, len(model.plan.channels))
    ceiling = options.max_ram_bytes or int(FREE_MEMORY_SHARE * free_memory_bytes())
    mirror = model.record.mirror if options.mirror is None else options.mirror
    inference = InferenceOptions(
        mirror=mirror,
        max_ram_bytes=ceiling if device.type == "cpu" else None,
        postprocessing=model.record.postprocessing,
        configurations=model.configurations,
    )
    segmenter = make_segmenter(model.plan, model.networks, inference)
    digest = _digest_with(model.digest, segmenter)
    job = _Job(
        segmenter=segmenter, digest=digest, output=options.output, plan=model.plan, model=model, format=options.format
    )
    _refuse_overwriting(job, cases)
    outcome = _predict_cases(job, cases)
    record = PredictionRecord(
        model=str(find_model(options.model)),
        model_digest=model.digest,
        device=str(device),
        precision=str(segmenter.members[0].predictor.dtype).removeprefix("torch."),
        mirror=mirror,
        cases=tuple(outcome.cases[case.name] for case in cases if case.name in outcome.cases),
        skipped=tuple(outcome.skipped),
        failed=tuple(outcome.failed),
    )
    write_text(options.output / "measurements.csv", measurements_csv(record.cases, model.plan.channels))
    write_record(options.output / "prediction.json", record)
    _refuse_failures(outcome, len(cases), options.output)
    return record


def predict_validation(workspace: Workspace, configuration: str, fold: int, device: str) -> Path:
    """Predict the validation cases of a fold with the network that was trained on it; return their folder.

    Label maps that are there already, made by the same network from the same images, are kept; others are removed.

    Raises:
        AutosegError: the fold, the network or a record does not exist.
        PartialError: some cases failed.

    """
    dataset = read_record(workspace.dataset, Dataset)
    folds = read_record(workspace.folds, Folds).folds
    if not 0 <= fold < len(folds):
        raise AutosegError.at(workspace.folds, f"no fold {fold}, there are {len(folds)}", "choose one of them")
    plan = read_record(workspace.plan, Plan)
    network = load_network(workspace.model, configuration, fold, choose_device(device))
    ceiling = int(FREE_MEMORY_SHARE * free_memory_bytes())
    options = InferenceOptions(max_ram_bytes=ceiling if choose_device(device).type == "cpu" else None)
    segmenter = make_segmenter(plan, (network,), options)
    names = set(folds[fold].validation)
    cases = tuple(
        InputCase(name=case.name, images=tuple(Path(dataset.folder) / image for image in case.images))
        for case in dataset.cases
        if case.name in names
    )
    output = workspace.validation(configuration, fold)
    weights = digest_file(workspace.model / f"{configuration}-fold_{fold}.safetensors")
    digest = _digest_with(weights, segmenter)
    _remove_others(output, cases)
    outcome = _predict_cases(_Job(segmenter=segmenter, digest=digest, output=output, plan=plan), cases)
    _refuse_failures(outcome, len(cases), output)
    return output


# ---------------------------------------------------------------------------------------------- the pipeline
def _predict_cases(job: _Job, cases: Sequence[InputCase]) -> _Outcome:
    """Predict the cases one after the other, reading ahead by one and writing behind by one."""
    outcome = _Outcome()
    with ThreadPoolExecutor(1) as writer:
        writing: tuple[InputCase, Future[CasePrediction]] | None = None
        for case, reading in progress(_read_ahead(job, cases), what="predict", total=len(cases)):
            try:
                found = reading.result()
                segmented = None if isinstance(found, CasePrediction) else _segment(job, found)
            except AutosegError as error:
                _note_failure(outcome, case, error)
                continue
            if writing is not None:
                _collect(outcome, *writing)
                writing = None
            if isinstance(found, CasePrediction):
                outcome.cases[case.name] = found
                outcome.skipped.append(case.name)
            elif segmented is not None:
                writing = (case, writer.submit(_finish, job, found, segmented))
        if writing is not None:
            _collect(outcome, *writing)
    return outcome


def _read_ahead(job: _Job, cases: Sequence[InputCase]) -> Iterator[tuple[InputCase, "Future[_Ready | CasePrediction]"]]:
    """Yield each case with its reading, which runs in a thread while the case before is predicted."""
    with ThreadPoolExecutor(1) as reader:
        following = reader.submit(_read, job, cases[0]) if cases else None
        for index, case in enumerate(cases):
            current, following = following, None
            assert current is not None  # noqa: S101 (there is a reading for every case)
            current.exception()  # wait, so that at most one case is read ahead
            if index + 1 < len(cases):
                following = reader.submit(_read, job, cases[index + 1])
            yield case, current


def _read(job: _Job, case: InputCase) -> _Ready | CasePrediction:
    """Read and prepare a case, or return its record if it is finished."""
    started = time.monotonic()
    digest = _input_digest(case)
    finished = _finished(job, case, digest)
    if finished is not None:
        return finished
    image = load_image(Path(), tuple(str(path) for path in case.images))
    names = job.plan.channels
    if len(image.array) != len(names):
        what = f"{len(image.array)} channels where the model takes {len(names)} ({', '.join(names)})"
        raise AutosegError.at(case.images[0], what, "give one file per channel, named _0000, _0001, ...")
    spacing_mm, dimensions = image.grid.spacing_mm, image.grid.dimensions
    warnings = () if job.model is None else unlike_training(job.model, image.array, spacing_mm, dimensions)
    prepared = job.segmenter.prepare(image.array, spacing_mm)
    seconds = time.monotonic() - started
    return _Ready(case=case, digest=digest, image=image, prepared=prepared, warnings=warnings, seconds=seconds)


def _segment(job: _Job, ready: _Ready) -> _Segmented:
    started = time.monotonic()
    label_map = job.segmenter.segment(ready.prepared)
    return _Segmented(label_map=label_map, seconds=time.monotonic() - started)


def _finish(job: _Job, ready: _Ready, segmented: _Segmented) -> CasePrediction:
    """Write a label map and, last, the record that says that the case is finished."""
    started = time.monotonic()
    case, image = ready.case, ready.image
    path = job.output / _file_name(case, job.format)
    if path.suffix == ".dcm":
        write_segmentation(path, segmented.label_map, case.images[0], job.plan.labels)
    else:
        write_label(path, segmented.label_map, case.images[0])
    measurements = () if job.model is None else measure(segmented.label_map, image.grid, job.plan.labels, image.array)
    record = CasePrediction(
        case=case.name,
        file=path.name,
        output_digest=digest_file(path),
        inputs=tuple(str(image) for image in case.images),
        input_digest=ready.digest,
        model_digest=job.digest,
        seconds=round(ready.seconds + segmented.seconds + time.monotonic() - started, 3),
        peak_memory_bytes=_peak_memory_bytes(),
        warnings=ready.warnings,
        measurements=measurements,
    )
    write_record(_record_path(job.output, case), record)
    for warning in ready.warnings:
        say(f"{case.name}: {warning}")
    return record


def _collect(outcome: _Outcome, case: InputCase, writing: "Future[CasePrediction]") -> None:
    try:
        outcome.cases[case.name] = writing.result()
    except AutosegError as error:
        _note_failure(outcome, case, error)


def _note_failure(outcome: _Outcome, case: InputCase, error: AutosegError) -> None:
    say(f"{case.name}: failed: {error}")
    outcome.failed.append(FailedCase(case=case.name, inputs=tuple(map(str, case.images)), error=str(error)))


def _refuse_failures(outcome: _Outcome, total: int, output: Path) -> None:
    if outcome.failed:
        names = ", ".join(failed.case for failed in outcome.failed)
        raise PartialError.at(
            output,
            f"{len(outcome.failed)} of {total} cases failed ({names}), first: {outcome.failed[0].error}",
            "mend them and run again; finished cases are skipped",
        )


# -------------------------------------------------------------------------------------- names, digests, tables
def _file_name(case: InputCase, chosen: Format = "nifti") -> str:
    dicom = not ending_of(case.images[0])
    return f"{case.name}{'.dcm' if dicom and chosen == 'dicom-seg' else label_ending(case.images[0])}"


def _record_path(output: Path, case: InputCase) -> Path:
    return output / RECORDS / f"{case.name}.json"


def _refuse_overwriting(job: _Job, cases: Sequence[InputCase]) -> None:
    inputs = {image.resolve() for case in cases for image in case.images}
    for case in cases:
        target = (job.output / _file_name(case, job.format)).resolve()
        if target in inputs:
            raise AutosegError.at(target, "is an input and would be overwritten", "give another --output")


def _remove_others(output: Path, cases: Sequence[InputCase]) -> None:
    """Remove label maps and records in `output` that belong to none of the cases."""
    kept = {output / _file_name(case) for case in cases} | {_record_path(output, case) for case in cases}
    for path in (*output.glob("*"), *(output / RECORDS).glob("*.json")):
        if path.is_file() and path not in kept:
            path.unlink()


def _finished(job: _Job, case: InputCase, digest: str) -> CasePrediction | None:
    """Return the record of a case that was predicted from the same files with the same model."""
    path = _record_path(job.output, case)
    if not path.is_file() or not (job.output / _file_name(case, job.format)).is_file():
        return None
    try:
        record = read_record(path, CasePrediction)
    except AutosegError:  # of another version, or damaged: predict again
        return None
    same = (record.input_digest, record.model_digest) == (digest, job.digest)
    return record if same else None


def _input_digest(case: InputCase) -> str:
    files = [file for image in case.images for file in ([image] if image.is_file() else sorted(image.rglob("*")))]
    try:
        return digest_bytes("\n".join(digest_file(file) for file in files if file.is_file()).encode())
    except OSError as error:
        raise AutosegError.at(case.images[0], f"cannot be read ({error.strerror})", "check the file") from error


def _digest_with(digest: str, segmenter: Segmenter) -> str:
    """Return a digest of everything besides the input that a label map depends on."""
    after = [step.values for step in segmenter.postprocessing]
    how = [
        (m.configuration.name, m.predictor.dtype, m.predictor.mirror_axes, m.predictor.step) for m in segmenter.members
    ]
    return digest_bytes(f"{digest} {how} {after}".encode())


def _peak_memory_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
