import json
import shutil

import numpy as np
import pytest

from autoseg.core.errors import AutosegError
from autoseg.datasets.layouts import arrange
from autoseg.datasets.listing import list_folder
from autoseg.datasets.options import Options

PLAIN = Options()


def arranged(folder, options=PLAIN):
    return arrange(list_folder(folder), options)


def volume():
    return np.zeros((2, 3, 4), np.uint8)


def pairs_of(arrangement):
    return {case.name: (case.images, case.references) for case in arrangement.cases}


# ------------------------------------------------------------------------------------ image and label folders
@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("images", "labels"),
        ("image", "label"),
        ("imgs", "masks"),
        ("imagesTr", "labelsTr"),
        ("train/image", "train/mask"),
        ("training/images", "training/segmentations"),
        ("jsrt_images", "ground_truth"),
    ],
)
def test_images_and_labels_are_found_under_their_usual_names(scans, images, labels):
    found = arranged(scans(3, images, labels))
    assert found.layout == "folders"
    assert pairs_of(found)["case_01"] == ((f"{images}/case_01.nii.gz",), (f"{labels}/case_01.nii.gz",))
    assert not found.findings


def test_how_it_was_inferred_is_said(scans):
    said = {i.what: (i.value, i.because) for i in arranged(scans(3)).inferences}
    assert said["layout"] == ("images in images, labels in labels", "the names of the folders")
    assert said["pairing"] == ("3 cases", "same file name")


def test_readme_licence_and_hidden_files_are_no_images(scans, nifti):
    folder = scans(2)
    nifti(folder / "images" / "._case_00.nii.gz", volume())
    nifti(folder / ".cache" / "labels" / "x.nii.gz", volume())
    nifti(folder / "README.nii", volume())
    (folder / "images" / "LICENSE.txt").write_text("free")
    assert len(arranged(folder).cases) == 2


def test_labels_in_another_format_and_under_another_name_are_paired(tmp_path, png):
    for number in ("21", "22", "23"):
        png(tmp_path / "images" / f"{number}_training.png", np.zeros((4, 4), np.uint8))
        png(tmp_path / "1st_manual" / f"{number}_manual1.gif", np.zeros((4, 4), np.uint8))
        png(tmp_path / "2nd_manual" / f"{number}_manual2.gif", np.zeros((4, 4), np.uint8))
        png(tmp_path / "mask" / f"{number}_training_mask.gif", np.zeros((4, 4), np.uint8))
    found = arranged(tmp_path)
    assert pairs_of(found)["21"] == (("images/21_training.png",), ("1st_manual/21_manual1.gif",))
    said = " | ".join(i.because for i in found.inferences)
    assert "first observer; 2nd_manual left aside" in said
    assert "mask (field of view) left aside" in said


def test_two_folders_of_labels_are_ambiguous_until_an_option_decides(scans, nifti):
    folder = scans(2)
    for name in ("case_00", "case_01"):
        nifti(folder / "masks" / f"{name}.nii.gz", volume())
    with pytest.raises(AutosegError, match="several folders of labels: labels, masks; say which with --labels"):
        arranged(folder)
    found = arranged(folder, Options(images="images", labels="masks"))
    assert pairs_of(found)["case_00"][1] == ("masks/case_00.nii.gz",)


def test_an_image_without_label_and_a_label_without_image_are_findings(scans):
    folder = scans(4)
    (folder / "labels" / "case_01.nii.gz").unlink()
    (folder / "images" / "case_02.nii.gz").unlink()
    found = arranged(folder)
    assert [(f.severity, f.where, f.what) for f in found.findings] == [
        ("error", "images/case_01.nii.gz", "image without label"),
        ("warning", "labels/case_02.nii.gz", "label without image, left aside"),
    ]
    assert "labels/case_01" in found.findings[0].mend
    assert [c.name for c in found.cases] == ["case_00", "case_03"]


def test_names_that_have_nothing_in_common_are_refused_with_examples(tmp_path, nifti):
    for name in ("anna", "bert"):
        nifti(tmp_path / "images" / f"{name}.nii.gz", volume())
    for name in ("first", "second"):
        nifti(tmp_path / "labels" / f"{name}.nii.gz", volume())
    with pytest.raises(AutosegError, match=r"no label has the name of an image .images anna, bert; labels first"):
        arranged(tmp_path)


def test_one_image_and_one_label_belong_together_whatever_their_names(tmp_path, nifti):
    nifti(tmp_path / "images" / "anna.nii.gz", volume())
    nifti(tmp_path / "labels" / "drawn.nii.gz", volume())
    assert pairs_of(arranged(tmp_path)) == {"anna": (("images/anna.nii.gz",), ("labels/drawn.nii.gz",))}


def test_a_dataset_json_beside_any_layout_names_labels_and_channels(scans):
    folder = scans(2)
    document = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1, "tumour": 2}}
    (folder / "dataset.json").write_text(json.dumps(document))
    found = arranged(folder)
    assert (found.layout, found.channels) == ("folders", ("CT",))
    assert [label.name for label in found.labels] == ["liver", "tumour"]
    assert ("liver, tumour", "named in dataset.json") in [(i.value, i.because) for i in found.inferences]


def test_numbered_files_are_the_channels_of_one_case(tmp_path, nifti):
    for case in ("a_01", "a_02"):
        for channel in range(2):
            nifti(tmp_path / "images" / f"{case}_{channel:04d}.nii.gz", volume())
        nifti(tmp_path / "labels" / f"{case}.nii.gz", volume())
    found = arranged(tmp_path)
    assert pairs_of(found)["a_01"][0] == ("images/a_01_0000.nii.gz", "images/a_01_0001.nii.gz")
    assert found.channels == ("channel_1", "channel_2")


def test_images_for_testing_are_unlabelled_cases(scans, nifti):
    folder = scans(2, "imagesTr", "labelsTr")
    nifti(folder / "imagesTs" / "new_1.nii.gz", volume())
    found = arranged(folder)
    assert [case.name for case in found.test_cases] == ["new_1"]
    assert found.test_cases[0].references == ()
    assert not found.findings


def test_training_and_test_folders_with_labels_are_kept_apart(tmp_path, nifti):
    for split, names in (("train", "abc"), ("test", "xy")):
        for name in names:
            nifti(tmp_path / split / "images" / f"{name}.nii.gz", volume())
            nifti(tmp_path / split / "labels" / f"{name}.nii.gz", volume())
    found = arranged(tmp_path)
    assert [c.name for c in found.cases] == ["a", "b", "c"]
    assert [c.references for c in found.test_cases] == [("test/labels/x.nii.gz",), ("test/labels/y.nii.gz",)]


def test_a_folder_per_structure_makes_structures(tmp_path, png):
    gray = np.zeros((4, 4), np.uint8)
    for name in ("A1", "A2"):
        png(tmp_path / "images" / f"{name}.png", gray)
        for structure in ("heart", "left_lung", "heart_png"):
            png(tmp_path / "masks" / structure / f"{name}.gif", gray)
    (tmp_path / "masks" / "heart" / "A2.gif").unlink()
    found = arranged(tmp_path)
    assert found.reference_kind == "structures"
    assert [(label.name, label.values) for label in found.labels] == [("heart", (1,)), ("left_lung", (2,))]
    assert pairs_of(found)["A1"][1] == ("masks/heart/A1.gif", "masks/left_lung/A1.gif")
    assert pairs_of(found)["A2"][1] == ("", "masks/left_lung/A2.gif")
    assert "left aside heart_png" in [i.value for i in found.inferences]


# --------------------------------------------------------------------------------------------------- nnU-Net
@pytest.fixture
def nnunet(tmp_path, nifti):
    for name in ("liver_1", "liver_2"):
        for channel in range(2):
            nifti(tmp_path / "imagesTr" / f"{name}_{channel:04d}.nii.gz", volume())
        nifti(tmp_path / "labelsTr" / f"{name}.nii.gz", volume())
    nifti(tmp_path / "imagesTs" / "liver_9_0000.nii.gz", volume())
    nifti(tmp_path / "imagesTs" / "liver_9_0001.nii.gz", volume())
    description = {
        "channel_names": {"0": "T1", "1": "FLAIR"},
        "labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "ignore": 4},
        "regions_class_order": [1, 2],
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    return tmp_path


def test_nnunet_channels_regions_and_ignore_are_read(nnunet):
    found = arranged(nnunet)
    assert found.layout == "nnU-Net"
    assert found.channels == ("T1", "FLAIR")
    assert [(label.name, label.values, label.role) for label in found.labels] == [
        ("whole", (1, 2, 3), "foreground"),
        ("core", (2, 3), "foreground"),
        ("ignore", (4,), "ignore"),
    ]
    assert pairs_of(found)["liver_2"] == (
        ("imagesTr/liver_2_0000.nii.gz", "imagesTr/liver_2_0001.nii.gz"),
        ("labelsTr/liver_2.nii.gz",),
    )
    assert found.test_cases[0].images == ("imagesTs/liver_9_0000.nii.gz", "imagesTs/liver_9_0001.nii.gz")


def test_the_value_that_regions_class_order_writes_comes_first(nnunet):
    document = json.loads((nnunet / "dataset.json").read_text())
    document["regions_class_order"] = [2, 3]
    (nnunet / "dataset.json").write_text(json.dumps(document))
    assert [label.values for label in arranged(nnunet).labels][:2] == [(2, 1, 3), (3, 2)]


def test_a_missing_nnunet_channel_is_named(nnunet):
    (nnunet / "imagesTr" / "liver_1_0001.nii.gz").unlink()
    found = arranged(nnunet)
    assert [(f.severity, f.what) for f in found.findings] == [("error", "channel 0001 of liver_1 is missing")]


def test_a_missing_nnunet_label_is_named(nnunet):
    (nnunet / "labelsTr" / "liver_1.nii.gz").unlink()
    finding = arranged(nnunet).findings[0]
    assert (finding.severity, finding.what) == ("error", "image without label")
    assert "labelsTr/liver_1.nii.gz" in finding.mend


def test_a_label_without_number_is_an_error_of_dataset_json(nnunet):
    (nnunet / "dataset.json").write_text('{"labels": {"one": "liver"}}')
    with pytest.raises(AutosegError, match="label 'one' has no number"):
        arranged(nnunet)


def test_a_broken_dataset_json_is_refused(nnunet):
    (nnunet / "dataset.json").write_text('{"labels": ')
    with pytest.raises(AutosegError, match=r"dataset.json: .*; mend this key or remove the file"):
        arranged(nnunet)


# ------------------------------------------------------------------------------------------------- Decathlon
@pytest.fixture
def decathlon(tmp_path, nifti):
    for name in ("la_003", "la_004"):
        nifti(tmp_path / "imagesTr" / f"{name}.nii.gz", np.zeros((2, 3, 4, 5), np.float32))
        nifti(tmp_path / "labelsTr" / f"{name}.nii.gz", np.zeros((3, 4, 5), np.uint8))
    nifti(tmp_path / "imagesTs" / "la_001.nii.gz", np.zeros((2, 3, 4, 5), np.float32))
    description = {
        "name": "prostate",
        "modality": {"0": "T2", "1": "ADC"},
        "labels": {"0": "background", "1": "PZ", "2": "TZ"},
        "numTraining": 2,
        "training": [
            {"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in ("la_003", "la_004")
        ],
        "test": ["./imagesTs/la_001.nii.gz"],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    return tmp_path


def test_decathlon_lists_are_followed(decathlon):
    found = arranged(decathlon)
    assert found.layout == "Decathlon"
    assert found.channels == ("T2", "ADC")
    assert [(label.name, label.values) for label in found.labels] == [("PZ", (1,)), ("TZ", (2,))]
    assert pairs_of(found)["la_003"] == (("imagesTr/la_003.nii.gz",), ("labelsTr/la_003.nii.gz",))
    assert [case.name for case in found.test_cases] == ["la_001"]


def test_a_listed_file_that_is_missing_is_a_finding(decathlon):
    (decathlon / "labelsTr" / "la_004.nii.gz").unlink()
    found = arranged(decathlon)
    assert [(f.where, f.what) for f in found.findings] == [
        ("labelsTr/la_004.nii.gz", "listed in dataset.json but missing")
    ]


# --------------------------------------------------------------------------- side by side, and case by case
def test_words_in_file_names_tell_labels_from_images_side_by_side(tmp_path, nifti):
    for name in ("brain1_image", "brain1_label", "prostate", "prostate-label"):
        nifti(tmp_path / "data" / f"{name}.nii.gz", volume())
    found = arranged(tmp_path)
    assert found.layout == "suffix"
    assert pairs_of(found) == {
        "brain1": (("data/brain1_image.nii.gz",), ("data/brain1_label.nii.gz",)),
        "prostate": (("data/prostate.nii.gz",), ("data/prostate-label.nii.gz",)),
    }


def test_a_folder_per_case_with_named_channels(tmp_path, nifti):
    for case in ("BraTS_001", "BraTS_002"):
        for part in ("t1", "flair", "seg"):
            nifti(tmp_path / case / f"{case}_{part}.nii.gz", volume())
    found = arranged(tmp_path)
    assert (found.layout, found.channels) == ("case folders", ("flair", "t1"))
    assert pairs_of(found)["BraTS_002"] == (
        ("BraTS_002/BraTS_002_flair.nii.gz", "BraTS_002/BraTS_002_t1.nii.gz"),
        ("BraTS_002/BraTS_002_seg.nii.gz",),
    )


def test_a_missing_channel_of_a_case_folder_is_named(tmp_path, nifti):
    for case in ("p1", "p2", "p3"):
        for part in ("t1", "flair", "seg"):
            nifti(tmp_path / case / f"{part}.nii.gz", volume())
    (tmp_path / "p2" / "flair.nii.gz").unlink()
    assert [(f.where, f.what) for f in arranged(tmp_path).findings] == [("p2", "channel flair is missing")]


def test_files_that_recur_in_case_folders_are_structures(tmp_path, nifti):
    for case in ("s1", "s2", "s3"):
        nifti(tmp_path / case / "ct.nii.gz", volume())
        for structure in ("liver", "spleen"):
            nifti(tmp_path / case / "segmentations" / f"{structure}.nii.gz", volume())
    found = arranged(tmp_path)
    assert (found.reference_kind, [label.name for label in found.labels]) == ("structures", ["liver", "spleen"])
    assert pairs_of(found)["s1"][1] == ("s1/segmentations/liver.nii.gz", "s1/segmentations/spleen.nii.gz")


def test_files_that_do_not_recur_in_case_folders_are_single_objects(tmp_path, png):
    for case, masks in (("c1", ("a7", "b3")), ("c2", ("c9", "d1", "e5"))):
        png(tmp_path / case / "images" / f"{case}.png", np.zeros((4, 4), np.uint8))
        for mask in masks:
            png(tmp_path / case / "masks" / f"{mask}.png", np.zeros((4, 4), np.uint8))
    found = arranged(tmp_path)
    assert (found.reference_kind, found.labels) == ("instances", None)
    assert len(pairs_of(found)["c2"][1]) == 3


@pytest.fixture
def scanners(tmp_path, nifti):
    """Two patients, each with a PET at 4 mm and a CT at 1 mm of the same place, both with a mask."""
    for case in ("S1", "S2"):
        for part in ("image", "mask"):
            nifti(tmp_path / case / f"PET_{part}.nii.gz", np.zeros((3, 3, 3), np.uint8), (4.0,) * 3)
            nifti(tmp_path / case / f"CT_{part}.nii.gz", np.zeros((12, 12, 12), np.uint8))
    return tmp_path


def test_of_several_images_with_a_label_each_the_finest_is_the_reference(scanners):
    found = arranged(scanners)
    assert found.channels == ("CT", "PET")
    assert pairs_of(found)["S2"] == (("S2/CT_image.nii.gz", "S2/PET_image.nii.gz"), ("S2/CT_mask.nii.gz",))
    said = found.inferences[-1]
    assert said.value == "those of CT"
    assert "the labels of PET are left aside" in said.because
    assert "--images '*/CT_image.nii.gz' --labels '*/CT_mask.nii.gz'" in said.because


def test_one_of_several_images_is_chosen_by_patterns(scanners):
    found = arranged(scanners, Options(images="*/PET_image.nii.gz", labels="*/PET_mask.nii.gz"))
    assert pairs_of(found)["S1"] == (("S1/PET_image.nii.gz",), ("S1/PET_mask.nii.gz",))


def test_the_reference_is_the_image_that_all_others_cover_even_if_another_is_finer(scanners, nifti):
    for part in ("image", "mask"):
        nifti(scanners / "S1" / f"PET_{part}.nii.gz", np.zeros((3, 3, 2), np.uint8), (4.0,) * 3)
    found = arranged(scanners)
    assert found.channels == ("PET", "CT")
    assert found.inferences[-1].value == "those of PET"


def test_images_of_different_places_are_not_put_together(scanners, nifti):
    for part in ("image", "mask"):
        nifti(scanners / "S1" / f"PET_{part}.nii.gz", np.zeros((9, 9, 1), np.uint8), (4.0,) * 3)
    message = r"several images that show different places .the others cover 21% of CT, 7% of PET.: CT, PET; say"
    with pytest.raises(AutosegError, match=message):
        arranged(scanners)


def test_labels_of_some_channels_only_ask_for_a_choice(scanners, nifti):
    for case in ("S1", "S2"):
        nifti(scanners / case / "MR_image.nii.gz", volume())
    with pytest.raises(AutosegError, match="several images and several labels: CT, MR, PET; say which with --images"):
        arranged(scanners)


# ------------------------------------------------------------------------------------------------------ BIDS
def test_bids_labels_are_found_in_the_derivatives(tmp_path, png):
    gray = np.zeros((4, 4), np.uint8)
    labels = tmp_path / "derivatives" / "labels"
    for subject in ("sub-1", "sub-2"):
        stem = f"{subject}_sample-a_SEM"
        png(tmp_path / subject / "micr" / f"{stem}.png", gray)
        for kind in ("axon", "myelin", "axonmyelin"):
            png(labels / subject / "micr" / f"{stem}_seg-{kind}-manual.png", gray)
    found = arranged(tmp_path)
    assert (found.layout, [label.name for label in found.labels]) == ("BIDS", ["axon", "myelin"])
    assert [(case.name, case.group) for case in found.cases] == [
        ("sub-1_sample-a", "sub-1"),
        ("sub-2_sample-a", "sub-2"),
    ]
    assert "axonmyelin holds them together and is left aside" in found.inferences[1].because


def test_bids_suffixes_are_channels(tmp_path, nifti):
    for subject in ("sub-01", "sub-02"):
        for suffix in ("T1w", "FLAIR"):
            nifti(tmp_path / subject / "anat" / f"{subject}_{suffix}.nii.gz", volume())
        nifti(tmp_path / "derivatives" / "x" / subject / "anat" / f"{subject}_space-orig_dseg.nii.gz", volume())
    found = arranged(tmp_path)
    assert (found.channels, found.reference_kind) == (("FLAIR", "T1w"), "map")
    (tmp_path / "derivatives" / "x" / "sub-02" / "anat" / "sub-02_space-orig_dseg.nii.gz").unlink()
    assert [f.what for f in arranged(tmp_path).findings] == ["image without label"]


# ------------------------------------------------------------------------------------------------ said by the user
def test_a_list_of_cases_is_followed(scans):
    folder = scans(3)
    (folder / "cases.csv").write_text(
        "case,image,label,group\n"
        "one,images/case_00.nii.gz,labels/case_00.nii.gz,anna\n"
        "two,images/case_01.nii.gz,labels/case_01.nii.gz,anna\n"
        "new,images/case_02.nii.gz,,\n"
    )
    found = arranged(folder, Options(cases="cases.csv"))
    assert [(c.name, c.group) for c in found.cases] == [("one", "anna"), ("two", "anna")]
    assert [c.name for c in found.test_cases] == ["new"]


def test_a_list_may_give_whole_paths_into_the_dataset(scans):
    folder = scans(1)
    image, label = folder / "images" / "case_00.nii.gz", folder / "labels" / "case_00.nii.gz"
    (folder / "cases.csv").write_text(f"image,label\n{image},{label}\n")
    found = arranged(folder, Options(cases="cases.csv"))
    assert found.cases[0].images == ("images/case_00.nii.gz",)
    assert found.cases[0].references == ("labels/case_00.nii.gz",)


def test_a_json_list_of_cases_may_name_several_channels(scans):
    folder = scans(1)
    shutil.copy(folder / "images" / "case_00.nii.gz", folder / "images" / "other.nii.gz")
    row = {"image": "images/case_00.nii.gz;images/other.nii.gz", "label": "labels/case_00.nii.gz"}
    (folder / "cases.json").write_text(json.dumps([row]))
    found = arranged(folder, Options(cases="cases.json"))
    assert found.cases[0].images == ("images/case_00.nii.gz", "images/other.nii.gz")
    assert found.channels == ("channel_1", "channel_2")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scan,label\na,b\n", "not a list of cases"),
        ("image,label\nimages/none.nii.gz,\n", "images/none.nii.gz does not exist"),
        ("image,label\n,labels/case_00.nii.gz\n", "a row without image"),
    ],
)
def test_a_wrong_list_is_refused(scans, text, message):
    folder = scans(1)
    (folder / "cases.csv").write_text(text)
    with pytest.raises(AutosegError, match=message):
        arranged(folder, Options(cases="cases.csv"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(images="images"), "--images without --labels; give both"),
        (Options(images="images", labels="nowhere"), "--labels nowhere matches no image"),
        (Options(cases="none.csv"), "no such list of cases"),
    ],
)
def test_options_that_do_not_fit_the_folder_are_refused(scans, options, message):
    with pytest.raises(AutosegError, match=message):
        arranged(scans(2), options)


# ------------------------------------------------------------------------------------------- not understood
def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(AutosegError, match="no image in it; put images and labels there"):
        arranged(tmp_path)


def test_a_folder_that_does_not_exist_suggests_its_neighbour(scans):
    folder = scans(1)
    with pytest.raises(AutosegError, match=r"no such folder; did you mean .*data\?"):
        arranged(folder.with_name("dada"))


def test_a_file_instead_of_a_folder_is_refused(scans):
    with pytest.raises(AutosegError, match="a file, not a folder"):
        arranged(scans(1) / "images" / "case_00.nii.gz")


def test_images_without_any_label_are_not_understood(tmp_path, nifti):
    nifti(tmp_path / "a.nii.gz", volume())
    nifti(tmp_path / "b.nii.gz", volume())
    with pytest.raises(AutosegError, match=r"images without any label .a.nii.gz, b.nii.gz"):
        arranged(tmp_path)


def test_labels_in_dicom_are_set_aside_where_other_images_lie(scans):
    folder = scans(2)
    for name in ("image", "mask"):
        (folder / "dicom" / "S1" / name).mkdir(parents=True)
        (folder / "dicom" / "S1" / name / "1.dcm").write_bytes(b"DICM")
    found = arranged(folder)
    assert len(found.cases) == 2
    because = "DICOM labels beside images in other formats; give --images and --labels to take them"
    assert ("dicom/S1", because) in [(i.value, i.because) for i in found.inferences]


def test_the_list_inside_an_nnunet_dataset_json_is_followed(nnunet):
    document = json.loads((nnunet / "dataset.json").read_text())
    images = ["imagesTr/liver_1_0000.nii.gz", "imagesTr/liver_1_0001.nii.gz"]
    document["dataset"] = {"first": {"images": images, "label": "labelsTr/liver_1.nii.gz"}}
    (nnunet / "dataset.json").write_text(json.dumps(document))
    assert pairs_of(arranged(nnunet)) == {"first": (tuple(images), ("labelsTr/liver_1.nii.gz",))}
    document["dataset"] = {"first": {"images": images}}
    (nnunet / "dataset.json").write_text(json.dumps(document))
    with pytest.raises(AutosegError, match="case first lacks images or label"):
        arranged(nnunet)


def test_an_nnunet_image_without_channel_number_is_told_its_name(nnunet):
    path = nnunet / "imagesTr" / "liver_1_0000.nii.gz"
    path.rename(path.with_name("liver_1.nii.gz"))
    finding = arranged(nnunet).findings[0]
    assert (finding.where, finding.mend) == ("imagesTr/liver_1.nii.gz", "rename it to liver_1_0000")


def test_equal_names_in_several_splits_are_told_apart_by_their_folder(tmp_path, nifti):
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            nifti(tmp_path / split / kind / "a.nii.gz", volume())
    assert [case.name for case in arranged(tmp_path).cases] == ["train_images_a", "val_images_a"]


def test_an_odd_picture_beside_pairs_is_left_aside(tmp_path, nifti, png):
    for name in ("img1", "mask1", "img2", "mask2"):
        nifti(tmp_path / f"{name}.nii.gz", volume())
    png(tmp_path / "overview.png", np.zeros((4, 4), np.uint8))
    found = arranged(tmp_path)
    assert [case.name for case in found.cases] == ["1", "2"]
    assert [(f.severity, f.where) for f in found.findings] == [("warning", "overview.png")]


def test_regions_class_order_must_have_a_value_per_label(nnunet):
    document = json.loads((nnunet / "dataset.json").read_text())
    document["regions_class_order"] = [1, 2, 3]
    (nnunet / "dataset.json").write_text(json.dumps(document))
    with pytest.raises(AutosegError, match="regions_class_order has 3 values for 2 labels"):
        arranged(nnunet)
