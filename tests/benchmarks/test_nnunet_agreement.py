"""What is compared with nnU-Net's own plans, and the folder that nnU-Net is given."""

import copy
import json

import numpy as np
import pytest
import SimpleITK

from autoseg.datasets.options import Options
from autoseg.datasets.understand import understand
from benchmarks.nnunet_agreement import SUBJECTS, FolderAgreement, describe, main
from benchmarks.nnunet_raw import channel_names, write_raw
from benchmarks.nnunet_trees import Difference, compare_fingerprints, compare_plans
from planners.nnunet_format import fingerprint_to_nnunet, plan_to_nnunet
from planners.planner import make_plan
from planners.recipe import RECIPES, Budget
from tests.planners.fingerprints import channel, fingerprint


def plans():
    seen = fingerprint()
    return json.loads(json.dumps(plan_to_nnunet(make_plan(seen, RECIPES["nnunet"], Budget()), seen)))


def test_equal_plans_agree_whatever_the_reader():
    theirs = plans() | {"image_reader_writer": "NaturalImage2DIO", "dataset_name": "Dataset001_compared"}
    compared = compare_plans(plans(), theirs)
    assert compared.differences == ()
    assert compared.values > 100


def test_every_changed_value_is_named():
    theirs = plans()
    theirs["configurations"]["3d_fullres"]["patch_size"][1] += 8
    theirs["configurations"]["3d_fullres"]["spacing"][0] *= 1 + 1e-5
    del theirs["configurations"]["2d"]["batch_dice"]
    places = [difference.place for difference in compare_plans(plans(), theirs).differences]
    assert places == [
        "configurations.2d.batch_dice",
        "configurations.3d_fullres.patch_size[1]",
        "configurations.3d_fullres.spacing[0]",
    ]


def test_intensities_may_differ_as_far_as_drawing_them_moves_them():
    ours = json.loads(json.dumps(fingerprint_to_nnunet(fingerprint())))
    theirs = copy.deepcopy(ours)
    statistics = theirs["foreground_intensity_properties_per_channel"]["0"]
    statistics["mean"] += 0.5  # a hundredth of the standard deviation
    compared = compare_fingerprints(ours, theirs)
    assert compared.differences == ()
    assert compared.intensity_deviation == pytest.approx(0.01)
    statistics["median"] += 2.0
    theirs["shapes_after_crop"].pop()
    places = [difference.place for difference in compare_fingerprints(ours, theirs).differences]
    assert places == ["shapes_after_crop", "foreground_intensity_properties_per_channel.0.median"]


def test_nnunet_gets_consecutive_labels_and_names_that_it_knows(tmp_path):
    source, target = tmp_path / "source", tmp_path / "raw"
    for folder in ("images", "labels"):
        (source / folder).mkdir(parents=True)
    label = np.zeros((8, 9, 10), np.uint8)
    label[2:4], label[5:7] = 3, 7
    for name in ("b", "a"):
        image = SimpleITK.GetImageFromArray(label * np.float32(name == "a"))
        SimpleITK.WriteImage(image, source / "images" / f"{name}.nii.gz")
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(label), source / "labels" / f"{name}.nii.gz")
    dataset = understand(source, Options())
    write_raw(dataset, channel_names(fingerprint(channels=(channel("scan", "ct"),))), target)
    described = json.loads((target / "dataset.json").read_bytes())
    assert described["channel_names"] == {"0": "CT"}
    assert list(described["labels"].values()) == [0, 1, 2]
    assert described["numTraining"] == 2
    assert (target / "imagesTr" / "case_0000_0000.nii.gz").resolve() == source / "images" / "a.nii.gz"
    written = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(target / "labelsTr" / "case_0001.nii.gz"))
    assert sorted(np.unique(written)) == [0, 1, 2]
    assert (written[2:4] == 1).all()


def test_a_line_per_difference_and_the_count():
    made = FolderAgreement(
        folder="liver",
        cases=3,
        command="autoseg plan",
        plan_values=10,
        fingerprint_values=5,
        intensity_deviation=0.001,
        differences=(Difference(place="configurations.2d.batch_size", ours="2", theirs="4"),),
    )
    assert describe(made).splitlines() == [
        "liver configurations.2d.batch_size: ours 2, theirs 4",
        "liver (3 cases): 14 of 15 values agree, intensities within 0.001 standard deviations",
    ]


def test_a_missing_folder_is_named(tmp_path, capsys):
    given = ["--datasets", str(tmp_path), "--nnunet-python", "python", "--output", str(tmp_path / "out.json")]
    assert main([*given, "--only", SUBJECTS[0].name]) == 2
    assert "no such folder; --datasets FOLDER holds the folders" in capsys.readouterr().err
