"""What predicting a case will take, in bytes and seconds, before it begins."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from autoseg.core.errors import AutosegError
from autoseg.core.runtime import free_memory_bytes
from autoseg.datasets.inputs import InputCase
from autoseg.datasets.load import says_no_place
from autoseg.imaging.read import read_header
from autoseg.imaging.resampling import new_shape
from autoseg.imaging.volume import Volume
from autoseg.learning.inference import PreparedCase, Segmenter
from autoseg.learning.model_files import plan_inputs
from autoseg.predicting.peaks import peak_memory_bytes
from planners.plan import Configuration, Plan

FREE_MEMORY_SHARE = 0.75
"""Of the memory that is free when prediction starts: other programs want some too."""

_FLOAT_BYTES = 4
_READING_COPIES = 1.5
"""Of an array while it is read: the file's type beside what becomes of it."""
_DICOM_EXPANSION = 2
"""Array bytes over file bytes of a DICOM series, whose headers are not read twice: many are stored compressed."""
_MEASURING_BYTES = 10
"""Per voxel: the label map, a copy as int32 to find the labels in, and the components of one of them."""
_LIBRARY_BYTES = 128 << 20
"""Threads and compiled kernels of the libraries, and what allocators keep, from the first case on; measured as the
peak of a case of 256 x 256 x 200 voxels, 0.13 GiB above everything that is counted."""
_OVERHEAD = 1.25
"""Cutting, weighting and adding windows, over the network's time alone."""
_SECONDS_PER_NATIVE_VOXEL = 2e-7
"""Writing and measuring; planners/prediction.py has the measurement."""
_SECONDS_PER_LOGIT = 5e-9
"""Resampling one class to one native voxel; planners/prediction.py has the measurement."""


def resident_bytes() -> int:
    """Return the memory that this process holds now; where the system does not tell, the most it ever held."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return peak_memory_bytes()
    return pages * os.sysconf("SC_PAGE_SIZE")


def default_ceiling_bytes() -> int:
    """Return what this process may hold where nobody said: what it holds, and three quarters of what is free."""
    return resident_bytes() + int(FREE_MEMORY_SHARE * free_memory_bytes())


def base_bytes() -> int:
    """Return what this process will hold besides its cases: what it holds now, and what libraries add to it."""
    return resident_bytes() + _LIBRARY_BYTES


def reading_bytes(case: InputCase, segmenter: Segmenter) -> int:
    """Return the peak of reading and preparing a case, from its headers; 0 where they cannot be read.

    Reading then says why.
    """
    try:
        found = [_native(image) for image in case.images]
    except (AutosegError, OSError):
        return 0
    native = sum(each[0] for each in found)
    shape, spacing_mm = found[0][1:]
    voxels, channels = math.prod(shape), len(segmenter.plan.channels)
    if len(found) > 1:
        native += channels * voxels * _FLOAT_BYTES  # channels of several files are put together as float32
    configurations = _configurations(segmenter)
    resampled = [_network_voxels(shape, spacing_mm, segmenter.plan, each) for each in configurations]
    normalised = channels * voxels * _FLOAT_BYTES
    masks = 2 * voxels
    preparing = masks + normalised + _FLOAT_BYTES * (channels * sum(resampled) + max(voxels, *resampled))
    return int(max(_READING_COPIES * native, native + preparing))


def writing_bytes(image: Volume) -> int:
    """Return the peak of writing and measuring a label map, the image included."""
    return int(image.array.nbytes + math.prod(image.grid.shape) * _MEASURING_BYTES)


class Pace:
    """How fast this machine predicts, measured by a window and corrected by every finished case."""

    def __init__(self) -> None:
        """Nothing is measured before the first case."""
        self._pass_seconds: dict[str, float] = {}
        self.ratio = 1.0

    def plain_seconds(self, segmenter: Segmenter, prepared: PreparedCase) -> float:
        """Return how long a prepared case should take to predict and write, not corrected by `ratio`."""
        total = 0.0
        for predictor, count in segmenter.window_passes(prepared):
            name = predictor.configuration.name
            if name not in self._pass_seconds:
                self._pass_seconds[name] = predictor.pass_seconds(plan_inputs(segmenter.plan, name))
            total += _OVERHEAD * count * self._pass_seconds[name]
        mapping = prepared.members[0].mapping
        logits = sum(member.predictor.outputs for member in segmenter.members) * math.prod(mapping.cropped_shape)
        total += logits * _SECONDS_PER_LOGIT + math.prod(mapping.native_shape) * _SECONDS_PER_NATIVE_VOXEL
        return total

    def learn(self, plain_seconds: float, seconds: float) -> None:
        """Take the time of a finished case into account, of which `plain_seconds` were expected."""
        self.ratio = seconds / plain_seconds


def _configurations(segmenter: Segmenter) -> list[Configuration]:
    found = []
    for member in segmenter.members:
        found += [member.configuration, *(_configurations(member.previous) if member.previous else [])]
    return found


def _native(image: Path) -> tuple[float, tuple[int, ...], tuple[float, ...]]:
    """Return bytes, shape and spacing of the array of an image; () for the spacing of a DICOM series or a picture."""
    if image.is_dir():
        size = _DICOM_EXPANSION * sum(file.stat().st_size for file in image.rglob("*") if file.is_file())
        return size, (1, 1, size // 2), ()
    header = read_header(image)
    item_bytes = np.dtype(header.dtype).itemsize
    spacing_mm = () if says_no_place(image, header.grid) else header.grid.spacing_mm
    return item_bytes * header.channels * math.prod(header.grid.shape), header.grid.shape, spacing_mm


def _network_voxels(shape: Sequence[int], spacing_mm: Sequence[float], plan: Plan, configuration: Configuration) -> int:
    """Return the voxels on a network's grid of an image without any crop; of one without spacing, its own."""
    if not spacing_mm:
        return math.prod(shape)
    spacing = [spacing_mm[axis] for axis in plan.transpose]
    target = (*spacing[: 3 - configuration.dimensions], *configuration.spacing_mm)
    return math.prod(new_shape([shape[axis] for axis in plan.transpose], spacing, target))
