"""The stack of nuclei in blocks."""

from pathlib import Path

import numpy as np
import tifffile

from autoseg.imaging.read import read_image, read_label
from benchmarks.nuclei3d import BLOCKS, cut


def test_the_blocks_together_are_the_stack(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    image = random.integers(0, 1000, (6, 22, 9)).astype(np.uint16)
    nuclei = random.integers(0, 50, image.shape).astype(np.uint16)
    for part in ("stack/images", "cut/images", "cut/labels"):
        (tmp_path / part).mkdir(parents=True)
    tifffile.imwrite(tmp_path / "stack" / "images" / "img3d.tif", image, photometric="minisblack")
    tifffile.imwrite(tmp_path / "stack" / "images" / "mask3d.tif", nuclei, photometric="minisblack")
    cut(tmp_path / "stack", tmp_path / "cut")
    names = [f"block_{number}.nii.gz" for number in range(BLOCKS)]
    images = [read_image(tmp_path / "cut" / "images" / name).array[0] for name in names]
    labels = [read_label(tmp_path / "cut" / "labels" / name).array[0] for name in names]
    assert np.array_equal(np.concatenate(images, 1), image)
    assert np.array_equal(np.concatenate(labels, 1), nuclei)
