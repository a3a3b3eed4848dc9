"""What prediction writes beside the label maps: a record per case, one of the whole call, a table of measurements."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from autoseg.core.quality import CaseQuality
from autoseg.core.seals import FileDigest
from autoseg.core.text import cell, printable
from autoseg.imaging.measurements import Measurement
from autoseg.imaging.nifti_write import DISCLAIMER

Extent = Literal["case", "process"]
"""Of what a peak of memory is: of one case, or of all that the process did so far."""

RECORDS = "records"
"""Folder, beside the label maps, of the records of the cases."""
TRAINING_IMAGE = "is an image that the model was trained on: a score on it says nothing of new ones"
"""The warning in the record of such a case, by which an evaluation knows it."""
PRESETS_NAME = "presets.json"
"""In a model folder: what its presets take and give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CasePrediction:
    """One predicted case: what went in, what came out. `file` is relative to the output folder.

    `output_digest` is the SHA-256 of the file, "" where an older version wrote the record, and `files` are the others
    that were written for the case. `input_files` are those of the `inputs`, a folder's by their paths from beside it;
    `input_digest` is one for all of them. `estimated_seconds` and `estimated_bytes`, of the whole process, were said
    before the case began. `peak_memory_bytes` is the most that the process held while the case was predicted and
    written, what other cases at work beside it held included, and while it was read if none was at work then;
    `peak_memory_of` is "process" where the system does not tell that (only Linux does) or an older version wrote the
    record: then it is the most that the process held since it began. `unlike` are those of the `warnings` for which
    --strict refuses a case, None where an older version wrote the record. Of `windows`, `windows_skipped` took no
    network, because it had seen the same window before. `probabilities` is the record of the stored ones, relative to
    the output folder. `quality` is foreseen, None for a model that foresees none.
    """

    schema: ClassVar[str] = "autoseg.case-prediction/1"

    case: str
    file: str
    output_digest: str = ""
    inputs: tuple[str, ...]
    input_digest: str
    model_digest: str
    seconds: float
    peak_memory_bytes: int
    peak_memory_of: Extent = "process"
    warnings: tuple[str, ...]
    unlike: tuple[str, ...] | None = None
    measurements: tuple[Measurement, ...]
    estimated_seconds: float | None = None
    estimated_bytes: int | None = None
    windows: int | None = None
    windows_skipped: int | None = None
    probabilities: str | None = None
    quality: CaseQuality | None = None
    input_files: tuple[FileDigest, ...] = ()
    files: tuple[FileDigest, ...] = ()
    use: str = DISCLAIMER


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedCase:
    """A case that could not be predicted, and why."""

    case: str
    inputs: tuple[str, ...]
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionRecord:
    """Everything one call of `predict` did; `skipped` cases were finished before with the same input and model.

    `look_at` names the cases whose quality is foreseen to be low, the worst first. `table` is measurements.csv.
    `peak_memory_bytes` is the most that the process held since it began, None where an older version wrote the record.
    """

    schema: ClassVar[str] = "autoseg.prediction/1"

    model: str
    model_digest: str
    device: str
    precision: str
    mirror: bool
    preset: str = "default"
    configurations: tuple[str, ...] = ()
    networks: int | None = None
    cases: tuple[CasePrediction, ...]
    skipped: tuple[str, ...]
    failed: tuple[FailedCase, ...]
    look_at: tuple[str, ...] = ()
    peak_memory_bytes: int | None = None
    table: FileDigest | None = None
    use: str = DISCLAIMER


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredPreset:
    """What a preset takes and gives: mean Dice over cases and labels, None if undefined everywhere.

    `differing` is the share of all voxels of the cases whose label is another one than the default preset's; None for
    the default, and where an older version measured.
    `seconds_per_case` is that of preparing and predicting, without reading and writing; where `networks_used` by the
    preset are more than `networks_measured`, predicting takes as many times longer.
    """

    preset: str
    cases: int
    mean_dice: float | None
    seconds_per_case: float
    networks_measured: int
    networks_used: int
    windows: int
    windows_skipped: int
    differing: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PresetsRecord:
    """Presets of prediction, measured on validation cases, each predicted by networks that were not trained on it.

    `networks` are the SHA-256 of the weights that were measured.
    """

    schema: ClassVar[str] = "autoseg.presets/1"

    configurations: tuple[str, ...]
    networks: tuple[str, ...]
    device: str
    precision: str
    presets: tuple[MeasuredPreset, ...]


def measurements_csv(cases: Sequence[CasePrediction], channels: Sequence[str]) -> str:
    """Return one row per structure and case; undefined numbers are empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    means = [printable(f"mean_{channel}") for channel in channels]
    head = ["case", "structure", "voxels", "volume_ml", "area_mm2", "largest_diameter_mm", "components"]
    writer.writerow([*head, *means, "note"])
    for case in cases:
        for found in case.measurements:
            sizes = (found.volume_ml, found.area_mm2, found.largest_diameter_mm)
            shown = ["" if value is None else f"{value:.6g}" for value in (*sizes, *found.mean_intensities)]
            row = [
                cell(case.case),
                cell(found.label),
                found.voxels,
                *shown[:3],
                found.components,
                *shown[3:],
                DISCLAIMER,
            ]
            writer.writerow(row)
    return text.getvalue()
