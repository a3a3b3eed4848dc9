"""The plan of a training that begins with another model's weights."""

from dataclasses import replace

import pytest

from planners.check import check_plan
from planners.fine_tuning import RATE_SHARE, matched_channels, plan_after
from planners.fingerprint import Label
from planners.planner import make_plan
from planners.recipe import RECIPES, Budget
from tests.planners.fingerprints import channel, fingerprint, picture

CT = channel("CT", "ct")
SOURCE_DATA = fingerprint(labels=2, channels=(CT,))
SOURCE = make_plan(SOURCE_DATA, RECIPES["auto"], Budget(steps=500))


def test_networks_spacing_and_scaling_are_the_models_labels_those_of_the_data() -> None:
    other = replace(CT, mean=1.0, std=2.0, percentile_00_5=-5.0, percentile_99_5=5.0)
    data = fingerprint((90, 100, 80), (2.0, 2.0, 2.0), labels=3, channels=(other, channel("PET", "pet")))
    plan = plan_after(SOURCE, ("3d_fullres",), data, Budget(steps=30))
    assert check_plan(plan) == ()
    (made,) = plan.configurations
    given = SOURCE.configuration("3d_fullres")
    kept = ("stages", "patch", "batch", "spacing_mm", "architecture", "deep_supervision_weights")
    assert all(getattr(made, name) == getattr(given, name) for name in kept)
    assert made.normalizations[0] == given.normalizations[0]
    assert made.normalizations[1].scheme == "zscore"
    assert plan.channels == ("CT", "PET")
    assert plan.labels == data.labels
    assert made.schedule.steps == 30
    assert made.schedule.learning_rate == RATE_SHARE * given.schedule.learning_rate
    assert made.estimated_bytes > given.estimated_bytes  # a channel and a label more
    assert [decision.parameter for decision in plan.decisions][:2] == ["configurations", "spacing and normalization"]


def test_channels_are_matched_by_name_and_by_order_where_no_name_agrees() -> None:
    assert matched_channels(("T1", "T2"), ("t2", "FLAIR")) == (1, None)
    assert matched_channels(("a", "b"), ("c", "d")) == (0, 1)
    assert matched_channels(("a", "b"), ("c",)) == (None,)


def test_regions_are_planned_as_regions() -> None:
    whole = (Label(name="whole", values=(1, 2), role="foreground"), Label(name="core", values=(2,), role="foreground"))
    plan = plan_after(SOURCE, ("3d_fullres",), replace(SOURCE_DATA, labels=whole), Budget(seconds=600.0))
    assert plan.target == "regions"
    assert plan.configurations[0].schedule.steps is None


def test_networks_of_volumes_do_not_see_single_slices() -> None:
    slices = replace(SOURCE_DATA, cases=(picture("a", (64, 64)),))
    with pytest.raises(ValueError, match="its networks see volumes, these images are single slices"):
        plan_after(SOURCE, ("3d_fullres",), slices, Budget(steps=30))
    assert plan_after(SOURCE, ("2d",), slices, Budget(steps=30)).configurations[0].dimensions == 2
