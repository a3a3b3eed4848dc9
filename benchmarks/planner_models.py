"""How well the planner's memory and time models foretell training steps on this machine's processor.

    python -m benchmarks.planner_models [--threads N] [--output FILE]

Each network runs in a process of its own. Memory is the high-water mark of resident memory above what the process held
before the network existed; time is processor time per thread, so that a busy machine disturbs it little. The machine's
speed is measured in the same process, as autoseg.learning.machine measures it. Linux only.
"""

import argparse
import copy
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import msgspec
import torch

from autoseg.core.files import write_bytes
from autoseg.core.records import encode
from autoseg.learning.loss import LossOptions, segmentation_loss
from autoseg.learning.network import build_network
from autoseg.learning.norm import to_fast_layout
from planners.fingerprint import CaseFingerprint, ChannelFingerprint, Fingerprint, Label
from planners.memory import training_bytes
from planners.plan import Architecture, Configuration
from planners.planner import make_plan
from planners.recipe import RECIPES, Budget, Machine
from planners.schedule import seconds_per_step, supervision_weights
from planners.topology import build_stages, topology

_WARM, _TIMED = 1, 3
_STREAM_ELEMENTS = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One network to train for a few steps."""

    architecture: Architecture
    patch: tuple[int, ...]
    width: int
    batch: int
    outputs: int
    bf16: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was foretold and what was measured."""

    subject: Subject
    expected_bytes: int
    measured_bytes: int
    expected_seconds: float
    measured_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """All networks, with the median of |expected / measured - 1|."""

    schema: ClassVar[str] = "autoseg.planner-models/1"

    torch: str
    threads: int
    outcomes: tuple[Outcome, ...]
    median_memory_error: float
    worst_memory_error: float
    median_time_error: float


def _subject(
    patch: tuple[int, ...],
    width: int,
    batch: int,
    outputs: int = 3,
    architecture: Architecture = "plain-unet",
    *,
    bf16: bool = True,
) -> Subject:
    return Subject(architecture=architecture, patch=patch, width=width, batch=batch, outputs=outputs, bf16=bf16)


SUBJECTS = (
    _subject((40, 56, 40), 16, 1),
    _subject((40, 56, 40), 16, 4),
    _subject((40, 56, 40), 16, 4, bf16=False),
    _subject((40, 56, 40), 32, 2),
    _subject((64, 64, 64), 16, 2),
    _subject((16, 96, 96), 16, 2),
    _subject((48, 48, 48), 16, 2, 20),
    _subject((40, 40, 40), 16, 2, 3, "residual-unet"),
    _subject((256, 256), 16, 4),
    _subject((256, 256), 16, 4, bf16=False),
    _subject((256, 256), 32, 2),
    _subject((128, 128), 16, 16),
    _subject((256, 256), 16, 2, 3, "residual-unet"),
    _subject((192, 192), 24, 8, 2),
)


def main() -> int:
    """Measure every network and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planner_models", description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, help="write the record here")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        subject = msgspec.json.decode(options.one, type=Subject)
        sys.stdout.write(msgspec.json.encode(measure(subject, options.threads)).decode())
        return 0
    outcomes = tuple(_measure_apart(subject, options.threads) for subject in SUBJECTS)
    memory = [abs(item.expected_bytes / item.measured_bytes - 1) for item in outcomes]
    seconds = [abs(item.expected_seconds / item.measured_seconds - 1) for item in outcomes]
    record = Outcomes(
        torch=str(torch.__version__),
        threads=options.threads,
        outcomes=outcomes,
        median_memory_error=statistics.median(memory),
        worst_memory_error=max(memory),
        median_time_error=statistics.median(seconds),
    )
    print(f"memory: median error {record.median_memory_error:.0%}, worst {record.worst_memory_error:.0%}")
    print(f"time:   median error {record.median_time_error:.0%}, worst {max(seconds):.0%}")
    if options.output is not None:
        write_bytes(options.output, encode(record))
    return 0


def _measure_apart(subject: Subject, threads: int) -> Outcome:
    command = [sys.executable, "-m", "benchmarks.planner_models", "--threads", str(threads), "--one"]
    done = subprocess.run([*command, msgspec.json.encode(subject).decode()], check=True, stdout=subprocess.PIPE)
    outcome = msgspec.json.decode(done.stdout, type=Outcome)
    megabytes = outcome.expected_bytes / 2**20, outcome.measured_bytes / 2**20
    print(
        f"{subject.architecture:13} {'x'.join(map(str, subject.patch)):9} width {subject.width:2} "
        f"batch {subject.batch:2} outputs {subject.outputs:2} {'bf16' if subject.bf16 else 'fp32'}: "
        f"{megabytes[0]:5.0f} MiB foretold, {megabytes[1]:5.0f} measured; "
        f"{outcome.expected_seconds:.2f} s foretold, {outcome.measured_seconds:.2f} measured",
        flush=True,
    )
    return outcome


def measure(subject: Subject, threads: int) -> Outcome:
    """Train a few steps of the network in this process."""
    torch.set_num_threads(threads)
    configuration = planned(subject)
    machine = _machine(subject.bf16, threads)
    before = _resident("VmRSS")
    network = build_network(configuration, 1, subject.outputs).train()
    to_fast_layout(network, torch.device("cpu"))
    averaged = copy.deepcopy(network).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    options = LossOptions(
        name="dice-ce",
        target="labels",
        batch_dice=configuration.batch_dice,
        level_weights=configuration.deep_supervision_weights,
    )

    def step() -> None:
        images = torch.randn(subject.batch, 1, *subject.patch)
        labels = torch.randint(0, subject.outputs, (subject.batch, 1, *subject.patch), dtype=torch.int16)
        with torch.autocast("cpu", torch.bfloat16, enabled=subject.bf16):
            logits = network(images)
        segmentation_loss(logits, labels, options).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        torch._foreach_lerp_(list(averaged.parameters()), list(network.parameters()), 0.1)
        optimizer.zero_grad(set_to_none=True)

    seconds = _processor_seconds(step, threads)
    return Outcome(
        subject=subject,
        expected_bytes=training_bytes(configuration, 1, subject.outputs, bf16=subject.bf16),
        measured_bytes=_resident("VmHWM") - before,
        expected_seconds=seconds_per_step(configuration, 1, subject.outputs, machine) or 0.0,
        measured_seconds=seconds,
    )


def planned(subject: Subject) -> Configuration:
    """Return the configuration of a subject."""
    dimensions = len(subject.patch)
    shape = topology(
        (1.0,) * dimensions if subject.patch[0] > 16 or dimensions == 2 else (4.0, 1.0, 1.0), subject.patch, 4
    )
    recipe = RECIPES["nnunet-resenc" if subject.architecture == "residual-unet" else "nnunet"]
    stages = build_stages(shape, recipe, subject.width)
    base = make_plan(_any_fingerprint(), RECIPES["auto"], Budget(steps=1)).configuration("2d")
    return replace(
        base,
        architecture=subject.architecture,
        dimensions=3 if dimensions == 3 else 2,
        patch=shape.patch,
        batch=subject.batch,
        stages=stages,
        deep_supervision_weights=supervision_weights(len(stages), 0.0),
    )


def _any_fingerprint() -> Fingerprint:
    channel = ChannelFingerprint(
        name="image",
        modality="other",
        modality_reason="",
        mean=None,
        std=None,
        minimum=None,
        maximum=None,
        median=None,
        percentile_00_5=None,
        percentile_99_5=None,
    )
    case = CaseFingerprint(
        name="case",
        dimensions=3,
        shape=(16, 16, 16),
        shape_after_crop=(16, 16, 16),
        spacing_mm=(1.0, 1.0, 1.0),
        label_voxels=(100,),
        label_components=(1,),
    )
    return Fingerprint(
        dataset="any",
        channels=(channel,),
        labels=(Label(name="label", values=(1,)),),
        overlapping=False,
        cases=(case,),
        median_relative_size_after_crop=1.0,
        n_training=1,
    )


def _machine(bf16: bool, threads: int) -> Machine:
    features, edge, batch = 24, 32, 2  # as autoseg.learning.machine
    layer = torch.nn.Conv3d(features, features, 3, padding=1)
    image = torch.randn(batch, features, edge, edge, edge, requires_grad=True)

    def convolve() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            output = layer(image)
        output.float().sum().backward()

    array = torch.randn(_STREAM_ELEMENTS)
    operations = 3 * 2 * 27 * features * features * batch * edge**3
    return Machine(
        device="cpu",
        cores=threads,
        memory_bytes=1 << 40,
        bf16=bf16,
        flops_per_s=operations / _processor_seconds(convolve, threads),
        bytes_per_s=2 * 4 * _STREAM_ELEMENTS / _processor_seconds(lambda: array.mul_(1.0001), threads),
    )


def _processor_seconds(function: Callable[[], object], threads: int) -> float:
    for _ in range(_WARM):
        function()
    started = time.process_time()
    for _ in range(_TIMED):
        function()
    return (time.process_time() - started) / _TIMED / threads


def _resident(field: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) << 10
    msg = f"/proc/self/status has no {field}"
    raise RuntimeError(msg)


if __name__ == "__main__":
    sys.exit(main())
