"""What is fuzzed: for each kind of file a function that reads it, and small valid files to start from."""

import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fuzz.formats import as_image, more_targets
from benchmarks.fuzz.target import Target

IMAGE_ENDINGS = (".nii", ".nii.gz", ".nrrd", ".mha", ".tif", ".png", ".bmp", ".gif", ".jpg")


def image_target(ending: str) -> Target:
    """Read an image that is one file."""
    return Target(ending=ending, read=as_image, seeds=lambda folder: image_seeds(folder, ending))


def image_seeds(folder: Path, ending: str) -> list[bytes]:
    """Return a gray volume (or image) and, where the format has them, a 2D one of another type."""
    random = np.random.default_rng(0)
    seeds = []
    for shape, kind in (((3, 5, 4), np.uint8), ((1, 6, 5), np.uint16)):
        array = random.integers(0, 4, shape).astype(kind)
        path = folder / f"seed_{len(seeds)}{ending}"
        if ending in (".png", ".bmp", ".gif", ".jpg") and shape[0] > 1:
            continue
        if ending in (".png", ".bmp", ".gif", ".jpg", ".tif"):
            seeds.append(raster_bytes(array, ending))
            continue
        write_volume(path, array)
        seeds.append(path.read_bytes())
    return seeds


def raster_bytes(array: np.ndarray[Any, Any], ending: str) -> bytes:
    """Return pixels as a file of Pillow or, for a stack, of tifffile."""
    import io

    import tifffile
    from PIL import Image

    buffer = io.BytesIO()
    if ending == ".tif":
        tifffile.imwrite(buffer, array, compression="zlib")
    else:
        image = Image.fromarray(array[0] if ending == ".png" else array[0].astype(np.uint8))
        image.save(buffer, {".png": "PNG", ".bmp": "BMP", ".gif": "GIF", ".jpg": "JPEG"}[ending])
    return buffer.getvalue()


def write_volume(path: Path, array: np.ndarray[Any, Any]) -> None:
    """Write a volume with SimpleITK or nibabel, as a stranger would."""
    if path.name.endswith((".nii", ".nii.gz")):
        import nibabel

        nibabel.save(nibabel.Nifti1Image(array.T, np.diag([1.0, 2.0, 3.0, 1.0])), path)
        return
    import SimpleITK

    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(path), useCompression=path.name.startswith("seed_1"))


def dicom_seeds(_folder: Path) -> list[bytes]:
    """Return one CT slice in explicit little endian."""
    import io

    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset = Dataset()
    dataset.file_meta = meta
    for name, value in {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2",
        "Modality": "CT",
        "Rows": 4,
        "Columns": 5,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
        "PixelSpacing": [1, 2],
        "SliceThickness": 3,
        "ImagePositionPatient": [0, 0, 0],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
        "PixelData": np.arange(20, dtype=np.int16).tobytes(),
    }.items():
        setattr(dataset, name, value)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return [buffer.getvalue()]


def record_target(kind: type) -> Target:
    """Read a JSON record."""

    def read(path: Path) -> None:
        from autoseg.core.records import read_record

        read_record(path, kind)

    return Target(ending=".json", read=read, seeds=lambda _folder: [record_seed(kind)])


def record_seed(kind: type) -> bytes:
    """Return JSON with every field of a record class, one entry per list."""
    import json

    return json.dumps({"schema": getattr(kind, "schema", ""), **example(kind)}).encode()


def example(kind: Any) -> Any:
    """Return a value of a type as JSON has it.

    >>> example(tuple[int, ...]), example(bool | None)
    ([1], True)

    """
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return {field.name: example(hints[field.name]) for field in fields(kind)}
    if origin is tuple:
        return [example(item) for item in inner if item is not Ellipsis]
    if origin is typing.Literal:
        return inner[0]
    if origin in (typing.Union, types.UnionType):
        return example(next(item for item in inner if item is not types.NoneType))
    if origin in (dict, Mapping):
        return {}
    return {bool: True, int: 1, float: 0.5, str: "a"}.get(kind, "a")


def plan_target() -> Target:
    """Read a plan with all the checks that a hand-edited one gets."""

    def read(path: Path) -> None:
        from autoseg.core.plans import read_plan

        read_plan(path)

    def seeds(_folder: Path) -> list[bytes]:
        from autoseg.core.records import encode
        from planners.fingerprint import CaseFingerprint, ChannelFingerprint, Fingerprint, Label
        from planners.planner import make_plan
        from planners.recipe import RECIPES, Budget

        case = CaseFingerprint(
            name="a",
            dimensions=3,
            shape=(20, 40, 40),
            shape_after_crop=(20, 40, 40),
            spacing_mm=(3.0, 1.0, 1.0),
            label_voxels=(500,),
            label_components=(1,),
        )
        numbers = dict.fromkeys(
            ("mean", "std", "minimum", "maximum", "median", "percentile_00_5", "percentile_99_5"), 1.0
        )
        channel = ChannelFingerprint(name="CT", modality="ct", modality_reason="fuzz", **numbers)
        label = Label(name="organ", values=(1,), role="foreground")
        fingerprint = Fingerprint(
            dataset="fuzz",
            channels=(channel,),
            labels=(label,),
            overlapping=False,
            cases=(case,),
            median_relative_size_after_crop=1.0,
            n_training=1,
        )
        return [encode(make_plan(fingerprint, RECIPES["auto"], Budget(steps=10)))]

    return Target(ending=".json", read=read, seeds=seeds)


def checkpoint_target() -> Target:
    """Read a checkpoint's index."""

    def read(path: Path) -> None:
        from autoseg.learning.checkpoint import load_checkpoint

        path.replace(path.with_name("checkpoint.json"))
        load_checkpoint(path.parent, "identity")

    entry = (
        b'{"checkpoints": [{"file": "a.safetensors", "sha256": "00", "progress": {"identity": "identity", "step": 1}}]}'
    )
    return Target(ending=".json", read=read, seeds=lambda _folder: [entry])


def pickle_target() -> Target:
    """Read a foreign pickle."""

    def read(path: Path) -> None:
        from autoseg.core.pickle_reader import read_pickle

        read_pickle(path.read_bytes(), path, frozenset({"a b"}))

    seeds = [
        # protocol 4: {'a': [1, 2.5, ('b', None, True)]}
        (
            b"\x80\x04\x95\x24\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x01a\x94]\x94(K\x01G@\x04\x00\x00\x00\x00\x00\x00"
            b"\x8c\x01b\x94N\x88\x87\x94es."
        ),
        b"(lp0\nI1\naS'x'\np1\na.",
    ]
    return Target(ending=".pkl", read=read, seeds=lambda _folder: seeds)


def targets() -> dict[str, Callable[[], Target]]:
    """Return what makes each target, by its name; nothing is imported before it is made."""
    from docs.make_formats import FORMATS, record_class

    made: dict[str, Callable[[], Target]] = {
        f"image{ending}": partial(image_target, ending) for ending in IMAGE_ENDINGS
    }
    made["image.dcm"] = lambda: Target(ending=".dcm", read=as_image, seeds=dicom_seeds)
    made |= {"plan": plan_target, "checkpoint": checkpoint_target, "pickle": pickle_target}
    made |= more_targets()
    for entry in FORMATS:
        name = entry.record.rpartition(".")[2]
        made[f"record.{name}"] = partial(lambda entry: record_target(record_class(entry)), entry)
    return made
