"""What nnU-Net's plans may ask for, and how labels are ordered as its networks' outputs are."""

from copy import deepcopy
from typing import Any

import pytest

from planners.nnunet_format import plan_to_nnunet
from planners.nnunet_import import plan_from_nnunet, resolved_configuration
from planners.nnunet_known import modern_configuration, ordered_labels, refuse_unlike
from planners.planner import make_plan
from planners.recipe import RECIPES, Budget
from tests.planners.fingerprints import fingerprint

FINGERPRINT = fingerprint()


def plans(recipe: str = "nnunet") -> Any:
    return plan_to_nnunet(make_plan(FINGERPRINT, RECIPES[recipe], Budget()), FINGERPRINT)


@pytest.mark.parametrize("recipe", ["nnunet", "nnunet-resenc-m"])
def test_our_own_plans_ask_for_what_we_compute(recipe: str) -> None:
    written = plans(recipe)
    for name in written["configurations"]:
        refuse_unlike(written, name, resolved_configuration(written, name))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("preprocessor_name", "MyPreprocessor", "preprocessor_name is 'MyPreprocessor'"),
        ("resampling_fn_data", "resample_torch_fornnunet", "2d: resampling_fn_data is 'resample_torch_fornnunet'"),
        ("resampling_fn_probabilities_kwargs", {"order": 0}, "2d: resampling_fn_probabilities_kwargs are"),
    ],
)
def test_another_preprocessing_is_named(key: str, value: Any, message: str) -> None:
    written = plans()
    with pytest.raises(ValueError, match=message):
        refuse_unlike(written, "2d", {**written["configurations"]["2d"], key: value})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("norm_op", "torch.nn.modules.batchnorm.BatchNorm2d", "2d: norm_op is"),
        ("nonlin", "torch.nn.ReLU", "2d: nonlin is 'torch.nn.ReLU'"),
        ("conv_op", "os.system", "2d: conv_op is 'os.system'"),
        ("norm_op_kwargs", {"eps": 1e-3, "affine": True}, "norm, bias or slope"),
        ("conv_bias", False, "norm, bias or slope"),
        ("nonlin_kwargs", {"negative_slope": 0.2}, "norm, bias or slope"),
    ],
)
def test_another_building_block_is_named(key: str, value: Any, message: str) -> None:
    written = deepcopy(plans())
    written["configurations"]["2d"]["architecture"]["arch_kwargs"][key] = value
    with pytest.raises(ValueError, match=message):
        refuse_unlike(written, "2d", written["configurations"]["2d"])


@pytest.mark.parametrize("key", ["label_manager", "image_reader_writer"])
def test_another_class_is_named(key: str) -> None:
    written = {**plans(), key: "Mine"}
    with pytest.raises(ValueError, match=f"{key} is 'Mine'"):
        refuse_unlike(written, "2d", written["configurations"]["2d"])


@pytest.mark.parametrize("recipe", ["nnunet", "nnunet-resenc-m"])
def test_plans_from_before_2_3_give_the_same_networks(recipe: str) -> None:
    written = plans(recipe)
    old = deepcopy(written)
    for configuration in old["configurations"].values():
        if "architecture" not in configuration:
            continue
        network = configuration.pop("architecture")
        given = network["arch_kwargs"]
        configuration |= {
            "UNet_class_name": network["network_class_name"].rpartition(".")[2],
            "UNet_base_num_features": given["features_per_stage"][0],
            "unet_max_num_features": max(given["features_per_stage"]),
            "n_conv_per_stage_encoder": given.get("n_conv_per_stage", given.get("n_blocks_per_stage")),
            "n_conv_per_stage_decoder": given["n_conv_per_stage_decoder"],
            "conv_kernel_sizes": given["kernel_sizes"],
            "pool_op_kernel_sizes": given["strides"],
            "num_pool_per_axis": [5, 5, 5],
        }
    assert plan_from_nnunet(FINGERPRINT, old) == plan_from_nnunet(FINGERPRINT, written)
    refuse_unlike(old, "2d", resolved_configuration(old, "2d"))


def test_what_is_no_configuration_stays_as_it_is() -> None:
    assert modern_configuration({"inherits_from": "2d"}) == {"inherits_from": "2d"}


def test_labels_follow_their_values_as_the_outputs_do() -> None:
    given = {"background": 0, "tumour": 2, "ignore": 3, "organ": [1]}
    assert list(ordered_labels(given, None).items()) == [
        ("organ", 1), ("tumour", 2), ("background", 0), ("ignore", 3),
    ]  # fmt: skip


def test_regions_stay_in_order_and_begin_with_what_is_written() -> None:
    given = {"background": 0, "kidney": [1, 2, 3], "masses": [2, 3], "tumour": 2}
    assert ordered_labels(given, [1, 3, 2]) == {
        "background": 0, "kidney": [1, 2, 3], "masses": [3, 2], "tumour": [2],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("labels", "order", "message"),
    [
        ({"background": 0, "a": 1, "b": 1}, None, "two names for one value"),
        ({"background": 0, "a": [1, 2], "b": 1}, None, "regions_class_order None"),
        ({"background": 0, "a": [1, 2], "b": 1}, [1], "each of 2 regions"),
    ],
)
def test_labels_that_mean_nothing_are_named(labels: Any, order: list[int] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ordered_labels(labels, order)


def test_a_configuration_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="3d_huge is missing"):
        resolved_configuration(plans(), "3d_huge")
