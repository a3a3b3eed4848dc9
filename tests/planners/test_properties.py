"""What holds for every plan."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planners.fingerprint import Fingerprint
from planners.plan import Configuration, Plan
from planners.planner import make_plan
from planners.recipe import RECIPES, Budget, Machine, Recipe
from planners.topology import stage_shapes
from tests.planners.fingerprints import case, channel, fingerprint

AUTO = RECIPES["auto"]
COARSE = {"3d_lowres", "3d_cascade_fullres"}  # of a plan that needs them: with more memory it may not
MANY = settings(max_examples=40, deadline=None)


@st.composite
def fingerprints(draw: st.DrawFn) -> Fingerprint:
    """From single slices to whole bodies, up to 100 times coarser along one axis."""
    spacing = st.floats(0.05, 5.0)
    base = tuple(draw(spacing) for _ in range(3))
    edge = st.one_of(st.integers(7, 64), st.integers(64, 2000))
    shape = [draw(edge) for _ in range(3)]
    thin = draw(st.sampled_from([None, None, 0, 1, 2]))
    if thin is not None:
        shape[thin] = draw(st.integers(1, 12))
    labels = draw(st.sampled_from([1, 2, 30, 1000]))
    cases = []
    for index in range(draw(st.integers(1, 5))):
        varied = tuple(max(1, round(n * draw(st.sampled_from([0.5, 1.0, 1.0, 3.0])))) for n in shape)
        stretched = tuple(s * draw(st.sampled_from([1.0, 1.0, 2.0])) for s in base)
        voxels = tuple(draw(st.sampled_from([0, 10, 1000, 100_000])) for _ in range(min(labels, 2)))
        cases.append(
            case(f"case_{index}", varied, stretched, (*voxels, *([5] * (labels - len(voxels)))))  # type: ignore[arg-type]
        )
    made = fingerprint(labels=labels, channels=(channel(modality=draw(st.sampled_from(["mr", "ct", "microscopy"]))),))
    return replace(made, cases=tuple(cases), n_training=draw(st.sampled_from([len(cases), 1000])))


budgets = st.sampled_from([Budget(), Budget(steps=100), Budget(seconds=300.0), Budget(seconds=36_000.0)])
machines = st.builds(
    Machine,
    device=st.just("cpu"),
    cores=st.just(2),
    memory_bytes=st.integers(1 << 20, 1 << 36),
    bf16=st.booleans(),
    flops_per_s=st.one_of(st.none(), st.floats(1e9, 1e15)),
    bytes_per_s=st.one_of(st.none(), st.floats(1e9, 1e13)),
)


def check(configuration: Configuration) -> None:
    """A network that can be built and trained."""
    divisor = [1] * configuration.dimensions
    for stage in configuration.stages:
        divisor = [d * s for d, s in zip(divisor, stage.stride, strict=True)]
        assert stage.features >= 1
        assert stage.convolutions >= 1
    assert all(edge % d == 0 for edge, d in zip(configuration.patch, divisor, strict=True))
    assert min(stage_shapes(configuration.patch, configuration.stages)[-1]) >= 1
    assert math.prod(stage_shapes(configuration.patch, configuration.stages)[-1]) > 1  # instance norm needs two voxels
    assert configuration.batch >= 2
    assert configuration.stages[0].stride == (1,) * configuration.dimensions
    weights = configuration.deep_supervision_weights
    if weights is not None:
        assert len(weights) == len(configuration.stages) - 1
        assert sum(weights) == pytest.approx(1.0)
        assert all(math.isfinite(weight) for weight in weights)


@MANY
@given(fingerprints(), st.sampled_from(list(RECIPES.values())), budgets, machines)
def test_every_patch_is_a_multiple_of_its_strides(
    data: Fingerprint, recipe: Recipe, budget: Budget, machine: Machine
) -> None:
    for configuration in make_plan(data, recipe, budget, machine).configurations:
        check(configuration)


@MANY
@given(fingerprints(), budgets, machines)
def test_memory_is_within_the_budget_or_the_plan_is_minimal(
    data: Fingerprint, budget: Budget, machine: Machine
) -> None:
    allowed = machine.memory_bytes * AUTO.memory_share
    if budget.steps is not None or machine.flops_per_s is None:
        allowed = AUTO.memory_target_gb * 2**30
    plan = make_plan(data, AUTO, budget, machine)
    tiny = make_plan(data, replace(AUTO, memory_share=1e-9, memory_target_gb=1e-9), budget, machine)
    for configuration in plan.configurations:
        if configuration.estimated_bytes > allowed and configuration.name not in COARSE:
            smallest = tiny.configuration(configuration.name)
            assert (configuration.patch, configuration.batch) == (smallest.patch, smallest.batch)
            assert configuration.stages == smallest.stages


@MANY
@given(fingerprints(), budgets, machines, st.floats(1.0, 64.0))
def test_more_memory_never_gives_less_patch_times_batch(
    data: Fingerprint, budget: Budget, machine: Machine, factor: float
) -> None:
    large = replace(machine, memory_bytes=round(machine.memory_bytes * factor))
    more = make_plan(data, AUTO, budget, large)
    for configuration in make_plan(data, AUTO, budget, machine).configurations:
        if configuration.name not in COARSE:
            other = more.configuration(configuration.name)
            assert math.prod(other.patch) * other.batch >= math.prod(configuration.patch) * configuration.batch


@MANY
@given(fingerprints(), st.sampled_from(list(RECIPES.values())), st.randoms(use_true_random=False))
def test_the_order_of_cases_does_not_matter(data: Fingerprint, recipe: Recipe, random: object) -> None:
    shuffled = list(data.cases)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    budget = Budget(steps=100)
    assert make_plan(replace(data, cases=tuple(shuffled)), recipe, budget) == make_plan(data, recipe, budget)


def without_spacing(plan: Plan) -> tuple[object, ...]:
    return plan.transpose, tuple(replace(item, spacing_mm=()) for item in plan.configurations)


@MANY
@given(fingerprints(), st.sampled_from([0.125, 8.0, 1024.0]))
def test_another_unit_of_length_changes_spacings_alone(data: Fingerprint, factor: float) -> None:
    cases = tuple(
        replace(item, spacing_mm=tuple(factor * s for s in item.spacing_mm))  # type: ignore[arg-type]
        for item in data.cases
    )
    plan = make_plan(data, AUTO, Budget(steps=100))
    scaled = make_plan(replace(data, cases=cases), AUTO, Budget(steps=100))
    assert without_spacing(scaled) == without_spacing(plan)
    for one, other in zip(plan.configurations, scaled.configurations, strict=True):
        assert other.spacing_mm == pytest.approx([factor * s for s in one.spacing_mm])
