"""nnU-Net's plans and fingerprints become our records and theirs again."""

import json
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from autoseg.core.records import read_record
from benchmarks.nnunet_figures import GoldenPlans, recipe_of
from planners.nnunet_format import fingerprint_to_nnunet, plan_to_nnunet
from planners.nnunet_import import fingerprint_from_nnunet, plan_from_nnunet
from planners.planner import make_plan
from planners.recipe import RECIPES, Budget
from tests.planners.fingerprints import channel, fingerprint
from tests.planners.test_nnunet_plans import CASES, GOLDEN

DATASET = {
    "channel_names": {"0": "CT", "1": "PET"},
    "labels": {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3},
    "numTraining": 7,
    "file_ending": ".nii.gz",
}
STATISTICS = {
    "mean": 1.5, "std": 2.0, "min": -9, "max": 50.0, "median": 1.0, "percentile_00_5": -5.0, "percentile_99_5": 40.0
}  # fmt: skip
FINGERPRINT = {
    "spacings": [[3.0, 0.8, 0.8], [2.0, 0.8, 0.8]],
    "shapes_after_crop": [[100, 400, 400], [150, 400, 400]],
    "median_relative_size_after_cropping": 0.5,
    "foreground_intensity_properties_per_channel": {"0": STATISTICS, "1": STATISTICS},
}


@pytest.mark.parametrize("variant", ["plain", "resenc-m"])
@pytest.mark.parametrize("name", CASES)
def test_a_golden_plan_comes_back(name: str, variant: str) -> None:
    golden = read_record(GOLDEN / f"{name}.json", GoldenPlans)
    plan = make_plan(golden.fingerprint, recipe_of(variant, golden.spacing_mm), Budget())
    written = json.loads(json.dumps(plan_to_nnunet(plan, golden.fingerprint)))
    assert replace(plan_from_nnunet(golden.fingerprint, written), decisions=plan.decisions) == plan


def read() -> Any:
    return fingerprint_from_nnunet("belly", DATASET, FINGERPRINT)


def test_a_fingerprint_is_read() -> None:
    found = read()
    assert [item.name for item in found.channels] == ["CT", "PET"]
    assert [item.modality for item in found.channels] == ["ct", "other"]
    assert found.channels[0].minimum == -9.0
    assert [(label.name, label.values, label.role) for label in found.labels] == [
        ("whole", (1, 2), "foreground"),
        ("core", (2,), "foreground"),
        ("ignore", (3,), "ignore"),
    ]
    assert found.n_training == 7
    assert found.cases[1].shape_after_crop == (150, 400, 400)


def test_a_fingerprint_comes_back() -> None:
    assert fingerprint_to_nnunet(read()) == FINGERPRINT


def test_a_picture_is_recognised_by_its_thickness() -> None:
    pictures = FINGERPRINT | {"spacings": [[999.0, 1.0, 0.5]], "shapes_after_crop": [[1, 64, 64]]}
    found = fingerprint_from_nnunet("cells", DATASET | {"modality": DATASET["channel_names"]}, pictures)
    assert (found.cases[0].dimensions, found.cases[0].spacing_mm) == (2, (1.0, 1.0, 0.5))
    assert fingerprint_to_nnunet(found)["spacings"] == [[999.0, 1.0, 0.5]]


def test_the_old_name_of_channels_is_read() -> None:
    old = {("modality" if key == "channel_names" else key): value for key, value in DATASET.items()}
    assert fingerprint_from_nnunet("old", old, FINGERPRINT).channels[0].name == "CT"


def test_plans_say_how_nnunet_would_name_them() -> None:
    written = plan_to_nnunet(make_plan(read(), RECIPES["nnunet-resenc-l"], Budget()), read())
    assert written["plans_name"] == "nnUNetResEncUNetLPlans"
    assert written["experiment_planner_used"] == "nnUNetPlannerResEncL"
    assert written["transpose_backward"] == [0, 1, 2]
    assert written["original_median_spacing_after_transp"] == [2.5, 0.8, 0.8]
    full = written["configurations"]["3d_fullres"]
    assert full["normalization_schemes"] == ["CTNormalization", "ZScoreNormalization"]
    assert full["use_mask_for_norm"] == [False, True]
    assert full["architecture"]["arch_kwargs"]["n_blocks_per_stage"][:4] == [1, 3, 4, 6]
    assert full["resampling_fn_seg_kwargs"] == {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None}


def plans() -> Any:
    return deepcopy(plan_to_nnunet(make_plan(read(), RECIPES["nnunet"], Budget()), read()))


def broken(path: list[str], value: object) -> Any:
    given = plans()
    place = given
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return given


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["configurations"], None, "configurations is missing or not an object"),
        (["configurations", "4d"], {}, "configuration '4d' is not one of"),
        (["configurations", "2d"], {"inherits_from": "2d"}, "in a circle: 2d from 2d"),
        (["configurations", "2d"], {"inherits_from": "gone"}, "gone is missing"),
        (["transpose_forward"], [0, 1], "transpose_forward has 2 values instead of 3"),
        (["transpose_forward"], None, "transpose_forward is missing or not a list"),
        (["configurations", "2d", "batch_size"], 1.5, "2d.batch_size is 1.5, not a whole number"),
        (["configurations", "2d", "batch_size"], True, "2d.batch_size is True, not a number"),
        (["configurations", "2d", "spacing"], [1.0, float("nan")], "2d.spacing is nan, not a number"),
        (["configurations", "2d", "normalization_schemes"], ["Own", "Own"], "normalization 'Own' of CT is not one of"),
        (["configurations", "2d", "architecture", "network_class_name"], "os.system", "'os.system' is not one of"),
        (["configurations", "3d_cascade_fullres", "previous_stage"], "1d", "previous_stage '1d' is not one of"),
    ],
)
def test_a_broken_plan_is_refused_by_name(path: list[str], value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_from_nnunet(read(), broken(path, value))


def test_as_many_spacings_as_shapes() -> None:
    with pytest.raises(ValueError, match="spacings has 1 cases, shapes_after_crop 2"):
        fingerprint_from_nnunet("belly", DATASET, FINGERPRINT | {"spacings": [[1.0, 1.0, 1.0]]})


def test_statistics_may_be_missing() -> None:
    found = fingerprint_from_nnunet("belly", DATASET, FINGERPRINT | {"foreground_intensity_properties_per_channel": {}})
    assert found.channels[0].mean is None


def test_what_nnunet_lacks_is_refused() -> None:
    windowed = make_plan(fingerprint(channels=(channel(modality="ct", measured=False),)), RECIPES["auto"], Budget())
    with pytest.raises(ValueError, match="nnU-Net has no normalization 'window'"):
        plan_to_nnunet(windowed, fingerprint())
    gated = make_plan(fingerprint(), replace(RECIPES["auto"], architecture="attention-unet"), Budget())
    with pytest.raises(ValueError, match="nnU-Net has no architecture 'attention-unet'"):
        plan_to_nnunet(gated, fingerprint())
