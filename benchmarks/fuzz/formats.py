"""Targets whose files are not alone: headers beside their voxels, labels of a series, lists, archives and models.

What a file needs beside it is written into the folder of its seeds, where the mutants lie, too.
"""

import dataclasses
import hashlib
import io
import shutil
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from autoseg.core.errors import AutosegError
from benchmarks.fuzz.target import Target

ARRAY = np.arange(60, dtype=np.uint8).reshape(3, 5, 4) % 4
MEMBER_BYTES = 1 << 20


def as_image(path: Path) -> None:
    """Read an image and, of the same bytes, a label map."""
    from autoseg.imaging.read import read_header, read_image, read_label

    for reader in (read_header, read_image, read_label):
        try:
            reader(path)
        except AutosegError:
            continue


def array_target(ending: str) -> Target:
    """Read arrays of NumPy."""

    def seeds(_folder: Path) -> list[bytes]:
        found = []
        for array in (ARRAY, ARRAY[0].astype(np.float32)):
            buffer = io.BytesIO()
            if ending == ".npy":
                np.save(buffer, array)
            else:
                np.savez_compressed(buffer, array)
            found.append(buffer.getvalue())
        return found

    return Target(ending=ending, read=as_image, seeds=seeds)


def header_target(ending: str) -> Target:
    """Read a header whose voxels lie in another file, as SimpleITK writes them."""

    def seeds(folder: Path) -> list[bytes]:
        import SimpleITK

        found = []
        for compressed in (False, True):
            path = folder / f"beside_{compressed}{ending}"
            SimpleITK.WriteImage(SimpleITK.GetImageFromArray(ARRAY), str(path), useCompression=compressed)
            found.append(path.read_bytes())
        return found

    return Target(ending=ending, read=as_image, seeds=seeds)


def pair_target() -> Target:
    """Read the header of an Analyze or NIfTI pair; the voxels are zeros."""

    def read(path: Path) -> None:
        voxels = path.with_suffix(".img")
        if not voxels.exists():
            voxels.write_bytes(bytes(ARRAY.size))
        as_image(path)

    def seeds(_folder: Path) -> list[bytes]:
        import nibabel

        found = []
        for kind in (nibabel.AnalyzeHeader, nibabel.nifti1.Nifti1PairHeader):
            header = kind()
            header.set_data_shape(ARRAY.T.shape)
            header.set_data_dtype(ARRAY.dtype)
            found.append(header.binaryblock)
        return found

    return Target(ending=".hdr", read=read, seeds=seeds)


def structure_target(kind: str) -> Target:
    """Read the structures of a DICOM SEG or RTSTRUCT on the grid of its series."""

    def read(path: Path) -> None:
        from autoseg.imaging.dicom_labels import describe_labels, read_structure
        from autoseg.imaging.dicom_scan import load
        from autoseg.imaging.read import read_header

        grid = read_header(path.parent / "series").grid
        described = describe_labels(path, load(path, pixels=False))
        numbers = [structure.number for structure in described.structures] if described else [1]
        for number in numbers[:3]:
            read_structure(path.with_name(f"{path.name}#{number}"), grid)

    def seeds(folder: Path) -> list[bytes]:
        from tests.datasets.test_layout_dicom import HOLE, SQUARE, contours
        from tests.imaging import test_dicom, test_dicom_seg_write

        series = folder / "series"
        if not series.exists():
            test_dicom_seg_write.scan(series)
        made = folder / f"made{kind}.dcm"
        if kind == "seg":
            from autoseg.imaging.dicom_seg_write import write_segmentation

            write_segmentation(made, test_dicom_seg_write.label_map(), series, test_dicom_seg_write.LABELS)
        else:
            slices = test_dicom.series()
            slices[0].FrameOfReferenceUID = test_dicom_seg_write.FRAME
            drawn = contours(slices, {"lung": [(2, SQUARE), (3, SQUARE), (3, HOLE)]})
            drawn.save_as(made, enforce_file_format=True)
        found = made.read_bytes()
        made.unlink()
        return [found]

    return Target(ending=".dcm", read=read, seeds=seeds)


def list_target(ending: str) -> Target:
    """Read a list of cases."""

    def read(path: Path) -> None:
        from autoseg.datasets import layout_list
        from autoseg.datasets.listing import Listing
        from autoseg.datasets.options import Options

        layout_list.read(Listing(folder=path.parent, items=(), documents=()), Options(cases=path.name))

    def seeds(folder: Path) -> list[bytes]:
        (folder / "a.nii").touch()
        if ending == ".json":
            return [b'[{"image": "a.nii;a.nii", "label": "a.nii", "case": "x", "group": "g"}, {"image": "a.nii"}]']
        comma = b"\t" if ending == ".tsv" else b","
        rows = (b"case,image,label,group", b'x,"a.nii;a.nii",a.nii,g', b"y,a.nii,,")
        return [b"\n".join(rows).replace(b",", comma)]

    return Target(ending=ending, read=read, seeds=seeds)


def archive_target() -> Target:
    """Look into a zip, and read its members."""

    def read(path: Path) -> None:
        from autoseg.core.archives import open_archive, read_bytes

        root = open_archive(path)
        try:
            for member in list(root.root.namelist())[:20]:
                place = root.joinpath(member)
                if place.is_file():
                    read_bytes(place, MEMBER_BYTES)
        finally:
            root.root.close()

    def seeds(_folder: Path) -> list[bytes]:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("a/plans.json", b'{"a": 1}' * 20, zipfile.ZIP_DEFLATED)
            archive.writestr("a/fold_0/checkpoint_final.pth", b"weights", zipfile.ZIP_STORED)
        return [buffer.getvalue()]

    return Target(ending=".zip", read=read, seeds=seeds)


def weights_target() -> Target:
    """Load weights into a network; the record beside them has their digest, else none would be looked at."""

    def read(path: Path) -> None:
        import torch

        from autoseg.core.plans import read_plan
        from autoseg.learning.model_files import _load_module, load_model_record

        model = path.parent / "model"
        shutil.copyfile(path, model / "mutant.safetensors")
        (network,) = load_model_record(model).networks
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        named = dataclasses.replace(network, file="mutant.safetensors", sha256=digest)
        _load_module(model, named, read_plan(model / "plan.json"), torch.device("cpu"))

    def seeds(folder: Path) -> list[bytes]:
        from tests.steps.test_predict import make_model

        model = folder / "model"
        if not model.exists():
            make_model(model)
        return [next(model.glob("*-fold_?.safetensors")).read_bytes()]

    return Target(ending=".safetensors", read=read, seeds=seeds)


def zarr_target(document: str) -> Target:
    """Read an OME-Zarr with one of its two documents changed: that of the group, or that of the array."""

    def read(path: Path) -> None:
        made = path.parent / "mutant.ome.zarr"
        if not made.exists():
            shutil.copytree(path.parent / "whole.ome.zarr", made)
        shutil.copyfile(path, made / document)
        as_image(made)

    def seeds(folder: Path) -> list[bytes]:
        from tests.imaging.test_more_formats import ome_zarr

        whole = folder / "whole.ome.zarr"
        if not whole.exists():
            ome_zarr(whole, ARRAY, version="0.5")
        return [(whole / document).read_bytes()]

    return Target(ending=".json", read=read, seeds=seeds)


def more_targets() -> dict[str, Callable[[], Target]]:
    """Return what makes each target, by its name."""
    made: dict[str, Callable[[], Target]] = {
        "image.hdr": pair_target,
        "archive": archive_target,
        "weights": weights_target,
        "zarr.group": partial(zarr_target, "zarr.json"),
        "zarr.array": partial(zarr_target, "0/zarr.json"),
    }
    made |= {f"image{ending}": partial(array_target, ending) for ending in (".npy", ".npz")}
    made |= {f"image{ending}": partial(header_target, ending) for ending in (".nhdr", ".mhd")}
    made |= {f"dicom.{kind}": partial(structure_target, kind) for kind in ("seg", "rtstruct")}
    return made | {f"cases{ending}": partial(list_target, ending) for ending in (".csv", ".tsv", ".json")}
