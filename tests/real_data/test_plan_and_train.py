"""The same command, without a word of configuration, on 2D microscopy and on anisotropic CT."""

import json
import shutil

import pytest

from autoseg import cli
from autoseg.core.records import read_record
from autoseg.core.workspace import Workspace
from planners.fingerprint import Fingerprint
from planners.plan import Plan

pytestmark = pytest.mark.slow


@pytest.fixture
def ct_folder(datasets_dir, tmp_path):
    """The CT part of the soft-tissue sarcomas, arranged as images/ and labels/."""
    folder = tmp_path / "sarcoma"
    for kind, part in (("images", "image"), ("labels", "mask")):
        (folder / kind).mkdir(parents=True)
        for path in sorted((datasets_dir / "sts-ct-mr-pet" / "nifti").glob(f"*/CT_{part}.nii.gz"))[:5]:
            shutil.copy(path, folder / kind / f"{path.parent.name}.nii.gz")
    return folder


def train(folder, workspace, capsys):
    arguments = [
        "plan-and-train",
        str(folder),
        "--workspace",
        str(workspace),
        "--steps",
        "3",
        "--device",
        "cpu",
        "--json",
    ]
    assert cli.run(arguments) == 0
    return json.loads(capsys.readouterr().out)


def test_2d_microscopy_runs_through(datasets_dir, tmp_path, capsys):
    result = train(datasets_dir / "isbi2012-em", tmp_path / "em.autoseg", capsys)
    assert result["configuration"] == "2d"
    workspace = Workspace(tmp_path / "em.autoseg")
    assert read_record(workspace.plan, Plan).configurations[0].dimensions == 2
    assert workspace.report.stat().st_size > 10_000
    image = datasets_dir / "isbi2012-em" / "train" / "image"
    first = min(image.iterdir())
    out = tmp_path / "out"
    assert cli.run(["predict", str(first), "--model", str(workspace.root), "-o", str(out), "--device", "cpu"]) == 0
    assert (out / first.name).is_file()


def test_anisotropic_ct_runs_through(ct_folder, tmp_path, capsys):
    result = train(ct_folder, tmp_path / "ct.autoseg", capsys)
    workspace = Workspace(tmp_path / "ct.autoseg")
    assert result["networks"][0]["steps"] == 3
    fingerprint = read_record(workspace.fingerprint, Fingerprint)
    assert fingerprint.channels[0].modality == "ct"
    spacing = fingerprint.cases[0].spacing_mm
    assert spacing[0] / spacing[2] > 3
    plan = read_record(workspace.plan, Plan)
    assert plan.configurations[0].normalizations[0].scheme == "ct"
    assert plan.configurations[0].stages[1].stride[0] == 1, "thick slices are not pooled first"
