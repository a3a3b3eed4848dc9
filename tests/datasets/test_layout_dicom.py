"""DICOM series and contours in one tree: paired by what the headers say, whatever the folders are called."""

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from autoseg.core.errors import AutosegError
from autoseg.core.records import encode
from autoseg.datasets.options import Options
from autoseg.datasets.read_case import read_case
from autoseg.datasets.understand import study, understand
from autoseg.imaging.dicom_seg_write import write_segmentation
from planners.fingerprint import Label
from tests.imaging.test_dicom import save, series
from tests.imaging.test_dicom_seg_write import scan

SQUARE = ((1, 1), (4, 1), (4, 4), (1, 4))
HOLE = ((2, 2), (3, 2), (3, 3), (2, 3))


def uid(text):
    return generate_uid(entropy_srcs=[text])


def patient(folder, name, modality="MR", **options):
    """Save a series of one patient; return its datasets."""
    slices = series(**options)
    for number, dataset in enumerate(slices):
        dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = uid(f"series {name}"), uid(f"frame {name}")
        dataset.PatientID, dataset.PatientName, dataset.Modality = f"SECRET {name[0]}", f"Doe^{name}", modality
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid(f"{name} {number}")
    save(folder, slices)
    return slices


def item(**values):
    dataset = Dataset()
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset


def contours(slices, rois, kind="CLOSED_PLANAR"):
    """Return a structure set; `rois` maps a name to (slice number, corners as (column, row)) pairs."""
    first = slices[0]
    along_row, along_column = np.reshape(first.ImageOrientationPatient, (2, 3))

    def points(number, corners):
        origin = np.asarray(slices[number].ImagePositionPatient, float)
        places = [origin + along_row * 0.7 * column + along_column * 0.8 * row for column, row in corners]
        return [round(float(v), 6) for place in places for v in place]

    names = list(rois)
    dataset = item(Modality="RTSTRUCT", SOPInstanceUID=uid("rt"), SOPClassUID="1.2.840.10008.5.1.4.1.1.481.3")
    dataset.StructureSetROISequence = [item(ROINumber=i + 7, ROIName=name) for i, name in enumerate(names)]
    dataset.ROIContourSequence = [
        item(
            ReferencedROINumber=i + 7,
            ContourSequence=[
                item(ContourGeometricType=kind, NumberOfContourPoints=len(c), ContourData=points(z, c))
                for z, c in rois[name]
            ],
        )
        for i, name in enumerate(names)
    ]
    referred = item(RTReferencedSeriesSequence=[item(SeriesInstanceUID=first.SeriesInstanceUID)])
    frame = item(FrameOfReferenceUID=first.FrameOfReferenceUID, RTReferencedStudySequence=[referred])
    dataset.ReferencedFrameOfReferenceSequence = [frame]
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def labelled(tmp_path, rois, **options):
    """Save one patient with contours; return the dataset folder."""
    folder = tmp_path / "clinic"
    slices = patient(folder / "p1" / "scan", "a1")
    save(folder / "p1" / "other", [contours(slices, rois, **options)])
    return folder


def label_of(folder):
    dataset = understand(folder, Options())
    return dataset, read_case(dataset, dataset.cases[0]).label


def test_contours_become_masks_with_holes(tmp_path):
    folder = labelled(tmp_path, {"lung": [(2, SQUARE), (3, SQUARE), (3, HOLE)]})
    dataset, label = label_of(folder)
    assert [label.name for label in dataset.labels] == ["lung"]
    assert label.shape == (8, 6, 7)
    expected = np.zeros((8, 6, 7), int)
    expected[2:4, 1:5, 1:5] = 1
    expected[3, 2:4, 2:4] = 0
    np.testing.assert_array_equal(label, expected)


def test_regions_that_share_voxels_overlap(tmp_path):
    dataset, label = label_of(labelled(tmp_path, {"organ": [(2, SQUARE)], "tumour": [(2, HOLE)]}))
    assert dataset.overlapping
    assert label.sum(axis=(1, 2, 3)).tolist() == [16, 4]


def test_a_region_that_was_declared_and_not_drawn_is_no_structure(tmp_path):
    dataset, _ = label_of(labelled(tmp_path, {"organ": [(2, SQUARE)], "not drawn": []}))
    assert [label.name for label in dataset.labels] == ["organ"]


def test_regions_are_united_by_name_and_patients_by_their_number(tmp_path):
    folder = tmp_path / "clinic"
    for name, rois in (
        ("a1", {"liver": [(1, SQUARE)], "spleen": [(4, HOLE)]}),
        ("a2", {"spleen": [(1, HOLE)]}),
        ("b1", {"other": [(2, SQUARE)], "liver": [(5, SQUARE)]}),
    ):
        slices = patient(folder / name / "scan", name)
        save(folder / "labels of all", [contours(slices, rois)], [f"{name}.dcm"])
    found = study(folder, Options(), {})
    dataset = found.dataset
    assert [label.name for label in dataset.labels] == ["liver", "other", "spleen"]
    assert [(case.name, case.group) for case in dataset.cases] == [
        ("a1", "patient_1"),
        ("a2", "patient_1"),
        ("b1", "b1"),
    ]
    references = [case.references for case in dataset.cases]
    assert references[1] == ("", "", "labels of all/a2.dcm#7")
    assert references[2] == ("labels of all/b1.dcm#8", "labels of all/b1.dcm#7", "")
    assert read_case(dataset, dataset.cases[2]).label[5].sum() == 16 * dataset.labels[0].values[0]
    text = encode(dataset).decode() + str(found.findings)
    assert "SECRET" not in text
    assert "Doe" not in text


def test_series_without_label_and_labels_without_series_are_said(tmp_path):
    folder = labelled(tmp_path, {"lung": [(2, SQUARE)]})
    patient(folder / "p2" / "scan", "b1")
    stranger = patient(tmp_path / "elsewhere", "c1")
    save(folder / "p3", [contours(stranger, {"lung": [(2, SQUARE)]})], ["RS.dcm"])
    notes = [(f.where, f.what) for f in study(folder, Options(), {}).findings]
    assert notes == [
        ("p2/scan", "image series without label, left aside"),
        ("p3/RS.dcm", "refers to no series here, left aside"),
    ]


def test_two_files_with_one_structure_are_a_question(tmp_path):
    folder = labelled(tmp_path, {"lung": [(2, SQUARE)]})
    slices = patient(folder / "p1" / "scan", "a1")
    save(folder / "p1" / "second", [contours(slices, {"lung": [(3, SQUARE)]})], ["RS.dcm"])
    with pytest.raises(
        AutosegError, match=r"p1/scan: several label files hold its lung: p1/other/IM001, p1/second/RS.dcm; .*--labels"
    ):
        understand(folder, Options())
    chosen = understand(folder, Options(labels="p1/second"))
    assert chosen.cases[0].references == ("p1/second/RS.dcm#7",)


def test_labelled_series_of_two_modalities_are_a_question(tmp_path):
    folder = labelled(tmp_path, {"lung": [(2, SQUARE)]})
    save(folder / "p2", [contours(patient(folder / "p2" / "scan", "b1", "PT"), {"lung": [(2, SQUARE)]})], ["RS.dcm"])
    with pytest.raises(AutosegError, match=r"2 modalities, .*: p1/scan .MR., p2/scan .PT.; say which with --images"):
        understand(folder, Options())
    assert [case.name for case in understand(folder, Options(images="p1")).cases] == ["p1_scan"]


@pytest.mark.parametrize(("rois", "kind", "message"), [
    ({"lung": [(2, SQUARE)]}, "OPEN_PLANAR", "no DICOM label holds a segment or closed contour"),
    ({"lung": [(z, SQUARE) for z in (1, 3, 5)]}, "CLOSED_PLANAR", "drawn on every 2. slice of the image only"),
])  # fmt: skip
def test_contours_that_are_no_filled_region_are_refused(tmp_path, rois, kind, message):
    with pytest.raises(AutosegError, match=message):
        understand(labelled(tmp_path, rois, kind=kind), Options())


def test_contours_beyond_the_slices_are_refused(tmp_path):
    folder = tmp_path / "clinic"
    slices = patient(folder / "scan", "a1")
    save(folder / "rt", [contours(slices, {"lung": [(7, SQUARE)]})], ["RS.dcm"])
    (folder / "scan" / "IM001").unlink()  # the last slice
    with pytest.raises(AutosegError, match=r"RS.dcm: a contour lies 6.5 mm beyond the image's slices"):
        understand(folder, Options())


def test_a_mended_series_is_marked_and_a_segment_drawn_before_a_slice_was_lost_keeps_its_place(tmp_path):
    folder = scan(tmp_path / "clinic" / "T1")
    labels = (Label(name="a", values=(1,)),)
    drawn = np.zeros((8, 6, 7), np.uint8)
    drawn[2, 1:3], drawn[3, 2:4], drawn[4, 1:3] = 1, 1, 1
    write_segmentation(tmp_path / "clinic" / "seg.dcm", drawn, folder, labels)
    (folder / "IM004").unlink()
    strict = study(tmp_path / "clinic", Options(), {})
    assert any(f.severity == "error" and f.what.startswith("missing slices: ") for f in strict.findings)
    allowed = study(tmp_path / "clinic", Options(allow_resample=True), {})
    assert [(f.severity, f.what.partition(":")[0]) for f in allowed.findings] == [("warning", "missing slices")]
    assert allowed.dataset.reading.resample
    assert allowed.facts[0].stamp != strict.facts[0].stamp  # allowed or not, it is read anew
    assert allowed.facts[0].shape == (8, 6, 7)
    np.testing.assert_array_equal(read_case(allowed.dataset, allowed.dataset.cases[0]).label, drawn)


def test_contours_on_a_mended_series_are_interpolated_where_a_slice_was_lost(tmp_path):
    folder = tmp_path / "clinic"
    slices = patient(folder / "scan", "a1")
    rois = {"lung": [(3, SQUARE), (5, SQUARE)], "end": [(2, SQUARE), (3, SQUARE)]}
    save(folder / "rt", [contours(slices, rois)], ["RS.dcm"])
    (folder / "scan" / "IM004").unlink()  # slice 4
    dataset = understand(folder, Options(allow_resample=True))
    masks = read_case(dataset, dataset.cases[0]).label
    square = np.zeros((6, 7), int)
    square[1:5, 1:5] = 1
    assert [one.name for one in dataset.labels] == ["end", "lung"]
    np.testing.assert_array_equal(masks[1], np.stack([square * (z in (3, 4, 5)) for z in range(8)]))
    np.testing.assert_array_equal(masks[0], np.stack([square * (z in (2, 3)) for z in range(8)]))


def test_a_collection_of_several_data_sets_is_shown_with_what_would_choose_one(tmp_path):
    folder = labelled(tmp_path, {"lung": [(2, SQUARE)]})
    other = patient(folder / "p2", "b1", "PT")
    save(folder / "p2", [contours(other, {"lung": [(2, SQUARE)]})], ["RS.dcm"])
    (folder / "notes.png").write_bytes(b"")
    found = study(folder, Options(), {})
    assert [case.name for case in found.dataset.cases] == ["p1_scan", "p2"]
    assert [fact.shape for fact in found.facts] == [(8, 6, 7)] * 2
    errors = [finding.what for finding in found.findings if finding.severity == "error"]
    assert errors == ["labelled series of 2 modalities, several data sets by their looks: p1/scan (MR), p2 (PT)"]
