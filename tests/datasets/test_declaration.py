"""What a user declares of a folder: options, autoseg.json, patterns, groups; each is held to the files."""

import json

import numpy as np
import pytest

from autoseg.core.errors import AutosegError
from autoseg.core.records import decode, encode
from autoseg.datasets.declaration import Declaration, propose
from autoseg.datasets.folds import make_folds
from autoseg.datasets.options import Options
from autoseg.datasets.read_case import read_case
from autoseg.datasets.understand import understand

PLAIN = Options()
SCHEMA = "autoseg.declaration/1"


def declare(folder, **what):
    (folder / "autoseg.json").write_text(json.dumps({"schema": SCHEMA, **what}))


def volume(value=0):
    array = np.zeros((4, 6, 8), np.uint8)
    array[1:3, 2:4, 2:5] = value
    return array


# --------------------------------------------------------------------------------------------------- autoseg.json
def test_labels_regions_ignore_channels_and_groups_are_declared_beside_the_data(scans):
    folder = scans(4)
    values = {"organ": [1, 2], "tumour": 2, "ignore": 9}
    groups = {"case_00": "anna", "case_03": "anna"}
    declare(folder, channels=["CT"], label_values=values, groups=groups)
    dataset = understand(folder, PLAIN)
    assert dataset.channels == ("CT",)
    assert [(label.name, label.values, label.role) for label in dataset.labels] == [
        ("organ", (1, 2), "foreground"),
        ("tumour", (2,), "foreground"),
        ("ignore", (9,), "ignore"),
    ]
    assert [case.group for case in dataset.cases] == ["anna", "case_01", "case_02", "anna"]
    for fold in make_folds(dataset, 3, 0).folds:
        assert len({"case_00", "case_03"} & set(fold.validation)) != 1


def test_the_command_line_goes_before_the_file(scans):
    folder = scans(2)
    declare(folder, channels=["CT"], label_values={"one": 1, "two": 2})
    dataset = understand(folder, Options(channel_names="MR", label_names="liver=1,whole=1+2"))
    assert dataset.channels == ("MR",)
    assert [(label.name, label.values) for label in dataset.labels] == [("liver", (1,)), ("whole", (1, 2))]


def test_a_declaration_elsewhere_is_followed_and_the_one_beside_the_data_is_not(scans, tmp_path):
    folder = scans(2)
    declare(folder, channels=["CT"])
    (tmp_path / "mine.json").write_text(json.dumps({"schema": SCHEMA, "channels": ["T2"]}))
    assert understand(folder, Options(declaration=str(tmp_path / "mine.json"))).channels == ("T2",)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"chanels": ["CT"]}, r"autoseg.json: unknown key chanels; remove it"),
        ({"channels": "CT"}, r"autoseg.json: Expected `array`, got `str` - at `\$.channels`"),
        ({"label_values": {"liver": "one"}}, r"autoseg.json: .* at `\$.label_values\[...\]`"),
        ({"label_values": {"liver": 1}}, r"label values that are not declared: 2 \(4 voxels\)"),
        ({"groups": {"case_09": "anna"}}, r"a group for case_09, which is no case; .*: case_00, case_01"),
        ({"images": "nowhere", "labels": "labels"}, r"--images nowhere matches no image"),
    ],
)
def test_a_wrong_declaration_is_refused_by_file_and_field(scans, what, message):
    folder = scans(2)
    declare(folder, **what)
    with pytest.raises(AutosegError, match=message):
        understand(folder, PLAIN)


def test_another_version_is_refused(scans):
    folder = scans(2)
    (folder / "autoseg.json").write_text('{"schema": "autoseg.declaration/9"}')
    with pytest.raises(AutosegError, match=r"schema is 'autoseg.declaration/9', expected 'autoseg.declaration/1'"):
        understand(folder, PLAIN)


def test_the_number_of_channels_is_held_to(tmp_path, nifti):
    for name in ("a_0000", "a_0001"):
        nifti(tmp_path / "images" / f"{name}.nii.gz", volume())
    nifti(tmp_path / "labels" / "a.nii.gz", volume(1))
    with pytest.raises(AutosegError, match="names 3 channels, the cases have 2 files"):
        understand(tmp_path, Options(channel_names="A,B,C"))
    assert understand(tmp_path, Options(channel_names="A,B")).channels == ("A", "B")


def test_overlapping_structures_are_declared_by_one_pattern_each(tmp_path, nifti):
    for case in ("p1", "p2"):
        nifti(tmp_path / "ct" / f"{case}.nii.gz", volume(50))
        nifti(tmp_path / "drawn" / "organ" / f"{case}.nii.gz", volume(1))
        nifti(tmp_path / "drawn" / "lesions" / f"{case}.nii.gz", volume(1) * (np.arange(8) == 3))
    declare(tmp_path, images="ct", labels={"organ": "drawn/organ", "lesion": "drawn/lesions"})
    dataset = understand(tmp_path, PLAIN)
    assert ([label.name for label in dataset.labels], dataset.overlapping) == (["organ", "lesion"], True)
    assert read_case(dataset, dataset.cases[1]).label.sum(axis=(1, 2, 3)).tolist() == [12, 4]


def test_declared_numbers_are_found_in_gray_levels(tmp_path, png):
    for index in range(2):
        png(tmp_path / "images" / f"{index}.png", np.arange(30, dtype=np.uint8).reshape(5, 6))
        png(tmp_path / "labels" / f"{index}.png", np.repeat(np.uint8([[0], [127], [255], [0], [0]]), 6, axis=1))
    dataset = understand(tmp_path, Options(label_names="myelin=1,axon=2"))
    assert dataset.value_map == ((127, 1), (255, 2))
    assert read_case(dataset, dataset.cases[0]).label[0, :, 0].tolist() == [0, 1, 2, 0, 0]


@pytest.mark.parametrize("text", ["liver", "liver=x", "=1", "liver=1+"])
def test_label_names_that_make_no_sense_are_refused(scans, text):
    with pytest.raises(AutosegError, match="is not NAME=VALUE; write liver=1,tumour=2"):
        understand(scans(2), Options(label_names=text))


# ------------------------------------------------------------------------------------------------------- patterns
@pytest.fixture
def scanner(tmp_path, nifti):
    for patient in ("p1", "p2"):
        for visit in ("v1", "v2"):
            for channel in ("t1", "t2"):
                nifti(tmp_path / patient / visit / f"img_{channel}.nii.gz", volume(50))
            nifti(tmp_path / patient / visit / "drawn.nii.gz", volume(1))
            nifti(tmp_path / patient / visit / "fov.nii.gz", volume(1))
    return tmp_path


def test_a_pattern_names_cases_channels_and_groups(tmp_path, nifti):
    for patient in ("p1", "p2"):
        for case in ("a", "b"):
            for channel in ("t1", "t2"):
                nifti(tmp_path / patient / f"{patient}{case}" / f"img_{channel}.nii.gz", volume(50))
            nifti(tmp_path / patient / f"{patient}{case}" / "drawn.nii.gz", volume(1))
    options = Options(pattern="{group}/{case}/img_{channel}.nii.gz", labels="{group}/{case}/drawn.nii.gz")
    dataset = understand(tmp_path, options)
    assert (dataset.layout, dataset.channels) == ("pattern", ("t1", "t2"))
    assert [(case.name, case.group) for case in dataset.cases] == [
        ("p1a", "p1"),
        ("p1b", "p1"),
        ("p2a", "p2"),
        ("p2b", "p2"),
    ]
    assert dataset.cases[0].images == ("p1/p1a/img_t1.nii.gz", "p1/p1a/img_t2.nii.gz")


def test_one_pattern_is_enough_where_labels_say_so(tmp_path, nifti):
    for case in ("x", "y"):
        for kind in ("ct", "pet", "mask"):
            nifti(tmp_path / f"{case}-{kind}.nii.gz", volume(1))
    dataset = understand(tmp_path, Options(pattern="{case}-{channel}.nii.gz"))
    assert [(c.name, c.images, c.references) for c in dataset.cases] == [
        ("x", ("x-ct.nii.gz", "x-pet.nii.gz"), ("x-mask.nii.gz",)),
        ("y", ("y-ct.nii.gz", "y-pet.nii.gz"), ("y-mask.nii.gz",)),
    ]


def test_label_is_a_structure_in_a_pattern(tmp_path, nifti):
    for case in ("x", "y"):
        for name in ("scan", "roi_liver", "roi_spleen"):
            nifti(tmp_path / case / f"{name}.nii.gz", volume(1))
    dataset = understand(tmp_path, Options(pattern="{case}/scan.nii.gz", labels="{case}/roi_{label}.nii.gz"))
    assert ([label.name for label in dataset.labels], dataset.reference_kind) == (["liver", "spleen"], "structures")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(pattern="img_{channel}.nii.gz"), r"has no \{case\}; use \{case\} and, if wanted"),
        (Options(pattern="{case}/{modality}.nii.gz"), r"no placeholder \{modality\}"),
        (Options(pattern="{case}/none.nii.gz", labels="{case}/b.nii.gz"), "no file fits {case}/none.nii.gz"),
        (Options(pattern="*/{case}/*.nii.gz", labels="x"), r"fits two files of case v1: p1/v1/drawn.nii.gz, p1/v1/f"),
        (Options(pattern="p1/{case}/img_{channel}.nii.gz"), "names no label; say where the labels are with --labels"),
    ],
)
def test_a_pattern_that_does_not_fit_is_refused(scanner, options, message):
    with pytest.raises(AutosegError, match=message):
        understand(scanner, options)


def test_a_case_without_a_channel_or_label_is_told(scanner):
    (scanner / "p1" / "v1" / "img_t2.nii.gz").unlink()
    options = Options(pattern="p1/{case}/img_{channel}.nii.gz", labels="p1/{case}/drawn.nii.gz")
    with pytest.raises(AutosegError, match=r"p1/v1/img_t1.nii.gz: channel t2 of v1 is missing"):
        understand(scanner, options)


# ---------------------------------------------------------------------------------------------------------- groups
def test_groups_of_a_table_stay_in_one_fold(scans):
    folder = scans(6)
    (folder / "patients.csv").write_text("case,group\ncase_00,a\ncase_01,a\ncase_02,b\ncase_03,b\n")
    dataset = understand(folder, Options(groups="patients.csv"))
    assert [case.group for case in dataset.cases] == ["a", "a", "b", "b", "case_04", "case_05"]
    assert ("groups", "4 groups of 6 cases") in [(i.what, i.value) for i in dataset.inferences]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case,patient\ncase_00,a\n", "line 2 has no case or no group"),
        ("case,group\ncase_00,a\ncase_00,b\n", "case case_00 is in two groups, a and b"),
        ("case,group\nnobody,a\n", "a group for nobody, which is no case"),
    ],
)
def test_a_wrong_table_of_groups_is_refused(scans, text, message):
    folder = scans(2)
    (folder / "patients.csv").write_text(text)
    with pytest.raises(AutosegError, match=message):
        understand(folder, Options(groups="patients.csv"))
    with pytest.raises(AutosegError, match="no such file"):
        understand(folder, Options(groups="none.csv"))


# -------------------------------------------------------------------------------------------------------- proposal
def test_a_proposal_put_beside_the_data_changes_nothing(tmp_path, nifti, png, scans):
    channels = tmp_path / "channels"
    for case in ("p1", "p2"):
        for name in ("ct", "pet", "mask"):
            nifti(channels / case / f"{name}.nii.gz", volume(1))
    structures = tmp_path / "structures"
    for case in ("p1", "p2"):
        png(structures / "images" / f"{case}.png", volume(200)[1])
        for name in ("heart", "lung"):
            png(structures / "masks" / name / f"{case}.png", volume(255)[1])
    for folder in (scans(3), channels, structures):
        dataset = understand(folder, PLAIN)
        proposal = propose(dataset)
        assert decode(encode(proposal), Declaration, "here") == proposal
        assert proposal.images is not None
        (folder / "autoseg.json").write_bytes(encode(proposal))
        again = understand(folder, PLAIN)
        assert (again.cases, again.channels, again.labels) == (dataset.cases, dataset.channels, dataset.labels)
        assert (again.reference_kind, again.overlapping) == (dataset.reference_kind, dataset.overlapping)
