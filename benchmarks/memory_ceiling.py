"""Does `autoseg predict --max-ram` keep its word under a hard limit of the address space?

    python -m benchmarks.memory_ceiling [--only whole-body] [--small] [--work FOLDER]

Each demonstration predicts one NIfTI file, end to end, in a process that may not map more than a limit (RLIMIT_AS:
every byte of its address space, libraries, stacks and reserved but untouched memory included). The volumes are CT-like,
the networks small and hardly trained; they still hold all classes as logits. That labels do not depend on the ceiling
is checked on a smaller volume, by predicting it with one and without. Rows that the record has are kept.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from autoseg.core.errors import AutosegError
from autoseg.core.files import write_text
from autoseg.core.records import read_record, write_record
from autoseg.imaging.preparation import prepare_image
from autoseg.imaging.read import read_label
from autoseg.imaging.write import write_image
from autoseg.learning.model_files import ModelRecord, TrainedNetwork, plan_outputs, save_model, save_network
from autoseg.learning.network import build_network
from benchmarks.inference.inputs import Shape, body
from benchmarks.inference.models import given_fingerprint
from benchmarks.record import RESULTS, Hardware, these_versions, this_commit, this_hardware
from planners.plan import Configuration, Plan
from planners.planner import make_plan
from planners.recipe import RECIPES, Budget
from planners.schedule import supervision_weights

OUTPUT = RESULTS / "prediction" / "memory_ceiling.json"
GIB = 1 << 30
_STAGES = 2
_PATCH = (16, 128, 128)
"""Flat, so that a slab of all classes is a small part of the volume: then no row is predicted twice."""
_FEATURES = 4
_TRAINING_SHAPE = (160, 128, 128)
_CROP = (16, 48, 48)
_STEPS = 200
_NETWORK_MM = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstration:
    """A volume (z, y, x), what is made of it, the process's limit and the `--max-ram` below it."""

    name: str
    shape: Shape
    spacing_mm: tuple[float, float, float]
    classes: int
    limit_bytes: int
    max_ram: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """How a demonstration went: peaks of resident memory and of the address space, as the kernel counts them."""

    name: str
    shape: Shape
    spacing_mm: tuple[float, float, float]
    network_spacing_mm: float
    classes: int
    labels_found: int
    logits_at_native_bytes: int
    limit_bytes: int
    max_ram: str
    peak_resident_bytes: int
    peak_address_space_bytes: int
    seconds: float
    date: str
    commit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Same:
    """A smaller volume predicted with a tight ceiling and without one."""

    shape: Shape
    classes: int
    max_ram: str
    voxels: int
    differing_voxels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryCeiling:
    """All demonstrations so far."""

    schema: ClassVar[str] = "autoseg.memory-ceiling/1"

    hardware: Hardware
    versions: tuple[tuple[str, str], ...]
    demonstrations: tuple[Kept, ...]
    same: Same | None


DEMONSTRATIONS = (
    Demonstration(
        name="whole-body",
        shape=(800, 512, 512),
        spacing_mm=(1.0, 0.75, 0.75),
        classes=118,
        limit_bytes=4 * GIB,
        max_ram="3000M",
    ),
    Demonstration(
        name="large-planes",
        shape=(512, 512, 1024),
        spacing_mm=(1.0, 0.75, 0.75),
        classes=100,
        limit_bytes=6 * GIB,
        max_ram="4600M",
    ),
)
SMALLER = Demonstration(
    name="smaller",
    shape=(120, 512, 512),
    spacing_mm=(1.0, 0.75, 0.75),
    classes=118,
    limit_bytes=resource.RLIM_INFINITY,
    max_ram="1600M",
)


def make_model(folder: Path, demonstration: Demonstration) -> Path:
    """Write a hardly trained model with the demonstration's classes; return its folder."""
    edges = zip(demonstration.shape, demonstration.spacing_mm, strict=True)
    z, y, x = (round(n * mm / _NETWORK_MM) for n, mm in edges)
    fingerprint = given_fingerprint("ceiling", "ct", [(z, y, x)], (_NETWORK_MM,) * 3, demonstration.classes - 1)
    plan = make_plan(fingerprint, RECIPES["nnunet"], Budget())
    planned = _narrow(plan.configuration("3d_fullres"))
    plan = replace(plan, configurations=(planned,))
    module = _trained(plan, planned).eval()
    trained = TrainedNetwork(
        configuration=planned.name, fold=0, module=module, steps=0, seconds=0.0, validation_dice=None
    )
    network = save_network(folder, trained)
    record = ModelRecord(
        dataset="ceiling", version="0", configuration=planned.name, networks=(network,), mirror_axes=()
    )
    save_model(folder, record, plan, fingerprint)
    return folder


def _trained(plan: Plan, planned: Configuration) -> torch.nn.Module:
    """Return a network that has seen enough of the body to find organs: random ones would fill it with every class."""
    torch.manual_seed(0)
    module = build_network(planned, 1, plan_outputs(plan))
    volume, label = body(_TRAINING_SHAPE, (_NETWORK_MM,) * 3, 1, noise_hu=0.0)
    image = prepare_image(volume.array, volume.grid.spacing_mm, plan, planned)
    x = torch.from_numpy(image.mapping.crop(image.image))
    y = torch.from_numpy(image.mapping.crop(label).astype(np.int64))
    draw = np.random.default_rng(0)
    organs = np.argwhere(label)
    optimizer = torch.optim.AdamW(module.parameters(), 1e-2)
    for _ in range(_STEPS):
        centre = organs[draw.integers(len(organs))]
        starts = [int(np.clip(c - n // 2, 0, m - n)) for c, n, m in zip(centre, _CROP, y.shape, strict=True)]
        box = tuple(slice(start, start + n) for start, n in zip(starts, _CROP, strict=True))
        loss = torch.nn.functional.cross_entropy(module(x[(slice(None), *box)][None]), y[box][None])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return module


def _narrow(planned: Configuration) -> Configuration:
    """Return a configuration with few features, few stages and a small patch."""
    stages = tuple(
        replace(stage, features=_FEATURES * 2**index, kernel=(3, 3, 3), stride=(1 if index == 0 else 2,) * 3)
        for index, stage in enumerate(planned.stages[:_STAGES])
    )
    stages = (*stages[:-1], replace(stages[-1], decoder_convolutions=0))
    weights = supervision_weights(len(stages), 0.0)
    return replace(planned, stages=stages, patch=_PATCH, deep_supervision_weights=weights)


def predict_within(limit_bytes: int, words: list[str], work: Path) -> dict[str, float]:
    """Run `autoseg predict` in a process with that limit; return its peaks and the seconds from start to exit.

    Raises:
        AutosegError: it failed.

    """
    report = work / "report.json"
    command = [sys.executable, "-m", "benchmarks.memory_ceiling", "--child", str(limit_bytes), str(report), *words]
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    seconds = time.monotonic() - started
    if done.returncode:
        raise AutosegError.at("predict", f"ended with code {done.returncode}", done.stderr[-2000:] or "no message")
    found: dict[str, float] = json.loads(report.read_text(encoding="utf-8"))
    return found | {"seconds": seconds}


def child(limit_bytes: int, report: Path, words: list[str]) -> None:
    """Take the limit, run the command line, and say what the kernel counted."""
    resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
    from autoseg import cli

    sys.argv = ["autoseg", "predict", *words]
    try:
        cli.main()
    finally:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        peaks = {key: int(line.split()[1]) * 1024 for key in ("VmHWM", "VmPeak") for line in lines if key in line}
        write_text(report, json.dumps(peaks))


def demonstrate(demonstration: Demonstration, work: Path) -> Kept:
    """Predict one volume under its limit."""
    image, model, output = work / "images" / f"{demonstration.name}.nii.gz", work / "model", work / "output"
    make_model(model, demonstration)
    volume, _ = body(demonstration.shape, demonstration.spacing_mm, 0, noise_hu=0.0)
    write_image(image, volume)
    del volume
    words = [str(image), "--model", str(model), "--output", str(output), "--device", "cpu", "--no-mirror"]
    found = predict_within(demonstration.limit_bytes, [*words, "--max-ram", demonstration.max_ram], work)
    labels = read_label(output / image.name).array
    return Kept(
        name=demonstration.name,
        shape=demonstration.shape,
        spacing_mm=demonstration.spacing_mm,
        network_spacing_mm=_NETWORK_MM,
        classes=demonstration.classes,
        labels_found=int(np.count_nonzero(np.bincount(labels.ravel()))),
        logits_at_native_bytes=demonstration.classes * labels.size * 4,
        limit_bytes=demonstration.limit_bytes,
        max_ram=demonstration.max_ram,
        peak_resident_bytes=int(found["VmHWM"]),
        peak_address_space_bytes=int(found["VmPeak"]),
        seconds=round(found["seconds"], 1),
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        commit=this_commit(),
    )


def compare(demonstration: Demonstration, work: Path) -> Same:
    """Predict a volume with a ceiling and without, and compare the labels."""
    image, model = work / "images" / "smaller.nii.gz", work / "model"
    make_model(model, demonstration)
    write_image(image, body(demonstration.shape, demonstration.spacing_mm, 0, noise_hu=0.0)[0])
    found = []
    for name, ceiling in (("within", demonstration.max_ram), ("free", "64G")):
        words = [str(image), "--model", str(model), "--output", str(work / name), "--device", "cpu", "--no-mirror"]
        predict_within(resource.RLIM_INFINITY, [*words, "--max-ram", ceiling], work)
        found.append(read_label(work / name / image.name).array)
    return Same(
        shape=demonstration.shape,
        classes=demonstration.classes,
        max_ram=demonstration.max_ram,
        voxels=found[0].size,
        differing_voxels=int(np.count_nonzero(found[0] != found[1])),
    )


def main() -> int:
    """Demonstrate what the record lacks; 0 when labels are the same, 1 when not, else the code of what failed."""
    if sys.argv[1:2] == ["--child"]:
        child(int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
    options = _parser().parse_args()
    record = MemoryCeiling(hardware=this_hardware("cpu"), versions=these_versions(), demonstrations=(), same=None)
    if options.output.exists() and not options.small:
        record = read_record(options.output, MemoryCeiling)
    try:
        for demonstration in DEMONSTRATIONS:
            known = any(kept.name == demonstration.name for kept in record.demonstrations)
            if known or (options.only and demonstration.name not in options.only):
                continue
            shape = (demonstration.shape[0] // 8, 80, 80) if options.small else demonstration.shape
            with tempfile.TemporaryDirectory(prefix="ceiling-", dir=options.work) as work:
                kept = demonstrate(replace(demonstration, shape=shape), Path(work))
            record = replace(record, demonstrations=(*record.demonstrations, kept))
            _write(record, options)
        if record.same is None and not options.only:
            with tempfile.TemporaryDirectory(prefix="ceiling-", dir=options.work) as work:
                record = replace(record, same=compare(SMALLER, Path(work)))
            _write(record, options)
    except AutosegError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(describe(record))
    return int(record.same is not None and record.same.differing_voxels > 0)


def describe(record: MemoryCeiling) -> str:
    """Return a Markdown table with a line per demonstration, and how labels compare."""
    lines = ["| volume | classes | limit | --max-ram | peak resident | peak address space | time |"]
    lines.append("|---|---|---|---|---|---|---|")
    for kept in record.demonstrations:
        cells = [
            "x".join(map(str, kept.shape)),
            f"{kept.classes} ({kept.labels_found} found)",
            f"{kept.limit_bytes / GIB:.0f} GiB",
            kept.max_ram,
            f"{kept.peak_resident_bytes / GIB:.2f} GiB",
            f"{kept.peak_address_space_bytes / GIB:.2f} GiB",
            f"{kept.seconds:.0f} s",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    if record.same is not None:
        same = record.same
        lines.append(f"\nWith {same.max_ram} and without: {same.differing_voxels} of {same.voxels} voxels differ.")
    return "\n".join(lines)


def _write(record: MemoryCeiling, options: argparse.Namespace) -> None:
    if not options.small:
        write_record(options.output, record)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.memory_ceiling",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", action="append", choices=[d.name for d in DEMONSTRATIONS], help="may be repeated")
    parser.add_argument("--small", action="store_true", help="a trial on tiny images, without a record")
    parser.add_argument("--work", type=Path, help="folder for the volumes; by default that of temporary files")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the record")
    return parser


if __name__ == "__main__":
    sys.exit(main())
