"""What is done with a case: it is read and prepared, predicted, measured and written; each step may run in a thread."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from autoseg.core.errors import AutosegError, ResourceError
from autoseg.core.files import write_atomically
from autoseg.core.quality import CaseQuality
from autoseg.core.quality import estimate as estimate_quality
from autoseg.core.records import write_record
from autoseg.core.runtime import digest_file, say
from autoseg.core.seals import FileDigest, digests_of
from autoseg.datasets.apart import load_image_apart
from autoseg.datasets.inputs import InputCase
from autoseg.imaging.content import content_digest
from autoseg.imaging.measurements import measure
from autoseg.imaging.orientation import Turn, turn_to
from autoseg.imaging.probabilities import LEVELS, ProbabilitiesRecord, ProbabilityWriter
from autoseg.imaging.reading import STRICT, ReadOptions
from autoseg.imaging.volume import Volume
from autoseg.learning.ensemble import Sink
from autoseg.learning.inference import LabelMap, PreparedCase, Segmenter, memory_errors
from autoseg.learning.model_files import LoadedModel, foreground_names, plan_outputs
from autoseg.learning.observation import Watch
from autoseg.learning.source import Tally
from autoseg.learning.trust import Trust
from autoseg.learning.unlike import unlike_training
from autoseg.predicting.files import (
    digest_of_all,
    digests_of_input,
    finished,
    has_probabilities,
    probabilities_record_path,
)
from autoseg.predicting.observing import (
    Seen,
    has_observation,
    observation_of,
    observation_path,
    seen,
    write_observation,
)
from autoseg.predicting.output import Destination, Format, write_label_map, write_measurements
from autoseg.predicting.peaks import PeakMemory
from autoseg.predicting.pixel_size import with_pixel_size
from autoseg.predicting.records import TRAINING_IMAGE, CasePrediction, FailedCase

_GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What predicts where.

    Args:
        segmenter: predicts; on a GPU its own ceiling holds for the device.
        digest: of everything besides the input that a label map depends on.
        output: folder of the label maps.
        model: None: nothing is measured, said, or compared with the training data.
        format: of the label maps of DICOM series.
        reading: what the readers may mend.
        probabilities: are written, too.
        strict: an image unlike the training data fails.
        max_ram_bytes: ceiling of this process; None for none.
        trust: tempers probabilities and foresees Dice.
        observations: what was seen of each case is kept, to learn from once its reference is known.
        trained_on: digests of the images that the model was trained on, which are told.

    """

    segmenter: Segmenter
    digest: str
    output: Path
    model: LoadedModel | None = None
    format: Format = "nifti"
    reading: ReadOptions = STRICT
    probabilities: bool = False
    strict: bool = False
    max_ram_bytes: int | None = None
    trust: Trust = field(default_factory=Trust)
    observations: bool = False
    trained_on: frozenset[str] = frozenset()

    def watch(self) -> Watch | None:
        """Return what adds up how sure the networks are of a case, None where nobody wants to know."""
        if not self.observations and self.trust.quality is None:
            return None
        plan = self.segmenter.plan
        return Watch(plan_outputs(plan), plan.target, sampling=self.observations)

    def destination(self, case: InputCase) -> Destination:
        """Return where the files of a case go."""
        return Destination(output=self.output, case=case, format=self.format)


@dataclass(slots=True)
class _Outcome:
    cases: dict[str, CasePrediction] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    failed: list[FailedCase] = field(default_factory=list)


Outcome = _Outcome
"""Records by name of the case, names of those finished before, and failures."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ready:
    """A case that was read and prepared; `unlike` are the warnings for which `Job.strict` refuses a case."""

    case: InputCase
    inputs: tuple[FileDigest, ...]
    image: Volume
    prepared: PreparedCase
    warnings: tuple[str, ...]
    unlike: tuple[str, ...]
    seconds: float
    peak: PeakMemory


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a case was said to take, of the whole process; `plain_seconds` before the pace so far corrected them."""

    plain_seconds: float
    seconds: float
    peak_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segmented:
    """A label map on the image's grid, and what it took."""

    case: InputCase
    inputs: tuple[FileDigest, ...]
    image: Volume
    warnings: tuple[str, ...]
    unlike: tuple[str, ...]
    label_map: LabelMap
    seconds: float
    predicting_seconds: float
    estimate: Estimate
    tally: Tally
    peak: PeakMemory
    seen: Seen | None = None


@contextmanager
def as_failure(case: InputCase) -> Iterator[None]:
    """Let lack of memory, and faults of our own, fail this case alone."""
    try:
        with memory_errors():
            yield
    except AutosegError:
        raise
    except Exception as error:
        what = f"our own error: {type(error).__name__}: {error}"
        raise AutosegError.at(case.images[0], what, "report it with this image's header") from error


def read_case(job: Job, case: InputCase, needed_bytes: int) -> Ready | CasePrediction:
    """Read and prepare a case, or return its record if it is finished."""
    started = time.monotonic()
    with as_failure(case):
        inputs = digests_of_input(case)
        record = finished(job.destination(case), digest_of_all(inputs), job.digest)
        if record is not None and _has_all(job, case) and not (job.strict and record.unlike is None):
            _refuse_unlike(job, case, record.unlike or ())
            for warning in record.warnings:
                say(f"{case.name}: {warning}")
            return record
        if job.max_ram_bytes is not None and needed_bytes > job.max_ram_bytes:
            raise ResourceError.at(
                case.images[0],
                f"reading it needs {needed_bytes / _GIB:.2f} GiB, {job.max_ram_bytes / _GIB:.2f} GiB are allowed",
                "allow more memory",
            )
        peak = PeakMemory()
        image = load_image_apart(Path(), tuple(str(path) for path in case.images), job.reading)
        names = job.segmenter.plan.channels
        if len(image.array) != len(names):
            what = f"{len(image.array)} channels where the model takes {len(names)} ({', '.join(names)})"
            raise AutosegError.at(case.images[0], what, "give one file per channel, named _0000, _0001, ...")
        image = with_pixel_size(image, case.images[0], None if job.model is None else job.model.fingerprint)
        seen_before = bool(job.trained_on) and content_digest(image.array) in job.trained_on
        unlike = () if job.model is None else unlike_training(job.model, image)
        unlike = (*unlike, *([TRAINING_IMAGE] if seen_before else []))
        _refuse_unlike(job, case, unlike)
        turn = _turn(job, image)
        if turn is None:
            prepared = job.segmenter.prepare(image.array, image.grid.spacing_mm)
        else:
            prepared = job.segmenter.prepare(turn.apply(image.array), turn.spacing(image.grid.spacing_mm))
    seconds = time.monotonic() - started
    return Ready(
        case=case,
        inputs=inputs,
        image=image,
        prepared=prepared,
        warnings=(*image.notes, *unlike),
        unlike=unlike,
        seconds=seconds,
        peak=peak,
    )


def _refuse_unlike(job: Job, case: InputCase, unlike: Sequence[str]) -> None:
    """Refuse a case for these warnings where the job is strict."""
    if not job.strict or not unlike:
        return
    if TRAINING_IMAGE in unlike:
        raise AutosegError.at(case.images[0], TRAINING_IMAGE, "take it out of the test images")
    what = f"unlike the training data: {'; '.join(unlike)}"
    raise AutosegError.at(case.images[0], what, "predict it without --strict if it is meant")


def remove_stale(job: Job, case: InputCase) -> None:
    """Remove what an earlier call wrote of a case that failed now: it is of another input or model."""
    to = job.destination(case)
    try:
        fits = finished(to, digest_of_all(digests_of_input(case)), job.digest) is not None
    except AutosegError:  # an input that cannot be read
        fits = False
    if fits or not to.record.exists():
        return
    for path in (to.record, to.label_map, *_others(replace(job, probabilities=True, observations=True), to)):
        path.unlink(missing_ok=True)


def _turn(job: Job, image: Volume) -> Turn | None:
    """Return how the model wants an image turned; None where it takes images as they are stored."""
    if job.model is None or job.model.record.orientation is None or image.grid.dimensions == 2:
        return None
    return turn_to(job.model.record.orientation, image.grid)


def _has_all(job: Job, case: InputCase) -> bool:
    """Tell whether what was asked for besides the label map is there."""
    if job.probabilities and not has_probabilities(probabilities_record_path(job.output, case), job.digest):
        return False
    return not job.observations or has_observation(job.output, case.name, job.digest)


def segment_case(job: Job, segmenter: Segmenter, ready: Ready, estimate: Estimate) -> Segmented:
    """Predict a case, writing its probabilities as they are made."""
    ready.peak.begin_predicting()
    tally, started = Tally(), time.monotonic()
    watch = job.watch()
    with as_failure(ready.case):
        label_map = _label_map(job, segmenter, ready, (tally, watch))
        found = None if watch is None else seen(watch, ready.prepared)
    taken = time.monotonic() - started
    return Segmented(
        case=ready.case,
        inputs=ready.inputs,
        image=ready.image,
        warnings=ready.warnings,
        unlike=ready.unlike,
        label_map=label_map,
        seconds=ready.seconds + taken,
        predicting_seconds=taken,
        estimate=estimate,
        tally=tally,
        peak=ready.peak,
        seen=found,
    )


def _label_map(job: Job, segmenter: Segmenter, ready: Ready, told: tuple[Tally, Watch | None]) -> LabelMap:
    tally, watch = told
    turn = _turn(job, ready.image)
    if not job.probabilities:
        return _as_stored(segmenter.segment(ready.prepared, None, tally, watch), turn)
    plan, found = segmenter.plan, []
    path = probabilities_record_path(job.output, ready.case).with_suffix(".b2nd")
    for earlier in (job.destination(ready.case).record, path.with_suffix(".json")):  # they name what is replaced now
        earlier.unlink(missing_ok=True)
    outputs = plan_outputs(plan)

    def fill(temporary: Path) -> None:
        writer = ProbabilityWriter(temporary, ready.prepared.members[0].mapping, outputs, plan.target, turn)
        sink = Sink(
            take=writer.take,
            begin=writer.begin,
            dtype=torch.float16,
            levels=LEVELS,
            temperatures=job.trust.temperatures,
        )
        found.append(segmenter.segment(ready.prepared, sink, tally, watch))
        writer.finish()

    write_atomically(path, fill, expected_bytes=outputs * math.prod(ready.image.grid.shape) // 2)
    record = ProbabilitiesRecord(
        file=path.name,
        sha256=digest_file(path),
        channels=(*(("background",) if plan.target == "labels" else ()), *foreground_names(plan)),
        target=plan.target,
        shape=(outputs, *ready.image.grid.shape),
        model_digest=job.digest,
    )
    write_record(path.with_suffix(".json"), record)
    return _as_stored(found[0], turn)


def _as_stored(label_map: LabelMap, turn: Turn | None) -> LabelMap:
    """Return a label map in the axes in which its image is stored."""
    return label_map if turn is None else turn.undo(label_map)


def _judge(job: Job, segmented: Segmented) -> CaseQuality | None:
    """Keep what was seen of a case if that is wanted, and return what it lets foresee."""
    if segmented.seen is None:
        return None
    case = (segmented.case.name, job.digest)
    grid, plan = segmented.image.grid, job.segmenter.plan
    observation = observation_of(case, plan, segmented.label_map, grid.spacing_mm, segmented.seen)
    if job.observations:
        write_observation(job.output, observation, segmented.seen.observed)
    return None if job.trust.quality is None else estimate_quality(job.trust.quality, observation)


def _others(job: Job, to: Destination) -> list[Path]:
    """Return the files of a case besides its label map and its record."""
    found = [] if to.report is None else [to.report]
    if job.probabilities:
        record = probabilities_record_path(job.output, to.case)
        found += [record, record.with_suffix(".b2nd")]
    if job.observations:
        record = observation_path(job.output, to.case.name)
        found += [record, record.with_suffix(".npz")]
    return found


def finish_case(job: Job, segmented: Segmented) -> CasePrediction:
    """Write a label map and, last, the record that says that the case is finished."""
    with as_failure(segmented.case):
        started = time.monotonic()
        case, image, label_map = segmented.case, segmented.image, segmented.label_map
        to, labels = job.destination(case), job.segmenter.plan.labels
        to.record.unlink(missing_ok=True)  # of an earlier call: it names what is replaced now
        write_label_map(to, label_map, image, labels)
        measurements = () if job.model is None else measure(label_map, image.grid, labels, image.array)
        write_measurements(to, labels, measurements)
        quality = _judge(job, segmented)
        stored = probabilities_record_path(job.output, case).relative_to(job.output)
        peak_bytes, peak_of = segmented.peak.read()
        record = CasePrediction(
            case=case.name,
            file=to.label_map.name,
            output_digest=digest_file(to.label_map),
            inputs=tuple(str(image) for image in case.images),
            input_digest=digest_of_all(segmented.inputs),
            model_digest=job.digest,
            seconds=round(segmented.seconds + time.monotonic() - started, 3),
            peak_memory_bytes=peak_bytes,
            peak_memory_of=peak_of,
            warnings=segmented.warnings,
            unlike=segmented.unlike,
            measurements=measurements,
            estimated_seconds=segmented.estimate.seconds,
            estimated_bytes=segmented.estimate.peak_bytes,
            windows=segmented.tally.windows,
            windows_skipped=segmented.tally.skipped,
            probabilities=stored.as_posix() if job.probabilities else None,
            quality=quality,
            input_files=segmented.inputs,
            files=digests_of(_others(job, to), job.output),
        )
        write_record(to.record, record)
    for warning in segmented.warnings:
        say(f"{case.name}: {warning}")
    return record
