"""Whether what predicting will write fits the disk, before the first case begins."""

import math
from collections.abc import Sequence
from pathlib import Path

from autoseg.core.errors import AutosegError
from autoseg.core.files import require_room
from autoseg.datasets.inputs import InputCase
from autoseg.imaging.read import read_header
from autoseg.learning.model_files import plan_outputs
from autoseg.predicting.cases import Job
from autoseg.predicting.output import Destination

_STORED_AS_IS = frozenset({".nii", ".npy", ".bmp", ".dcm", ".tif", ".tiff"})
"""Endings of label maps that hold every voxel; the others compress."""
_LABEL_SHRINKS = 16
"""Label maps are large areas of one value: compressed, they take a small part of this."""
_PROBABILITY_BYTES = 2
_PROBABILITY_SHRINKS = 4
"""An assumption on the safe side: rounded to 1/1024, most voxels are 0 or 1 for certain."""


def refuse_without_room(job: Job, cases: Sequence[InputCase]) -> None:
    """Refuse to begin where the label maps of the cases, and their probabilities if wanted, will not fit the disk.

    A case whose files are there already is written over them and not counted; one whose header cannot be read neither.

    Raises:
        FullDiskError: more is needed than is free.

    """
    waiting = [case for case in cases if not job.destination(case).is_complete]
    per_voxel = plan_outputs(job.segmenter.plan) * _PROBABILITY_BYTES / _PROBABILITY_SHRINKS if job.probabilities else 0
    needed = sum(_voxels(case.images[0]) * (_label_bytes(job.destination(case)) + per_voxel) for case in waiting)
    require_room(job.output, int(needed), f"predicting {len(waiting)} cases")


def _label_bytes(to: Destination) -> float:
    return 1.0 if to.label_map.suffix.lower() in _STORED_AS_IS else 1.0 / _LABEL_SHRINKS


def _voxels(image: Path) -> int:
    """Return the voxels of an image; of a DICOM series, whose headers are not read twice, about; 0 if nobody knows."""
    try:
        if image.is_dir():
            return sum(file.stat().st_size for file in image.rglob("*") if file.is_file()) // 2
        return math.prod(read_header(image).grid.shape)
    except (AutosegError, OSError):
        return 0
