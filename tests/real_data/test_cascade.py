"""A cascade on real images: patches smaller than the hippocampus, so that a coarse network goes before."""

import json
import shutil
from dataclasses import replace
from types import MappingProxyType

import pytest

from autoseg import cli
from autoseg.core.workspace import Workspace
from autoseg.steps import plan as planning
from planners.recipe import RECIPES

pytestmark = pytest.mark.slow

CASES, STEPS = 20, 60
AUTO = RECIPES["auto"]
COARSE_FIRST = replace(
    AUTO,
    name="coarse-first",
    feature_choices=(16, 8),
    patch_coverage_min=1.0,
    volume=replace(
        AUTO.volume, stages_max=3, patch_voxels_max=24**3, patch_voxels_comfortable=24**3, patch_voxels_min=16**3
    ),
)
DICE_FLOOR = 0.6
"""Far below what training reaches, far above what a network that learned nothing gives."""


def test_a_cascade_learns_the_hippocampus(datasets_dir, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "hippocampus"
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
        for path in sorted((datasets_dir / "msd-hippocampus" / kind).glob("*.nii.gz"))[:CASES]:
            shutil.copy(path, folder / kind / path.name)
    monkeypatch.setattr(planning, "RECIPES", MappingProxyType({**RECIPES, "coarse-first": COARSE_FIRST}))
    workspace = Workspace(tmp_path / "w")
    wanted = ["--recipe", "coarse-first", "--configurations", "3d_lowres,3d_cascade_fullres", "--steps", str(STEPS)]
    arguments = ["plan-and-train", str(folder), "--workspace", str(workspace.root), *wanted, "--device", "cpu"]
    assert cli.run([*arguments, "--json"]) == 0
    networks = json.loads(capsys.readouterr().out)["networks"]
    assert [(each["configuration"], each["fold"]) for each in networks] == [
        *(("3d_lowres", fold) for fold in range(5)),
        ("3d_cascade_fullres", 0),
    ]
    assert networks[-1]["validation_dice"] > DICE_FLOOR, networks
    assert cli.run(["verify", str(workspace.root)]) == 0
