"""Case after case: one is read while another is predicted and a third is measured and written, within a ceiling.

What a case will take is estimated and said before it begins. Where the ceiling leaves no room for cases beside each
other, they follow one another; where it leaves none for all rows of an image at once, they are predicted in bands. A
case that fails is recorded, and the others go on.
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from autoseg.core.errors import AutosegError, ResourceError
from autoseg.core.files import write_atomically
from autoseg.core.records import write_record
from autoseg.core.runtime import digest_file, progress, say
from autoseg.datasets.apart import load_image_apart
from autoseg.datasets.inputs import InputCase
from autoseg.imaging.measurements import measure
from autoseg.imaging.probabilities import LEVELS, ProbabilitiesRecord, ProbabilityWriter
from autoseg.imaging.reading import STRICT, ReadOptions
from autoseg.imaging.volume import Volume
from autoseg.learning.ensemble import Sink
from autoseg.learning.inference import LabelMap, PreparedCase, Segmenter, memory_errors
from autoseg.learning.model_files import LoadedModel, foreground_names, plan_outputs
from autoseg.learning.source import Tally
from autoseg.learning.unlike import unlike_training
from autoseg.predicting.costs import Pace, base_bytes, peak_memory_bytes, reading_bytes, writing_bytes
from autoseg.predicting.files import digest_of_input, finished, has_probabilities, probabilities_record_path
from autoseg.predicting.output import Destination, Format, write_label_map, write_measurements
from autoseg.predicting.records import CasePrediction, FailedCase

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
    """A label map on the image's grid, and what it took."""

    case: InputCase
    digest: str
    image: Volume
    warnings: tuple[str, ...]
    label_map: LabelMap
    seconds: float
    estimated_seconds: float
    estimated_bytes: int
    tally: Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class _Writing:
    """A case that is being written, and the memory that it takes."""

    case: InputCase
    future: "Future[CasePrediction]"
    peak_bytes: int


def predict_cases(job: Job, cases: Sequence[InputCase]) -> Outcome:
    """Predict the cases, reading ahead by one and writing behind by one where memory allows."""
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        line = _Line(job, reader, writer)
        followed = zip(cases, (*cases[1:], None), strict=True) if cases else ()
        for case, following in progress(followed, what="predict", total=len(cases)):
            line.predict(case, following)
        line.collect()
    return line.outcome


class _Line:
    """The cases at work: at most one is read ahead, one predicted and one written."""

    def __init__(self, job: Job, reader: ThreadPoolExecutor, writer: ThreadPoolExecutor) -> None:
        self.outcome = Outcome()
        self._job = job
        self._reader = reader
        self._writer = writer
        self._ahead: Future[_Ready | CasePrediction] | None = None
        self._writing: _Writing | None = None
        self._pace = Pace()
        self._base_bytes = base_bytes()

    def predict(self, case: InputCase, following: InputCase | None) -> None:
        """Predict one case, and begin to read the one after it."""
        reading = self._ahead or self._read(case)
        self._ahead = None
        try:
            found = reading.result()
            if isinstance(found, CasePrediction):
                self.outcome.cases[case.name] = found
                self.outcome.skipped.append(case.name)
                return
            segmented = self._segment(found, following)
        except AutosegError as error:
            self._fail(case, error)
            return
        self.collect()
        future = self._writer.submit(_finish, self._job, segmented)
        self._writing = _Writing(case=case, future=future, peak_bytes=writing_bytes(segmented.image))

    def collect(self) -> None:
        """Wait for the case that is being written."""
        writing, self._writing = self._writing, None
        if writing is not None:
            try:
                self.outcome.cases[writing.case.name] = writing.future.result()
            except AutosegError as error:
                self._fail(writing.case, error)

    def _read(self, case: InputCase) -> "Future[_Ready | CasePrediction]":
        needed = self._base_bytes + reading_bytes(case, self._job.segmenter)
        if not self._allows(needed + self._written_bytes):
            self.collect()
        return self._reader.submit(_read, self._job, case, needed)

    def _segment(self, ready: _Ready, following: InputCase | None) -> _Segmented:
        """Predict a case, with others beside it only where the ceiling allows it without bands."""
        job = self._job
        on_device = job.segmenter.members[0].predictor.device.type != "cpu"
        held = self._base_bytes + ready.image.array.nbytes
        if on_device:
            whole = ready.prepared.nbytes + writing_bytes(ready.image) - ready.image.array.nbytes
        else:
            unlimited = job.segmenter.limited(None)
            whole = unlimited.estimate_bytes(ready.prepared, probabilities=job.probabilities)
        if not self._allows(held + whole + self._written_bytes):
            self.collect()
        beside = self._written_bytes
        if following is not None:
            ahead = reading_bytes(following, job.segmenter)
            if self._allows(held + whole + beside + ahead):
                self._ahead = self._reader.submit(_read, job, following, 0)
                beside += ahead
        segmenter = job.segmenter if on_device else job.segmenter.limited(job.max_ram_bytes, held + beside)
        if not on_device:
            whole = segmenter.estimate_bytes(ready.prepared, probabilities=job.probabilities)
        peak_bytes = max(held + whole, self._base_bytes + writing_bytes(ready.image)) + beside
        seconds = self._pace.seconds(segmenter, ready.prepared)
        if job.model is not None:
            say(f"{ready.case.name}: about {peak_bytes / _GIB:.2g} GiB, {ready.seconds + seconds:.2g} s")
        tally, started = Tally(), time.monotonic()
        with _as_failure(ready.case):
            label_map = _segment(job, segmenter, ready, tally)
        taken = time.monotonic() - started
        self._pace.learn(seconds, taken)
        return _Segmented(
            case=ready.case,
            digest=ready.digest,
            image=ready.image,
            warnings=ready.warnings,
            label_map=label_map,
            seconds=ready.seconds + taken,
            estimated_seconds=round(ready.seconds + seconds, 3),
            estimated_bytes=peak_bytes,
            tally=tally,
        )

    @property
    def _written_bytes(self) -> int:
        return 0 if self._writing is None or self._writing.future.done() else self._writing.peak_bytes

    def _allows(self, needed: int) -> bool:
        return self._job.max_ram_bytes is None or needed <= self._job.max_ram_bytes

    def _fail(self, case: InputCase, error: AutosegError) -> None:
        say(f"{case.name}: failed: {error}")
        self.outcome.failed.append(FailedCase(case=case.name, inputs=tuple(map(str, case.images)), error=str(error)))


@contextmanager
def _as_failure(case: InputCase) -> Iterator[None]:
    """Let lack of memory, and faults of our own, fail this case alone."""
    try:
        with memory_errors():
            yield
    except AutosegError:
        raise
    except Exception as error:
        what = f"our own error: {type(error).__name__}: {error}"
        raise AutosegError.at(case.images[0], what, "report it with this image's header") from error


def _read(job: Job, case: InputCase, needed_bytes: int) -> _Ready | CasePrediction:
    """Read and prepare a case, or return its record if it is finished."""
    started = time.monotonic()
    with _as_failure(case):
        digest = digest_of_input(case)
        record = finished(job.destination(case), digest, job.digest)
        if record is not None and (not job.probabilities or _has_probabilities(job, case)):
            return record
        if job.max_ram_bytes is not None and needed_bytes > job.max_ram_bytes:
            raise ResourceError.at(
                case.images[0],
                f"reading it needs {needed_bytes / _GIB:.2f} GiB, {job.max_ram_bytes / _GIB:.2f} GiB are allowed",
                "allow more memory",
            )
        image = load_image_apart(Path(), tuple(str(path) for path in case.images), job.reading)
        names = job.segmenter.plan.channels
        if len(image.array) != len(names):
            what = f"{len(image.array)} channels where the model takes {len(names)} ({', '.join(names)})"
            raise AutosegError.at(case.images[0], what, "give one file per channel, named _0000, _0001, ...")
        warnings = () if job.model is None else unlike_training(job.model, image)
        if warnings and job.strict:
            what = f"unlike the training data: {'; '.join(warnings)}"
            raise AutosegError.at(case.images[0], what, "predict it without --strict if it is meant")
        prepared = job.segmenter.prepare(image.array, image.grid.spacing_mm)
    seconds = time.monotonic() - started
    return _Ready(
        case=case, digest=digest, image=image, prepared=prepared, warnings=(*image.notes, *warnings), seconds=seconds
    )


def _has_probabilities(job: Job, case: InputCase) -> bool:
    return has_probabilities(probabilities_record_path(job.output, case), job.digest)


def _segment(job: Job, segmenter: Segmenter, ready: _Ready, tally: Tally) -> LabelMap:
    """Return the label map of a case, writing its probabilities as they are made."""
    if not job.probabilities:
        return segmenter.segment(ready.prepared, tally=tally)
    plan, found = segmenter.plan, []
    path = probabilities_record_path(job.output, ready.case).with_suffix(".b2nd")
    path.with_suffix(".json").unlink(missing_ok=True)
    outputs = plan_outputs(plan)

    def fill(temporary: Path) -> None:
        writer = ProbabilityWriter(temporary, ready.prepared.members[0].mapping, outputs, plan.target)
        sink = Sink(take=writer.take, begin=writer.begin, dtype=torch.float16, levels=LEVELS)
        found.append(segmenter.segment(ready.prepared, sink, tally))
        writer.finish()

    write_atomically(path, fill)
    record = ProbabilitiesRecord(
        file=path.name,
        sha256=digest_file(path),
        channels=(*(("background",) if plan.target == "labels" else ()), *foreground_names(plan)),
        target=plan.target,
        shape=(outputs, *ready.image.grid.shape),
        model_digest=job.digest,
    )
    write_record(path.with_suffix(".json"), record)
    return found[0]


def _finish(job: Job, segmented: _Segmented) -> CasePrediction:
    """Write a label map and, last, the record that says that the case is finished."""
    with _as_failure(segmented.case):
        started = time.monotonic()
        case, image, label_map = segmented.case, segmented.image, segmented.label_map
        to, labels = job.destination(case), job.segmenter.plan.labels
        write_label_map(to, label_map, image, labels)
        measurements = () if job.model is None else measure(label_map, image.grid, labels, image.array)
        write_measurements(to, labels, measurements)
        stored = probabilities_record_path(job.output, case).relative_to(job.output)
        record = CasePrediction(
            case=case.name,
            file=to.label_map.name,
            output_digest=digest_file(to.label_map),
            inputs=tuple(str(image) for image in case.images),
            input_digest=segmented.digest,
            model_digest=job.digest,
            seconds=round(segmented.seconds + time.monotonic() - started, 3),
            peak_memory_bytes=peak_memory_bytes(),
            warnings=segmented.warnings,
            measurements=measurements,
            estimated_seconds=segmented.estimated_seconds,
            estimated_bytes=segmented.estimated_bytes,
            windows=segmented.tally.windows,
            windows_skipped=segmented.tally.skipped,
            probabilities=stored.as_posix() if job.probabilities else None,
        )
        write_record(to.record, record)
    for warning in segmented.warnings:
        say(f"{case.name}: {warning}")
    return record
