"""An exported model against the engine: how soon it is ready, how long a case takes, whether the labels are the same.

python -m benchmarks.onnx_runner [--steps 12]

Makes the demo's synthetic CT cases, trains a small network for a few steps, exports it, and compares in one run, on
the CPU in float32, the model with torch and its export with onnxruntime. Times are the best of several turns taken
alternately; ready means from the start of a Python process to a model that can predict.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from autoseg.core.records import write_record
from autoseg.core.runtime import cores
from autoseg.datasets.options import Options as Reading
from autoseg.demo import make_demo_dataset
from autoseg.imaging.read import read_image
from autoseg.imaging.volume import Volume
from autoseg.learning.inference import InferenceOptions, Segmenter, make_segmenter
from autoseg.learning.model_files import load_networks
from autoseg.options import PlanAndTrainOptions
from autoseg.pipeline import plan_and_train
from autoseg.runner import ExportedModel, load
from autoseg.runner.sources import PACKAGE
from autoseg.steps.export import export
from benchmarks.record import RESULTS, Hardware, these_versions, this_commit, this_hardware

OUTPUT = RESULTS / "prediction" / "onnx_runner.json"
TRAINING_CASES, CASES = 6, 3
STARTS, TURNS = 15, 4
LATEST_READY_S = 1.0
LEAST_EQUAL = 0.9999

_READY = "import sys; sys.path.insert(0, sys.argv[1]); from {0}.runner import load; load(sys.argv[1])"
_READY_FOR_FILES = _READY + "; import nibabel"
_READY_TORCH = "import sys, autoseg; autoseg.load_model(sys.argv[1], device='cpu')"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case: voxels of the native grid, best seconds of both, share of voxels with the same label."""

    case: str
    voxels: int
    torch_s: float
    onnx_s: float
    equal: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """From the start of a Python process to a model that can predict: wall-clock and processor seconds, each best."""

    what: str
    wall_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxRunner:
    """The whole comparison. `load_average` (1, 5, 15 minutes) tells how much else the machine had to do."""

    schema: ClassVar[str] = "autoseg.onnx-runner/1"

    date: str
    commit: str
    command: str
    hardware: Hardware
    versions: tuple[tuple[str, str], ...]
    threads: int
    parameters: int
    exported_bytes: int
    load_average: tuple[float, float, float]
    starts: tuple[Start, ...]
    cases: tuple[Case, ...]


def starts(ways: Sequence[tuple[str, str, Path]]) -> tuple[Start, ...]:
    """Return for each (name, program, folder) the best times of a Python process that runs it."""
    wall, cpu = [float("inf")] * len(ways), [float("inf")] * len(ways)
    for _ in range(STARTS):
        for index, (_name, program, place) in enumerate(ways):
            before, started = _children_cpu_s(), time.perf_counter()
            subprocess.run([sys.executable, "-c", program, str(place)], check=True)
            wall[index] = min(wall[index], time.perf_counter() - started)
            cpu[index] = min(cpu[index], _children_cpu_s() - before)
    return tuple(
        Start(what=name, wall_s=round(wall[index], 3), cpu_s=round(cpu[index], 3))
        for index, (name, _, _) in enumerate(ways)
    )


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def compare(segmenter: Segmenter, exported: ExportedModel, name: str, volume: Volume) -> Case:
    """Predict one case with both."""
    spacing_mm = volume.grid.spacing_mm
    ways: list[Callable[[], NDArray[Any]]] = [
        lambda: segmenter.segment(segmenter.prepare(volume.array, spacing_mm)),
        lambda: exported.predict(volume.array, spacing_mm),
    ]
    best, found = [float("inf")] * 2, [np.zeros(0)] * 2
    for _ in range(TURNS):
        for index, way in enumerate(ways):
            started = time.perf_counter()
            found[index] = way()
            best[index] = min(best[index], time.perf_counter() - started)
    equal = float(np.mean(found[0] == found[1]))
    return Case(
        case=name, voxels=found[0].size, torch_s=round(best[0], 3), onnx_s=round(best[1], 3), equal=round(equal, 7)
    )


def run(folder: Path, steps: int) -> OnnxRunner:
    """Train, export and compare in `folder`."""
    dataset, unseen = make_demo_dataset(folder, TRAINING_CASES, CASES)
    options = PlanAndTrainOptions(workspace=folder / "bench.autoseg", steps=steps, device="cpu")
    model = Path(plan_and_train(dataset, options, Reading()).model)
    output = folder / "exported"
    export(model, output)
    threads = cores()
    torch.set_num_threads(threads)
    loaded = load_networks(model, torch.device("cpu"))
    inference = InferenceOptions(
        mirror=loaded.record.mirror, dtype=torch.float32, postprocessing=loaded.record.postprocessing
    )
    segmenter = make_segmenter(loaded.plan, loaded.networks, inference)
    exported = load(output, threads=threads)
    cases = tuple(
        compare(segmenter, exported, path.name.removesuffix(".nii.gz"), read_image(path))
        for path in sorted((unseen / "images").iterdir())
    )
    found = starts(
        (
            ("runner", _READY.format(PACKAGE), output),
            ("runner and nibabel", _READY_FOR_FILES.format(PACKAGE), output),
            ("torch", _READY_TORCH, model),
        )
    )
    return OnnxRunner(
        date=datetime.now(UTC).date().isoformat(),
        commit=this_commit(),
        command=f"python -m benchmarks.onnx_runner --steps {steps}",
        hardware=this_hardware("cpu"),
        versions=(*these_versions(), *((name, _version(name)) for name in ("onnx", "onnxruntime", "nibabel"))),
        threads=threads,
        parameters=sum(p.numel() for p in loaded.networks[0].module.parameters()),
        exported_bytes=sum(path.stat().st_size for path in output.rglob("*") if path.is_file()),
        load_average=os.getloadavg(),
        starts=found,
        cases=cases,
    )


def _version(name: str) -> str:
    from importlib.metadata import version

    return version(name)


def main() -> int:
    """Run once and write the record; 0 when it was ready in time with the same labels, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="onnx-runner-") as place:
        record = run(Path(place), options.steps)
    write_record(options.output, record)
    for start in record.starts:
        sys.stdout.write(f"{start.what}: ready in {start.wall_s:.2f} s ({start.cpu_s:.2f} s of a processor)\n")
    for case in record.cases:
        both = f"{case.onnx_s:.2f} s, with torch {case.torch_s:.2f} s"
        sys.stdout.write(f"{case.case} ({case.voxels} voxels): {both}, {100 * case.equal:.4f} % equal\n")
    in_time = record.starts[0].wall_s < LATEST_READY_S
    return int(not (in_time and all(case.equal >= LEAST_EQUAL for case in record.cases)))


if __name__ == "__main__":
    sys.exit(main())
