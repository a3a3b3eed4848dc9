"""What a workspace's trainings begin with is copied into it, whatever model it is from."""

from dataclasses import replace

import pytest
import torch

from autoseg.core.errors import AutosegError
from autoseg.core.records import read_record, write_record
from autoseg.core.starts import StartRecord, start_folder
from autoseg.core.workspace import Workspace, WorkspaceRecord
from autoseg.learning.fine_tuning import begin_with, read_given
from autoseg.learning.model_files import load_networks, plan_inputs, plan_outputs
from autoseg.learning.network import build_network
from autoseg.steps.begin import begin
from autoseg.verification import verify
from planners.fine_tuning import plan_after
from planners.recipe import Budget
from tests.nnunet_results import Trained, made_fingerprint, made_plan, write_ours, write_theirs

FULL, NAME = Trained(name="3d_fullres", folds=2), "3d_fullres"


def outputs(module):
    image = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return module.eval()(image)


@pytest.mark.parametrize("write", ["ours", "theirs"])
def test_a_model_of_ours_or_nnunets_gives_its_outputs_before_training(tmp_path, write):
    source = tmp_path / "model"
    if write == "ours":
        write_ours(source, made_plan(), (NAME,), FULL)
    else:
        source = write_theirs(source, made_plan(), FULL)
    workspace = Workspace(tmp_path / "w")
    record = begin(workspace, source, (NAME,), (1, 3))
    assert record == read_record(start_folder(workspace.root) / "start.json", StartRecord)
    assert [network.fold for network in record.networks] == [1, 0]  # fold 3 begins with the first
    given = read_given(start_folder(workspace.root), NAME, 1)
    plan = plan_after(given.plan, (NAME,), made_fingerprint(), Budget(steps=5))
    fresh = build_network(plan.configuration(NAME), plan_inputs(plan, NAME), plan_outputs(plan))
    beginning = begin_with(given, fresh, plan, NAME)
    fresh.load_state_dict(beginning.weights)
    model = load_networks(source, torch.device("cpu"), (NAME,))
    (expected,) = [network.module for network in model.networks if network.fold == 1]
    assert torch.equal(outputs(fresh), outputs(expected))
    assert beginning.started.fresh == beginning.started.ignored == ()


def test_what_was_copied_is_checked_and_what_is_not_there_is_named(tmp_path):
    write_ours(tmp_path / "model", made_plan(), (NAME,), FULL)
    workspace = Workspace(tmp_path / "w")
    begin(workspace, tmp_path / "model", (), (0,))
    folder = start_folder(workspace.root)
    with pytest.raises(AutosegError, match="no network 2d, it has 3d_fullres; train one of these"):
        read_given(folder, "2d", 0)
    write_record(workspace.record, WorkspaceRecord(dataset="d", seed=0))
    assert verify(workspace.root).problems == ()
    (folder / "3d_fullres-fold_0.safetensors").write_bytes(b"damaged")
    (problem,) = verify(workspace.root).problems
    assert (problem.what, problem.mend) == ("not the bytes that were written", "give --from again")
    with pytest.raises(AutosegError, match="missing or not what was copied"):
        read_given(folder, NAME, 0)
    with pytest.raises(AutosegError, match="no network 2d"):
        begin(workspace, tmp_path / "model", ("2d",), (0,))
    record = read_record(folder / "start.json", StartRecord)
    assert record.digest == replace(record, source="b").digest  # weights alone
