"""What a user sees when a NIfTI file is read or written: the right voxels, or one line that says what is wrong."""

import gzip
import time
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from autoseg.core.errors import AutosegError, ResourceError
from autoseg.imaging.geometry import xyz_affine
from autoseg.imaging.nifti import read_raw_header
from autoseg.imaging.read import read_header, read_image, read_label
from autoseg.imaging.volume import Grid, Volume
from autoseg.imaging.write import label_ending, write_image, write_label

AFFINE = np.array([[-0.7, 0.1, 0.0, 30.0], [0.1, 0.7, 0.2, -20.0], [0.0, -0.1, 3.0, 5.5], [0, 0, 0, 1]])


def save(path, array_xyz, affine=AFFINE, **fields):
    """Save an (x, y, z, ...) array the way other tools do, then set header fields in place."""
    image = nib.Nifti1Image(array_xyz, affine)
    nib.save(image, path)
    if fields:
        data = bytearray(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
        header = nib.Nifti1Header(bytes(data[:348]), check=False)
        for name, value in fields.items():
            header[name] = value
        data[:348] = header.binaryblock
        path.write_bytes(gzip.compress(bytes(data)) if path.suffix == ".gz" else bytes(data))
    return path


def ramp(shape, dtype=np.int16):
    return (np.arange(np.prod(shape)).reshape(shape) * 37 % 251).astype(dtype)


@pytest.fixture
def volume_file(tmp_path):
    return save(tmp_path / "case.nii.gz", ramp((7, 6, 5)))


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "<i4", ">i2", "uint16", "float32", ">f4", "float64"])
def test_voxels_and_geometry_are_those_of_the_file(tmp_path, ending, dtype):
    array = ramp((7, 6, 5), dtype)
    path = tmp_path / f"case{ending}"
    order = ">" if dtype.startswith(">") else "<"
    image = nib.Nifti1Image(array, AFFINE, header=nib.Nifti1Header(endianness=order))
    image.set_data_dtype(np.dtype(dtype))
    nib.save(image, path)
    volume = read_image(path)
    assert volume.array.shape == (1, 5, 6, 7)
    np.testing.assert_array_equal(volume.array[0], array.T)
    assert volume.array.dtype == (np.float32 if "f" in dtype else np.dtype(dtype).newbyteorder("="))
    np.testing.assert_allclose(xyz_affine(volume.grid), AFFINE, atol=1e-6)
    header = read_header(path)
    assert (header.grid, header.channels, header.dtype) == (volume.grid, 1, volume.array.dtype.name)


def test_nifti2_is_read(tmp_path):
    array = ramp((4, 3, 2))
    nib.save(nib.Nifti2Image(array, AFFINE), tmp_path / "two.nii")
    np.testing.assert_array_equal(read_image(tmp_path / "two.nii").array[0], array.T)


def test_fourth_axis_is_the_channel(tmp_path):
    array = ramp((7, 6, 5, 3))
    path = save(tmp_path / "multi.nii.gz", array)
    assert read_header(path).channels == 3
    np.testing.assert_array_equal(read_image(path).array, array.T)


def test_vector_image_of_itk_has_its_components_as_channels(tmp_path):
    array = ramp((5, 6, 7, 3), np.float32)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array, isVector=True), tmp_path / "vector.nii.gz")
    np.testing.assert_array_equal(read_image(tmp_path / "vector.nii.gz").array, np.moveaxis(array, -1, 0))


def test_rgb_voxels_are_three_channels(tmp_path):
    array = ramp((5, 6, 7, 3), np.uint8)
    rgb = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(array.view(rgb)[..., 0], AFFINE), tmp_path / "rgb.nii.gz")
    np.testing.assert_array_equal(read_image(tmp_path / "rgb.nii.gz").array, array.T)
    assert read_header(tmp_path / "rgb.nii.gz").channels == 3


@pytest.mark.parametrize("shape", [(8, 6), (8, 6, 1)])
def test_one_slice_is_two_dimensional(tmp_path, shape):
    array = ramp(shape)
    volume = read_image(save(tmp_path / "flat.nii.gz", array, np.diag([0.5, 0.25, 4.0, 1.0])))
    assert (volume.grid.dimensions, volume.grid.shape) == (2, (1, 6, 8))
    assert volume.grid.spacing_mm == (1.0 if len(shape) == 2 else 4.0, 0.25, 0.5)
    np.testing.assert_array_equal(volume.array[0, 0], array.reshape(8, 6).T)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32])
def test_scaling_of_the_header_is_applied(tmp_path, dtype):
    array = ramp((7, 6, 5), dtype)
    path = save(tmp_path / "scaled.nii.gz", array, scl_slope=2.5, scl_inter=-1024)
    volume = read_image(path)
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array[0], array.T.astype(np.float64) * 2.5 - 1024)
    assert read_header(path).dtype == "float32"


@pytest.mark.parametrize("slope", [0.0, 1.0, float("nan")])
def test_a_slope_that_means_nothing_keeps_integers(tmp_path, slope):
    volume = read_image(save(tmp_path / "plain.nii.gz", ramp((4, 4, 4)), scl_slope=slope, scl_inter=0))
    assert volume.array.dtype == np.int16


def test_units_of_the_header_become_millimetres(tmp_path):
    affine = np.diag([4.0, 4.0, 50.0, 1.0])
    volume = read_image(save(tmp_path / "microscope.nii.gz", ramp((4, 4, 4)), affine, xyzt_units=3))
    assert volume.grid.spacing_mm == pytest.approx((0.05, 0.004, 0.004))


# ------------------------------------------------------------------------------------------- damaged files


def test_truncated_gzip_is_refused_at_every_cut(tmp_path, volume_file):
    data = volume_file.read_bytes()
    for cut in np.linspace(0, len(data) - 1, 40).astype(int):
        path = tmp_path / "cut.nii.gz"
        path.write_bytes(data[:cut])
        with pytest.raises(AutosegError, match=r"cut\.nii\.gz"):
            read_image(path)


def test_flipped_bytes_behind_the_header_are_refused(tmp_path):
    array = np.random.default_rng(0).integers(0, 1000, (20, 20, 20)).astype(np.int16)
    data = save(tmp_path / "good.nii.gz", array).read_bytes()
    path = tmp_path / "flipped.nii.gz"
    for place in np.linspace(400, len(data) - 1, 100).astype(int):
        damaged = bytearray(data)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(AutosegError, match=r"flipped\.nii\.gz"):
            read_image(path)


@pytest.mark.parametrize("cut", [1, 40, 347, 351, 352, 500, 700])
def test_truncated_plain_file_is_refused(tmp_path, cut):
    data = save(tmp_path / "good.nii", ramp((7, 6, 5))).read_bytes()
    path = tmp_path / "cut.nii"
    path.write_bytes(data[:cut])
    for read in (read_image, read_header):
        with pytest.raises(AutosegError, match=r"truncated|not a NIfTI"):
            read(path)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_bytes_behind_the_voxels_are_refused(tmp_path, ending):
    data = save(tmp_path / "good.nii", ramp((7, 6, 5))).read_bytes() + b"x"
    path = tmp_path / f"long{ending}"
    path.write_bytes(gzip.compress(data) if ending == ".nii.gz" else data)
    with pytest.raises(AutosegError, match=r"too long|more than"):
        read_image(path)


def test_gzip_in_several_members_with_padding_is_read(tmp_path):
    array = ramp((7, 6, 5))
    data = save(tmp_path / "good.nii", array).read_bytes()
    path = tmp_path / "members.nii.gz"
    path.write_bytes(gzip.compress(data[:360]) + gzip.compress(data[360:]) + bytes(70000))
    np.testing.assert_array_equal(read_image(path).array[0], array.T)


def test_rubbish_behind_the_compressed_data_is_refused(tmp_path, volume_file):
    path = tmp_path / "rubbish.nii.gz"
    for rubbish in (b"\x1f", b"\x1f\x8b", b"rubbish", bytes(10) + b"x"):
        path.write_bytes(volume_file.read_bytes() + rubbish)
        with pytest.raises(AutosegError, match=r"damaged|too early"):
            read_image(path)


@pytest.mark.parametrize("name", ["page.nii", "page.nii.gz"])
@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html><html>" + b"404" * 200 + b"</html>", b"\x1f\x8b", b"PK\3\4"])
def test_a_file_that_is_no_nifti_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    for read in (read_image, read_header):
        with pytest.raises(AutosegError, match=name):
            read(tmp_path / name)


@pytest.mark.parametrize("fields", [
    {"dim": [3, 32000, 32000, 32000, 1, 1, 1, 1]},
    {"dim": [7, 30000, 30000, 30000, 30000, 1, 1, 1]},
    {"dim": [3, 7, 6, 6, 1, 1, 1, 1]},
    {"dim": [3, 7, 6, 4, 1, 1, 1, 1]},
    {"dim": [3, 7, 0, 5, 1, 1, 1, 1]},
    {"dim": [3, 7, -6, 5, 1, 1, 1, 1]},
    {"dim": [8, 7, 6, 5, 1, 1, 1, 1]},
    {"dim": [1, 210, 1, 1, 1, 1, 1, 1]},
    {"dim": [5, 7, 3, 1, 5, 2, 1, 1]},
    {"vox_offset": 1e15},
    {"vox_offset": 100},
    {"vox_offset": float("nan")},
    {"vox_offset": -5},
    {"datatype": 31000},
    {"datatype": 1},
    {"datatype": 32},
    {"magic": b"ni1"},
    {"magic": b"xyz"},
    {"scl_slope": 2.0, "scl_inter": float("nan")},
    {"sform_code": 0, "qform_code": 0, "pixdim": [1, 0, 1, 1, 1, 1, 1, 1]},
    {"sform_code": 0, "qform_code": 0, "pixdim": [1, float("nan"), 1, 1, 1, 1, 1, 1]},
    {"sform_code": 0, "qform_code": 1, "quatern_b": 7.0},
    {"srow_x": [0, 0, 0, 0], "srow_y": [0, 0, 0, 0], "srow_z": [0, 0, 0, 0]},
    {"srow_x": [1, 0, 0, 0], "srow_y": [1, 0, 0, 0]},
    {"srow_x": [1e9, 0, 0, 0]},
])  # fmt: skip
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_impossible_header_is_refused_at_once(tmp_path, fields, ending):
    path = save(tmp_path / f"odd{ending}", ramp((7, 6, 5)), **fields)
    start = time.perf_counter()
    with pytest.raises(AutosegError, match="odd"):
        read_image(path)
    assert time.perf_counter() - start < 1


def test_compressed_bomb_stops_at_the_promised_size(tmp_path):
    data = save(tmp_path / "good.nii", ramp((7, 6, 5))).read_bytes()
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress(data + bytes(300_000_000), 1))
    start = time.perf_counter()
    with pytest.raises(AutosegError, match="more than the"):
        read_image(path)
    assert time.perf_counter() - start < 1


def test_image_larger_than_the_memory_is_a_matter_of_resources(tmp_path):
    path = save(tmp_path / "huge.nii", ramp((7, 6, 5)), dim=[3, 20000, 20000, 20000, 1, 1, 1, 1])
    with path.open("r+b") as handle:
        handle.truncate(352 + 20000**3 * 2)  # sparse: takes no disk
    with pytest.raises(ResourceError, match="GB"):
        read_image(path)
    assert read_header(path).grid.shape == (20000, 20000, 20000)


def test_header_reading_does_not_decompress_the_file(tmp_path):
    path = save(tmp_path / "case.nii.gz", np.random.default_rng(0).integers(0, 9999, (90, 90, 90)).astype(np.int16))
    path.write_bytes(path.read_bytes()[:-1000])
    assert read_header(path).grid.shape == (90, 90, 90)
    with pytest.raises(AutosegError, match="too early"):
        read_image(path)


# ------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_not_finite_are_counted_and_placed(tmp_path, value):
    array = np.ones((7, 6, 5), dtype=np.float32)
    array[3, 2, 1] = array[6, 5, 4] = value
    with pytest.raises(AutosegError, match=r"2 of 210 voxels .* the first at \(z, y, x\) = \(1, 2, 3\)"):
        read_image(save(tmp_path / "nan.nii.gz", array))


def test_values_beyond_single_precision_count_as_infinite(tmp_path):
    array = np.ones((4, 4, 4, 2))
    array[0, 0, 1, 1] = 1e300
    with pytest.raises(AutosegError, match=r"1 of 128 .* \(1, 0, 0\) of channel 1"):
        read_image(save(tmp_path / "big.nii.gz", array))


def test_large_finite_values_are_read(tmp_path):
    array = np.full((4, 4, 4), 3e38, dtype=np.float32)
    np.testing.assert_array_equal(read_image(save(tmp_path / "large.nii.gz", array)).array[0], array)


def test_label_stored_as_float_is_read_as_integers(tmp_path):
    array = (ramp((7, 6, 5)) % 3).astype(np.float32)
    label = read_label(save(tmp_path / "label.nii.gz", array + np.float32(1e-5)))
    assert label.array.dtype.kind == "i"
    np.testing.assert_array_equal(label.array[0], array.T)


def test_label_that_is_not_whole_names_its_values(tmp_path):
    array = np.zeros((7, 6, 5), dtype=np.float32)
    array[:2, 0, 0] = [0.5, 1.25]
    with pytest.raises(AutosegError, match=r"found 0.5, 1.25 in 2 voxels"):
        read_label(save(tmp_path / "label.nii.gz", array))


def test_label_beyond_32_bits_is_refused(tmp_path):
    with pytest.raises(AutosegError, match="a label value is 1e"):
        read_label(save(tmp_path / "label.nii.gz", np.full((4, 4, 4), 1e12, dtype=np.float32)))


def test_label_with_several_channels_is_refused_unless_they_agree(tmp_path):
    gray = np.repeat(ramp((4, 3, 2))[..., None], 3, axis=-1)
    assert read_label(save(tmp_path / "gray.nii.gz", gray)).array.shape == (1, 2, 3, 4)
    with pytest.raises(AutosegError, match="one channel, this has 3"):
        read_label(save(tmp_path / "rgb.nii.gz", ramp((4, 3, 2, 3))))


def test_missing_file_and_unknown_format_are_named(tmp_path):
    with pytest.raises(AutosegError, match="does not exist"):
        read_image(tmp_path / "none.nii.gz")
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(AutosegError, match="not an image format"):
        read_image(tmp_path / "notes.txt")


# ------------------------------------------------------------------------------------------------ writing


GEOMETRY = [
    *("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z", "pixdim", "xyzt_units", "sizeof_hdr"),
]


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize(("kind", "order"), [(nib.Nifti1Header, "<"), (nib.Nifti1Header, ">"), (nib.Nifti2Header, "<")])
def test_label_keeps_the_geometry_fields_of_its_image_bit_for_bit(tmp_path, ending, kind, order):
    header = kind(endianness=order)
    image = (nib.Nifti1Image if kind is nib.Nifti1Header else nib.Nifti2Image)(ramp((7, 6, 5, 2)), None, header=header)
    image.header.set_sform(AFFINE, 2)
    image.header.set_qform(AFFINE @ np.diag([1, 1, 1.1, 1]), 1)  # disagrees on purpose
    image.header["pixdim"][4] = 2.2
    image.header.set_xyzt_units("mm", "sec")
    path, out = tmp_path / f"image{ending}", tmp_path / f"label{ending}"
    nib.save(image, path)
    label = (ramp((5, 6, 7)) % 4).astype(np.uint8)
    write_label(out, label, path)
    before, after = read_raw_header(path), read_raw_header(out)
    for field in GEOMETRY:
        assert before[field].tobytes() == after[field].tobytes(), field
    assert after.get_data_shape() == (7, 6, 5)
    assert bytes(after["descrip"].item()) == b"autoseg: research use, not a diagnosis"
    read = read_label(out)
    np.testing.assert_array_equal(read.array[0], label)
    assert (read.array.dtype, read.grid) == (np.uint8, read_header(path).grid)
    np.testing.assert_array_equal(np.asanyarray(nib.load(out).dataobj), label.T)
    if kind is nib.Nifti1Header:
        np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(out)), label)


def test_label_of_a_scaled_image_is_not_scaled(tmp_path):
    path = save(tmp_path / "ct.nii.gz", ramp((7, 6, 5)), scl_slope=2.0, scl_inter=-1024)
    label = (ramp((5, 6, 7)) % 300).astype(np.uint16)
    write_label(tmp_path / "label.nii.gz", label, path)
    np.testing.assert_array_equal(read_label(tmp_path / "label.nii.gz").array[0], label)


def test_label_of_a_two_dimensional_image_is_two_dimensional(tmp_path):
    path = save(tmp_path / "flat.nii.gz", ramp((8, 6)))
    write_label(tmp_path / "label.nii.gz", np.ones((1, 6, 8), dtype=np.uint8), path)
    assert nib.load(tmp_path / "label.nii.gz").shape == (8, 6)


def test_equal_labels_are_equal_files(tmp_path, volume_file):
    label = np.ones((5, 6, 7), dtype=np.uint8)
    write_label(tmp_path / "a.nii.gz", label, volume_file)
    write_label(tmp_path / "b.nii.gz", label, volume_file)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nii.gz", "b.nii.gz", "case.nii.gz"]


def test_label_on_another_grid_is_our_own_mistake(tmp_path, volume_file, as_in_production):
    with pytest.raises(ValueError, match="label map is"):
        write_label(tmp_path / "out.nii.gz", np.zeros((5, 6, 8), dtype=np.uint8), volume_file)
    with pytest.raises(ValueError, match="label map is"):
        write_label(tmp_path / "out.nii.gz", np.zeros((5, 6, 7), dtype=np.int64), volume_file)


@pytest.mark.parametrize("shape", [(1, 5, 6, 7), (3, 5, 6, 7), (1, 1, 6, 7), (2, 1, 6, 7)])
def test_image_written_is_the_image_read(tmp_path, shape):
    affine = tuple(tuple(row) for row in AFFINE[:, [2, 1, 0, 3]].astype(np.float32).astype(float).tolist())
    grid = Grid(shape=shape[1:], affine=affine, dimensions=3 if shape[1] > 1 else 2)
    volume = Volume(array=ramp(shape, np.float32), grid=grid)
    write_image(tmp_path / "image.nii.gz", volume)
    back = read_image(tmp_path / "image.nii.gz")
    np.testing.assert_array_equal(back.array, volume.array)
    assert back.grid.dimensions == grid.dimensions
    if shape[1] > 1:
        assert back.grid == grid
    with pytest.raises(AutosegError, match="NIfTI"):
        write_image(tmp_path / "image.png", volume)


def test_label_ending_is_that_of_the_image():
    assert label_ending(Path("a/case.nii")) == ".nii"
    assert label_ending(Path("a/case.NII.GZ")) == ".nii.gz"


def test_what_arrives_damaged_never_gets_its_name(tmp_path, volume_file, monkeypatch):
    """A writer whose bytes arrive changed, as on a full or failing disk."""
    real = Path.open

    def failing(self, mode="r", *args, **kwargs):
        handle = real(self, mode, *args, **kwargs)
        if mode == "wb":
            handle.truncate = lambda *_: None
            handle.write(b"\0")
        return handle

    monkeypatch.setattr(Path, "open", failing)
    with pytest.raises(ResourceError, match="could not be written"):
        write_label(tmp_path / "out.nii.gz", np.ones((5, 6, 7), dtype=np.uint8), volume_file)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["case.nii.gz"]


def test_random_damage_never_passes_in_silence(tmp_path):
    """Two hundred random bytes of a compressed file changed one at a time: an error, or the very same image."""
    array = np.random.default_rng(1).integers(0, 1000, (12, 12, 12)).astype(np.int16)
    good = save(tmp_path / "good.nii.gz", array)
    data, expected = good.read_bytes(), read_image(good)
    random = np.random.default_rng(2)
    path = tmp_path / "mutant.nii.gz"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for place in random.integers(0, len(data), 200):
            mutant = bytearray(data)
            mutant[place] ^= int(random.integers(1, 256))
            path.write_bytes(mutant)
            try:
                volume = read_image(path)
            except AutosegError:
                continue
            assert place < 10  # the gzip header: file name flag, time stamp, operating system
            np.testing.assert_array_equal(volume.array, expected.array)
