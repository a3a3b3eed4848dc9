"""The line of cases: one is read ahead, some are predicted, one is measured and written, within a ceiling.

Small cases are predicted side by side, each in a lane, which is a thread that computes on one core: the threads of one
operation would wait for each other, and for whoever else uses the machine. Large cases follow one another on all cores.
What a case will take is estimated and said before it begins. Where the ceiling leaves no room for cases beside each
other, they follow one another; where it leaves none for all rows of an image at once, they are predicted in bands. A
case that fails is recorded, and the others go on.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

import torch

from autoseg.core.errors import AutosegError, FullDiskError
from autoseg.core.runtime import progress, say
from autoseg.datasets.inputs import InputCase
from autoseg.learning.inference import Segmenter
from autoseg.predicting.cases import (
    Estimate,
    Job,
    Outcome,
    Ready,
    Segmented,
    finish_case,
    read_case,
    remove_stale,
    segment_case,
)
from autoseg.predicting.costs import Pace, base_bytes, reading_bytes, writing_bytes
from autoseg.predicting.records import CasePrediction, FailedCase
from autoseg.predicting.room import refuse_without_room

_GIB = 1 << 30
_LANE_VOXELS = 1 << 23
"""Voxels of all windows, counted once for each network and mirrored view, of a case that is small enough for a lane:
at most some twenty seconds of nnU-Net's smallest network on one core. The last case leaves the other cores idle for
so long."""
_WRITERS = 2
_MOST_WRITING = 4
"""Cases that wait to be on the disk, which takes longer than computing where it is busy; where memory allows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lane:
    """A case that is being predicted on one core, and the memory that it takes."""

    ready: Ready
    future: "Future[Segmented]"
    held_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Writing:
    """A case that is being written, and the memory that it takes."""

    case: InputCase
    future: "Future[CasePrediction]"
    held_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Workers:
    """Threads: one that reads, those that write, and the lanes."""

    reader: ThreadPoolExecutor
    writer: ThreadPoolExecutor
    lanes: ThreadPoolExecutor
    lane_count: int


def predict_cases(job: Job, cases: Sequence[InputCase]) -> Outcome:
    """Predict the cases, reading ahead by one and writing behind by a few where memory allows.

    Raises:
        FullDiskError: what they will take does not fit the disk.

    """
    refuse_without_room(job, cases)
    count = torch.get_num_threads()
    pools = (ThreadPoolExecutor(1), ThreadPoolExecutor(_WRITERS), ThreadPoolExecutor(count))
    try:
        with pools[0] as reader, pools[1] as writer, pools[2] as lanes:
            line = _Line(job, _Workers(reader=reader, writer=writer, lanes=lanes, lane_count=count))
            followed = zip(cases, (*cases[1:], None), strict=True) if cases else ()
            for case, following in progress(followed, what="predict", total=len(cases)):
                line.predict(case, following)
            line.finish()
    finally:
        torch.set_num_threads(count)  # that of a lane would be the next thread's
    order = {case.name: index for index, case in enumerate(cases)}
    line.outcome.failed.sort(key=lambda failed: order[failed.case])
    return line.outcome


class _Line:
    """The cases at work."""

    def __init__(self, job: Job, workers: _Workers) -> None:
        self.outcome = Outcome()
        self._job = job
        self._workers = workers
        self._ahead: Future[Ready | CasePrediction] | None = None
        self._lanes: list[_Lane] = []
        self._writing: list[_Writing] = []
        self._pace = Pace()
        self._base_bytes = base_bytes()

    def predict(self, case: InputCase, following: InputCase | None) -> None:
        """Predict one case or put it on a lane, and begin to read the one after it."""
        reading = self._ahead or self._read(case)
        self._ahead = None
        try:
            found = reading.result()
            if isinstance(found, CasePrediction):
                self.outcome.cases[case.name] = found
                self.outcome.skipped.append(case.name)
            elif self._is_small(found):
                self._put_on_lane(found, following)
            else:
                self._write(self._predict_alone(found, following))
        except AutosegError as error:
            self._fail(case, error)

    def finish(self) -> None:
        """Wait for every case that is being predicted or written."""
        self._settle_while(lambda: True)
        self._collect()

    def _read(self, case: InputCase) -> "Future[Ready | CasePrediction]":
        needed = self._base_bytes + reading_bytes(case, self._job.segmenter)
        self._settle_while(lambda: not self._allows(needed + self._held_bytes))
        if not self._allows(needed + self._held_bytes):
            self._collect()
        return self._workers.reader.submit(read_case, self._job, case, needed)

    def _read_ahead(self, following: InputCase | None, needed: int) -> int:
        """Begin to read the next case if there is room for it beside `needed` bytes; return what it will take."""
        if following is None:
            return 0
        ahead = reading_bytes(following, self._job.segmenter)
        if not self._allows(self._base_bytes + needed + ahead):
            return 0
        self._ahead = self._workers.reader.submit(read_case, self._job, following, 0)
        return ahead

    def _is_small(self, ready: Ready) -> bool:
        if self._job.segmenter.predictors[0].device.type != "cpu":
            return False
        passes = self._job.segmenter.window_passes(ready.prepared)
        return sum(n * math.prod(each.configuration.patch) for each, n in passes) <= _LANE_VOXELS

    def _put_on_lane(self, ready: Ready, following: InputCase | None) -> None:
        """Let a lane predict a case as soon as one is free and the ceiling allows it beside the others.

        One more case than there are lanes waits, so that none is idle while the next one is read.
        """
        job, lanes = self._job, self._workers.lane_count
        own = ready.image.array.nbytes + self._whole_bytes(ready)
        self._settle_while(
            lambda: len(self._lanes) > lanes or not self._allows(self._base_bytes + own + self._held_bytes)
        )
        if not self._allows(self._base_bytes + own + self._held_bytes):
            self._collect()
        beside = self._held_bytes
        beside += self._read_ahead(following, own + beside)
        held = self._base_bytes + ready.image.array.nbytes + beside
        segmenter = job.segmenter.limited(job.max_ram_bytes, held)
        own = segmenter.estimate_bytes(ready.prepared, probabilities=job.probabilities, watch=job.watch())
        estimate = self._estimate(segmenter, ready, max(held + own, self._base_bytes + writing_bytes(ready.image)))

        def work() -> Segmented:
            torch.set_num_threads(1)  # of this thread
            return segment_case(job, segmenter, ready, estimate)

        future = self._workers.lanes.submit(work)
        self._lanes.append(_Lane(ready=ready, future=future, held_bytes=ready.image.array.nbytes + own))

    def _predict_alone(self, ready: Ready, following: InputCase | None) -> Segmented:
        """Predict a case on all cores, with others beside it only where the ceiling allows it without bands."""
        self._settle_while(lambda: True)
        job = self._job
        on_device = job.segmenter.members[0].predictor.device.type != "cpu"
        held, whole = self._base_bytes + ready.image.array.nbytes, self._whole_bytes(ready)
        if not self._allows(held + whole + self._held_bytes):
            self._collect()
        beside = self._held_bytes
        beside += self._read_ahead(following, ready.image.array.nbytes + whole + beside)
        segmenter = job.segmenter if on_device else job.segmenter.limited(job.max_ram_bytes, held + beside)
        if not on_device:
            whole = segmenter.estimate_bytes(ready.prepared, probabilities=job.probabilities, watch=job.watch())
        peak_bytes = max(held + whole, self._base_bytes + writing_bytes(ready.image)) + beside
        segmented = segment_case(job, segmenter, ready, self._estimate(segmenter, ready, peak_bytes))
        self._pace.learn(segmented.estimate.plain_seconds, segmented.predicting_seconds)
        return segmented

    def _whole_bytes(self, ready: Ready) -> int:
        """Return what predicting a case takes besides its image, without bands."""
        job = self._job
        if job.segmenter.members[0].predictor.device.type != "cpu":
            return ready.prepared.nbytes + writing_bytes(ready.image) - ready.image.array.nbytes
        return job.segmenter.limited(None).estimate_bytes(
            ready.prepared, probabilities=job.probabilities, watch=job.watch()
        )

    def _estimate(self, segmenter: Segmenter, ready: Ready, peak_bytes: int) -> Estimate:
        """Say what a case will take, if a model is known, and return it."""
        plain = self._pace.plain_seconds(segmenter, ready.prepared)
        seconds = ready.seconds + self._pace.ratio * plain
        if self._job.model is not None:
            say(f"{ready.case.name}: about {peak_bytes / _GIB:.2g} GiB, {seconds:.2g} s")
        return Estimate(plain_seconds=plain, seconds=round(seconds, 3), peak_bytes=peak_bytes)

    def _settle_while(self, wanted: Callable[[], bool]) -> None:
        """Write what lanes have finished, and wait for more of them while `wanted`."""
        while self._lanes:
            done = [lane for lane in self._lanes if lane.future.done()]
            if not done and not wanted():
                return
            if not done:
                wait([lane.future for lane in self._lanes], return_when=FIRST_COMPLETED)
            for lane in done:
                self._lanes.remove(lane)
                try:
                    segmented = lane.future.result()
                except AutosegError as error:
                    self._fail(lane.ready.case, error)
                    continue
                self._pace.learn(segmented.estimate.plain_seconds, segmented.predicting_seconds)
                self._write(segmented)

    def _write(self, segmented: Segmented) -> None:
        self._collect(_MOST_WRITING - 1)
        future = self._workers.writer.submit(finish_case, self._job, segmented)
        held = writing_bytes(segmented.image)
        self._writing.append(_Writing(case=segmented.case, future=future, held_bytes=held))

    def _collect(self, most: int = 0) -> None:
        """Wait until at most so many cases are being written."""
        while len(self._writing) > most:
            writing = self._writing.pop(0)
            try:
                self.outcome.cases[writing.case.name] = writing.future.result()
            except AutosegError as error:
                self._fail(writing.case, error)

    @property
    def _held_bytes(self) -> int:
        """What the cases on lanes and those that are being written take."""
        written = sum(writing.held_bytes for writing in self._writing if not writing.future.done())
        return written + sum(lane.held_bytes for lane in self._lanes)

    def _allows(self, needed: int) -> bool:
        return self._job.max_ram_bytes is None or needed <= self._job.max_ram_bytes

    def _fail(self, case: InputCase, error: AutosegError) -> None:
        if isinstance(error, FullDiskError):
            raise error  # the others would fare no better
        remove_stale(self._job, case)
        say(f"{case.name}: failed: {error}")
        self.outcome.failed.append(FailedCase(case=case.name, inputs=tuple(map(str, case.images)), error=str(error)))
