"""NIfTI in, NIfTI out: the same reading, checking and writing as the whole program's; nibabel for headers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from autoseg.core.errors import AutosegError
from autoseg.imaging.checks import refuse_non_finite
from autoseg.imaging.geometry import MAX_CORNER_DISPLACEMENT_VOXELS, corner_displacement_voxels
from autoseg.imaging.nifti import read_nifti
from autoseg.imaging.nifti_write import write_nifti_label
from autoseg.imaging.orientation import turn_to
from autoseg.imaging.volume import Grid, Volume
from autoseg.runner.model import ExportedModel

_ENDINGS = (".nii", ".nii.gz")


def predict_file(model: ExportedModel, inputs: Sequence[Path], output: Path) -> None:
    """Segment one case and write its label map on the grid of its first file.

    Args:
        model: from `load`.
        inputs: one NIfTI file per channel, in the model's order, or one file with all channels; all on one grid.
        output: a NIfTI file.

    Raises:
        AutosegError: a file cannot be read, does not fit the others or the model, or is no NIfTI.
        ResourceError: the disk is full.

    """
    for path in (*inputs, output):
        if not path.name.lower().endswith(_ENDINGS):
            raise AutosegError.at(path, "is not named as a NIfTI file", "let its name end in .nii.gz")
    if output.resolve() in {path.resolve() for path in inputs}:
        raise AutosegError.at(output, "is an input and would be overwritten", "give another name")
    volume = _read(inputs)
    channels, names = len(volume.array), model.plan.channels
    if channels != len(names):
        what = f"{channels} channels where the model takes {len(names)} ({', '.join(names)})"
        raise AutosegError.at(inputs[0], what, "give one file per channel, in this order")
    array, spacing_mm, orientation = volume.array, volume.grid.spacing_mm, model.record.orientation
    if orientation is None or volume.grid.dimensions == 2:
        label_map = model.segmenter.segment(array, spacing_mm)
    else:
        turn = turn_to(orientation, volume.grid)
        label_map = turn.undo(model.segmenter.segment(turn.apply(array), turn.spacing(spacing_mm)))
    write_nifti_label(output, label_map, volume.grid, inputs[0])


def _read(paths: Sequence[Path]) -> Volume:
    volumes = []
    for path in paths:
        try:
            volumes.append(read_nifti(path))
        except OSError as error:
            raise AutosegError.at(path, f"cannot be read ({error.strerror})", "check the path") from error
        except ImportError as error:
            raise AutosegError.at("nibabel", "is not installed", "pip install nibabel") from error
        refuse_non_finite(path, volumes[-1].array)
        if not _same(volumes[0].grid, volumes[-1].grid):
            raise AutosegError.at(path, f"another grid than {paths[0].name}", "resample it to that grid")
    if len(volumes) == 1:
        return volumes[0]
    array = np.concatenate([volume.array.astype(np.float32, copy=False) for volume in volumes])
    return Volume(array=array, grid=volumes[0].grid)


def _same(a: Grid, b: Grid) -> bool:
    return a.shape == b.shape and corner_displacement_voxels(a, b) <= MAX_CORNER_DISPLACEMENT_VOXELS
