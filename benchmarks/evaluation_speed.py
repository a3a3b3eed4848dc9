"""How fast are scores: ours against surface-distance label by label and against nnU-Net's evaluation, on one core.

    python -m benchmarks.evaluation_speed --datasets FOLDER --nnunet-python PATH

FOLDER holds `totalseg-tests` (tests/reference_files of wasserth/TotalSegmentator): a label map of 41 structures and
that of another model, both enlarged to 244 x 202 x 224 voxels. PATH is the Python of an environment with nnunetv2. All
programs get the same arrays or files, one after the other, on one core. Ratios are of processor time, medians of the
repeats: other work on the machine disturbs it less than the clock.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import ClassVar

import nibabel as nib
import numpy as np
import surface_distance
from numpy.typing import NDArray

from autoseg.core.presets import EvaluateOptions, Rules
from autoseg.core.records import write_record
from autoseg.core.scores import LabelScore
from autoseg.imaging.scoring import score_case, values_in
from autoseg.imaging.volume import Grid
from autoseg.steps.evaluate import evaluate
from benchmarks.record import RESULTS, Hardware, these_versions, this_commit, this_hardware
from planners.fingerprint import Label

OUTPUT = RESULTS / "evaluation" / "speed.json"
SHAPE_XYZ = (244, 202, 224)
TOLERANCE_MM = 1.5
_NNUNET = """
import json, sys, time
import numpy as np
from nnunetv2.evaluation import evaluate_predictions as nnunet
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
reference, prediction, repeats, labels = sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
reader, files, arrays = SimpleITKIO(), [], []
a, b = (reader.read_seg(path)[0] for path in (reference, prediction))
for _ in range(repeats):
    cpu, wall = time.process_time(), time.perf_counter()
    found = nnunet.compute_metrics(reference, prediction, reader, labels)
    files.append((time.process_time() - cpu, time.perf_counter() - wall))
    cpu, wall = time.process_time(), time.perf_counter()
    for label in labels:
        masks = [nnunet.region_or_label_to_mask(array, label) for array in (a, b)]
        nnunet.compute_tp_fp_fn_tn(*masks, None)
    arrays.append((time.process_time() - cpu, time.perf_counter() - wall))
dice = [found["metrics"][label]["Dice"] for label in labels]
print(json.dumps({"files": files, "arrays": arrays, "dice": [None if np.isnan(d) else d for d in dice]}))
"""

Array = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What was timed, and every repeat on one core: processor time and wall clock."""

    name: str
    what: str
    cpu_s: tuple[float, ...]
    wall_s: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """How many times faster ours is, median against median, and what must hold."""

    name: str
    times: float
    at_least: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSpeed:
    """One run; deviations are the largest between the programs' values of all labels."""

    schema: ClassVar[str] = "autoseg.evaluation-speed/1"

    date: str
    commit: str
    command: str
    hardware: Hardware
    versions: tuple[tuple[str, str], ...]
    nnunet: str
    shape_xyz: tuple[int, int, int]
    labels: int
    timings: tuple[Timing, ...]
    ratios: tuple[Ratio, ...]
    nsd_deviation: float
    dice_deviation: float


def enlarged(path: Path) -> Array:
    """Return a label map (z, y, x) enlarged by repeating voxels."""
    array = np.asarray(nib.load(path).dataobj).astype(np.uint8)
    index = [np.arange(new) * old // new for old, new in zip(array.shape, SHAPE_XYZ, strict=True)]
    return np.ascontiguousarray(array[np.ix_(*index)].transpose())


def timed(name: str, what: str, run: Callable[[], object], repeats: int) -> Timing:
    """Run `repeats` times."""
    cpu_s, wall_s = [], []
    for _ in range(repeats):
        cpu, wall = time.process_time(), time.perf_counter()
        run()
        cpu_s.append(time.process_time() - cpu)
        wall_s.append(time.perf_counter() - wall)
    return said(Timing(name=name, what=what, cpu_s=tuple(cpu_s), wall_s=tuple(wall_s)))


def said(timing: Timing) -> Timing:
    """Print a timing."""
    shown = f"{median(timing.cpu_s):.3f} s of processor time, {median(timing.wall_s):.3f} s"
    print(f"{timing.name}, {timing.what}: {shown}", flush=True)
    return timing


def label_by_label(
    prediction: Array, reference: Array, values: Sequence[int], spacing: tuple[float, ...]
) -> list[float]:
    """Score every label with surface-distance: Dice, robust Hausdorff distance, NSD; return NSD."""
    found = []
    for value in values:
        p, r = prediction == value, reference == value
        surface_distance.compute_dice_coefficient(r, p)
        if not p.any() or not r.any():
            found.append(0.0)  # version 0.1 fails on an empty mask with NumPy 2
            continue
        distances = surface_distance.compute_surface_distances(r, p, spacing)
        surface_distance.compute_robust_hausdorff(distances, 95)
        found.append(float(surface_distance.compute_surface_dice_at_tolerance(distances, TOLERANCE_MM)))
    return found


def ours(prediction: Array, reference: Array, labels: Sequence[Label], grid: Grid, rules: Rules) -> list[LabelScore]:
    """Score arrays as `autoseg evaluate` does."""
    return list(score_case(prediction, reference, labels, grid, rules))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write the record; 0 when every ratio holds and the three seconds do."""
    options = _parser().parse_args(arguments)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.environ["OMP_NUM_THREADS"] = "1"
    warnings.simplefilter("ignore", DeprecationWarning)  # names that surface-distance takes from SciPy
    with tempfile.TemporaryDirectory(prefix="evaluation-speed-") as folder:
        record = run(options, Path(folder))
    write_record(options.output, record)
    slowest = max(record.timings[0].wall_s)
    return 0 if all(r.times >= r.at_least for r in record.ratios) and slowest < 3 else 1


def run(options: argparse.Namespace, work: Path) -> EvaluationSpeed:
    """Score one pair of label maps with every program."""
    source = options.datasets / "totalseg-tests"
    spacing = (3 * 30 / SHAPE_XYZ[2], 1.5, 1.5)
    affine = (
        (0.0, 0.0, spacing[2], 0.0),
        (0.0, spacing[1], 0.0, 0.0),
        (spacing[0], 0.0, 0.0, 0.0),
        (0.0, 0.0, 0.0, 1.0),
    )
    reference, prediction = (enlarged(source / f"{name}.nii.gz") for name in ("example_seg", "example_seg_fast"))
    grid = Grid(shape=SHAPE_XYZ[::-1], affine=affine)
    values = sorted(set(values_in(reference)) - {0} | set(values_in(prediction)) - {0})
    labels = tuple(Label(name=f"label_{value}", values=(value,)) for value in values)
    files = {}
    for side, array in (("predictions", prediction), ("references", reference)):
        files[side] = work / side / "case.nii.gz"
        files[side].parent.mkdir()
        nib.save(nib.Nifti1Image(array.T, np.diag([*spacing[::-1], 1.0])), files[side])

    every = Rules(metrics=("dice", "hd95_mm", "nsd"), tolerances_mm=(TOLERANCE_MM,))
    scores = ours(prediction, reference, labels, grid, every)
    nsd = label_by_label(prediction, reference, values, spacing)
    repeats = options.repeats
    timings = [
        timed(
            "autoseg", "Dice, HD95 and NSD, arrays", lambda: ours(prediction, reference, labels, grid, every), repeats
        ),
        timed(
            "surface-distance",
            "Dice, HD95 and NSD, arrays",
            lambda: label_by_label(prediction, reference, values, spacing),
            max(1, repeats // 2),
        ),
        timed("autoseg", "Dice, arrays", lambda: ours(prediction, reference, labels, grid, Rules()), repeats),
        timed(
            "autoseg",
            "Dice, files",
            lambda: evaluate(work / "predictions", work / "references", work, EvaluateOptions(metrics="dice")),
            repeats,
        ),
    ]
    theirs = _nnunet(options, files["references"], files["predictions"], values)
    for what in ("arrays", "files"):
        cpu_s, wall_s = zip(*theirs[what], strict=True)
        timings.append(said(Timing(name="nnU-Net", what=f"Dice, {what}", cpu_s=cpu_s, wall_s=wall_s)))
    return EvaluationSpeed(
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        commit=this_commit(),
        command=f"python -m benchmarks.evaluation_speed --repeats {repeats}",
        hardware=this_hardware("cpu"),
        versions=these_versions(),
        nnunet=theirs["version"],
        shape_xyz=SHAPE_XYZ,
        labels=len(labels),
        timings=tuple(timings),
        ratios=_ratios(timings),
        nsd_deviation=max(abs((s.nsd or 0.0) - other) for s, other in zip(scores, nsd, strict=True)),
        dice_deviation=max(abs((s.dice or 0.0) - (d or 0.0)) for s, d in zip(scores, theirs["dice"], strict=True)),
    )


def _ratios(timings: Sequence[Timing]) -> tuple[Ratio, ...]:
    def seconds(name: str, what: str) -> float:
        return median(next(t.cpu_s for t in timings if (t.name, t.what) == (name, what)))

    made = []
    for peer, what, at_least in (
        ("surface-distance", "Dice, HD95 and NSD, arrays", 10.0),
        ("nnU-Net", "Dice, arrays", 3.0),
        ("nnU-Net", "Dice, files", 3.0),
    ):
        times = seconds(peer, what) / seconds("autoseg", what)
        print(f"{what}: {times:.1f} times as fast as {peer} (at least {at_least:g})", flush=True)
        made.append(Ratio(name=f"{peer}: {what}", times=times, at_least=at_least))
    return tuple(made)


def _nnunet(options: argparse.Namespace, reference: Path, prediction: Path, values: Sequence[int]) -> dict:
    words = [str(reference), str(prediction), str(options.repeats), json.dumps(list(values))]
    python = [str(options.nnunet_python), "-c"]
    done = subprocess.run([*python, _NNUNET, *words], capture_output=True, text=True, check=True, env=dict(os.environ))
    which = "import importlib.metadata; print(importlib.metadata.version('nnunetv2'))"
    version = subprocess.run([*python, which], capture_output=True, text=True, check=True).stdout.strip()
    return {**json.loads(done.stdout.splitlines()[-1]), "version": version}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", type=Path, required=True)
    parser.add_argument("--nnunet-python", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    return parser


if __name__ == "__main__":
    sys.exit(main())
