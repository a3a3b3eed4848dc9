"""A stack of nuclei in 3D, cut into blocks: three train, the last is judged. The stack of StarDist is a single image.

python -m benchmarks.nuclei3d --datasets FOLDER [--budget 5m] [--records FOLDER]

The data are `nuclei3d-stardist` (stardist/data/images of github.com/stardist/stardist, BSD-3-Clause): img3d.tif and
mask3d.tif. Every nucleus has a number there; all of them are one label here.
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from autoseg.benchmark import free_path, run_suite, summary
from autoseg.benchmark_options import BenchmarkOptions
from autoseg.core.records import write_record
from autoseg.datasets.options import Options
from autoseg.imaging.read import read_image, read_label
from autoseg.imaging.volume import Volume
from autoseg.imaging.write import write_image, write_label
from autoseg.suites.suite import Suite
from benchmarks.record import RESULTS

BLOCKS = 4
SUITE = Suite(
    name="nuclei3d",
    title="nuclei in a fluorescence stack, cut into four blocks (StarDist's example)",
    address="github.com/stardist/stardist, stardist/data/images",
    licence="BSD-3-Clause",
    folders=("nuclei3d-blocks",),
    judged=1,
    split="block",
    reading=Options(merge_instances=True),
)


def cut(source: Path, target: Path, blocks: int = BLOCKS) -> None:
    """Write images/block_N.nii.gz and labels/block_N.nii.gz: equal parts along the longest axis of the stack."""
    image = read_image(source / "images" / "img3d.tif")
    label = read_label(source / "images" / "mask3d.tif").array[0]
    axis = int(np.argmax(label.shape))
    parts = zip(np.array_split(image.array, blocks, axis + 1), np.array_split(label, blocks, axis), strict=True)
    for number, (values, nuclei) in enumerate(parts):
        name = f"block_{number}.nii.gz"
        grid = replace(image.grid, shape=nuclei.shape)
        write_image(target / "images" / name, Volume(array=np.ascontiguousarray(values), grid=grid))
        write_label(target / "labels" / name, np.ascontiguousarray(nuclei), target / "images" / name)


def main() -> int:
    """Cut, train, predict, evaluate, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", type=Path, required=True, help="folder with nuclei3d-stardist")
    parser.add_argument("--budget", default="5m")
    parser.add_argument("--records", type=Path, default=RESULTS)
    given = parser.parse_args()
    options = BenchmarkOptions(budget=given.budget, records=given.records)
    with tempfile.TemporaryDirectory(prefix="nuclei3d-") as folder:
        source = Path(folder) / SUITE.folders[0]
        for part in ("images", "labels"):
            (source / part).mkdir(parents=True)
        cut(given.datasets / "nuclei3d-stardist", source)
        record = run_suite(SUITE, source, options)
    write_record(free_path(options.records, SUITE, options), record)
    sys.stdout.write("\n".join(summary(record)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
