"""A DICOM series: the right volume in the right place, or one line that names the fault. Nothing in between."""

import shutil
import subprocess
import sys

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, generate_uid

from autoseg.core.errors import AutosegError
from autoseg.imaging.dicom_scan import series_folders
from autoseg.imaging.geometry import check_same_grid, corner_displacement_voxels, xyz_affine
from autoseg.imaging.read import read_header, read_image, read_label
from autoseg.imaging.write import label_ending, write_label

ORIENTATION = (0.9998477, 0.0174524, 0.0, -0.0174524, 0.9998477, 0.0)  # one degree about z
NORMAL = (0.0, 0.0, 1.0)
SERIES = generate_uid(entropy_srcs=["series"])


def slice_dataset(index, *, size=(6, 7), step=6.5, slope=None, intercept=None):
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    instance = generate_uid(entropy_srcs=[str(index)])
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = instance
    dataset.SeriesInstanceUID = SERIES
    dataset.Modality, dataset.SeriesDescription, dataset.InstanceNumber = "MR", "T1 post", index + 1
    dataset.Rows, dataset.Columns = size
    dataset.PixelSpacing = [0.8, 0.7]
    dataset.SliceThickness = "5"  # not the distance of the slices
    dataset.SpacingBetweenSlices = "1"
    dataset.ImageOrientationPatient = list(ORIENTATION)
    dataset.ImagePositionPatient = [-50.0, 20.0, round(-30.0 + index * step, 6)]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    if intercept is not None:
        dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
    dataset.PixelData = (np.arange(size[0] * size[1], dtype=np.int16) + 100 * index - 50).tobytes()
    return dataset


def series(count=8, **options):
    return [slice_dataset(index, **options) for index in range(count)]


def save(folder, datasets, names=None):
    folder.mkdir(parents=True, exist_ok=True)
    for number, dataset in enumerate(datasets):
        # Names run against the order of the slices, as they may.
        name = names[number] if names else f"IM{len(datasets) - number:03d}"
        dataset.save_as(folder / name, enforce_file_format=True)
    return folder


def refused(folder, match):
    for read in (read_image, read_header):
        with pytest.raises(AutosegError, match=match) as caught:
            read(folder)
        assert "\n" not in str(caught.value)


def test_series_is_a_volume_in_its_place(tmp_path):
    folder = save(tmp_path / "T1", series())
    volume = read_image(folder)
    np.testing.assert_array_equal(volume.array[0, 3].ravel(), np.arange(42) + 250)
    assert (volume.array.dtype, volume.grid.shape, volume.grid.dimensions) == (np.int16, (8, 6, 7), 3)
    assert volume.grid.spacing_mm == pytest.approx((6.5, 0.8, 0.7), abs=1e-6)
    np.testing.assert_allclose(xyz_affine(volume.grid)[:3, 3], (50, -20, -30))
    header = read_header(folder)
    assert (header.grid, header.channels, header.dtype) == (volume.grid, 1, "int16")


def test_place_and_values_are_those_of_simpleitk(tmp_path):
    folder = save(tmp_path / "CT", series(slope=2.0, intercept=-1024))
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    SimpleITK.WriteImage(image, tmp_path / "ct.nii.gz")
    volume, nifti = read_image(folder), read_image(tmp_path / "ct.nii.gz")
    np.testing.assert_array_equal(volume.array, nifti.array)
    assert corner_displacement_voxels(volume.grid, nifti.grid) < 1e-4


def test_each_slice_keeps_its_own_slope(tmp_path):
    datasets = series()
    for index, dataset in enumerate(datasets):
        dataset.RescaleSlope, dataset.RescaleIntercept = 0.5 + index, index - 3
    volume = read_image(save(tmp_path / "PET", datasets))
    assert volume.array.dtype == np.float32
    for index in range(8):
        stored = np.arange(42) + 100 * index - 50
        np.testing.assert_array_equal(volume.array[0, index].ravel(), stored * (0.5 + index) + index - 3)


def test_series_in_a_folder_below_with_other_files_around(tmp_path):
    folder = save(tmp_path / "study" / "a" / "series", series())
    (tmp_path / "study" / "README.txt").write_text("not an image")
    (tmp_path / "study" / "DICOMDIR").write_bytes(b"index")
    structure = slice_dataset(99)
    structure.Modality, structure.SeriesInstanceUID = "RTSTRUCT", generate_uid()
    save(tmp_path / "study" / "b", [structure])
    assert read_image(tmp_path / "study").grid == read_image(folder).grid
    assert series_folders(tmp_path) == (folder,)  # contours are labels, not a series of images


def test_one_file_is_a_flat_image(tmp_path):
    folder = save(tmp_path / "x", series(1), ["x.dcm"])
    volume = read_image(folder / "x.dcm")
    assert (volume.grid.dimensions, volume.grid.shape) == (2, (1, 6, 7))
    assert volume.grid == read_image(folder).grid
    assert volume.grid.spacing_mm == pytest.approx((1, 0.8, 0.7))


def test_radiograph_without_position_is_read_and_shown_as_seen(tmp_path):
    dataset = slice_dataset(0)
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(dataset, name)
    dataset.Modality, dataset.PhotometricInterpretation = "DX", "MONOCHROME1"
    dataset.ImagerPixelSpacing, dataset.PixelRepresentation, dataset.BitsStored = [0.2, 0.1], 0, 12
    dataset.PixelData = np.arange(42, dtype=np.uint16).tobytes()
    volume = read_image(save(tmp_path / "chest", [dataset]))
    np.testing.assert_array_equal(volume.array.ravel(), 4095 - np.arange(42))
    assert volume.grid.spacing_mm == pytest.approx((1, 0.2, 0.1))


def test_monochrome1_of_ct_is_not_inverted(tmp_path):
    datasets = series(slope=1, intercept=-1000)
    for dataset in datasets:
        dataset.PhotometricInterpretation, dataset.Modality = "MONOCHROME1", "CT"
    assert read_image(save(tmp_path / "ct", datasets)).array.min() == -1050


def test_colour_image(tmp_path):
    dataset = slice_dataset(0)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    pixels = np.arange(126, dtype=np.uint8).reshape(6, 7, 3)
    dataset.PixelData = pixels.tobytes()
    folder = save(tmp_path / "us", [dataset])
    np.testing.assert_array_equal(read_image(folder).array[:, 0], np.moveaxis(pixels, -1, 0))
    assert (read_header(folder).channels, read_header(folder).dtype) == (3, "uint8")


@pytest.mark.parametrize("compressor", ["RLE", "JPEG", "JPEG2000"])
def test_compressed_slices(tmp_path, compressor):
    datasets = series(3)
    folder = save(tmp_path / "packed", datasets)
    expected = read_image(folder).array
    for path in sorted(folder.iterdir()):
        if compressor == "RLE":
            dataset = pydicom.dcmread(path)
            dataset.compress(RLELossless)
            dataset.save_as(path)
        else:
            writer = SimpleITK.ImageFileWriter()
            writer.KeepOriginalImageUIDOn()
            reader = SimpleITK.ImageFileReader()
            reader.SetFileName(str(path))
            reader.LoadPrivateTagsOn()
            image = reader.Execute()
            writer.SetCompressor(compressor)
            writer.UseCompressionOn()
            packed = path.with_suffix(".dcm")
            writer.SetFileName(str(packed))
            writer.Execute(image)
            original, dataset = pydicom.dcmread(path), pydicom.dcmread(packed)
            for name in ("SeriesInstanceUID", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
                setattr(dataset, name, getattr(original, name))
            dataset.save_as(packed)
            path.unlink()
    assert pydicom.dcmread(next(folder.iterdir())).file_meta.TransferSyntaxUID.is_compressed
    np.testing.assert_array_equal(read_image(folder).array, expected)
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(AutosegError, match="packed"):
        read_image(folder)


# ------------------------------------------------------------------------------------------ enhanced images


def enhanced(count=4):
    dataset = slice_dataset(0)
    places = [list(slice_dataset(index).ImagePositionPatient) for index in range(count)]
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(dataset, name)
    orientation, measures, values, shared = Dataset(), Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient, measures.PixelSpacing = list(ORIENTATION), [0.8, 0.7]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence = [shared], []
    for index in reversed(range(count)):  # frames run against the normal
        frame, position, values = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = places[index]
        values.RescaleSlope, values.RescaleIntercept = index + 1, -7
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = [position], [values]
        dataset.PerFrameFunctionalGroupsSequence.append(frame)
    dataset.NumberOfFrames = count
    dataset.PixelData = b"".join(slice_dataset(index).PixelData for index in reversed(range(count)))
    return dataset


def test_enhanced_multi_frame_is_a_volume(tmp_path):
    volume = read_image(save(tmp_path / "enhanced", [enhanced()]))
    assert volume.grid == read_header(save(tmp_path / "classic", series(4))).grid
    for index in range(4):
        stored = np.arange(42) + 100 * index - 50
        np.testing.assert_array_equal(volume.array[0, index].ravel(), stored * (index + 1) - 7)


def test_film_without_positions_is_refused(tmp_path):
    dataset = enhanced()
    del dataset.PerFrameFunctionalGroupsSequence
    refused(save(tmp_path / "film", [dataset]), "film of 4 frames without positions")
    dataset = enhanced()
    del dataset.PerFrameFunctionalGroupsSequence[0]
    refused(save(tmp_path / "film", [dataset]), "4 frames and positions for 3")


# ----------------------------------------------------------------------------------------------- faulty series


def test_missing_slice_is_named_with_its_neighbours(tmp_path):
    datasets = series()
    del datasets[3]
    folder = save(tmp_path / "gap", datasets, [f"s{d.InstanceNumber}" for d in datasets])
    refused(folder, r"gap: missing slices: lacks 1 of 8 slices, 1 of them between s3 and s5; export .*--allow-resample")


def test_two_slices_at_one_position(tmp_path):
    datasets = series()
    datasets[4].ImagePositionPatient = datasets[3].ImagePositionPatient
    folder = save(tmp_path / "double", [*datasets, slice_dataset(4)], [f"s{n}" for n in range(9)])
    refused(folder, "s3 and s4 lie at the same position|s4 and s3 lie at the same position")


def test_the_same_file_twice_counts_once(tmp_path):
    folder = save(tmp_path / "copy", series())
    shutil.copy(folder / "IM003", folder / "IM003-copy")
    assert read_image(folder).grid.shape == (8, 6, 7)


def test_one_identity_for_all_slices_does_not_matter(tmp_path):
    datasets = series()
    for dataset in datasets:
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    assert read_image(save(tmp_path / "careless", datasets)).grid.shape == (8, 6, 7)


def test_two_volumes_in_one_series(tmp_path):
    first, second = series(), series()
    for dataset in second:
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    for dataset, echo in [*((d, 10) for d in first), *((d, 80) for d in second)]:
        dataset.EchoTime = echo
    folder = save(tmp_path / "echoes", [*first, *second])
    refused(folder, r"2 images at each of 8 positions \(they differ in EchoTime (10|80).* and (10|80)")


def test_uneven_distances(tmp_path):
    datasets = series()
    datasets[5].ImagePositionPatient[2] = float(datasets[5].ImagePositionPatient[2]) + 1.5
    refused(save(tmp_path / "uneven", datasets), "slice distances vary from 5 to 8 mm")


def test_rounded_positions_are_even(tmp_path):
    datasets = series(step=6.5003)
    for dataset in datasets:
        dataset.ImagePositionPatient[2] = round(float(dataset.ImagePositionPatient[2]), 2)
    assert read_image(save(tmp_path / "rounded", datasets)).grid.spacing_mm[0] == pytest.approx(6.5, abs=0.01)


def test_gantry_tilt(tmp_path):
    datasets = series()
    for index, dataset in enumerate(datasets):
        dataset.ImagePositionPatient[1] = 20 + index * 6.5 * np.tan(np.radians(15))
    refused(save(tmp_path / "tilt", datasets), r"tilted by 15\.0 degrees")


def test_localizer_among_the_slices(tmp_path):
    datasets = series()
    localizer = slice_dataset(20)
    localizer.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    folder = save(tmp_path / "mixed", [*datasets, localizer], [*(f"s{n}" for n in range(8)), "scout"])
    refused(folder, "mixes directions: .* for one scout")


@pytest.mark.parametrize(("name", "value", "match"), [
    ("Rows", 4, "mixes sizes"),
    ("PixelSpacing", [0.9, 0.7], "mixes pixel sizes"),
    ("PhotometricInterpretation", "MONOCHROME1", "mixes colour models"),
])  # fmt: skip
def test_one_slice_of_another_kind(tmp_path, name, value, match):
    datasets = series()
    setattr(datasets[2], name, value)
    refused(save(tmp_path / "odd", datasets), match)


def test_several_series_are_listed(tmp_path):
    other = series(3)
    for dataset in other:
        dataset.SeriesInstanceUID, dataset.SeriesDescription = "1.2.3", "FLAIR"
    save(tmp_path / "study" / "a", series())
    save(tmp_path / "study" / "b", other)
    refused(tmp_path / "study", r"holds 2 series: MR with 8 images \(a/IM001\), MR with 3 images \(b/IM001\); put each")


@pytest.mark.parametrize("name", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_series_without_geometry(tmp_path, name):
    datasets = series()
    for dataset in datasets:
        delattr(dataset, name)
    refused(save(tmp_path / "lost", datasets), "says neither where its slices lie")


@pytest.mark.parametrize("spacing", [[0, 0.7], [-1, 1]])
def test_impossible_pixel_size(tmp_path, spacing):
    datasets = series()
    for dataset in datasets:
        dataset.PixelSpacing = spacing
    refused(save(tmp_path / "flat", datasets), "PixelSpacing is")


@pytest.mark.parametrize("orientation", [[1, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0], [2, 0, 0, 0, 1, 0]])
def test_impossible_orientation(tmp_path, orientation):
    datasets = series()
    for dataset in datasets:
        dataset.ImageOrientationPatient = orientation
    refused(save(tmp_path / "bent", datasets), "no pair of perpendicular unit vectors")


def test_truncated_slice_is_refused_at_every_cut(tmp_path):
    folder = save(tmp_path / "cut", series())
    victim = folder / "IM004"
    data = victim.read_bytes()
    for cut in np.linspace(0, len(data) - 1, 40).astype(int):
        victim.write_bytes(data[:cut])
        with pytest.raises(AutosegError, match="IM004"):
            read_image(folder)


def test_a_file_that_is_no_slice_is_named(tmp_path):
    folder = save(tmp_path / "rubbish", series())
    (folder / "IM009").write_bytes(b"<html>404</html>" * 50)
    refused(folder, "IM009: is not a DICOM file; move it out")
    (folder / "IM009").rename(folder / "IM009.dcm")
    refused(folder, "IM009")
    (folder / "IM009.dcm").write_bytes(b"")
    refused(folder, "IM009.dcm: is empty")


def test_impossible_sizes_are_refused_before_memory_is_taken(tmp_path):
    datasets = series()
    for dataset in datasets:
        dataset.Rows = dataset.Columns = 65535
    refused(save(tmp_path / "bomb", datasets), "truncated file")


def test_ct_that_was_never_rescaled(tmp_path):
    datasets = series()
    for dataset in datasets:
        dataset.Modality = "CT"
        dataset.PixelData = np.arange(42, dtype=np.int16).tobytes()
    with pytest.raises(AutosegError, match="without RescaleIntercept"):
        read_image(save(tmp_path / "raw", datasets))


def test_folder_without_images(tmp_path):
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "holds no DICOM image")
    segmentation = slice_dataset(0)
    segmentation.Modality = "SEG"
    refused(save(tmp_path / "seg", [segmentation]), r"holds no DICOM image, only SEG; give the folder")


# ----------------------------------------------------------------------------------------------------- out


def test_label_of_a_series_is_nifti_in_its_place(tmp_path):
    folder = save(tmp_path / "T1", series())
    assert label_ending(folder) == ".nii.gz"
    label = (np.arange(8 * 6 * 7).reshape(8, 6, 7) % 3).astype(np.uint8)
    write_label(tmp_path / "T1.nii.gz", label, folder)
    back = read_label(tmp_path / "T1.nii.gz")
    np.testing.assert_array_equal(back.array[0], label)
    check_same_grid(read_header(folder).grid, back.grid, "label")


def test_help_does_not_wait_for_the_readers():
    heavy = "{'pydicom', 'SimpleITK', 'nibabel', 'PIL', 'tifffile', 'highdicom', 'skimage', 'scipy'}"
    program = f"import sys, autoseg.imaging.read, autoseg.imaging.write; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
