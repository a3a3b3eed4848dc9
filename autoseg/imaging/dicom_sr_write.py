"""Volumes out as a DICOM structured report: TID 1500, one measurement group per structure, each naming its segment.

An Enhanced SR holds it: what every archive takes, and the template needs no coordinates here. The images are its
evidence; a library of their attributes is left out, it repeats the headers. The report is neither verified nor final.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoseg.core.errors import AutosegError
from autoseg.core.files import write_atomically
from autoseg.core.version import VERSION
from autoseg.imaging.dicom_codes import PRIVATE_SCHEME, Coded, codes_of
from autoseg.imaging.dicom_scan import damage_named, load
from autoseg.imaging.dicom_seg_write import MAKER, SERIES_NUMBER_OFFSET
from autoseg.imaging.dicom_sources import source_headers
from autoseg.imaging.measurements import Measurement
from autoseg.imaging.nifti_write import DISCLAIMER
from planners.fingerprint import Label

if TYPE_CHECKING:
    from highdicom.sr import EnhancedSR, MeasurementReport
    from pydicom.dataset import Dataset

_DECIMALS = 6  # of a millilitre: a thousandth of a cubic millimetre; a decimal string has 16 characters


def write_report(
    path: Path, segmentation: Path, series: Path, labels: Sequence[Label], measurements: Sequence[Measurement]
) -> None:
    """Write the volume of every structure as a TID 1500 report that refers to a SEG of the same series.

    A structure without a voxel has 0 ml; a group of a structure that is no segment names the structure alone.

    Args:
        path: where to.
        segmentation: the SEG that `write_segmentation` wrote.
        series: the images that both refer to.
        labels: for the codes of the structures, by name.
        measurements: one for each foreground label.

    Raises:
        AutosegError: a single image has no volume; the series lacks what a report must repeat.
        ResourceError: the disk is full, or the volumes read back are not those that were written.

    """
    if any(measured.volume_ml is None for measured in measurements):
        raise AutosegError.at(series, "is a single image, which has no volume", "take --format dicom-seg")
    sources = source_headers(series, "--format sr")
    drawn = load(segmentation, pixels=False)
    content = _content(drawn, labels, measurements)
    with damage_named(series, "cannot carry a report"):
        report = _report(drawn, sources, content)

    def writer(temporary: Path) -> None:
        report.save_as(temporary)
        expected = [round(measured.volume_ml or 0.0, _DECIMALS) for measured in measurements]
        if read_volumes_ml(temporary) != expected:
            msg = "the volumes read back differ from what was written"
            raise OSError(msg)

    write_atomically(path, writer)


def read_volumes_ml(path: Path) -> list[float]:
    """Return the volumes in millilitres that a report holds, in its order."""

    def numbers(item: Any) -> list[float]:
        own = []
        if str(item.get("ValueType", "")) == "NUM" and item.ConceptNameCodeSequence[0].CodeValue == "118565006":
            own.append(float(item.MeasuredValueSequence[0].NumericValue))
        return own + [number for child in item.get("ContentSequence") or () for number in numbers(child)]

    return numbers(load(path, pixels=False))


def _report(segmentation: "Dataset", sources: list["Dataset"], content: "MeasurementReport") -> "EnhancedSR":
    import highdicom as hd
    from pydicom.uid import generate_uid

    entropy = [str(segmentation.SOPInstanceUID), VERSION]
    report = hd.sr.EnhancedSR(
        evidence=[*sources, segmentation],
        content=content,
        series_instance_uid=generate_uid(entropy_srcs=["report series", *entropy]),
        series_number=SERIES_NUMBER_OFFSET + 1 + int(sources[0].get("SeriesNumber") or 0),
        sop_instance_uid=generate_uid(entropy_srcs=["report", *entropy]),
        instance_number=1,
        manufacturer=MAKER,
        is_complete=True,
        is_final=False,
        is_verified=False,
        series_description=f"{MAKER}: {DISCLAIMER}",
        manufacturer_model_name=MAKER,
        software_versions=VERSION,
        device_serial_number="none",
    )
    report.CompletionFlagDescription = DISCLAIMER
    return report


def _content(
    segmentation: "Dataset", labels: Sequence[Label], measurements: Sequence[Measurement]
) -> "MeasurementReport":
    import highdicom as hd
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code
    from pydicom.uid import generate_uid

    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=generate_uid(entropy_srcs=[MAKER, VERSION]), name=MAKER, manufacturer_name=MAKER, model_name=VERSION
    )
    observer = hd.sr.ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)
    coded = {label.name: codes_of(label) for label in labels}
    numbers = {str(item.SegmentLabel): int(item.SegmentNumber) for item in segmentation.SegmentSequence}
    return hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=observer),
        procedure_reported=Code("SEGMENTATION", PRIVATE_SCHEME, "Automatic segmentation of images"),
        imaging_measurements=[
            _group(measured, coded[measured.label], segmentation, numbers.get(measured.label[:64]))
            for measured in measurements
        ],
        title=codes.DCM.ImagingMeasurementReport,
    )


def _group(measured: Measurement, coded: Coded, segmentation: "Dataset", number: int | None) -> Any:
    """Return the measurement group of one structure; `number` None: it is no segment, as it has no voxel."""
    import highdicom as hd
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code
    from pydicom.uid import generate_uid

    volume = hd.sr.Measurement(
        name=codes.SCT.Volume,
        value=round(measured.volume_ml or 0.0, _DECIMALS),
        unit=Code("ml", "UCUM", "milliliter"),
        algorithm_id=hd.sr.AlgorithmIdentification(name=MAKER, version=VERSION),
    )
    tracking = hd.sr.TrackingIdentifier(
        uid=generate_uid(entropy_srcs=[str(segmentation.SOPInstanceUID), measured.label]), identifier=measured.label
    )
    site = hd.sr.FindingSite(anatomic_location=coded.kind, laterality=coded.side) if coded.side else None
    shared: dict[str, Any] = {
        "tracking_identifier": tracking,
        "finding_type": coded.kind,
        "finding_category": coded.category,
        "finding_sites": [site] if site else None,
        "measurements": [volume],
    }
    if number is None:
        return hd.sr.MeasurementsAndQualitativeEvaluations(**shared)
    source = hd.sr.SourceSeriesForSegmentation(str(segmentation.ReferencedSeriesSequence[0].SeriesInstanceUID))
    segment = hd.sr.ReferencedSegment(
        sop_class_uid=str(segmentation.SOPClassUID),
        sop_instance_uid=str(segmentation.SOPInstanceUID),
        segment_number=number,
        source_series=source,
    )
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_segment=segment, **shared)
