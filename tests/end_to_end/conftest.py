"""A tiny synthetic CT dataset and one finished run on it, shared by the tests of this folder."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from autoseg import cli
from autoseg.imaging.phantom import phantom_case
from autoseg.imaging.write import write_image, write_label

STEPS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A dataset, its workspace, and what `plan-and-train --json` printed."""

    dataset: Path
    workspace: Path
    arguments: list[str]
    result: dict[str, object]


def write_case(folder: Path, seed: int) -> None:
    image, label = phantom_case(seed, slices=(10, 12), edge=(32, 36))
    name = f"case_{seed:02d}.nii.gz"
    write_image(folder / "images" / name, image)
    write_label(folder / "labels" / name, label.array[0], folder / "images" / name)


def write_dataset(folder: Path, cases: int) -> Path:
    for seed in range(cases):
        write_case(folder, seed)
    return folder


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("tiny")
    dataset = write_dataset(root / "tiny", 6)
    workspace = root / "tiny.autoseg"
    arguments = [
        "plan-and-train",
        str(dataset),
        "--workspace",
        str(workspace),
        "--steps",
        str(STEPS),
        "--device",
        "cpu",
    ]
    with pytest.MonkeyPatch.context() as patch:
        written: list[str] = []
        patch.setattr(cli.sys.stdout, "write", lambda text: written.append(text) or len(text))
        code = cli.run([*arguments, "--json"])
    assert code == 0
    return Run(dataset=dataset, workspace=workspace, arguments=arguments, result=json.loads("".join(written)))
