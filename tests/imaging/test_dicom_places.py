"""Labels on mended series: drawn on the slices as they were scanned, they follow them to the regular grid."""

import numpy as np
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from autoseg.core.errors import AutosegError
from autoseg.imaging.dicom_geometry import ordered
from autoseg.imaging.dicom_labels import read_structure
from autoseg.imaging.read import read_image
from autoseg.imaging.reading import ReadOptions
from tests.datasets.test_layout_dicom import item, uid
from tests.imaging.test_dicom import save
from tests.imaging.test_dicom_mend import phantom_series, tilted

RADIUS_MM = 24.0


def segmentation(slices, masks):
    """Return a SEG of one segment, fractional because its pixels are whole bytes, with a frame for each slice."""
    rows, columns = masks.shape[1:]
    dataset = item(Modality="SEG", SOPInstanceUID=uid("seg"), SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4")
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = rows, columns, len(slices)
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation, dataset.SamplesPerPixel = 7, 0, 1
    dataset.PhotometricInterpretation, dataset.SegmentationType = "MONOCHROME2", "FRACTIONAL"
    dataset.MaximumFractionalValue = 1
    dataset.SegmentSequence = [item(SegmentNumber=1, SegmentLabel="sphere")]
    dataset.SharedFunctionalGroupsSequence = [
        item(
            PixelMeasuresSequence=[item(PixelSpacing=list(slices[0].PixelSpacing))],
            PlaneOrientationSequence=[item(ImageOrientationPatient=list(slices[0].ImageOrientationPatient))],
            SegmentIdentificationSequence=[item(ReferencedSegmentNumber=1)],
        )
    ]
    dataset.PerFrameFunctionalGroupsSequence = [
        item(PlanePositionSequence=[item(ImagePositionPatient=list(one.ImagePositionPatient))]) for one in slices
    ]
    dataset.PixelData = masks.astype(np.uint8).tobytes()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def circles(slices, centre, pixel_mm=0.7):
    """Return a structure set with the sphere's circle on each slice that cuts it."""
    found = []
    for z, dataset in enumerate(slices):
        height = z * 2.0 - centre[2]
        if abs(height) >= RADIUS_MM - pixel_mm:
            continue
        radius, angle = np.sqrt(RADIUS_MM**2 - height**2), np.linspace(0, 2 * np.pi, 200, endpoint=False)
        points = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.full(200, z * 2.0)], axis=1)
        data = [round(float(v), 4) for v in points.ravel()]
        found.append(item(ContourGeometricType="CLOSED_PLANAR", NumberOfContourPoints=200, ContourData=data))
        assert dataset.Modality == "CT"
    result = item(Modality="RTSTRUCT", SOPInstanceUID=uid("rt"), SOPClassUID="1.2.840.10008.5.1.4.1.1.481.3")
    result.StructureSetROISequence = [item(ROINumber=1, ROIName="sphere")]
    result.ROIContourSequence = [item(ReferencedROINumber=1, ContourSequence=found)]
    result.file_meta = FileMetaDataset()
    result.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    result.file_meta.MediaStorageSOPClassUID = result.SOPClassUID
    result.file_meta.MediaStorageSOPInstanceUID = result.SOPInstanceUID
    return result


def sphere(grid, centre):
    index = np.indices(grid.shape).reshape(3, -1)
    places = (np.asarray(grid.affine) @ np.vstack([index, np.ones(index.shape[1])]))[:3]
    inside = np.linalg.norm(places - (centre * [-1, -1, 1])[:, None], axis=0) <= RADIUS_MM
    return inside.reshape(grid.shape)


@pytest.mark.parametrize("lost", [(), (15, 22)])
@pytest.mark.parametrize("kind", ["SEG", "RTSTRUCT"])
def test_a_sphere_drawn_on_tilted_slices_is_a_sphere(tmp_path, kind, lost):
    slices, centre = phantom_series(18.5, radius_mm=RADIUS_MM)
    kept = [one for number, one in enumerate(slices) if number not in lost]
    folder = save(tmp_path / "s", kept)
    pixels = np.stack([np.frombuffer(one.PixelData, np.int16).reshape(128, 128) for one in kept])
    label = segmentation(kept, pixels > 500) if kind == "SEG" else circles(slices, centre)
    save(tmp_path / "label", [label], ["label.dcm"])
    series = ordered(folder, resample=True)
    found = read_structure(tmp_path / "label" / "label.dcm#1", series.grid, series) > 0
    truth = sphere(series.grid, centre)
    assert 2 * (truth & found).sum() / (truth.sum() + found.sum()) >= 0.98
    volume_error = found.sum() * np.prod(series.grid.spacing_mm) / (4 / 3 * np.pi * RADIUS_MM**3) - 1
    assert abs(volume_error) <= 0.005


def test_a_label_drawn_on_the_mended_grid_stays_where_it_is(tmp_path):
    slices = tilted()
    series = ordered(save(tmp_path / "s", slices), resample=True)
    volume = read_image(tmp_path / "s", ReadOptions(resample=True))
    drawn = np.random.default_rng(0).random(volume.grid.shape) > 0.5
    step = np.asarray(volume.grid.affine, float)[:3] @ [[1, 0], [0, 0], [0, 0], [0, 1]]  # slice axis, origin; RAS
    step = step * [[-1], [-1], [1]]
    for z, one in enumerate(slices):
        one.ImagePositionPatient = (step[:, 1] + z * step[:, 0]).tolist()
    save(tmp_path / "label", [segmentation(slices, drawn)], ["label.dcm"])
    reference = tmp_path / "label" / "label.dcm#1"
    np.testing.assert_array_equal(read_structure(reference, series.grid, series), drawn)


def test_a_label_of_other_slices_is_refused(tmp_path):
    series = ordered(save(tmp_path / "s", tilted()), resample=True)
    other = tilted()
    for one in other:
        one.ImagePositionPatient[2] = float(one.ImagePositionPatient[2]) + 3
    save(tmp_path / "label", [segmentation(other, np.ones((8, 6, 7)))], ["label.dcm"])
    with pytest.raises(AutosegError, match="its frames do not lie on the voxels of the image"):
        read_structure(tmp_path / "label" / "label.dcm#1", series.grid, series)
