"""Predict: new images in, label maps on their own grids out, with measurements and a record of each case."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autoseg.core.errors import AutosegError, PartialError
from autoseg.core.files import sweep_temporaries, write_text
from autoseg.core.records import read_record, write_record
from autoseg.core.runtime import digest_bytes, say
from autoseg.core.seals import FileDigest
from autoseg.core.selection import JOINED
from autoseg.core.workspace import Workspace
from autoseg.datasets.dataset import Dataset, Folds
from autoseg.datasets.inputs import InputCase, find_inputs
from autoseg.datasets.manifest import read_training_cases
from autoseg.imaging.reading import STRICT, ReadOptions
from autoseg.learning.inference import InferenceOptions, Segmenter, make_segmenter
from autoseg.learning.machine import choose_device
from autoseg.learning.model_files import find_model, load_model_record, load_network, load_networks
from autoseg.learning.nnunet_folder import is_nnunet
from autoseg.learning.presets import PresetName, ready_model
from autoseg.learning.trust import load_trust
from autoseg.predicting.cases import Job, Outcome
from autoseg.predicting.costs import default_ceiling_bytes
from autoseg.predicting.files import refuse_overwriting, remove_others
from autoseg.predicting.line import predict_cases
from autoseg.predicting.observing import look_at, look_lines
from autoseg.predicting.output import Format
from autoseg.predicting.peaks import peak_memory_bytes
from autoseg.predicting.records import PredictionRecord, measurements_csv
from planners.plan import Plan

TABLE_NAME = "measurements.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictOptions:
    """What to predict with which model.

    `preset` trades time for quality; `mirror` None: as preset and model say. `configurations`, of those that the model
    holds, predict together; () for those that its record names. `max_ram_bytes` is a ceiling of this process, None for
    3/4 of what is free. `format` is for DICOM series, `reading` what the readers may mend. With `strict` an image
    unlike the training data fails.
    """

    inputs: Path | tuple[Path, ...]
    model: Path
    output: Path
    device: str = "auto"
    preset: PresetName = "default"
    mirror: bool | None = None
    configurations: tuple[str, ...] = ()
    max_ram_bytes: int | None = None
    format: Format = "nifti"
    reading: ReadOptions = STRICT
    probabilities: bool = False
    strict: bool = False


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
    model = load_networks(options.model, device, options.configurations)
    cases = find_inputs(places, len(model.plan.channels))
    segmenter = ready_model(model, options.preset, options.mirror)
    trust = load_trust(options.model, model)
    job = Job(
        segmenter=segmenter,
        digest=_digest_with(f"{model.digest} {options.reading} {trust.digest}".rstrip(), segmenter),
        output=options.output,
        model=model,
        format=options.format,
        reading=options.reading,
        probabilities=options.probabilities,
        strict=options.strict,
        max_ram_bytes=options.max_ram_bytes or default_ceiling_bytes(),
        trust=trust,
        trained_on=frozenset() if is_nnunet(options.model) else read_training_cases(find_model(options.model)),
    )
    refuse_overwriting(job.destination(case) for case in cases)
    sweep_temporaries(options.output)
    outcome = predict_cases(job, cases)
    predictors = [member.predictor for member in segmenter.members]
    kept = tuple(outcome.cases[case.name] for case in cases if case.name in outcome.cases)
    table = measurements_csv(kept, model.plan.channels)
    record = PredictionRecord(
        model=str(options.model if is_nnunet(options.model) else find_model(options.model)),
        model_digest=model.digest,
        device=str(device),
        precision=str(predictors[0].dtype).removeprefix("torch."),
        mirror=any(predictor.mirror_axes for predictor in predictors),
        preset=options.preset,
        configurations=tuple(member.configuration.name for member in segmenter.members),
        networks=sum(len(predictor.networks) for predictor in predictors),
        cases=kept,
        skipped=tuple(outcome.skipped),
        failed=tuple(outcome.failed),
        look_at=look_at(tuple(outcome.cases.values())),
        peak_memory_bytes=peak_memory_bytes(),
        table=FileDigest(file=TABLE_NAME, sha256=digest_bytes(table.encode())),
    )
    (options.output / TABLE_NAME).unlink(missing_ok=True)  # the record must not name another call's, were this killed
    write_record(options.output / "prediction.json", record)
    write_text(options.output / TABLE_NAME, table)
    for line in look_lines(record.cases):
        say(line)
    _refuse_failures(outcome, len(cases), options.output)
    return record


def predict_validation(workspace: Workspace, configuration: str, fold: int, device: str) -> Path:
    """Predict the validation cases of a fold with the network that was trained on it; return their folder.

    `configuration` may be several, joined by JOINED: then they predict together, as an ensemble. Label maps that are
    there already, made by the same network from the same images, are kept; others are removed.

    Raises:
        AutosegError: the fold, the network or a record does not exist.
        PartialError: some cases failed.

    """
    dataset = read_record(workspace.dataset, Dataset)
    folds = read_record(workspace.folds, Folds).folds
    if not 0 <= fold < len(folds):
        raise AutosegError.at(workspace.folds, f"no fold {fold}, there are {len(folds)}", "choose one of them")
    plan = read_record(workspace.plan, Plan)
    chosen = tuple(configuration.split(JOINED))
    chain = tuple(dict.fromkeys(name for each in chosen for name in _with_stages_before(plan, each)))
    networks = [load_network(workspace.model, name, fold, choose_device(device)) for name in chain]
    segmenter = make_segmenter(plan, networks, InferenceOptions(configurations=chosen))
    names = set(folds[fold].validation)
    cases = tuple(
        InputCase(name=case.name, images=tuple(Path(dataset.folder) / image for image in case.images))
        for case in dataset.cases
        if case.name in names
    )
    output = workspace.validation(configuration, fold)
    trained = {(n.configuration, n.fold): n.sha256 for n in load_model_record(workspace.model).networks}
    weights = [trained[name, fold] for name in chain]
    job = Job(
        segmenter=segmenter,
        digest=_digest_with(" ".join(weights), segmenter),
        output=output,
        max_ram_bytes=default_ceiling_bytes(),
        reading=dataset.reading,
        observations=True,
    )
    remove_others(output, cases)
    outcome = predict_cases(job, cases)
    _refuse_failures(outcome, len(cases), output)
    return output


def _with_stages_before(plan: Plan, configuration: str) -> tuple[str, ...]:
    """Return a configuration and, in a cascade, those whose label maps it needs."""
    previous = plan.configuration(configuration).previous
    return (configuration,) if previous is None else (configuration, *_with_stages_before(plan, previous))


def _refuse_failures(outcome: Outcome, total: int, output: Path) -> None:
    if outcome.failed:
        names = ", ".join(failed.case for failed in outcome.failed)
        raise PartialError.at(
            output,
            f"{len(outcome.failed)} of {total} cases failed ({names}), first: {outcome.failed[0].error}",
            "mend them and run again; finished cases are skipped",
        )


def _digest_with(digest: str, segmenter: Segmenter) -> str:
    """Return a digest of everything besides the input that a label map depends on."""
    return digest_bytes(f"{digest} {_how(segmenter)}".encode())


def _how(segmenter: Segmenter) -> Sequence[object]:
    after = [str((str(change), change.values, change.otherwise)) for change in segmenter.postprocessing]
    each = [
        (
            member.configuration.name,
            member.predictor.dtype,
            member.predictor.mirror_axes,
            member.predictor.step,
            member.predictor.flat_tolerance,
            len(member.predictor.networks),
            None if member.previous is None else _how(member.previous),
        )
        for member in segmenter.members
    ]
    return [each, after]
