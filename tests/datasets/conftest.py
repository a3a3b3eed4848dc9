"""Small real files, as datasets have them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

Save = Callable[..., Path]


def save_nifti(path: Path, array: NDArray[Any], spacing: tuple[float, ...] = (1.0, 1.0, 1.0)) -> Path:
    """Write a (z, y, x) array (or (c, z, y, x)) as NIfTI with the spacing (z, y, x)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([*spacing[::-1], 1.0])
    nib.save(nib.Nifti1Image(array.transpose(*range(array.ndim)[::-1]), affine), path)
    return path


def save_png(path: Path, array: NDArray[np.uint8]) -> Path:
    """Write a (y, x) or (y, x, 3) array as a picture of the format its ending says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


@pytest.fixture
def nifti() -> Save:
    return save_nifti


@pytest.fixture
def png() -> Save:
    return save_png


@pytest.fixture
def scans(tmp_path: Path) -> Callable[..., Path]:
    """Return a maker of datasets: `scans(6)` has six cases in images/ and labels/, labels 1 and 2."""

    def make(n_cases: int, images: str = "images", labels: str = "labels") -> Path:
        folder = tmp_path / "data"
        for index in range(n_cases):
            rng = np.random.default_rng(index)
            image = rng.normal(100, 20, (6, 10, 12)).astype(np.float32)
            label = np.zeros(image.shape, np.uint8)
            label[1:4, 2:6, 2:7] = 1
            label[4, 3:5, 8:10] = 2
            save_nifti(folder / images / f"case_{index:02d}.nii.gz", image)
            save_nifti(folder / labels / f"case_{index:02d}.nii.gz", label)
        return folder

    return make
