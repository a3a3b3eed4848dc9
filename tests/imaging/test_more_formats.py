"""Analyze, NPY and NPZ, OME-Zarr: the same voxels in the same place, and every doubt said or refused."""

import json
import pickle

import nibabel as nib
import numpy as np
import pytest

from autoseg.core.errors import AutosegError
from autoseg.datasets.inputs import find_inputs
from autoseg.datasets.options import Options, parse_spacing
from autoseg.datasets.read_case import read_case
from autoseg.datasets.understand import study
from autoseg.imaging.geometry import corner_displacement_voxels
from autoseg.imaging.read import is_image, read_header, read_image, read_label
from autoseg.imaging.reading import ReadOptions
from autoseg.imaging.write import label_ending, write_label

SPACING = ReadOptions(spacing_mm=(3.0, 0.8, 0.7))
ALLOWED = ReadOptions(missing_chunks=True)


def values(shape=(4, 5, 6), dtype=np.int16):
    return np.arange(1, 1 + np.prod(shape)).reshape(shape).astype(dtype)


def refused(path, match, options=None):
    for read in (read_image, read_header):
        with pytest.raises(AutosegError, match=match):
            read(path, *([options] if options else []))


def agrees(path, volume, *options):
    header = read_header(path, *options)
    assert (header.grid, header.channels, header.dtype) == (volume.grid, len(volume.array), volume.array.dtype.name)


# ------------------------------------------------------------------------------------------------ analyze


def test_analyze_is_read_as_nibabel_reads_it_and_says_its_doubt(tmp_path):
    data = values().transpose()
    image = nib.Spm99AnalyzeImage(data, None)
    image.header.set_zooms((0.7, 0.8, 3.0))
    nib.save(image, tmp_path / "a.hdr")
    back = nib.load(tmp_path / "a.img")
    nib.save(nib.Nifti1Image(data, back.affine), tmp_path / "same.nii")
    volume, nifti = read_image(tmp_path / "a.hdr"), read_image(tmp_path / "same.nii")
    np.testing.assert_array_equal(volume.array, nifti.array)
    assert corner_displacement_voxels(volume.grid, nifti.grid) < 1e-5
    assert volume.grid.spacing_mm == pytest.approx((3.0, 0.8, 0.7))
    assert "do not say which side is left" in volume.notes[0]
    agrees(tmp_path / "a.hdr", volume)
    assert label_ending(tmp_path / "a.hdr") == ".nii.gz"


def test_a_nifti_pair_has_its_geometry_and_scale(tmp_path):
    affine = np.array([[-0.5, 0, 0, 9], [0, 0.6, 0, 8], [0, 0, 2, 7], [0, 0, 0, 1.0]])
    pair = nib.Nifti1Pair(values().transpose(), affine)
    pair.header.set_slope_inter(2, -10)
    nib.save(pair, tmp_path / "p.hdr")
    volume = read_image(tmp_path / "p.hdr")
    np.testing.assert_allclose(volume.array[0], nib.load(tmp_path / "p.hdr").get_fdata().transpose(), atol=1e-4)
    np.testing.assert_allclose(np.asarray(volume.grid.affine)[:3, 3], [9, 8, 7])
    assert volume.notes == ()
    agrees(tmp_path / "p.hdr", volume)


def test_damaged_analyze_is_refused(tmp_path):
    nib.save(nib.Spm99AnalyzeImage(values().transpose(), None), tmp_path / "a.hdr")
    data = (tmp_path / "a.img").read_bytes()
    (tmp_path / "a.img").write_bytes(data[:-2])
    refused(tmp_path / "a.hdr", r"a\.img: truncated file: 238 bytes where its header promises 240")
    (tmp_path / "a.img").unlink()
    refused(tmp_path / "a.hdr", "its voxels are missing")
    (tmp_path / "a.img").write_bytes(data)
    (tmp_path / "a.hdr").write_bytes(b"ENVI description" * 40)
    refused(tmp_path / "a.hdr", "is no Analyze header")


# ------------------------------------------------------------------------------------------------ npy, npz


@pytest.mark.parametrize("ending", [".npy", ".npz"])
def test_an_array_with_its_spacing_given(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    (np.save if ending == ".npy" else np.savez_compressed)(path, values())
    volume = read_image(path, SPACING)
    np.testing.assert_array_equal(volume.array[0], values())
    assert volume.grid.spacing_mm == (3.0, 0.8, 0.7)
    agrees(path, volume, SPACING)
    refused(path, "does not say its voxel size; give --spacing-mm")
    refused(path, "3 axes in space, --spacing-mm gives 2", ReadOptions(spacing_mm=(1.0, 2.0)))


def test_axes_of_arrays(tmp_path):
    np.save(tmp_path / "flat.npy", values((5, 6), np.float64))
    flat = read_image(tmp_path / "flat.npy", ReadOptions(spacing_mm=(0.8, 0.7)))
    assert (flat.array.shape, flat.array.dtype, flat.grid.dimensions) == ((1, 1, 5, 6), np.float32, 2)
    assert flat.grid.spacing_mm == pytest.approx((1, 0.8, 0.7))
    np.save(tmp_path / "many.npy", values((2, 4, 5, 6)))
    assert read_image(tmp_path / "many.npy", SPACING).array.shape == (2, 4, 5, 6)
    np.save(tmp_path / "colour.npy", values((50, 60, 3)))
    refused(tmp_path / "colour.npy", "looks like a colour picture", SPACING)
    np.save(tmp_path / "line.npy", np.arange(3))
    refused(tmp_path / "line.npy", "has shape 3", SPACING)
    np.save(tmp_path / "complex.npy", np.zeros((4, 5, 6), complex))
    refused(tmp_path / "complex.npy", "holds complex128 values", SPACING)
    np.savez(tmp_path / "two.npz", image=values(), label=values())
    refused(tmp_path / "two.npz", r"holds 2 arrays \(image, label\)", SPACING)


def test_arrays_of_objects_are_never_loaded(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[print, 1], [2, 3]], dtype=object), allow_pickle=True)
    refused(tmp_path / "a.npy", "holds object values", SPACING)


@pytest.mark.parametrize("ending", [".npy", ".npz"])
def test_truncated_arrays_are_refused_at_every_cut(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    (np.save if ending == ".npy" else np.savez)(path, values())
    data = path.read_bytes()
    for cut in np.linspace(0, len(data) - 1, 25).astype(int):
        path.write_bytes(data[:cut])
        with pytest.raises(AutosegError, match=f"a{ending}"):
            read_image(path, SPACING)


def test_a_header_bomb_is_refused_before_memory_is_taken(tmp_path):
    with (tmp_path / "a.npy").open("wb") as handle:
        np.lib.format.write_array_header_1_0(handle, {"shape": (1 << 20, 1 << 20, 64), "fortran_order": False,
                                                      "descr": "<f8"})  # fmt: skip
        handle.write(bytes(100))
    refused(tmp_path / "a.npy", "truncated file", SPACING)


def test_label_of_an_array_is_an_array(tmp_path):
    np.savez(tmp_path / "a.npz", values())
    label = (values() % 3).astype(np.uint8)
    write_label(tmp_path / f"l{label_ending(tmp_path / 'a.npz')}", label, read_image(tmp_path / "a.npz", SPACING))
    np.testing.assert_array_equal(np.load(tmp_path / "l.npy"), label)


def test_spacing_on_the_command_line():
    assert parse_spacing("2, 0.5,1e-3") == (2.0, 0.5, 0.001)
    for text in ("", "1", "1,0,1", "a,b", "1,2,3,4", "-1,1,1", "nan,1,1"):
        with pytest.raises(AutosegError, match="not a voxel size"):
            parse_spacing(text)


def test_a_folder_of_arrays_is_a_dataset(tmp_path):
    for name in ("a", "b", "c"):
        for kind in ("images", "labels"):
            (tmp_path / "set" / kind).mkdir(parents=True, exist_ok=True)
            np.save(tmp_path / "set" / kind / f"{name}.npy", values() % 7 if kind == "images" else values() % 2)
    found = study(tmp_path / "set", Options(spacing_mm="3,0.8,0.7"), {})
    assert [fact.spacing_mm for fact in found.facts] == [(3.0, 0.8, 0.7)] * 3
    assert found.dataset.reading == SPACING
    assert not [finding for finding in found.findings if "voxel size" in finding.what]
    strict = study(tmp_path / "set", Options(), {})
    assert any("--spacing-mm" in finding.mend for finding in strict.findings)


# ------------------------------------------------------------------------------------------------ OME-Zarr


def ome_zarr(path, array, *, version, axes="zyx", scale=(2.0, 0.5, 0.25), unit="micrometer", chunks=None):
    """Write a group of two resolutions, the metadata by hand as the specification has them."""
    zarr = pytest.importorskip("zarr")
    zarr_format = 2 if version == "0.4" else 3
    group = zarr.open_group(str(path), mode="w", zarr_format=zarr_format)
    for level in ("0", "1"):
        part = array if level == "0" else array[..., ::2, ::2]
        made = group.create_array(level, shape=part.shape, dtype=part.dtype, chunks=chunks or tuple(2 for _ in axes))
        made[...] = part
    kinds = {"c": "channel", "t": "time"}
    listed = [
        {"name": a, "type": kinds.get(a, "space")} | ({"unit": unit} if a in "zyx" and unit else {}) for a in axes
    ]
    full = [1.0] * (len(axes) - len(scale)) + list(scale)
    datasets = [
        {"path": "0", "coordinateTransformations": [
            {"type": "scale", "scale": full}, {"type": "translation", "translation": [0.0] * (len(axes) - 1) + [8.0]}]},
        {"path": "1", "coordinateTransformations": [{"type": "scale", "scale": full}]},
    ]  # fmt: skip
    multiscales = [{"axes": listed, "datasets": datasets, "version": version}]
    if version == "0.4":
        group.attrs["multiscales"] = multiscales
    else:
        group.attrs["ome"] = {"version": version, "multiscales": multiscales}
    return path


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_the_highest_resolution_with_its_units(tmp_path, version):
    path = ome_zarr(tmp_path / "a.ome.zarr", values(), version=version)
    volume = read_image(path)
    np.testing.assert_array_equal(volume.array[0], values())
    assert volume.grid.spacing_mm == pytest.approx((2e-3, 5e-4, 2.5e-4))
    np.testing.assert_allclose(np.asarray(volume.grid.affine)[:3, 3], [-8e-3, 0, 0])
    assert volume.notes == ()
    agrees(path, volume)


def test_channels_times_and_missing_units(tmp_path):
    array = values((1, 2, 4, 5, 6), np.uint16)
    path = ome_zarr(tmp_path / "a.zarr", array, version="0.5", axes="tczyx", unit="")
    volume = read_image(path)
    np.testing.assert_array_equal(volume.array, array[0])
    assert volume.grid.spacing_mm == pytest.approx((2.0, 0.5, 0.25))
    assert volume.notes == ("its axes have no unit: taken for millimetres",)
    film = ome_zarr(tmp_path / "film.zarr", values((3, 4, 5, 6)), version="0.4", axes="tzyx")
    refused(film, "has axes t z y x of 3 x 4 x 5 x 6")


def test_a_picture(tmp_path):
    path = ome_zarr(tmp_path / "a.zarr", values((5, 6), np.uint8), version="0.4", axes="yx", scale=(0.5, 0.25))
    volume = read_image(path)
    assert (volume.array.shape, volume.grid.dimensions) == ((1, 1, 5, 6), 2)
    assert volume.grid.spacing_mm[1:] == pytest.approx((5e-4, 2.5e-4))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_an_absent_chunk_is_an_error_unless_allowed(tmp_path, version):
    path = ome_zarr(tmp_path / "a.zarr", values(), version=version)
    chunk = path / "0" / ("1.0.0" if version == "0.4" else "c/1/0/0")
    chunk.unlink()
    refused(path, r"1 of 18 chunks are absent, the first (1\.0\.0|c/1/0/0): .*--allow-missing-chunks")
    volume = read_image(path, ALLOWED)
    expected = values()
    expected[2:4, :2, :2] = 0
    np.testing.assert_array_equal(volume.array[0], expected)
    assert volume.notes == ("1 of 18 chunks are absent and were taken for empty space",)


def test_damaged_chunks_and_metadata_are_refused(tmp_path):
    path = ome_zarr(tmp_path / "a.zarr", values(), version="0.5")
    chunk = path / "0" / "c" / "1" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-3])
    with pytest.raises(AutosegError, match=r"a\.zarr: cannot be read"):
        read_image(path)
    (path / "zarr.json").write_text("{")
    refused(path, "cannot be read")
    (path / "zarr.json").unlink()
    refused(path, "is no Zarr group")


def test_a_codec_that_runs_programs_is_refused(tmp_path):
    path = ome_zarr(tmp_path / "a.zarr", values(), version="0.4")
    file = path / "0" / ".zarray"
    metadata = json.loads(file.read_text())
    metadata["filters"] = [{"id": "pickle", "protocol": 5}]
    file.write_text(json.dumps(metadata))

    class Bomb:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    (path / "0" / "0.0.0").write_bytes(pickle.dumps(Bomb()))
    refused(path, "is compressed with pickle, which is not read")
    assert not (tmp_path / "ran").exists()


def test_a_path_out_of_the_group_is_refused(tmp_path):
    path = ome_zarr(tmp_path / "a.zarr", values(), version="0.4")
    attributes = json.loads((path / ".zattrs").read_text())
    attributes["multiscales"][0]["datasets"][0]["path"] = "../other.zarr/0"
    (path / ".zattrs").write_text(json.dumps(attributes))
    refused(path, "lies outside of it")


def test_zarr_folders_are_cases(tmp_path):
    for name in ("a", "b", "c"):
        ome_zarr(tmp_path / "set" / "images" / f"{name}.ome.zarr", values(dtype=np.uint8), version="0.5")
        ome_zarr(tmp_path / "set" / "labels" / f"{name}.ome.zarr", values(dtype=np.uint8) % 2, version="0.5")
        chunk = tmp_path / "set" / "labels" / f"{name}.ome.zarr" / "0" / "c"
        assert chunk.is_dir()
    found = study(tmp_path / "set", Options(), {})
    assert [case.name for case in found.dataset.cases] == ["a", "b", "c"]
    assert [label.values for label in found.dataset.labels] == [(1,)]
    place = tmp_path / "set" / "images"
    assert is_image(place / "a.ome.zarr")
    assert [case.name for case in find_inputs([place], 1)] == ["a", "b", "c"]
    assert [case.name for case in find_inputs([place / "b.ome.zarr"], 1)] == ["b"]
    np.testing.assert_array_equal(read_label(place / "a.ome.zarr").array[0], values(dtype=np.uint8))


def labelled_zarr(path, names, version):
    """Write an image with label images inside of it; the value of each is its number in `names`."""
    ome_zarr(path, values(dtype=np.uint8), version=version)
    for number, name in enumerate(names, start=1):
        mask = np.ones((4, 5, 6), np.uint8)
        mask[number:] = 0 if len(names) == 1 else 1
        ome_zarr(path / "labels" / name, mask * number, version=version)
    (path / "labels").mkdir(exist_ok=True)
    plain, new = {"labels": list(names)}, {"zarr_format": 3, "node_type": "group"}
    text = plain if version == "0.4" else {**new, "attributes": {"ome": {"version": "0.5", **plain}}}
    file = path / "labels" / (".zattrs" if version == "0.4" else "zarr.json")
    file.write_text(json.dumps(text), encoding="utf-8")
    return path


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_labels_inside_a_zarr_are_its_references(tmp_path, version):
    pytest.importorskip("zarr")
    for name in ("a", "b"):
        labelled_zarr(tmp_path / "set" / f"{name}.ome.zarr", ("cells",), version)
    ome_zarr(tmp_path / "set" / "new.ome.zarr", values(dtype=np.uint8), version=version)
    found = study(tmp_path / "set", Options(allow_missing_chunks=True), {})
    dataset = found.dataset
    assert [finding for finding in found.findings if finding.severity == "error"] == []
    assert (dataset.layout, dataset.reference_kind) == ("OME-Zarr", "map")
    assert [case.references for case in dataset.cases] == [
        ("a.ome.zarr/labels/cells",),
        ("b.ome.zarr/labels/cells",),
    ]
    assert [case.name for case in dataset.test_cases] == ["new"]
    label = read_case(dataset, dataset.cases[0]).label
    assert label[0].min() == 1
    assert label[1].max() == 0


def test_several_labels_inside_a_zarr_are_structures(tmp_path):
    pytest.importorskip("zarr")
    labelled_zarr(tmp_path / "set" / "a.zarr", ("nuclei", "cells"), "0.4")
    labelled_zarr(tmp_path / "set" / "b.zarr", ("nuclei",), "0.4")
    dataset = study(tmp_path / "set", Options(allow_missing_chunks=True), {}).dataset
    assert [label.name for label in dataset.labels] == ["cells", "nuclei"]
    assert dataset.cases[1].references == ("", "b.zarr/labels/nuclei")


@pytest.mark.parametrize("name", ["../../outside", "/etc", "..", "", "absent", 5, "a\\b"])
def test_labels_that_lie_elsewhere_are_refused(tmp_path, name):
    pytest.importorskip("zarr")
    path = labelled_zarr(tmp_path / "set" / "a.zarr", ("cells",), "0.4")
    ome_zarr(tmp_path / "outside", values(dtype=np.uint8), version="0.4")
    (path / "labels" / ".zattrs").write_text(json.dumps({"labels": [name]}), encoding="utf-8")
    with pytest.raises(AutosegError, match="which is no label image in it"):
        study(tmp_path / "set", Options(), {})


def test_an_npy_whose_header_breaks_off_is_refused(tmp_path):
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4\n"
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(48))
    with pytest.raises(AutosegError, match="cannot be read"):
        read_header(tmp_path / "cut.npy")
