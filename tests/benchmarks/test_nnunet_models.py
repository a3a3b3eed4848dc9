"""The comparison of nnU-Net's models: plans are edited as said, and a row says when it does not agree."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.nnunet_models import SUBJECTS, ModelAgreement, _widest_tie, describe
from benchmarks.nnunet_training import edited

ROW = ModelAgreement(
    name="belly", row="2d", architecture="plain-unet", target="labels", folds=1, mirror_axes=(0, 1), cases=2,
    voxels=1000, foreground_voxels=10, labels_equal=0.99995, labels_equal_worst_case=0.9999,
    probability_difference=1e-5, probability_difference_worst=0.01, widest_tie=0.001,
)  # fmt: skip


def test_a_new_configuration_is_a_copy_with_changes() -> None:
    full = {"spacing": [1, 1], "architecture": {"arch_kwargs": {"n_stages": 6, "features_per_stage": [32] * 6}}}
    plans = {"plans_name": "P", "configurations": {"full": full}}
    found = edited(
        plans, {"low": {"like": "full", "spacing": [2, 2], "features": 4}, "next": {"inherits_from": "full"}}
    )
    low = found["configurations"]["low"]
    assert (low["spacing"], low["data_identifier"]) == ([2, 2], "P_low")
    assert low["architecture"]["arch_kwargs"]["features_per_stage"] == [4, 8, 16, 32, 32, 32]
    assert found["configurations"]["next"] == {"inherits_from": "full"}
    assert full["architecture"]["arch_kwargs"]["features_per_stage"] == [32] * 6


@pytest.mark.parametrize(
    "changes", [{"labels_equal": 0.9998}, {"probability_difference": 0.002}], ids=["labels", "probabilities"]
)
def test_a_row_beyond_the_limits_is_told(changes: dict[str, float]) -> None:
    assert ROW.agrees
    assert describe(ROW) == "belly 2d: 99.9950 % of 1000 voxels equal, probabilities 1e-05 apart"
    assert describe(replace(ROW, **changes)).endswith(": DISAGREES")
    assert replace(ROW, probability_difference=None).agrees


def test_the_widest_tie_is_between_the_two_best() -> None:
    probabilities = np.array([[0.5, 0.40], [0.3, 0.35], [0.2, 0.25]])
    assert _widest_tie(probabilities, "labels") == pytest.approx(0.2)
    assert _widest_tie(probabilities, "regions") == pytest.approx(0.1)
    assert _widest_tie(probabilities[:, :0], "labels") == 0.0


def test_every_kind_of_model_is_compared() -> None:
    rows = {row for subject in SUBJECTS for row in subject.rows}
    assert {"2d", "3d_fullres", "3d_lowres", "3d_cascade_fullres", "ensemble", "postprocessed", "zip"} <= rows
