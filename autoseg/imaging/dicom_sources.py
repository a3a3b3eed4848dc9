"""The headers of a series as derived objects (SEG, SR) repeat them: copies in memory, mended where they are faulty."""

from pathlib import Path
from typing import TYPE_CHECKING

from autoseg.core.errors import AutosegError
from autoseg.imaging.dicom_scan import damage_named, load, scan

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_UTF8 = "ISO_IR 192"
_EMPTY_IF_MISSING = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"),
    *("AccessionNumber", "ReferringPhysicianName", "SeriesNumber"),
)
"""Attributes that a series must have though they may be empty; some scanners and anonymisers leave them out."""

_LONGEST = {"StudyID": 16, "AccessionNumber": 16, "PatientID": 64, "PatientName": 324}
"""Characters of SH, LO and PN. A longer identifier is left empty: cut off, it would be another one."""

_NOT_EMPTY = ("DeidentificationMethod", "PatientIdentityRemoved", "PatientSpeciesDescription", "Laterality")
"""Attributes that may be missing but not empty."""

_STORAGE = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "PT": "1.2.840.10008.5.1.4.1.1.128",
}
"""Modality -> SOP class of its single images, for anonymisers that empty the class."""


def source_headers(series: Path, purpose: str) -> list["Dataset"]:
    """Return the header of every image of a series, mended where a derived object would inherit a fault.

    Raises:
        AutosegError: the series lacks what the object must repeat: a frame of reference, identifiers. `purpose` is the
            option that it was wanted for.

    """
    places = {(plane.instance, plane.position): plane.path for plane in scan(series)}
    sources = [load(path, pixels=False) for path in sorted(set(places.values()))]
    first = sources[0]
    mend = f"leave out {purpose}"
    if not first.get("FrameOfReferenceUID"):
        raise AutosegError.at(series, "has no frame of reference, which a DICOM SEG must repeat", mend)
    for source in sources:
        with damage_named(series, "its headers are damaged"):
            _mend(source, first)
        for keyword in ("SOPClassUID", "SOPInstanceUID"):
            if not source.get(keyword):
                raise AutosegError.at(series, f"has no {keyword}, by which a derived object names it", mend)
    return sources


def _mend(source: "Dataset", first: "Dataset") -> None:
    from pydicom.uid import generate_uid

    source.decode()
    source.SpecificCharacterSet = _UTF8
    for keyword in _EMPTY_IF_MISSING:
        if keyword not in source or len(str(source.get(keyword) or "")) > _LONGEST.get(keyword, 1 << 10):
            setattr(source, keyword, None if keyword == "SeriesNumber" else "")
    for keyword in _NOT_EMPTY:
        if keyword in source and source.get(keyword) in (None, "", []):
            delattr(source, keyword)
    removed = str(source.get("PatientIdentityRemoved", "")) == "YES"
    if removed and "DeidentificationMethod" not in source and not source.get("DeidentificationMethodCodeSequence"):
        source.DeidentificationMethod = "not stated"
    meta = getattr(source, "file_meta", None)
    if not source.get("SOPClassUID"):
        declared = str(getattr(meta, "MediaStorageSOPClassUID", "") or "")
        source.SOPClassUID = declared or _STORAGE.get(str(source.get("Modality", "")), "")
    if not source.get("SOPInstanceUID"):
        source.SOPInstanceUID = getattr(meta, "MediaStorageSOPInstanceUID", "") or ""
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
        if not source.get(keyword):  # emptied by an anonymiser: the derived objects need some, and always the same
            setattr(source, keyword, generate_uid(entropy_srcs=[keyword, str(first.FrameOfReferenceUID)]))
    for keyword in ("ImageOrientationPatient", "PixelSpacing", "FrameOfReferenceUID"):
        if keyword in first:  # rounded differently from slice to slice
            setattr(source, keyword, first.get(keyword))
