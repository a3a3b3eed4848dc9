"""Faulty series: each gets its verdict by name, and what can be mended is mended into the right place."""

import warnings

import numpy as np
import pytest
from pydicom.uid import generate_uid

from autoseg.core.errors import AutosegError
from autoseg.imaging.geometry import corner_displacement_voxels
from autoseg.imaging.read import read_header, read_image
from autoseg.imaging.reading import ReadOptions
from tests.imaging.test_dicom import refused, save, series, slice_dataset

RESAMPLE = ReadOptions(resample=True)


def without(index):
    datasets = series()
    del datasets[index]
    return datasets


def moved(index, by_mm):
    datasets = series()
    datasets[index].ImagePositionPatient[2] = float(datasets[index].ImagePositionPatient[2]) + by_mm
    return datasets


def tilted(degrees=15.0):
    datasets = series()
    for index, dataset in enumerate(datasets):
        dataset.ImagePositionPatient[1] = 20 + index * 6.5 * np.tan(np.radians(degrees))
    return datasets


def doubled():
    other = slice_dataset(3)
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    other.PixelData = bytes(84)
    return [*series(), other]


def mixed():
    localizer = slice_dataset(20)
    localizer.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    return [*series(), localizer]


def placeless():
    datasets = series()
    for dataset in datasets:
        del dataset.ImagePositionPatient
    return datasets


@pytest.mark.parametrize(("make", "verdict"), [
    (lambda: without(3), "missing slices: "),
    (lambda: moved(5, 1.5), "variable spacing: "),
    (tilted, "gantry tilt: "),
    (doubled, "duplicate position: "),
    (mixed, "mixed series: "),
    (placeless, "no geometry: "),
])  # fmt: skip
def test_every_fault_has_a_verdict_by_name(tmp_path, make, verdict):
    refused(save(tmp_path / "s", make()), verdict)


@pytest.mark.parametrize("make", [doubled, mixed, placeless])
def test_what_cannot_be_mended_is_refused_all_the_same(tmp_path, make):
    folder = save(tmp_path / "s", make())
    for read in (read_image, read_header):
        with pytest.raises(AutosegError, match=r"duplicate position|mixed series|no geometry") as caught:
            read(folder, RESAMPLE)
        assert "--allow-resample" not in str(caught.value)


def test_a_truncated_file_is_no_missing_slice(tmp_path):
    folder = save(tmp_path / "s", series())
    victim = folder / "IM004"
    victim.write_bytes(victim.read_bytes()[:-40])
    for options in (ReadOptions(), RESAMPLE):
        with pytest.raises(AutosegError, match="IM004: truncated file: "):
            read_image(folder, options)


def test_more_than_two_slices_lost_at_one_place_are_not_invented(tmp_path):
    folder = save(tmp_path / "s", [d for n, d in enumerate(series()) if n not in (3, 4, 5)])
    with pytest.raises(AutosegError, match="lacks 3 of 8 slices") as caught:
        read_image(folder, RESAMPLE)
    assert "--allow-resample" not in str(caught.value)


def test_a_regular_series_is_read_as_before(tmp_path):
    folder = save(tmp_path / "s", series())
    strict, allowed = read_image(folder), read_image(folder, RESAMPLE)
    np.testing.assert_array_equal(strict.array, allowed.array)
    assert (strict.grid, strict.array.dtype, allowed.notes) == (allowed.grid, allowed.array.dtype, ())


def test_a_missing_slice_is_the_mean_of_its_neighbours(tmp_path):
    whole = read_image(save(tmp_path / "whole", series()))
    folder = save(tmp_path / "gap", without(3))
    mended = read_image(folder, RESAMPLE)
    assert corner_displacement_voxels(whole.grid, mended.grid) < 1e-6
    expected = whole.array.astype(np.float32)
    expected[:, 3] = (expected[:, 2] + expected[:, 4]) / 2
    np.testing.assert_array_equal(mended.array, expected)
    assert mended.notes == ("missing slices: 1 of 8 slices are interpolated between their neighbours",)
    header = read_header(folder, RESAMPLE)
    assert (header.grid, header.dtype) == (mended.grid, "float32")


def test_uneven_slices_are_put_at_even_distances(tmp_path):
    datasets = series(size=(4, 4))
    places_mm = np.array([0, 5, 10, 16, 20, 25, 31, 35.0])
    for dataset, place_mm in zip(datasets, places_mm, strict=True):
        dataset.ImagePositionPatient = [0, 0, float(place_mm)]
        dataset.PixelData = np.full(16, 2 * place_mm, np.int16).tobytes()  # values linear in space stay so
    mended = read_image(save(tmp_path / "s", datasets), RESAMPLE)
    assert mended.grid.spacing_mm[0] == pytest.approx(5.0)
    np.testing.assert_allclose(mended.array[0, :, 1, 1], np.arange(8) * 10.0, atol=1e-4)
    assert mended.notes[0].startswith("variable spacing: slice distances vary from 4 to 6 mm")


# ------------------------------------------------------------------------------------------------- tilt


def phantom_series(tilt_degrees, *, slices=40, size=128, radius_mm=24.0, step_mm=2.0, pixel_mm=0.7):
    """CT slices of a sphere, its edge smoothed over a pixel as a scanner does, with a gantry tilted about x."""
    centre = np.array([0.0, 0.0, (slices - 1) * step_mm / 2])
    drift = np.tan(np.radians(tilt_degrees)) * step_mm
    datasets = []
    for index in range(slices):
        dataset = slice_dataset(index, size=(size, size), slope=1, intercept=-1024)
        corner = -pixel_mm * (size - 1) / 2
        dataset.Modality, dataset.PixelSpacing = "CT", [pixel_mm, pixel_mm]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.ImagePositionPatient = [corner, round(corner + drift * (index - slices / 2), 5), index * step_mm]
        y, x = np.mgrid[:size, :size] * pixel_mm + np.array(dataset.ImagePositionPatient[1::-1], float)[:, None, None]
        distance = np.sqrt((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (index * step_mm - centre[2]) ** 2)
        inside = np.clip((radius_mm - distance) / pixel_mm + 0.5, 0, 1)
        dataset.PixelData = (inside * 1000).astype(np.int16).tobytes()
        datasets.append(dataset)
    return datasets, centre


@pytest.mark.parametrize("degrees", [18.5, -12.0])
def test_a_tilted_sphere_is_a_sphere(tmp_path, degrees):
    radius_mm = 24.0
    datasets, centre = phantom_series(degrees, radius_mm=radius_mm)
    folder = save(tmp_path / "s", datasets)
    refused(folder, rf"gantry tilt: its slices are tilted by {abs(degrees)} degrees")
    mended = read_image(folder, RESAMPLE)
    assert mended.notes[0].startswith(f"gantry tilt of {abs(degrees)} degrees")
    index = np.indices(mended.grid.shape).reshape(3, -1)
    places = (np.asarray(mended.grid.affine) @ np.vstack([index, np.ones(index.shape[1])]))[:3]
    truth_mm = centre * [-1, -1, 1]  # LPS to RAS
    truth = (np.linalg.norm(places - truth_mm[:, None], axis=0) <= radius_mm).reshape(mended.grid.shape)
    found = mended.array[0] > 500 - 1024
    dice = 2 * (truth & found).sum() / (truth.sum() + found.sum())
    voxel_mm3 = np.prod(mended.grid.spacing_mm)
    volume_error = found.sum() * voxel_mm3 / (4 / 3 * np.pi * radius_mm**3) - 1
    assert dice >= 0.98
    assert abs(volume_error) <= 0.005
    matrix = np.asarray(mended.grid.affine)[:3, :3] / mended.grid.spacing_mm
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(3), atol=1e-6)  # upright
    assert mended.array.min() == -1024  # what no slice shows is air


def test_nothing_is_cut_off_and_columns_may_drift_too(tmp_path):
    datasets = series(slope=1, intercept=0)
    for index, dataset in enumerate(datasets):
        dataset.ImageOrientationPatient, dataset.PixelSpacing = [1, 0, 0, 0, 1, 0], [0.8, 0.7]
        dataset.ImagePositionPatient = [-2 * index * 0.7, 3 * index * 0.8, index * 6.5]
    mended = read_image(save(tmp_path / "s", datasets), RESAMPLE)
    assert mended.grid.shape == (8, 6 + 3 * 7, 7 + 2 * 7)
    for index in range(8):  # whole pixels: nothing is interpolated
        stored = (np.arange(42) + 100 * index - 50).reshape(6, 7)
        rows, columns = 3 * index, 2 * (7 - index)
        np.testing.assert_allclose(mended.array[0, index, rows : rows + 6, columns : columns + 7], stored, atol=1e-3)
    origin_lps = np.asarray(mended.grid.affine)[:3, 3] * [-1, -1, 1]
    np.testing.assert_allclose(origin_lps, [-2 * 7 * 0.7, 0, 0], atol=1e-6)


# ---------------------------------------------------------------------------------------------- palettes


def palette_dataset(red, green, blue):
    dataset = slice_dataset(0, size=(2, 2))
    dataset.PhotometricInterpretation, dataset.PixelRepresentation = "PALETTE COLOR", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, table in (("Red", red), ("Green", green), ("Blue", blue)):
            setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [4, 0, 16])
            setattr(dataset, f"{name}PaletteColorLookupTableData", np.array(table, np.uint16).tobytes())
    dataset.PixelData = bytes([0, 1, 2, 3])
    return dataset


def test_palette_colour_is_what_one_sees(tmp_path):
    tables = [0, 256, 512, 65535], [1, 2, 3, 4], [9, 8, 7, 6]
    folder = save(tmp_path / "us", [palette_dataset(*tables)])
    volume, header = read_image(folder), read_header(folder)
    np.testing.assert_array_equal(volume.array.reshape(3, 4), np.array(tables))
    assert (header.channels, header.dtype, volume.array.dtype) == (3, "uint16", np.uint16)


def test_a_gray_palette_gives_one_channel(tmp_path):
    table = [65535, 400, 300, 0]
    folder = save(tmp_path / "us", [palette_dataset(table, table, table)])
    volume = read_image(folder)
    np.testing.assert_array_equal(volume.array.ravel(), table)
    assert read_header(folder).channels == len(volume.array) == 1
