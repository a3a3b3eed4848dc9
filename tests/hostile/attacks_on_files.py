"""Attacks by what makes a dataset: lists of files, images that are more or less than images, records."""

import json
import os
import socket
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.core.plans import read_plan
from autoseg.core.records import read_record
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.declaration import Declaration
from autoseg.datasets.options import Options
from autoseg.datasets.understand import understand
from autoseg.imaging.read import read_image
from autoseg.learning.model_files import ModelRecord
from tests.core.test_pickle_reader import MALICIOUS
from tests.datasets.conftest import save_nifti
from tests.hostile.attacks_on_models import Attack
from tests.hostile.attacks_on_models import file_attack as _file
from tests.learning.test_nnunet_model import Evil


# ------------------------------------------------------------------------------------------------ lists of files
def _dataset(files: Mapping[str, object], options: Options | None = None) -> Attack:
    """A dataset of two sound cases, with a secret outside of it, and files that try to reach the secret."""

    def attack(place: Path) -> object:
        for number in range(2):
            image = np.random.default_rng(number).normal(100, 20, (4, 6, 8)).astype(np.float32)
            save_nifti(place / "data" / "images" / f"c{number}.nii.gz", image)
            save_nifti(place / "data" / "labels" / f"c{number}.nii.gz", (image > 100).astype(np.uint8))
        save_nifti(place / "secret.nii.gz", np.ones((4, 6, 8), np.float32))
        for name, content in files.items():
            text = content if isinstance(content, str) else json.dumps(content)
            (place / "data" / name).write_text(text.replace("PLACE", str(place)))
        return understand(place / "data", options or Options())

    return attack


def _decathlon(image: str) -> Attack:
    entry = {"image": image, "label": "labels/c0.nii.gz"}
    return _dataset({"dataset.json": {"labels": {"0": "background", "1": "a"}, "training": [entry], "test": []}})


def _listed(image: str, label: str = "labels/c0.nii.gz") -> Attack:
    return _dataset({"cases.csv": f"image,label\n{image},{label}\n"}, Options(cases="cases.csv"))


def _own_list(image: str) -> Attack:
    listed = {"c": {"images": [image], "label": "labels/c0.nii.gz"}}
    labels = {"background": 0, "a": 1}
    document = {"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii.gz", "dataset": listed}
    return _dataset({"dataset.json": document})


def _linked(place: Path) -> object:
    (place / "data" / "images").mkdir(parents=True)
    (place / "data" / "images" / "c7.nii.gz").symlink_to("c0.nii.gz")
    (place / "data" / "labels").mkdir(parents=True)
    (place / "data" / "labels" / "c7.nii.gz").symlink_to("c0.nii.gz")
    return _dataset({})(place)


LISTS: Mapping[str, Attack] = {
    "Decathlon's, climbing": _decathlon("../secret.nii.gz"),
    "Decathlon's, climbing from within": _decathlon("images/../../secret.nii.gz"),
    "Decathlon's, absolute": _decathlon("PLACE/secret.nii.gz"),
    "Decathlon's test images, climbing": _dataset(
        {
            "dataset.json": {
                "labels": {"1": "a"},
                "training": [{"image": "images/c0.nii.gz", "label": "labels/c0.nii.gz"}],
                "test": ["../secret.nii.gz"],
            }
        }
    ),
    "nnU-Net's, climbing": _own_list("../secret.nii.gz"),
    "nnU-Net's, absolute": _own_list("PLACE/secret.nii.gz"),
    "CSV, climbing": _listed("../secret.nii.gz"),
    "CSV, absolute": _listed("PLACE/secret.nii.gz"),
    "CSV, label that climbs": _listed("images/c0.nii.gz", "../secret.nii.gz"),
    "JSON, climbing": _dataset(
        {"cases.json": [{"image": "../secret.nii.gz", "label": "labels/c0.nii.gz"}]}, Options(cases="cases.json")
    ),
    "JSON with keys of its own": _dataset(
        {"cases.json": [{"image": "images/c0.nii.gz", "run": "x"}]}, Options(cases="cases.json")
    ),
    "a link to a file of the same dataset": _linked,
    "a password file": _listed("/etc/passwd"),
}


# ------------------------------------------------------------------------------------- images that are more or less
def _special(make: Callable[[Path], object], name: str = "a.nii.gz") -> Attack:
    def attack(place: Path) -> object:
        make(place / name)
        return read_image(place / name)

    return attack


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        before = Path.cwd()
        os.chdir(path.parent)  # such a name may not be long
        made.bind(path.name)
        os.chdir(before)


def _piped_dataset(place: Path) -> object:
    for folder in ("images", "labels"):
        (place / folder).mkdir()
        os.mkfifo(place / folder / "a.nii.gz")
    os.mkfifo(place / "dataset.json")
    os.mkfifo(place / "no ending")
    return understand(place, Options())


def _looped(place: Path) -> object:
    folder = _dataset({})
    (place / "data" / "images").mkdir(parents=True)
    (place / "data" / "images" / "again").symlink_to(place / "data")
    return folder(place)


def _meta(data_file: str, **fields: str) -> bytes:
    head = {"ObjectType": "Image", "NDims": "3", "DimSize": "2 2 2", "ElementType": "MET_UCHAR", **fields}
    return "".join(f"{k} = {v}\n" for k, v in {**head, "ElementDataFile": data_file}.items()).encode()


def _nrrd(data_file: str) -> bytes:
    lines = ("NRRD0004", "type: uchar", "dimension: 3", "sizes: 2 2 2", "encoding: raw", f"data file: {data_file}")
    return ("\n".join(lines) + "\n\n").encode()


def _beside(name: str, data: bytes) -> Attack:
    """A header in a folder, and in the folder above it the voxels that it must not reach."""

    def attack(place: Path) -> object:
        (place / "secret.raw").write_bytes(bytes(8))
        (place / "in").mkdir()
        (place / "in" / name).write_bytes(data.replace(b"PLACE", bytes(place)))
        return read_image(place / "in" / name)

    return attack


def _numpy(save: Callable[[Path], object], name: str) -> Attack:
    def attack(place: Path) -> object:
        save(place / name)
        return read_image(place / name)

    return attack


def _zarr(attributes: object, array: object) -> Attack:
    def attack(place: Path) -> object:
        for name in ("a.zarr", "other.zarr"):
            (place / name / "0").mkdir(parents=True)
            (place / name / "0" / ".zarray").write_text(json.dumps(array))
            (place / name / "0" / "0.0").write_bytes(MALICIOUS["posix.system"])
            (place / name / ".zattrs").write_text(json.dumps(attributes))
        return read_image(place / "a.zarr")

    return attack


def _scales(path: str) -> dict[str, Any]:
    axes = [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}]
    scale = [{"type": "scale", "scale": [1, 1]}]
    return {"multiscales": [{"axes": axes, "datasets": [{"path": path, "coordinateTransformations": scale}]}]}


_ARRAY = {"zarr_format": 2, "shape": [2, 2], "chunks": [2, 2], "dtype": "|u1", "compressor": None, "fill_value": 0,
          "order": "C", "filters": None}  # fmt: skip


def _nifti(**fields: tuple[int, str, tuple[object, ...]]) -> bytes:
    """A NIfTI header of 2 x 2 x 2 bytes with some fields written over: offset, struct format, values."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, 2, 2, 2, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 2, 8)
    struct.pack_into("<8f", header, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, 352)
    header[344:348] = b"n+1\0"
    for offset, form, numbers in fields.values():
        struct.pack_into("<" + form, header, offset, *numbers)
    return bytes(header) + bytes(8)


def _gzip(data: bytes, times: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    return b"".join([*(packer.compress(data) for _ in range(times)), packer.flush()])


def _png(width: int, height: int, data: bytes = b"") -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _ome_tiff(place: Path) -> object:
    """An OME-TIFF whose XML says that its pixels lie in another file."""
    from tifffile import imwrite

    imwrite(place / "secret.tif", np.full((4, 4), 7, np.uint8))
    (place / "in").mkdir()
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="4" SizeY="4" SizeZ="2" SizeC="1" SizeT="1">'
        '<TiffData IFD="0" FirstZ="0" PlaneCount="1"><UUID FileName="in/a.tif">urn:uuid:1</UUID></TiffData>'
        '<TiffData IFD="0" FirstZ="1" PlaneCount="1"><UUID FileName="../secret.tif">urn:uuid:2</UUID></TiffData>'
        "</Pixels></Image></OME>"
    )
    imwrite(place / "in" / "a.tif", np.zeros((4, 4), np.uint8), description=xml, metadata=None)
    return read_image(place / "in" / "a.tif")


IMAGES: Mapping[str, Attack] = {
    "a pipe": _special(os.mkfifo),
    "a pipe called PNG": _special(os.mkfifo, "a.png"),
    "a pipe called DICOM": _special(os.mkfifo, "a.dcm"),
    "a pipe called NPZ": _special(os.mkfifo, "a.npz"),
    "a socket": _special(_socket, "a.png"),
    "a link to a device without end": _special(lambda path: path.symlink_to("/dev/zero"), "a.png"),
    "a link to a device that waits": _special(lambda path: path.symlink_to("/dev/tty"), "a.nii"),
    "a link to itself": _special(lambda path: path.symlink_to(path)),
    "a link to a password file": _special(lambda path: path.symlink_to("/etc/passwd"), "a.nii"),
    "a folder called NIfTI": _special(lambda path: path.mkdir()),
    "pipes all over a dataset": _piped_dataset,
    "a folder that links to itself": _looped,
    "MetaImage, voxels that climb": _beside("a.mhd", _meta("../secret.raw")),
    "MetaImage, voxels at an absolute place": _beside("a.mhd", _meta("PLACE/secret.raw")),
    "MetaImage, a list of files": _beside("a.mhd", _meta("LIST")),
    "MetaImage, a pattern of files": _beside("a.mhd", _meta("../%s.raw 1 2 1")),
    "MetaImage, voxels in its own header": _beside("a.mhd", _meta("a.mhd", HeaderSize="0")),
    "MetaImage, endless sizes": _beside("a.mhd", _meta("LOCAL", DimSize="9999999999 9999999999 9999999999")),
    "NRRD, voxels that climb": _beside("a.nhdr", _nrrd("../secret.raw")),
    "NRRD, voxels at an absolute place": _beside("a.nhdr", _nrrd("PLACE/secret.raw")),
    "NRRD, a list of files": _beside("a.nhdr", _nrrd("LIST")),
    "NumPy objects": _numpy(lambda p: np.save(p, np.array([[Evil()]], object), allow_pickle=True), "a.npy"),
    "NumPy objects in an archive": _numpy(lambda p: np.savez(p, a=np.array([[Evil()]], object)), "a.npz"),
    "NumPy header that is evaluated": _file(
        "a.npy", b"\x93NUMPY\x01\x00\x76\x00" + b"__import__('os').mkdir('executed')".ljust(117) + b"\n", read_image
    ),
    "NumPy header of terabytes": _file(
        "a.npy",
        b"\x93NUMPY\x01\x00\x76\x00"
        + b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999, 99999999), }".ljust(117)
        + b"\n",
        read_image,
    ),
    "Zarr, resolution that climbs": _zarr(_scales("../other.zarr/0"), _ARRAY),
    "Zarr, resolution at an absolute place": _zarr(_scales("/etc"), _ARRAY),
    "Zarr, unpacked by pickle": _zarr(_scales("0"), {**_ARRAY, "compressor": {"id": "pickle"}}),
    "Zarr, filtered by pickle": _zarr(_scales("0"), {**_ARRAY, "filters": [{"id": "pickle"}]}),
    "Zarr, JSON objects": _zarr(_scales("0"), {**_ARRAY, "dtype": "|O", "filters": [{"id": "json2"}]}),
    "Zarr, an array of exabytes": _zarr(_scales("0"), {**_ARRAY, "shape": [1 << 40, 1 << 20]}),
    "Zarr, chunks of nothing": _zarr(_scales("0"), {**_ARRAY, "chunks": [0, 0]}),
    "NIfTI of terabytes": _file("a.nii", _nifti(dim=(40, "8h", (3, 30000, 30000, 30000, 1, 1, 1, 1))), read_image),
    "NIfTI of negative size": _file("a.nii", _nifti(dim=(40, "8h", (3, -2, 2, 2, 1, 1, 1, 1))), read_image),
    "NIfTI of eighty dimensions": _file("a.nii", _nifti(dim=(40, "8h", (80, 2, 2, 2, 1, 1, 1, 1))), read_image),
    "NIfTI of voxels before its start": _file("a.nii", _nifti(at=(108, "f", (-1e9,))), read_image),
    "NIfTI of voxels at infinity": _file("a.nii", _nifti(at=(108, "f", (float("inf"),))), read_image),
    "NIfTI whose voxels have no size": _file("a.nii", _nifti(size=(76, "8f", (1, 0, 0, 0, 1, 1, 1, 1))), read_image),
    "NIfTI whose voxels have no number for a size": _file(
        "a.nii", _nifti(size=(76, "8f", (1, float("nan"), 1, 1, 1, 1, 1, 1))), read_image
    ),
    "NIfTI of an unknown type": _file("a.nii", _nifti(kind=(70, "2h", (9999, 8))), read_image),
    "gzip bomb": _file("a.nii.gz", _gzip(bytes(1 << 20), 256), read_image),
    "gzip bomb behind a header": _file("a.nii.gz", _gzip(_nifti() + bytes(1 << 20), 128), read_image),
    "PNG of four gigapixels": _file("a.png", _png(65535, 65535, zlib.compress(bytes(1 << 20))), read_image),
    "PNG of more bytes than pixels": _file("a.png", _png(2, 2, zlib.compress(bytes(1 << 24))), read_image),
    "a web page called NIfTI": _file("a.nii.gz", b"<html><script>alert(1)</script>", read_image),
    "a program called DICOM": _file("a.dcm", b"MZ" + bytes(126) + b"DICM" + b"\xff" * 64, read_image),
    "TIFF that names itself as its next page": _file(
        "a.tif", b"II*\0\x08\0\0\0" + b"\0\0" + b"\x08\0\0\0", read_image
    ),
    "OME-TIFF whose pixels lie in another file": _ome_tiff,
}  # fmt: skip


# ----------------------------------------------------------------------------------------------------- records
def _plan(data: bytes) -> Attack:
    return _file("plan.json", data, read_plan)


def _record(data: bytes, kind: type) -> Attack:
    return _file("record.json", data, lambda path: read_record(path, kind))


def _dataset_record(**case: object) -> Attack:
    plain = {"name": "a", "images": ["a.nii"], "references": [], "group": "a"}
    document = {
        "schema": "autoseg.dataset/1", "name": "d", "folder": "/data", "layout": "folders", "channels": ["image"],
        "labels": [], "value_map": [], "overlapping": False, "cases": [{**plain, **case}], "test_cases": [],
        "inferences": [],
    }  # fmt: skip
    return _record(json.dumps(document).encode(), Dataset)


_DECLARED = b'{"schema": "autoseg.declaration/1", '


def _piped(place: Path) -> object:
    os.mkfifo(place / "plan.json")
    return read_plan(place / "plan.json")


RECORDS: Mapping[str, Attack] = {
    "nothing": _plan(b""),
    "null": _plan(b"null"),
    "a list": _plan(b"[]"),
    "text": _plan(b'"plan"'),
    "another encoding": _plan('{"schema": "autoseg.plan/1"}'.encode("utf-16")),
    "no text at all": _plan(bytes(range(256))),
    "a pickle": _plan(MALICIOUS["posix.system"]),
    "YAML that executes": _plan(b"!!python/object/apply:os.system ['touch executed']"),
    "lists without end": _plan(b"[" * 100_000),
    "objects without end": _plan(b'{"a":' * 100_000),
    "NaN": _record(_DECLARED + b'"spacing_mm": [NaN, 1, 1]}', Declaration),
    "infinity": _record(_DECLARED + b'"spacing_mm": [1e999, 1, 1]}', Declaration),
    "a key twice": _record(_DECLARED + b'"images": "a", "images": "b"}', Declaration),
    "a schema twice": _record(_DECLARED + b'"schema": "autoseg.declaration/1"}', Declaration),
    "an unknown key": _record(_DECLARED + b'"__class__": "os.system"}', Declaration),
    "a number for a text": _record(_DECLARED + b'"images": 5}', Declaration),
    "a text for a flag": _record(_DECLARED + b'"merge_instances": "yes"}', Declaration),
    "no schema": _record(b"{}", ModelRecord),
    "a schema that is a list": _record(b'{"schema": ["autoseg.model/1"]}', ModelRecord),
    "a number of 5000 digits": _record(_DECLARED + b'"label_values": {"a": ' + b"9" * 5000 + b"}}", Declaration),
    "a number of 400 digits as text of a name": _record(
        _DECLARED + b'"images": "' + b"9" * 400 + b'"}', Declaration
    ),
    "an image that climbs": _dataset_record(images=["../../etc/passwd"]),
    "an image at an absolute place": _dataset_record(images=["/etc/passwd"]),
    "a reference that climbs": _dataset_record(references=["a/../../b"]),
    "a case called like a path": _dataset_record(name="../../executed"),
    "a case called like an absolute path": _dataset_record(name="/etc/executed"),
    "a case called ..": _dataset_record(name=".."),
    "a case without a name": _dataset_record(name=""),
    "a case behind a zero byte": _dataset_record(name="a\0b"),
    "a pipe for a record": _piped,
}  # fmt: skip
