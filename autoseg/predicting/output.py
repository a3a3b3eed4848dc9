"""The files of one prediction: a label map in the case's own format, or a DICOM SEG with or without a report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from autoseg.core.files import file_name
from autoseg.datasets.inputs import InputCase
from autoseg.imaging.dicom_seg_write import write_segmentation
from autoseg.imaging.dicom_sr_write import write_report
from autoseg.imaging.measurements import Measurement
from autoseg.imaging.read import IMAGE_ENDINGS, ending_of
from autoseg.imaging.volume import Volume
from autoseg.imaging.write import label_ending, write_label
from autoseg.predicting.records import RECORDS
from planners.fingerprint import Label

Format = Literal["nifti", "dicom-seg", "sr"]
"""What a DICOM series becomes; `sr` is a structured report together with the SEG that it refers to."""

REPORTS = "reports"
"""Folder, beside the label maps, of the structured reports."""

_KEEPS_HEADER = ("nifti", "itk")  # families whose label maps repeat the header of their image


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where the files of a case go. `report` is None where none is written."""

    output: Path
    case: InputCase
    format: Format = "nifti"

    @property
    def label_map(self) -> Path:
        """The label map, or the SEG of a DICOM series."""
        ending = ".dcm" if self._is_dicom and self.format != "nifti" else label_ending(self.case.images[0])
        return self.output / file_name(self.case.name, ending)

    @property
    def report(self) -> Path | None:
        """The structured report."""
        return (
            self.output / REPORTS / file_name(self.case.name, ".dcm")
            if self._is_dicom and self.format == "sr"
            else None
        )

    @property
    def record(self) -> Path:
        """The record that says that the case is finished."""
        return self.output / RECORDS / file_name(self.case.name, ".json")

    @property
    def is_complete(self) -> bool:
        """Whether every file of the case is there."""
        return all(path.is_file() for path in (self.record, self.label_map, self.report) if path is not None)

    @property
    def _is_dicom(self) -> bool:
        return not ending_of(self.case.images[0])


def write_label_map(to: Destination, label_map: NDArray[Any], image: Volume, labels: Sequence[Label]) -> None:
    """Write a label map (z, y, x) on the grid of its image; errors as `write_segmentation` and `write_label`."""
    source = to.case.images[0]
    if to.label_map.suffix == ".dcm":
        write_segmentation(to.label_map, label_map, source, labels, image.grid)
    else:
        keeps = IMAGE_ENDINGS.get(ending_of(source)) in _KEEPS_HEADER
        write_label(to.label_map, label_map, source if keeps else image)


def write_measurements(to: Destination, labels: Sequence[Label], measurements: Sequence[Measurement]) -> None:
    """Write the report of a case if one is wanted; errors as `write_report`."""
    if to.report is not None:
        write_report(to.report, to.label_map, to.case.images[0], labels, measurements)
