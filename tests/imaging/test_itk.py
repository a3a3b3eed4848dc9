"""NRRD and MetaImage: the voxels and the place in space of SimpleITK, and no damaged file taken for a good one."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from autoseg.core.errors import AutosegError
from autoseg.imaging.geometry import check_same_grid
from autoseg.imaging.read import read_header, read_image, read_label
from autoseg.imaging.volume import Volume
from autoseg.imaging.write import label_ending, write_image, write_label

ENDINGS = (".nrrd", ".nhdr", ".mha", ".mhd")


def ramp(shape, dtype=np.int16):
    return (np.arange(np.prod(shape)).reshape(shape) * 37 % 251).astype(dtype)


def oblique(array, *, vector=False):
    image = SimpleITK.GetImageFromArray(array, isVector=vector)
    angle = 0.3
    image.SetSpacing((0.7, 0.8, 3.5))
    image.SetOrigin((-12.5, 40.0, 7.25))
    turn = [np.cos(angle), -np.sin(angle), 0, np.sin(angle), np.cos(angle), 0, 0, 0, 1]
    image.SetDirection([float(v) for v in turn])
    return image


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "float32", "float64"]
)
def test_voxels_and_place_are_those_of_simpleitk(tmp_path, ending, compress, dtype):
    array = ramp((5, 6, 7), dtype)
    path = tmp_path / f"case{ending}"
    image = oblique(array)
    SimpleITK.WriteImage(image, path, useCompression=compress)
    volume = read_image(path)
    np.testing.assert_array_equal(volume.array[0], array)
    assert volume.array.dtype == (np.float32 if "float" in dtype else np.dtype(dtype))
    for index in ((0, 0, 0), (4, 5, 6), (3, 1, 2)):
        x, y, z = image.TransformIndexToPhysicalPoint(index[::-1])
        ras = np.asarray(volume.grid.affine) @ [*index, 1]
        np.testing.assert_allclose(ras[:3], (-x, -y, z), atol=1e-5)
    header = read_header(path)
    assert (header.grid, header.channels, header.dtype) == (volume.grid, 1, volume.array.dtype.name)


def test_the_same_image_lies_at_the_same_place_as_nifti(tmp_path):
    for name in ("a.nii.gz", "a.nrrd", "a.mha"):
        SimpleITK.WriteImage(oblique(ramp((5, 6, 7))), tmp_path / name)
    grids = [read_header(tmp_path / name).grid for name in ("a.nii.gz", "a.nrrd", "a.mha")]
    for grid in grids[1:]:
        check_same_grid(grids[0], grid, "a")


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_components_and_a_fourth_axis_are_channels(tmp_path, ending):
    vector = ramp((5, 6, 7, 3), np.float32)
    path = tmp_path / f"vector{ending}"
    SimpleITK.WriteImage(oblique(vector, vector=True), path)
    np.testing.assert_array_equal(read_image(path).array, np.moveaxis(vector, -1, 0))
    series = ramp((2, 5, 6, 7))
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(series, isVector=False), path)
    np.testing.assert_array_equal(read_image(path).array, series)
    assert read_header(path).channels == 2


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_a_flat_image_is_two_dimensional(tmp_path, ending):
    image = SimpleITK.GetImageFromArray(ramp((6, 7)))
    image.SetSpacing((0.25, 0.5))
    path, out = tmp_path / f"flat{ending}", tmp_path / f"label{ending}"
    SimpleITK.WriteImage(image, path)
    volume = read_image(path)
    assert (volume.grid.dimensions, volume.grid.shape, volume.grid.spacing_mm) == (2, (1, 6, 7), (1.0, 0.5, 0.25))
    write_label(out, np.ones((1, 6, 7), dtype=np.uint8), path)
    assert SimpleITK.ReadImage(out).GetDimension() == 2
    assert read_label(out).grid == volume.grid


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("ending", ENDINGS)
def test_truncated_file_is_refused_at_every_cut(tmp_path, ending, compress):
    path = tmp_path / f"case{ending}"
    SimpleITK.WriteImage(oblique(ramp((5, 6, 7))), path, useCompression=compress)
    voxels = next((p for p in tmp_path.iterdir() if "raw" in p.name), path)
    for victim in {path, voxels}:
        data = victim.read_bytes()
        step = max(1, len(data) // 40)
        # The last line of a header of its own may lose its line break.
        for cut in range(0, len(data) - (victim != voxels), step):
            victim.write_bytes(data[:cut])
            with pytest.raises(AutosegError, match="case"):
                read_image(path)
        victim.write_bytes(data + b"xx")
        if victim == voxels and not compress:
            with pytest.raises(AutosegError, match="too long"):
                read_image(path)
        victim.write_bytes(data)


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_flipped_bytes_in_compressed_voxels_are_refused(tmp_path, ending):
    array = np.random.default_rng(0).integers(0, 1000, (12, 12, 12)).astype(np.int16)
    path = tmp_path / f"case{ending}"
    SimpleITK.WriteImage(oblique(array), path, useCompression=True)
    data = path.read_bytes()
    for place in np.linspace(len(data) - 2000, len(data) - 1, 50).astype(int):
        damaged = bytearray(data)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(AutosegError, match="case"):
            read_image(path)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"NRRD0004\n", b"NDims = 3\n", b"\0" * 400])
def test_a_file_that_is_no_image_is_refused(tmp_path, ending, content):
    path = tmp_path / f"page{ending}"
    path.write_bytes(content)
    for read in (read_image, read_header):
        with pytest.raises(AutosegError, match="page"):
            read(path)


@pytest.mark.parametrize(("ending", "old", "new"), [
    (".nrrd", b"sizes: 7 6 5", b"sizes: 70000 60000 50000"),
    (".nrrd", b"sizes: 7 6 5", b"sizes: 7 6 -5"),
    (".nrrd", b"encoding: gzip", b"encoding: bzip2"),
    (".nrrd", b"type: short", b"type: block"),
    (".nrrd", b"(0,0,3.5)", b"(0,0,0)"),
    (".nrrd", b"(0,0,3.5)", b"(0,0,nan)"),
    (".mha", b"DimSize = 7 6 5", b"DimSize = 70000 60000 50000"),
    (".mha", b"DimSize = 7 6 5", b"DimSize = 7 6"),
    (".mha", b"BinaryData = True", b"BinaryData = False"),
    (".mha", b"ElementDataFile = LOCAL", b"ElementDataFile = ../secret.raw"),
    (".mha", b"ElementDataFile = LOCAL", b"ElementDataFile = gone.raw"),
])  # fmt: skip
def test_impossible_header_is_refused(tmp_path, ending, old, new):
    path = tmp_path / f"case{ending}"
    SimpleITK.WriteImage(oblique(ramp((5, 6, 7))), path, useCompression=True)
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    with pytest.raises(AutosegError, match="case"):
        read_image(path)


def test_complex_voxels_are_refused(tmp_path):
    path = tmp_path / "odd.nrrd"
    SimpleITK.WriteImage(SimpleITK.Image((4, 4, 4), SimpleITK.sitkComplexFloat32), path)
    with pytest.raises(AutosegError, match=r"odd\.nrrd"):
        read_image(path)


@pytest.mark.parametrize("ending", ENDINGS)
def test_label_lies_exactly_where_its_image_lies(tmp_path, ending):
    path = tmp_path / f"image{ending}"
    SimpleITK.WriteImage(oblique(ramp((5, 6, 7), np.float32)), path)
    out = tmp_path / f"label{label_ending(path)}"
    label = (ramp((5, 6, 7)) % 4).astype(np.uint8)
    write_label(out, label, path)
    back = read_label(out)
    np.testing.assert_array_equal(back.array[0], label)
    assert back.grid == read_header(path).grid
    written = SimpleITK.ReadImage(out)
    assert written.GetPixelID() == SimpleITK.sitkUInt8
    assert written.GetMetaData("description") == "research use, not a diagnosis"
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".tmp")]


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".nii.gz"])
def test_label_of_a_volume_in_memory_keeps_its_place(tmp_path, ending):
    path = tmp_path / "image.nrrd"
    SimpleITK.WriteImage(oblique(ramp((5, 6, 7))), path)
    volume = read_image(path)
    out = tmp_path / f"label{ending}"
    write_label(out, np.full((5, 6, 7), 300, dtype=np.uint16), Volume(array=volume.array, grid=volume.grid))
    check_same_grid(volume.grid, read_label(out).grid, out)
    write_label(out, np.full((5, 6, 7), 300, dtype=np.uint16), path)
    check_same_grid(volume.grid, read_label(out).grid, out)
    assert int(read_label(out).array.max()) == 300


def test_label_endings():
    assert [label_ending(Path(f"a{ending}")) for ending in ENDINGS] == [".nrrd", ".nrrd", ".mha", ".mha"]
    with pytest.raises(AutosegError, match=r"end in \.mha"):
        write_label(Path("out.mhd"), np.zeros((1, 2, 2), dtype=np.uint8), _volume())
    with pytest.raises(AutosegError, match="images are written as NIfTI"):
        write_image(Path("out.mha"), _volume())


def _volume():
    affine = tuple(tuple(row) for row in np.eye(4)[:, [2, 1, 0, 3]].tolist())
    from autoseg.imaging.volume import Grid

    return Volume(array=np.zeros((1, 1, 2, 2)), grid=Grid(shape=(1, 2, 2), affine=affine))


def test_metaimage_whose_header_lost_its_compressed_size_is_refused(tmp_path):
    """SimpleITK prints "Uncompress failed" and returns voxels of its own making."""
    path = tmp_path / "case.mha"
    SimpleITK.WriteImage(oblique(ramp((5, 6, 7))), path, useCompression=True)
    path.write_bytes(path.read_bytes().replace(b"CompressedDataSize", b"CompressedDataSixe"))
    with pytest.raises(AutosegError, match=r"voxels come out wrong|cannot be read"):
        read_image(path)


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_big_endian_voxels_are_read(tmp_path, ending):
    array = ramp((5, 6, 7), np.int32)
    path = tmp_path / f"case{ending}"
    SimpleITK.WriteImage(oblique(array), path)
    data = path.read_bytes().replace(b"MSB = False", b"MSB = True").replace(b"endian: little", b"endian: big")
    path.write_bytes(data[: -array.nbytes] + array.astype(">i4").tobytes())
    np.testing.assert_array_equal(read_image(path).array[0], array)


@pytest.mark.parametrize(
    "name", ["v" * 300 + ".raw", "v\0.raw", "\udcff" * 200 + ".raw"], ids=["long", "null", "bytes"]
)
@pytest.mark.parametrize("ending", [".mhd", ".nhdr"])
def test_a_header_that_names_what_no_file_can_be_called_is_refused(tmp_path, ending, name):
    meta = f"ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = {name}\n"
    nrrd = f"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nencoding: raw\ndata file: {name}\n"
    path = tmp_path / f"head{ending}"
    path.write_bytes((meta if ending == ".mhd" else nrrd).encode(errors="surrogateescape"))
    with pytest.raises(AutosegError):
        read_image(path)
