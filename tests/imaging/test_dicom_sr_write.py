"""Volumes as a structured report: the numbers of the measurements, codes of known names, 0 errors by dciodvfy."""

import os
import shutil
import subprocess

import numpy as np
import pydicom
import pytest

from autoseg.core.errors import AutosegError
from autoseg.imaging.dicom_codes import codes_of
from autoseg.imaging.dicom_seg_write import write_segmentation
from autoseg.imaging.dicom_sr_write import read_volumes_ml, write_report
from autoseg.imaging.measurements import measure
from autoseg.imaging.read import read_header
from planners.fingerprint import Label
from tests.imaging.test_dicom import save, series
from tests.imaging.test_dicom_seg_write import FRAME, scan

LABELS = (
    Label(name="kidney_left", values=(1,)),
    Label(name="病変", values=(7,)),
    Label(name="spleen", values=(3,)),
)


def conformance_errors(path):
    """What dciodvfy calls an error; skipped where Debian's dicom3tools is missing, but never by .ci/run."""
    if shutil.which("dciodvfy") is None and os.environ.get("AUTOSEG_CONFORMANCE") != "required":
        pytest.skip("dciodvfy is not installed: apt-get install dicom3tools")
    done = subprocess.run(["dciodvfy", path], capture_output=True, check=False)
    lines = (done.stdout + done.stderr).decode(errors="replace").splitlines()
    assert any(line.strip() in ("EnhancedSR", "Segmentation") for line in lines)  # it knew what it looked at
    return [line for line in lines if line.startswith("Error")]


def written(tmp_path, folder, array, labels=LABELS):
    segmentation, report = tmp_path / "seg.dcm", tmp_path / "report.dcm"
    write_segmentation(segmentation, array, folder, labels)
    measured = measure(array, read_header(folder).grid, labels)
    write_report(report, segmentation, folder, labels, measured)
    return segmentation, report


@pytest.fixture
def folder(tmp_path):
    return scan(tmp_path / "T1")


def label_map():
    array = np.zeros((8, 6, 7), np.uint8)
    array[2:4, 1:4, 2:5] = 1  # 18 voxels of 6.5 x 0.8 x 0.7 mm = 3.64 mm3
    array[5, 0, :2] = 7
    return array


def items(dataset):
    for item in dataset.get("ContentSequence") or ():
        yield item
        yield from items(item)


def test_report_holds_the_volume_of_every_structure(tmp_path, folder):
    _, report = written(tmp_path, folder, label_map())
    assert read_volumes_ml(report) == [18 * 3.64e-3, 2 * 3.64e-3, 0.0]
    shown = [item.TextValue for item in items(pydicom.dcmread(report)) if item.ValueType == "TEXT"]
    assert [name for name in shown if name in {label.name for label in LABELS}] == ["kidney_left", "病変", "spleen"]


def test_report_refers_to_the_segments_and_the_series(tmp_path, folder):
    segmentation, path = written(tmp_path, folder, label_map())
    drawn, report = pydicom.dcmread(segmentation), pydicom.dcmread(path)
    images = [item.ReferencedSOPSequence[0] for item in items(report) if item.ValueType == "IMAGE"]
    assert [image.ReferencedSOPInstanceUID for image in images] == [drawn.SOPInstanceUID] * 2
    assert [int(image.ReferencedSegmentNumber) for image in images] == [1, 2]  # the spleen is no segment
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert sorted(len(one.ReferencedSOPSequence) for one in evidence) == [1, 8]
    assert (report.Modality, report.VerificationFlag, report.PatientName) == ("SR", "UNVERIFIED", "")
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert "research use" in report.SeriesDescription
    sides = [item.ConceptCodeSequence[0].CodeMeaning for item in items(report) if item.ValueType == "CODE"]
    assert {"Kidney", "Left", "Spleen"} <= set(sides)


def test_both_conform(tmp_path, folder):
    for path in written(tmp_path, folder, label_map()):
        assert conformance_errors(path) == []


def test_faults_of_the_series_are_not_inherited(tmp_path):
    slices = series()
    for dataset in slices:
        dataset.FrameOfReferenceUID = FRAME
        dataset.StudyInstanceUID, dataset.PatientIdentityRemoved, dataset.DeidentificationMethod = "", "YES", ""
        with pytest.warns(UserWarning, match="exceeds the maximum length"):
            dataset.StudyID = "longer than sixteen characters"
    for path in written(tmp_path, save(tmp_path / "faulty", slices), label_map()):
        assert conformance_errors(path) == []
        assert pydicom.dcmread(path).StudyID == ""


def test_one_image_has_no_volume(tmp_path):
    folder = scan(tmp_path / "one", count=1)
    segmentation, array = tmp_path / "seg.dcm", np.ones((1, 6, 7), np.uint8)
    write_segmentation(segmentation, array, folder, LABELS)
    with pytest.raises(AutosegError, match="single image, which has no volume"):
        write_report(
            tmp_path / "sr.dcm", segmentation, folder, LABELS, measure(array, read_header(folder).grid, LABELS)
        )
    assert not (tmp_path / "sr.dcm").exists()


@pytest.mark.parametrize(("name", "kind", "side"), [
    ("liver", ("10200004", "SCT"), None),
    ("Liver", ("10200004", "SCT"), None),
    ("kidney_right", ("64033007", "SCT"), "Right"),
    ("LeftKidney", ("64033007", "SCT"), "Left"),
    ("lung_lower_lobe_left", ("90572001", "SCT"), "Left"),
    ("Left ventricle", ("87878005", "SCT"), None),  # its name, not a side of a ventricle
    ("urinary_bladder", ("89837001", "SCT"), None),
    ("tumour", ("108369006", "SCT"), None),
    ("Anterior", ("LABEL4", "99AUTOSEG"), None),  # an adjective, no structure
    ("GTV_Mass", ("LABEL4", "99AUTOSEG"), None),
    ("left", ("LABEL4", "99AUTOSEG"), None),
    ("kidney left and right", ("LABEL4", "99AUTOSEG"), None),
])  # fmt: skip
def test_codes_come_from_names(name, kind, side):
    coded = codes_of(Label(name=name, values=(4,)))
    assert (coded.kind.value, coded.kind.scheme_designator) == kind
    assert (coded.side and coded.side.meaning) == side
    assert coded.category.meaning.startswith("Morpho" if name == "tumour" else "Anatomical")


def test_side_of_a_segment_is_a_modifier(tmp_path, folder):
    segmentation, _ = written(tmp_path, folder, label_map())
    kind = pydicom.dcmread(segmentation).SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0]
    assert kind.CodeMeaning == "Kidney"
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"
