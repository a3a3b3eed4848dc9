"""Folders as their owners laid them out: what is understood of each, without a word of configuration."""

import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from autoseg.core.errors import AutosegError
from autoseg.core.workspace import open_workspace
from autoseg.datasets.doctor import examine_dataset
from autoseg.datasets.options import Options
from autoseg.datasets.read_case import read_case
from autoseg.datasets.understand import Understanding, study
from autoseg.steps.fingerprint import make_fingerprint
from autoseg.steps.inspect import inspect


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What is understood of a folder: shapes of the first and last case, parts of the errors' text."""

    layout: str
    cases: int
    channels: tuple[str, ...]
    labels: tuple[str, ...]
    shapes: tuple[tuple[int, int, int], tuple[int, int, int]]
    test_cases: int = 0
    reference_kind: str = "map"
    overlapping: bool = False
    stack: bool = False
    groups: int | None = None
    value_map: tuple[tuple[int, int], ...] = ()
    errors: tuple[str, ...] = ()
    options: Options = field(default_factory=Options)


RGB = ("red", "green", "blue")
CT_ONLY = Options(images="nifti/*/CT_image.nii.gz", labels="nifti/*/CT_mask.nii.gz")
PARTIAL_OVERLAPS = Options(images="data/segmentations/ct-3slice", labels="data/segmentations/partial_overlaps.dcm")
TOTALSEG_VALUES = (
    *(*range(1, 12), 13, 14, 15, 18, 19, 20, 21, 23, 24, 25, *range(30, 34), *range(46, 50), 52, 63, 64, 69, 70, 79),
    *(*range(86, 90), *range(97, 104), *range(109, 116), 117),
)
UNDERSTOOD = {
    "msd-hippocampus": Expected(
        layout="folders",
        cases=200,
        channels=("image",),
        labels=("label_1", "label_2"),
        shapes=((35, 51, 35), (32, 52, 36)),
    ),
    "isbi2012-em": Expected(
        layout="folders",
        cases=24,
        channels=("image",),
        labels=("label_1",),
        shapes=((1, 512, 512), (1, 512, 512)),
        stack=True,
        value_map=((255, 1),),
    ),
    "drive-retina": Expected(
        layout="folders",
        cases=20,
        channels=RGB,
        labels=("label_1",),
        shapes=((1, 584, 565), (1, 584, 565)),
        test_cases=5,
        value_map=((255, 1),),
    ),
    "pyradiomics-nrrd": Expected(
        layout="suffix",
        cases=4,
        channels=("image",),
        labels=("label_1", "label_7", "label_8", "label_9"),
        shapes=((25, 256, 256), (13, 67, 82)),
    ),
    "dsb2018-nuclei": Expected(
        layout="case folders",
        cases=30,
        channels=RGB,
        labels=("label_1",),
        shapes=((1, 256, 320), (1, 256, 256)),
        reference_kind="instances",
        value_map=((255, 1),),
    ),
    "sem-axon-bids": Expected(
        layout="BIDS",
        cases=10,
        channels=("image",),
        labels=("axon", "myelin"),
        shapes=((1, 924, 1278), (1, 1096, 1541)),
        reference_kind="structures",
        overlapping=True,
        groups=8,
        value_map=((255, 1),),
        errors=("stray label values, as smoothing or JPEG leave them: 130",),
    ),
    "jsrt-chestxray": Expected(
        layout="folders",
        cases=8,
        channels=("image",),
        labels=("heart", "left_clavicle", "left_lung", "right_clavicle", "right_lung"),
        shapes=((1, 2048, 2048), (1, 2048, 2048)),
        reference_kind="structures",
        errors=("the label has 1024 x 1024 x 1 voxels (x, y, z), its image 2048 x 2048 x 1",) * 40,
    ),
    "nuclei3d-stardist": Expected(
        layout="suffix",
        cases=2,
        channels=("image",),
        labels=("label_1",),
        shapes=((1, 512, 512), (31, 61, 57)),
        errors=("1 images are 2D and 1 are 3D",),
        options=Options(merge_instances=True),
    ),
    "dicom-seg/breast-dce-mr": Expected(
        layout="DICOM",
        cases=1,
        channels=("image",),
        labels=("Breast",),
        shapes=((60, 256, 256), (60, 256, 256)),
        reference_kind="structures",
    ),
    "dicom-seg/dcmqi": Expected(
        layout="DICOM",
        cases=1,
        channels=("image",),
        labels=("DARK_BLUE", "GREEN", "LIGHT_BLUE", "ORANGE", "PURPLE"),
        shapes=((3, 512, 512), (3, 512, 512)),
        reference_kind="structures",
        overlapping=True,
        options=PARTIAL_OVERLAPS,
    ),
    "sts-ct-mr-pet/dicom": Expected(
        layout="DICOM",
        cases=1,
        channels=("image",),
        labels=("GTV_Mass_PET",),
        shapes=((47, 28, 28), (47, 28, 28)),
        reference_kind="structures",
        options=Options(images="*/PET/image"),
    ),
    "sts-ct-mr-pet": Expected(
        layout="case folders",
        cases=9,
        channels=("MR_T1", "CT", "PET"),
        labels=("label_1",),
        shapes=((35, 90, 115), (54, 99, 93)),
    ),
    "totalseg-tests": Expected(
        layout="suffix",
        cases=3,
        channels=("image",),
        labels=tuple(f"label_{value}" for value in TOTALSEG_VALUES),
        shapes=((20, 512, 512), (20, 91, 117)),
        errors=("image without label",),
    ),
}


def look(datasets_dir: Path, tmp_path: Path, name: str, options: Options):
    folder = datasets_dir / name
    return inspect(folder, open_workspace(tmp_path / f"{folder.name}.autoseg", folder, 0), options)


@cache
def understood(folder: Path, options: Options) -> Understanding:
    return study(folder, options, {})


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_a_folder_is_understood_as_its_owner_laid_it_out(datasets_dir, name):
    expected = UNDERSTOOD[name]
    found = understood(datasets_dir / name, expected.options)
    dataset = found.dataset
    assert (dataset.layout, len(dataset.cases), len(dataset.test_cases)) == (
        expected.layout,
        expected.cases,
        expected.test_cases,
    )
    assert dataset.channels == expected.channels
    assert tuple(label.name for label in dataset.labels) == expected.labels
    assert (found.facts[0].shape, found.facts[-1].shape) == expected.shapes
    assert (dataset.reference_kind, dataset.overlapping) == (expected.reference_kind, expected.overlapping)
    assert bool(dataset.stacks) == expected.stack
    assert len({case.group for case in dataset.cases}) == (expected.groups or expected.cases)
    assert dataset.value_map == expected.value_map


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_what_would_spoil_training_is_found_and_nothing_else(datasets_dir, name):
    expected = UNDERSTOOD[name]
    found = understood(datasets_dir / name, expected.options)
    errors = [f for f in (*found.findings, *examine_dataset(found)) if f.severity == "error"]
    assert len(errors) == len(expected.errors)
    for error, text in zip(errors, expected.errors, strict=True):
        assert text in error.what


@pytest.mark.parametrize("name", [name for name, expected in UNDERSTOOD.items() if not expected.errors])
def test_a_case_of_each_is_read_with_declared_values_only(datasets_dir, name):
    dataset = understood(datasets_dir / name, UNDERSTOOD[name].options).dataset
    arrays = read_case(dataset, dataset.cases[-1])
    assert len(arrays.image.array) == len(dataset.channels)
    declared = {0, *(value for label in dataset.labels for value in label.values)}
    assert set(np.unique(arrays.label).tolist()) <= declared
    assert arrays.label.shape[-3:] == arrays.image.grid.shape


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("brain-mr-dicom", "images without any label"),
        ("dicom-awkward", "no label refers to an image series that is there .pydicom/liver_1frame.dcm"),
    ],
)
def test_a_folder_that_is_not_understood_is_refused_with_what_to_do(datasets_dir, tmp_path, name, message):
    with pytest.raises(AutosegError, match=message):
        look(datasets_dir, tmp_path, name, Options())


@pytest.mark.parametrize(
    ("name", "shapes", "errors"),
    [
        (
            "dicom-seg",
            ((60, 256, 256), (3, 38, 23), (3, 38, 24), (3, 512, 512), (1, 1, 1)),
            (
                "2 modalities, several data sets by their looks: breast-dce-mr/UCSF-BR-06/image_dce_ser (MR), ",
                "several label files hold its Liver: dcmqi/data/segmentations/sparse-labelmap-noppv.dcm, ",
                "is a film of 25 frames without positions",
            ),
        ),
        (
            "dicom-seg/dcmqi",
            ((3, 38, 23), (3, 38, 24), (3, 512, 512)),
            ("several label files hold its Liver: data/segmentations/sparse-labelmap-noppv.dcm, ",),
        ),
        ("dicom-seg/highdicom", ((1, 1, 1),), ("is a film of 25 frames without positions",)),
        (
            "sts-ct-mr-pet/dicom",
            ((47, 134, 136), (47, 110, 112), (47, 28, 28)),
            ("3 modalities, several data sets by their looks: STS_019/CT/image (CT), STS_019/MR_T1/image (MR), ",),
        ),
    ],
)
def test_a_collection_of_data_sets_is_understood_and_shows_what_to_choose_from(datasets_dir, name, shapes, errors):
    found = understood(datasets_dir / name, Options())
    assert tuple(fact.shape for fact in found.facts) == shapes
    told = [finding for finding in found.findings if finding.severity == "error"]
    assert [text in finding.what for text, finding in zip(errors, told, strict=True)] == [True] * len(errors)
    assert all(finding.mend for finding in told)


def test_numbers_of_nuclei_are_not_taken_for_classes(datasets_dir, tmp_path):
    errors = look(datasets_dir, tmp_path, "nuclei3d-stardist", Options()).errors
    assert ["too many for classes" in e.what for e in errors] == [True, False]


def test_the_ct_alone_of_sts_is_chosen_by_patterns_and_recognised_as_ct(datasets_dir, tmp_path):
    inspection = look(datasets_dir, tmp_path, "sts-ct-mr-pet", CT_ONLY)
    assert (inspection.layout, inspection.n_cases, inspection.channels) == ("given", 9, ("image",))
    assert inspection.cases[0].shape == (48, 143, 161)
    workspace = open_workspace(tmp_path / "sts-ct-mr-pet.autoseg", datasets_dir / "sts-ct-mr-pet", 0)
    fingerprint = make_fingerprint(workspace)
    assert fingerprint.channels[0].modality == "ct"
    assert "near -1000 (air): Hounsfield units" in fingerprint.channels[0].modality_reason
    spacing = fingerprint.cases[0].spacing_mm
    assert spacing[0] / spacing[1] == pytest.approx(3.35, abs=0.01)


def test_the_200_cases_of_hippocampus_take_under_4_seconds_of_processor_time(datasets_dir, tmp_path):
    started = time.process_time()
    look(datasets_dir, tmp_path, "msd-hippocampus", Options())
    assert time.process_time() - started < 4
