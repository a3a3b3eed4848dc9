import json

import pytest

from autoseg.core.errors import AutosegError
from autoseg.core.records import read_record, write_record
from autoseg.core.workspace import Workspace
from autoseg.steps.plan import PlanOptions, plan, write_nnunet
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


def test_steps_are_planned_without_looking_at_the_machine(workspace):
    options = PlanOptions(recipe="auto", budget=Budget(steps=100))
    before = plan(workspace, options)
    fast = Machine(device="cuda", cores=64, memory_bytes=1 << 40, bf16=True, flops_per_s=1e15, bytes_per_s=1e13)
    write_record(workspace.machine, fast)
    assert plan(workspace, options) == before
    by_time = PlanOptions(recipe="auto", budget=Budget(seconds=600))
    quick = plan(workspace, by_time)
    write_record(workspace.machine, Machine(device="cpu", cores=2, memory_bytes=4 << 30, bf16=False, flops_per_s=1e10))
    assert plan(workspace, by_time) != quick


def test_an_unknown_recipe_is_refused_with_the_nearest_or_all(workspace):
    with pytest.raises(AutosegError, match=r"--recipe nnunett: no such recipe; did you mean nnunet\?"):
        plan(workspace, PlanOptions(recipe="nnunett", budget=Budget()))
    with pytest.raises(AutosegError, match="choose from auto, nnunet"):
        plan(workspace, PlanOptions(recipe="qqq", budget=Budget()))


def test_without_a_fingerprint_the_step_before_is_named(tmp_path):
    with pytest.raises(AutosegError, match=r"fingerprint\.json: cannot be read"):
        plan(Workspace(tmp_path), PlanOptions(recipe="auto", budget=Budget()))


def test_a_plan_goes_to_nnunet_and_comes_back(workspace, tmp_path):
    made = plan(workspace, PlanOptions(recipe="nnunet-resenc-l", budget=Budget()))
    path = write_nnunet(workspace, made, tmp_path / "theirs")
    assert path == tmp_path / "theirs" / "nnUNetResEncUNetLPlans.json"
    assert json.loads(path.read_text())["configurations"]["3d_fullres"]["patch_size"] == list(
        made.configuration("3d_fullres").patch
    )
    theirs = json.loads((tmp_path / "theirs" / "dataset_fingerprint.json").read_text())
    assert len(theirs["spacings"]) == 200
    back = plan(workspace, PlanOptions(recipe="auto", budget=Budget(), nnunet_plans=str(path)))
    assert back == read_record(workspace.plan, Plan)
    assert back.recipe == "nnunet-resenc-l"
    for ours, again in zip(made.configurations, back.configurations, strict=True):
        assert (again.patch, again.batch, again.stages, again.spacing_mm) == (
            ours.patch,
            ours.batch,
            ours.stages,
            ours.spacing_mm,
        )


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"configurations": {"2d": {}}}', "[" * 100_000])
def test_a_file_that_is_no_plan_of_nnunets_is_refused(workspace, tmp_path, text):
    path = tmp_path / "plans.json"
    path.write_text(text)
    with pytest.raises(AutosegError, match=r"plans\.json: no plans of nnU-Net"):
        plan(workspace, PlanOptions(recipe="auto", budget=Budget(), nnunet_plans=str(path)))
    assert not workspace.plan.exists()


def test_nnunets_plans_that_hold_no_network_are_refused_by_field(workspace, tmp_path):
    made = plan(workspace, PlanOptions(recipe="nnunet", budget=Budget()))
    path = write_nnunet(workspace, made, tmp_path)
    document = json.loads(path.read_text())
    document["configurations"]["3d_fullres"]["patch_size"] = [33, 48, 32]
    path.write_text(json.dumps(document))
    with pytest.raises(AutosegError, match=r"nnUNetPlans\.json: .*patch"):
        plan(workspace, PlanOptions(recipe="auto", budget=Budget(), nnunet_plans=str(path)))
    with pytest.raises(AutosegError, match=r"nothing\.json: cannot be read"):
        plan(workspace, PlanOptions(recipe="auto", budget=Budget(), nnunet_plans=str(tmp_path / "nothing.json")))
