"""Put a dataset into numbers: what the planner reads."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from autoseg.core.errors import AutosegError
from autoseg.core.records import read_record, write_record
from autoseg.core.runtime import progress, run_parallel
from autoseg.core.workspace import Workspace
from autoseg.datasets.dataset import Case, Dataset
from autoseg.datasets.modality import ChannelRange, air_range_hu, guess_modality, modality_by_name, modality_by_tag
from autoseg.datasets.pooling import Sample, pool, take_sample, values_per_case
from autoseg.datasets.read_case import read_case
from autoseg.datasets.workers import bytes_on_disk, workers_for
from autoseg.imaging.components import connected_components
from autoseg.imaging.crop import nonzero_box
from autoseg.imaging.orientation import left_right_axis
from planners.fingerprint import CaseFingerprint, ChannelFingerprint, Fingerprint, Label

_WORTH_WORKERS_BYTES = 64 << 20
"""Below this many bytes on disk, starting worker processes takes longer than they save."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """A case to measure; `keep` order statistics of its foreground are kept per channel."""

    dataset: Dataset
    case: Case
    keep: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Measured:
    """What one case contributes."""

    case: CaseFingerprint
    samples: tuple[Sample | None, ...]
    ranges: tuple[ChannelRange, ...]
    modalities: tuple[str, ...]


def make_fingerprint(workspace: Workspace) -> Fingerprint:
    """Measure every labelled case of the workspace's dataset, write `fingerprint.json` and return it.

    As nnU-Net does: the box around the nonzero voxels of any channel, the intensities of all labelled voxels in it (an
    ignore label among them), every case with the same weight. Cases are streamed; memory grows neither with their
    number nor with their size beyond the largest at work.

    Raises:
        AutosegError: the dataset is not inspected yet, or a case can no longer be read.

    """
    dataset = read_record(workspace.dataset, Dataset)
    if not dataset.cases:
        raise AutosegError.at(dataset.folder, "no labelled case", "inspect the dataset and mend it first")
    keep = values_per_case(len(dataset.cases))
    tasks = [_Task(dataset=_alone(dataset, case), case=case, keep=keep) for case in dataset.cases]
    sizes = [bytes_on_disk(Path(dataset.folder), case) for case in dataset.cases]
    workers = workers_for(sizes, worth_bytes=_WORTH_WORKERS_BYTES)
    what = "fingerprint"
    measured = tuple(progress(run_parallel(_measure, tasks, what=what, workers=workers), what=what, total=len(tasks)))
    cropped = [
        np.prod(m.case.shape_after_crop, dtype=np.float64) / np.prod(m.case.shape, dtype=np.float64) for m in measured
    ]
    fingerprint = Fingerprint(
        dataset=dataset.name,
        channels=tuple(_channels(dataset, measured)),
        labels=dataset.labels,
        overlapping=dataset.overlapping,
        cases=tuple(m.case for m in measured),
        median_relative_size_after_crop=float(median(cropped)),
        n_training=len(dataset.cases),
    )
    write_record(workspace.fingerprint, fingerprint)
    return fingerprint


def _alone(dataset: Dataset, case: Case) -> Dataset:
    """Return the dataset with one case: what a worker needs, and no more to send."""
    return Dataset(
        name=dataset.name,
        folder=dataset.folder,
        layout=dataset.layout,
        channels=dataset.channels,
        labels=dataset.labels,
        value_map=dataset.value_map,
        overlapping=dataset.overlapping,
        cases=(case,),
        test_cases=(),
        inferences=(),
        reference_kind=dataset.reference_kind,
        merge_instances=dataset.merge_instances,
    )


def _measure(task: _Task) -> _Measured:
    arrays = read_case(task.dataset, task.case)
    image, label = arrays.image, arrays.label
    if label is None:
        raise AutosegError.at(task.case.name, "no reference", "inspect the dataset again")
    box = nonzero_box(image.array)
    structures = tuple(_structures(label, task.dataset.labels))
    anywhere: NDArray[np.bool_] = label.max(axis=0) > 0 if label.ndim == 4 else label > 0
    foreground = anywhere[box.slices]
    z, y, x = (high - low for low, high in zip(box.lower, box.upper, strict=True))
    case = CaseFingerprint(
        name=task.case.name,
        dimensions=image.grid.dimensions,
        shape=image.grid.shape,
        shape_after_crop=(z, y, x),
        spacing_mm=image.grid.spacing_mm,
        label_voxels=tuple(voxels for voxels, _ in structures),
        label_components=tuple(components for _, components in structures),
        left_right_axis=left_right_axis(image.grid),
    )
    return _Measured(
        case=case,
        samples=tuple(take_sample(channel[box.slices][foreground], task.keep) for channel in image.array),
        ranges=tuple(_range(channel) for channel in image.array),
        modalities=image.modalities,
    )


def _structures(label: NDArray[np.integer[Any]], labels: Sequence[Label]) -> Iterator[tuple[int, int]]:
    """Yield voxels and components of each label; of a map, only the box around a label is looked at."""
    if label.ndim == 4:
        for mask in label:
            box = ndimage.find_objects(mask, 1)[0]
            yield _count(mask[box] != 0) if box else (0, 0)
        return
    boxes = ndimage.find_objects(label)
    for entry in labels:
        own = [box for value in entry.values if value <= len(boxes) and (box := boxes[value - 1])]
        if not own:
            yield 0, 0
            continue
        around = tuple(slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*own, strict=True))
        yield _count(np.isin(label[around], entry.values))


def _count(mask: NDArray[np.bool_]) -> tuple[int, int]:
    return int(np.count_nonzero(mask)), connected_components(mask).count


def _range(channel: NDArray[Any]) -> ChannelRange:
    low, high = air_range_hu()
    lowest = float(channel.min())
    air = float(np.mean((channel > low) & (channel < high))) if lowest < high else 0.0
    return ChannelRange(minimum=lowest, maximum=float(channel.max()), air=air)


def _channels(dataset: Dataset, measured: Sequence[_Measured]) -> Iterator[ChannelFingerprint]:
    """Yield the pooled channels."""
    for index, name in enumerate(dataset.channels):
        pooled = pool([sample for m in measured if (sample := m.samples[index]) is not None])
        files = dataset.cases[0].images
        file = files[min(index, len(files) - 1)]
        ranges = [m.ranges[index] for m in measured]
        modality, reason = guess_modality(name, ranges, file, measured[0].case.dimensions)
        tags = {m.modalities[index] if m.modalities else "" for m in measured}
        tag = tags.pop() if len(tags) == 1 else ""
        if modality == "mr" and modality_by_name(name) is None and modality_by_tag(tag) in ("mr", "pet"):
            modality, reason = modality_by_tag(tag) or modality, f"the DICOM tag Modality is {tag}"
        yield ChannelFingerprint(
            name=name,
            modality=modality,
            modality_reason=reason,
            modality_known=modality == "ct" or modality in (modality_by_name(name), modality_by_tag(tag)),
            mean=pooled.mean if pooled else None,
            std=pooled.std if pooled else None,
            minimum=pooled.minimum if pooled else None,
            maximum=pooled.maximum if pooled else None,
            median=pooled.median if pooled else None,
            percentile_00_5=pooled.percentile_00_5 if pooled else None,
            percentile_99_5=pooled.percentile_99_5 if pooled else None,
        )
