"""Crop, normalise and resample every case once per configuration, into chunks that fit patch reads.

A cascade's cases hold one label map more, the last: what the stage before predicted for them without having seen them.
"""

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autoseg.core.errors import AutosegError
from autoseg.core.files import locked, require_room
from autoseg.core.plans import read_plan
from autoseg.core.records import encode, read_record
from autoseg.core.runtime import cores, digest_bytes, digest_file, memory_bytes, progress, run_parallel
from autoseg.core.workspace import Workspace
from autoseg.datasets.dataset import Case, Dataset, Folds, ReferenceKind
from autoseg.datasets.examine import stamp_of
from autoseg.datasets.read_case import read_case
from autoseg.imaging.preparation import GridMapping, Prepared, foreground_locations, prepare_image, prepare_label
from autoseg.imaging.read import read_label
from autoseg.imaging.store import CaseStore, StoredCase, write_case
from autoseg.predicting.records import RECORDS, CasePrediction
from planners.fingerprint import CaseFingerprint, Fingerprint
from planners.plan import Configuration, Normalization, Plan

_WORTH_WORKERS_VOXELS = 20_000_000
"""Below this many voxels, starting worker processes takes longer than they save."""
_BYTES_PER_VOXEL = 40
"""Peak of one case at work: the image as read and as float32, its resampling's two buffers, label and indicators."""
_MEMORY_SHARE = 0.5
_WRITERS = 4
"""Threads that write: 200 small cases took 2.9 s instead of 6.9 s; more gained nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Before:
    """The label map that the stage before predicted for a case, and its SHA-256."""

    path: Path
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """A case to prepare into `folder`; in a cascade, `before` is what its network sees beside the image."""

    dataset: Dataset
    case: Case
    plan: Plan
    configuration: Configuration
    folder: Path
    digest: str
    before: _Before | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Prepared:
    """A case on the network's grid, as `write_case` wants it."""

    image: NDArray[np.float32]
    label: NDArray[np.int16]
    mapping: GridMapping
    locations: tuple[NDArray[np.int32], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recipe:
    """Everything that a prepared case depends on besides its files."""

    transpose: tuple[int, int, int]
    target: str
    dimensions: int
    spacing_mm: tuple[float, ...]
    patch: tuple[int, ...]
    normalizations: tuple[Normalization, ...]
    labels: str
    value_map: tuple[tuple[int, int], ...]
    reference_kind: ReferenceKind
    merge_instances: bool


def preprocess(workspace: Workspace, configuration_name: str) -> None:
    """Prepare the labelled cases of the workspace's dataset for a configuration of its plan.

    A case whose files, plan and stored result are unchanged is left alone, so an interrupted run goes on where it
    stopped. Cases run in parallel, as many as fit half of the memory.

    Raises:
        AutosegError: the plan has no such configuration, a case cannot be read, or, in a cascade, the stage before has
            not predicted it.
        ResourceError: the disk is full, or has no room for all cases before the first is begun.

    """
    dataset = read_record(workspace.dataset, Dataset)
    plan = read_plan(workspace.plan)
    names = [configuration.name for configuration in plan.configurations]
    if configuration_name not in names:
        what = f"no configuration {configuration_name}"
        raise AutosegError.at(workspace.plan, what, f"choose among {', '.join(names)}")
    configuration = plan.configuration(configuration_name)
    folder = workspace.preprocessed(configuration_name)
    what = f"preprocess {configuration_name}"
    before = {} if configuration.previous is None else _predicted_before(workspace, configuration.previous)
    with locked(workspace.lock(f"preprocessed-{configuration_name}")):  # others wait here, and find all done
        tasks = list(_tasks(dataset, plan, (configuration, before), folder))
        fingerprint = read_record(workspace.fingerprint, Fingerprint)
        require_room(folder, _stored_bytes(fingerprint, tasks, configuration), f"{what} of {len(tasks)} cases")
        workers = _workers(fingerprint, configuration, len(tasks))
        done = run_parallel(_store, tasks, what=what, workers=workers) if workers else _store_overlapped(tasks)
        for _ in progress(done, what=what, total=len(tasks)):
            pass


def _predicted_before(workspace: Workspace, previous: str) -> dict[str, _Before]:
    """Return the out-of-fold label map of every case: that of the fold in which it was held out."""
    found = {}
    for index, fold in enumerate(read_record(workspace.folds, Folds).folds):
        folder = workspace.validation(previous, index)
        for name in fold.validation:
            path = folder / RECORDS / f"{name}.json"
            if not path.is_file():
                what = f"{previous} has not predicted {name} out of fold {index}"
                mend = f"train every fold of it first: autoseg train --configurations {previous},3d_cascade_fullres"
                raise AutosegError.at(folder, what, mend)
            record = read_record(path, CasePrediction)
            found[name] = _Before(path=folder / record.file, sha256=record.output_digest)
    return found


def _tasks(
    dataset: Dataset, plan: Plan, chosen: tuple[Configuration, dict[str, _Before]], folder: Path
) -> Iterator[_Task]:
    """Yield the cases that are not prepared yet."""
    configuration, predicted = chosen
    recipe = digest_bytes(encode(_recipe(dataset, plan, configuration)))
    store = CaseStore(folder) if folder.is_dir() else None
    shared = replace(dataset, cases=(), test_cases=(), inferences=(), stacks=())
    for case in dataset.cases:
        stamp = stamp_of(Path(dataset.folder), case, dataset.reference_kind)
        before = predicted.get(case.name)
        seen = "" if before is None else f" {before.sha256}"
        digest = digest_bytes(f"{recipe} {stamp}{seen}".encode())
        if store is None or not store.complete(case.name, digest):
            yield _Task(
                dataset=shared,
                case=case,
                plan=plan,
                configuration=configuration,
                folder=folder,
                digest=digest,
                before=before,
            )


def _recipe(dataset: Dataset, plan: Plan, configuration: Configuration) -> _Recipe:
    return _Recipe(
        transpose=plan.transpose,
        target=plan.target,
        dimensions=configuration.dimensions,
        spacing_mm=configuration.spacing_mm,
        patch=configuration.patch,
        normalizations=configuration.normalizations,
        labels=repr(plan.labels),
        value_map=dataset.value_map,
        reference_kind=dataset.reference_kind,
        merge_instances=dataset.merge_instances,
    )


def _workers(fingerprint: Fingerprint, configuration: Configuration, n_tasks: int) -> int:
    """Return how many processes are worth it and fit the memory; 0: the cases are so small that none is."""
    voxels = [_most_voxels(case, configuration) * len(fingerprint.channels) for case in fingerprint.cases]
    if sum(voxels) * n_tasks < _WORTH_WORKERS_VOXELS * len(voxels):
        return 0
    fitting = int(memory_bytes() * _MEMORY_SHARE / (_BYTES_PER_VOXEL * max(voxels)))
    return max(1, min(cores(), fitting))


def _stored_bytes(fingerprint: Fingerprint, tasks: Sequence[_Task], configuration: Configuration) -> int:
    """Return what the waiting cases will take at most: image and label maps on the network's grid, uncompressed.

    A case that is stored already in another form is replaced; that is not counted.
    """
    if not tasks:
        return 0
    n_foreground = sum(entry.role == "foreground" for entry in tasks[0].plan.labels)
    maps = (n_foreground if tasks[0].plan.target == "regions" else 1) + (tasks[0].before is not None)
    per_voxel = len(fingerprint.channels) * np.dtype(np.float32).itemsize + maps * np.dtype(np.int16).itemsize
    waiting = {task.case.name for task in tasks}
    found = [_resampled_voxels(case, configuration) for case in fingerprint.cases if case.name in waiting]
    return int(sum(found) * per_voxel)


def _resampled_voxels(case: CaseFingerprint, configuration: Configuration) -> float:
    kept = float(np.prod(case.shape_after_crop, dtype=np.float64))
    # In 2D slices stay as they are, and lie across the widest spacing.
    spacing_mm = sorted(case.spacing_mm)[: configuration.dimensions]
    return kept * float(np.prod(spacing_mm) / np.prod(configuration.spacing_mm))


def _most_voxels(case: CaseFingerprint, configuration: Configuration) -> float:
    """Return the voxels of a case before or after resampling, whichever are more."""
    native = float(np.prod(case.shape, dtype=np.float64))
    millimetres = float(np.prod(np.multiply(case.shape_after_crop, case.spacing_mm)))
    if configuration.dimensions == 2:
        return max(native, native * float(np.prod(sorted(case.spacing_mm)[:2]) / np.prod(configuration.spacing_mm)))
    return max(native, millimetres / float(np.prod(configuration.spacing_mm)))


def _store_overlapped(tasks: Sequence[_Task]) -> Iterator[str]:
    """Prepare one case after the other while earlier ones are being written.

    Of small cases, waiting for the disk to confirm (fsync) takes most of the time; a few threads hide it.
    """
    with ThreadPoolExecutor(_WRITERS) as writers:
        waiting: deque[Future[str]] = deque()
        for task in tasks:
            waiting.append(writers.submit(_write, task, _prepare(task)))
            if len(waiting) > _WRITERS:
                yield waiting.popleft().result()
        yield from (future.result() for future in waiting)


def _store(task: _Task) -> str:
    return _write(task, _prepare(task))


def _prepare(task: _Task) -> _Prepared:
    arrays = read_case(task.dataset, task.case)
    if arrays.label is None:
        raise AutosegError.at(task.case.name, "no reference", "inspect the dataset again")
    image = arrays.image
    prepared = prepare_image(image.array, image.grid.spacing_mm, task.plan, task.configuration)
    label = prepare_label(arrays.label, prepared.mapping, task.plan, prepared.mask)
    n_foreground = sum(entry.role == "foreground" for entry in task.plan.labels)
    reference = label
    if task.before is not None:
        label = np.concatenate([label, _before_on_grid(task.before, prepared)[None]])
    generator = np.random.default_rng(int(hashlib.sha256(task.case.name.encode()).hexdigest()[:16], 16))
    return _Prepared(
        image=prepared.image,
        label=label,
        mapping=prepared.mapping,
        locations=foreground_locations(reference, n_foreground, generator),
    )


def _before_on_grid(before: _Before, prepared: Prepared) -> NDArray[np.int16]:
    """Return the label map (z, y, x) of the stage before as prediction shows it to the network.

    Raises:
        AutosegError: it is not the one that was predicted.

    """
    if not before.path.is_file() or digest_file(before.path) != before.sha256:
        raise AutosegError.at(before.path, "missing or not what was predicted", "remove its folder and train again")
    return prepared.label_to_network(read_label(before.path).array[0])


def _write(task: _Task, prepared: _Prepared) -> str:
    patch = task.configuration.patch if task.configuration.dimensions == 3 else (1, *task.configuration.patch)
    case = StoredCase(
        name=task.case.name,
        digest=task.digest,
        mapping=prepared.mapping,
        patch=(patch[0], patch[1], patch[2]),
    )
    write_case(task.folder, case, prepared.image, prepared.label, prepared.locations)
    return task.case.name
