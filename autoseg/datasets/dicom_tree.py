"""Every DICOM file of a folder by its header: image series, and files of labels that refer to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from autoseg.core.errors import AutosegError
from autoseg.datasets.inspection import Finding
from autoseg.imaging.dicom_labels import LabelFile, describe_labels
from autoseg.imaging.dicom_scan import dicom_files, is_image, load


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """An image series. `folder` is relative to the dataset; `patient` is a number, not the identifier."""

    uid: str
    folder: PurePosixPath
    folders: tuple[PurePosixPath, ...]
    modality: str
    frame_of_reference: str
    instances: frozenset[str]
    patient: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """What a folder holds in DICOM; findings are files that cannot be read."""

    series: tuple[Series, ...]
    labels: tuple[LabelFile, ...]
    findings: tuple[Finding, ...]


@dataclass(slots=True)
class _Files:
    """The files of a series while they are collected."""

    modality: str
    frame_of_reference: str
    patient: str
    folders: dict[PurePosixPath, None]
    instances: set[str]


def read_tree(folder: Path) -> Tree:
    """Read the header of every DICOM file in a folder and the folders below it."""
    collected: dict[str, _Files] = {}
    labels: list[LabelFile] = []
    findings: list[Finding] = []
    for path in dicom_files(folder):
        try:
            dataset = load(path, pixels=False)
            found = describe_labels(path, dataset)
        except AutosegError as error:
            where = str(path.relative_to(folder))
            findings.append(Finding(severity="error", where=where, what=error.what or str(error), mend=error.mend))
            continue
        if found is not None:
            labels.append(found)
        elif is_image(dataset):
            files = collected.setdefault(
                str(dataset.get("SeriesInstanceUID", "")),
                _Files(
                    modality=str(dataset.get("Modality", "")),
                    frame_of_reference=str(dataset.get("FrameOfReferenceUID", "")),
                    patient=str(dataset.get("PatientID", "") or ""),
                    folders={},
                    instances=set(),
                ),
            )
            files.folders[PurePosixPath(path.parent.relative_to(folder).as_posix())] = None
            files.instances.add(str(dataset.get("SOPInstanceUID", "")))
    patients = {name: number for number, name in enumerate(dict.fromkeys(f.patient for f in collected.values()), 1)}
    series = tuple(
        Series(
            uid=uid,
            folder=next(iter(files.folders)),
            folders=tuple(files.folders),
            modality=files.modality,
            frame_of_reference=files.frame_of_reference,
            instances=frozenset(files.instances),
            patient=patients[files.patient] if files.patient else None,
        )
        for uid, files in collected.items()
    )
    return Tree(series=series, labels=tuple(labels), findings=tuple(findings))


def images_of(label: LabelFile, series: Sequence[Series]) -> list[Series]:
    """Return the series that a label was drawn on: the one it names, else the one of its images, else of its frame.

    More than one when only the frame of reference is said and several series share it.
    """
    named = [one for one in series if one.uid in label.series]
    if named:
        return named
    shown = [one for one in series if one.instances & label.instances]
    if shown:
        return shown
    if label.series or not label.frame_of_reference:
        return []
    return [one for one in series if one.frame_of_reference == label.frame_of_reference]
