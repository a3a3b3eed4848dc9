"""Little datasets and the command line in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]
SHAPE = (12, 20, 18)
CASES = 5
STEPS = "2"
LONGEST_S = 1800
"""What takes longer hangs; on cores that others use, too, a command of twenty seconds may take many minutes."""


def arrays(seed: int, shape: tuple[int, int, int] = SHAPE) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return an image (z, y, x) with two bright boxes in noise, and their label map."""
    random = np.random.default_rng(seed)
    z, y, x = shape
    label = np.zeros(shape, np.uint8)
    label[z // 4 : z // 2 + 1, y // 4 : y // 2 + seed % 3, x // 4 : x // 2 + 1] = 1
    label[z // 2 : 3 * z // 4 + 1, y // 2 : 3 * y // 4 + 1, x // 2 : 3 * x // 4 + 1] = 2
    return (100 * label + 20 * random.standard_normal(shape)).astype(np.float32), label


def save(path: Path, array: Array) -> None:
    """Write (z, y, x) as NIfTI with voxels of 1 mm."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array.transpose(2, 1, 0), np.eye(4)), path)


def write(folder: Path, names: Sequence[str] = tuple(f"case_{index}" for index in range(CASES))) -> Path:
    """Write a dataset of as many cases as names, and return its folder."""
    for seed, name in enumerate(names):
        image, label = arrays(seed)
        save(folder / "images" / f"{name}.nii.gz", image)
        save(folder / "labels" / f"{name}.nii.gz", label)
    return folder


def autoseg(
    arguments: Sequence[str], before: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a command as a user does, behind the words `before` of another program."""
    start = "import locale; locale.setlocale(locale.LC_ALL, ''); from autoseg.cli import main; main()"
    return subprocess.run(
        [*before, sys.executable, "-c", start, *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | dict(environment or {}),
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
        timeout=LONGEST_S,
        cwd=Path(__file__).parents[2],
    )


def train(folder: Path, workspace: Path, **more: object) -> "subprocess.CompletedProcess[str]":
    """Run the whole of `plan-and-train` for a few steps."""
    words = ["plan-and-train", str(folder), "--workspace", str(workspace), "--steps", STEPS, "--device", "cpu"]
    return autoseg(words, **more)  # type: ignore[arg-type]


def predict(images: Path, workspace: Path, output: Path, **more: object) -> "subprocess.CompletedProcess[str]":
    """Predict a folder of images."""
    words = ["predict", str(images), "--model", str(workspace), "--output", str(output), "--device", "cpu"]
    return autoseg(words, **more)  # type: ignore[arg-type]
