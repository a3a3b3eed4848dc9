import pytest

from autoseg.core.errors import AutosegError
from autoseg.core.records import read_record, write_record
from autoseg.core.workspace import Workspace
from autoseg.steps.plan import PlanOptions, draft, plan
from planners.plan import Plan
from planners.recipe import Budget, Machine
from tests.planners.fingerprints import fingerprint


@pytest.fixture
def workspace(tmp_path):
    made = Workspace(tmp_path)
    write_record(made.fingerprint, fingerprint())
    return made


def test_the_plan_is_written_and_read_back(workspace):
    made = plan(workspace, PlanOptions(recipe="auto", budget=Budget(steps=100)))
    assert read_record(workspace.plan, Plan) == made
    assert made.configurations[0].schedule.steps == 100


def test_a_draft_writes_nothing(workspace):
    draft(workspace, PlanOptions(recipe="nnunet", budget=Budget()))
    assert not workspace.plan.exists()


def test_steps_are_planned_without_looking_at_the_machine(workspace):
    options = PlanOptions(recipe="auto", budget=Budget(steps=100))
    before = draft(workspace, options)
    fast = Machine(device="cuda", cores=64, memory_bytes=1 << 40, bf16=True, flops_per_s=1e15, bytes_per_s=1e13)
    write_record(workspace.machine, fast)
    assert draft(workspace, options) == before
    by_time = PlanOptions(recipe="auto", budget=Budget(seconds=600))
    quick = draft(workspace, by_time)
    write_record(workspace.machine, Machine(device="cpu", cores=2, memory_bytes=4 << 30, bf16=False, flops_per_s=1e10))
    assert draft(workspace, by_time) != quick


def test_an_unknown_recipe_is_refused_with_the_nearest_or_all(workspace):
    with pytest.raises(AutosegError, match=r"--recipe nnunett: no such recipe; did you mean nnunet\?"):
        draft(workspace, PlanOptions(recipe="nnunett", budget=Budget()))
    with pytest.raises(AutosegError, match="choose from auto, nnunet"):
        draft(workspace, PlanOptions(recipe="qqq", budget=Budget()))


def test_without_a_fingerprint_the_step_before_is_named(tmp_path):
    with pytest.raises(AutosegError, match=r"fingerprint\.json: cannot be read"):
        draft(Workspace(tmp_path), PlanOptions(recipe="auto", budget=Budget()))
