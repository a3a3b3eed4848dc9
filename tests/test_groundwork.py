"""Steps one by one: what they make, what they skip, what they ask for."""

import json
from dataclasses import replace

import pytest

from autoseg import cli
from autoseg.core.records import read_record, write_record
from autoseg.core.workspace import Workspace
from autoseg.datasets.dataset import Folds
from autoseg.datasets.inspection import Inspection
from autoseg.groundwork import folded
from autoseg.options import FoldChoice
from planners.fingerprint import Label
from planners.plan import Plan
from planners.recipe import Machine
from tests.datasets.test_folds import dataset_of
from tests.end_to_end.conftest import write_dataset
from tests.planners.fingerprints import fingerprint


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("data") / "tiny", 4)


@pytest.fixture
def workspace(dataset, tmp_path):
    root = tmp_path / "tiny.autoseg"
    assert cli.run(["inspect", str(dataset), "--workspace", str(root)]) == 0
    return Workspace(root)


def run(capsys, *tokens):
    code = cli.run([str(token) for token in tokens])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_each_step_says_what_it_found_and_names_the_next(dataset, tmp_path, capsys):
    root = tmp_path / "w"
    code, out, err = run(capsys, "inspect", dataset, "--workspace", root)
    assert (code, "4 labelled cases" in out) == (0, True)
    assert f"next: autoseg fingerprint {root}" in err
    code, out, err = run(capsys, "fingerprint", root)
    assert (code, "in 4 of 4 cases" in out) == (0, True)
    assert f"next: autoseg plan {root}" in err
    code, out, err = run(capsys, "plan", root, "--steps", 5, "--explain")
    assert (code, "patch" in out, "adamw" in out) == (0, True, True)
    assert f"next: autoseg preprocess {root}" in err
    code, out, err = run(capsys, "preprocess", root)
    assert (code, out) == (0, f"{root}/preprocessed/3d_fullres\n")
    assert f"next: autoseg train {root} --configuration 3d_fullres" in err
    code, out, err = run(capsys, "train", root, "--steps", 2, "--device", "cpu", "--json")
    assert (code, json.loads(out)["network"]["validation_dice"] is not None) == (0, True)
    assert f"next: autoseg report {root}" in err
    code, out, err = run(capsys, "report", root)
    assert (code, out) == (0, f"{root}/report.html\n")
    log = [json.loads(line)["step"] for line in (root / "run.jsonl").read_text().splitlines()]
    assert log == ["inspect", "fingerprint", "plan", "preprocess", "train", "validate"]


def test_a_dataset_stands_for_its_workspace(dataset, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(capsys, "plan", dataset, "--steps", 5)[0] == 0
    assert (tmp_path / "tiny.autoseg" / "plan.json").is_file()
    assert run(capsys, "preprocess", dataset)[0] == 0


def test_a_step_without_a_workspace_makes_none(dataset, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, "train", dataset)
    assert (code, err) == (
        2,
        f"error: {dataset}: no workspace; make one with autoseg plan-and-train, or autoseg plan, of your dataset\n",
    )
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_writes_nothing(workspace, capsys):
    before = {path: path.read_bytes() for path in workspace.root.iterdir()}
    code, out, err = run(capsys, "plan", workspace.root, "--steps", 5, "--dry-run", "--json")
    assert code == 0
    assert json.loads(out)["schema"] == "autoseg.plan/1"
    assert {path: path.read_bytes() for path in workspace.root.iterdir()} == before
    assert f"next: autoseg plan {workspace.root}" in err


def test_a_dry_run_on_a_dataset_makes_no_workspace(dataset, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(capsys, "plan", dataset, "--steps", 5, "--dry-run")[0] == 0
    assert list(tmp_path.iterdir()) == []


def test_a_plan_may_be_told_how_to_read_its_dataset(dataset, tmp_path, capsys):
    (tmp_path / "odd" / "first").mkdir(parents=True)
    (tmp_path / "odd" / "second").mkdir()
    for folder, kind in (("images", "first"), ("labels", "second")):
        for path in (dataset / folder).iterdir():
            (tmp_path / "odd" / kind / path.name).write_bytes(path.read_bytes())
    root = tmp_path / "odd.autoseg"
    told = ("--images", "first", "--labels", "second")
    code, out, _ = run(capsys, "plan", tmp_path / "odd", "--workspace", root, "--steps", 5, "--json", *told)
    assert code == 0
    assert json.loads(out)["dataset"] == "odd"
    assert read_record(root / "inspection.json", Inspection).n_cases == 4


def test_a_plan_is_written_for_nnunet(workspace, tmp_path, capsys):
    theirs = tmp_path / "theirs"
    code, _, err = run(capsys, "plan", workspace.root, "--recipe", "nnunet", "--write-nnunet", theirs)
    assert code == 0
    assert f"wrote {theirs}/nnUNetPlans.json" in err
    before = workspace.plan.read_bytes()
    assert run(capsys, "plan", workspace.root, "--from-nnunet", theirs / "nnUNetPlans.json")[0] == 0
    assert b"nnUNetPlans" in workspace.plan.read_bytes()
    assert workspace.plan.read_bytes() != before


def test_without_a_budget_the_end_is_explained(workspace, capsys):
    out = run(capsys, "plan", workspace.root, "--budget", "none", "--explain")[1]
    assert "End of training: when validation rises no more, after 50000 steps at the latest" in out


def test_a_plan_changed_by_hand_stays_until_its_inputs_change(workspace, capsys):
    run(capsys, "plan", workspace.root, "--steps", 5)
    text = workspace.plan.read_text()
    workspace.plan.write_text(text.replace('"recipe": "auto"', '"recipe": "mine"'))
    run(capsys, "plan", workspace.root, "--steps", 5)
    assert read_record(workspace.plan, Plan).recipe == "mine"
    run(capsys, "plan", workspace.root, "--steps", 6)
    assert read_record(workspace.plan, Plan).recipe == "auto"


def test_another_machine_keeps_the_plan(workspace, capsys):
    slow = Machine(device="cpu", cores=2, memory_bytes=4 << 30, bf16=False, flops_per_s=1e10, bytes_per_s=1e10)
    write_record(workspace.machine, slow)
    run(capsys, "plan", workspace.root, "--budget", "10m")
    before = workspace.plan.read_bytes()
    fast = Machine(device="cpu", cores=64, memory_bytes=1 << 40, bf16=True, flops_per_s=1e13, bytes_per_s=1e12)
    write_record(workspace.machine, fast)
    run(capsys, "plan", workspace.root, "--budget", "10m")
    assert workspace.plan.read_bytes() == before


def test_the_budget_of_a_plan_says_where_it_comes_from(workspace, capsys):
    write_record(workspace.machine, Machine(device="cpu", cores=2, memory_bytes=4 << 30, bf16=False))
    assert "budget 1h (default on a CPU)" in run(capsys, "plan", workspace.root)[2]
    workspace.plan.unlink()
    write_record(workspace.machine, Machine(device="cuda", cores=2, memory_bytes=4 << 30, bf16=True))
    assert "budget none (default on a GPU" in run(capsys, "plan", workspace.root)[2]


def test_too_small_a_budget_is_told_with_the_smallest_that_works(workspace, capsys):
    slow = Machine(device="cpu", cores=1, memory_bytes=8 << 30, bf16=False, flops_per_s=1e9)
    write_record(workspace.machine, slow)
    err = run(capsys, "plan", workspace.root, "--budget", "5s")[2]
    assert "warning: budget 5s: too small for any sensible model here" in err
    smallest = err.partition("the smallest that works is --budget ")[2].split()[0]
    assert "too small" not in run(capsys, "plan", workspace.root, "--budget", smallest)[2]


def test_a_plan_edited_wrongly_is_refused_by_file_and_field(workspace, capsys):
    run(capsys, "plan", workspace.root, "--steps", 5)
    text = workspace.plan.read_text()
    workspace.plan.write_text(text.replace('"batch": ', '"batch": -', 1))
    code, _, err = run(capsys, "preprocess", workspace.root)
    assert (code, f"{workspace.plan}: configurations[0].batch: -" in err) == (2, True)


def test_asking_for_a_plan_again_keeps_the_one_that_networks_were_trained_by(workspace, capsys):
    run(capsys, "plan", workspace.root, "--steps", 7)
    before = workspace.plan.read_bytes()
    run(capsys, "plan", workspace.root, "--explain")
    assert workspace.plan.read_bytes() == before
    run(capsys, "plan", workspace.root, "--steps", 8)
    assert workspace.plan.read_bytes() != before


def test_folds_are_balanced_by_the_fingerprint_and_split_anew_only_when_the_presence_changed(tmp_path):
    workspace = Workspace(tmp_path)
    names = [f"c{i:03d}" for i in range(60)]
    labels = (Label(name="organ", values=(1,)), Label(name="stone", values=(2,)))
    measured = replace(fingerprint(cases=60, labels=2), labels=labels)
    stones = dict.fromkeys(names[3:8], (9, 1))
    cases = tuple(
        replace(c, name=n, label_voxels=stones.get(n, (9, 0))) for c, n in zip(measured.cases, names, strict=True)
    )
    write_record(workspace.dataset, replace(dataset_of(names), labels=labels))
    write_record(workspace.fingerprint, replace(measured, cases=cases))
    assert folded(workspace, FoldChoice(count=1, numbers=()), 0) == (0,)
    folds = read_record(workspace.folds, Folds)
    assert [len(set(fold.validation) & set(stones)) for fold in folds.folds] == [1] * 5
    assert folds.because.endswith("stone (in 5)")
    write_record(workspace.folds, replace(folds, because="kept"))
    write_record(workspace.fingerprint, replace(measured, cases=cases, median_relative_size_after_crop=0.5))
    folded(workspace, FoldChoice(count=1, numbers=()), 0)
    assert read_record(workspace.folds, Folds).because == "kept"
    changed = (replace(cases[0], label_voxels=(9, 1)), *cases[1:])
    write_record(workspace.fingerprint, replace(measured, cases=changed))
    folded(workspace, FoldChoice(count=1, numbers=()), 0)
    assert read_record(workspace.folds, Folds).because.endswith("stone (in 6)")
