"""The parts of the comparison: what each side is given, and what must hold."""

import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from os import getloadavg
from pathlib import Path
from statistics import median
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from autoseg.core.records import read_record
from autoseg.imaging.read import read_label
from autoseg.imaging.resampling import LINEAR, apply_along, axis_operator
from autoseg.imaging.write import write_image
from autoseg.predicting.records import PredictionRecord
from benchmarks.hippocampus.split import ENDING, case_names, make_split
from benchmarks.inference.inputs import (
    Shape,
    body,
    image,
    label_map,
    structured_logits,
    unstructured_logits,
)
from benchmarks.inference.models import Brief, ct_model, hippocampus_model, resampling_model
from benchmarks.inference.record import Comparison, Target
from benchmarks.inference.run import Answer, Setting, both, succeed, write_task
from benchmarks.measure import Measured
from benchmarks.record import this_commit

Part = Callable[[Setting, str], tuple[Comparison, ...]]

_INSIDE = "resident memory above what was there before, the result included, the given input not"
_LARGEST = "the kernel's high-water mark of resident memory of the largest process"
_SEVERAL, _ONE, _EXACT = "its default six worker processes", "one process", "one process with float32 sums"
_TIE = 1e-5
"""Two labels whose weights are closer are tied: float32 rounding decides."""
_NATIVE_MM = (1.5, 1.5, 1.5)
_NETWORK_MM = (3.0, 3.0, 3.0)


def reduction(
    classes: int, shape: Shape, make: Callable[[int, Shape, int], NDArray[np.float16]], target: Target
) -> Part:
    """Return the part from logits at network resolution to labels at twice that."""

    def run(setting: Setting, part: str) -> tuple[Comparison, ...]:
        small = tuple(max(8, n // 8) for n in shape) if setting.small else shape
        native = [2 * n for n in small]
        model = resampling_model(setting, classes, small, _NETWORK_MM)
        ours, theirs = both(
            setting,
            make(classes, small, 0),
            kind="logits",
            model=model,
            shape=native,
            spacing_mm=_NATIVE_MM,
            network_spacing_mm=_NETWORK_MM,
        )
        kind = "random fields, no class absent anywhere" if make is unstructured_logits else "logits"
        what = f"{classes} classes {_by(small)} to {_by(native)}, {kind}"
        equal = float(np.mean(ours.result == theirs.result))
        return (_inside(part, what, (ours, theirs), target, equal=equal),)

    return run


def resampling(labels: int | None, target: Target) -> Part:
    """Return the part that resamples an image at order 3 (`labels` None), or a label map at order 1."""

    def run(setting: Setting, part: str) -> tuple[Comparison, ...]:
        old, new = ((24, 32, 32), (32, 25, 25)) if setting.small else ((120, 256, 256), (160, 200, 200))
        given = image(old, 0) if labels is None else label_map(labels, old, 0)
        ours, theirs = both(setting, given, kind="resample", shape=new, order=3 if labels is None else 1)
        if labels is None:
            worst = float(np.abs(ours.result - theirs.result).max() / np.ptp(given))
            what = f"image {_by(old)} to {_by(new)}, order 3"
            return (_inside(part, what, (ours, theirs), target, worst=worst),)
        differs = ours.result != theirs.result
        tied = _margin(given, new) <= _TIE
        equal = 1 - float(np.mean(differs[~tied]))
        note = f"{tied.mean():.2%} of the voxels are ties and left out; of all, {1 - differs.mean():.4%} are equal"
        what = f"label map of {labels} labels {_by(old)} to {_by(new)}, order 1"
        return (_inside(part, what, (ours, theirs), target, equal=equal, note=note),)

    return run


def hippocampus(setting: Setting, part: str) -> tuple[Comparison, ...]:
    """Predict the judged hippocampus cases from files to files."""
    source = setting.datasets / "msd-hippocampus"
    split = make_split(case_names(source))
    judged = split.judged[:2] if setting.small else split.judged
    images = _linked(setting.work / "hippocampus", {name: source / "images" / f"{name}{ENDING}" for name in judged})
    train = [Path("images") / f"{name}{ENDING}" for name in split.train]
    model = hippocampus_model(
        setting,
        [source / name for name in train],
        [source / "labels" / name.name for name in train],
        Brief(steps=2 if setting.small else 100),
    )
    what = f"{len(judged)} hippocampus cases", Target(faster=3)
    return _files(setting, part, (model, images), (_SEVERAL, _ONE, _EXACT), what, turns=1 if setting.small else 3)


def ct(setting: Setting, part: str) -> tuple[Comparison, ...]:
    """Predict one CT-like case of 512 x 512 x 300 voxels and 25 classes from file to file."""
    shape, spacing = ((40, 64, 64), (1.5, 1.5, 1.5)) if setting.small else ((300, 512, 512), (1.5, 0.75, 0.75))
    model = ct_model(
        setting,
        (40, 64, 64) if setting.small else (300, 256, 256),
        Brief(steps=2 if setting.small else 900, patch=(32, 32, 32) if setting.small else (64, 64, 64), features=8),
    )
    images = setting.work / "ct"
    path = images / "body_0000.nii.gz"
    if not path.exists():
        volume, _ = body(shape, spacing, 0)
        write_image(path, volume)
    what = f"CT-like case {_by(shape)}, 25 classes, network of 8 base features at 1.5 mm"
    return _files(setting, part, (model, images), (_ONE, _EXACT), (what, Target(faster=3, memory=1 / 3)))


def _files(
    setting: Setting,
    part: str,
    model_and_images: tuple[Path, Path],
    modes: Sequence[str],
    aim: tuple[str, Target],
    *,
    turns: int = 1,
) -> tuple[Comparison, ...]:
    """Predict a folder of images with both programs, ours as the processor can and in float32; no mirroring.

    The programs take turns; of several turns the median of the seconds counts, and the largest memory.

    nnU-Net adds up weighted logits in float16. The mode in which it adds in float32 tells what of a difference is that
    rounding: it is compared with ours in float32, and its time is no target.
    """
    (model, images), (what, target) = model_and_images, aim
    outputs = {
        name: setting.work / "output" / f"{part}-{name.replace(' ', '-')}" for name in ("bf16", "float32", *modes)
    }
    shutil.rmtree(setting.work / "output", ignore_errors=True)
    words = ["predict", str(images), "--model", str(model), "--device", "cpu", "--no-mirror", "--output"]
    task = write_task(setting, {"kind": "predict", "words": [*words, str(outputs["float32"])]})
    log = setting.work / "log"
    commands = {
        "bf16": [sys.executable, "-m", "autoseg.cli", *words, str(outputs["bf16"])],
        "float32": [sys.executable, "-m", "benchmarks.inference.ours", str(task)],
        **{mode: _command(setting, model_and_images, outputs[mode], mode) for mode in modes},
    }
    measured: dict[str, list[Measured]] = {name: [] for name in commands}
    for turn in range(turns):
        for name, command in commands.items():
            shutil.rmtree(outputs[name], ignore_errors=True)
            measured[name].append(succeed(command, log / f"{part}-{name.replace(' ', '-')}-{turn}.txt"))
    rows = [("bf16", mode, replace(target, equal=0.999)) for mode in modes if mode != _EXACT]
    rows += [("float32", mode, Target(equal=0.9999)) for mode in (_ONE, _EXACT)]
    shares = {(name, mode): _equal_labels(outputs[name], outputs[mode]) for name, mode, _ in rows}
    turned = {(name, mode): _turns(measured[name], measured[mode]) for name, mode, _ in rows}
    return tuple(
        Comparison(
            part=part,
            what=f"{what}; ours in {name}, nnU-Net in {mode}",
            memory_counted=_LARGEST,
            our_s=median(one.seconds for one in measured[name]),
            their_s=median(one.seconds for one in measured[mode]),
            our_peak_bytes=max(told_peak_bytes(outputs[name]), *(one.peak_process_bytes for one in measured[name])),
            their_peak_bytes=max(one.peak_process_bytes for one in measured[mode]),
            equal=float(np.average(shares[name, mode][:, 0], weights=shares[name, mode][:, 1])),
            worst=None,
            target=wanted,
            note="files in, files out, start included; no mirroring on either side; labels that occur in a case: up to"
            f" {int(shares[name, mode][:, 2].max())}; worst case {shares[name, mode][:, 0].min():.4%} equal"
            f"{turned[name, mode]}",
            date=time.strftime("%Y-%m-%d", time.gmtime()),
            commit=this_commit(),
            load=getloadavg()[1],
        )
        for name, mode, wanted in rows
    )


def told_peak_bytes(output: Path) -> int:
    """Return the most memory that `autoseg predict` said it held: it resets the kernel's mark between cases."""
    return read_record(output / "prediction.json", PredictionRecord).peak_memory_bytes or 0


def _turns(ours: Sequence[Measured], theirs: Sequence[Measured]) -> str:
    """Return how far the turns lie apart, in words; nothing of one turn."""
    if len(ours) == 1:
        return ""
    spread = [", ".join(f"{one.seconds:.1f}" for one in side) for side in (ours, theirs)]
    return f"; seconds of each turn, ours {spread[0]}, nnU-Net's {spread[1]}"


def _command(setting: Setting, model_and_images: tuple[Path, Path], output: Path, mode: str) -> list[str]:
    """Return nnU-Net's command that predicts a folder of images."""
    model, images = model_and_images
    if mode == _SEVERAL:
        program = [str(setting.nnunet_python.with_name("nnUNetv2_predict_from_modelfolder")), "-f", "0"]
        program += ["-i", str(images), "-o", str(output), "-m", str(model)]
        return [*program, "-device", "cpu", "--disable_tta", "--disable_progress_bar"]
    given = {"model": model, "input": images, "output": output, "float32_sums": mode == _EXACT}
    task = write_task(setting, {"kind": "predict", **given})
    return [str(setting.nnunet_python), "-m", "benchmarks.inference.theirs", str(task)]


def _equal_labels(ours: Path, theirs: Path) -> NDArray[np.float64]:
    """Return for every case the share of equal voxels, the voxels, and how many labels occur."""
    rows = []
    for path in sorted(theirs.glob("*.nii.gz")):
        a, b = read_label(ours / path.name).array, read_label(path).array
        rows.append((np.mean(a == b), a.size, len(np.unique(b))))
    return np.array(rows)


def _inside(
    part: str,
    what: str,
    answers: tuple[Answer, Answer],
    target: Target,
    *,
    equal: float | None = None,
    worst: float | None = None,
    note: str = "",
) -> Comparison:
    ours, theirs = answers
    return Comparison(
        part=part,
        what=what,
        memory_counted=_INSIDE,
        our_s=ours.seconds,
        their_s=theirs.seconds,
        our_peak_bytes=ours.peak_bytes,
        their_peak_bytes=theirs.peak_bytes,
        equal=equal,
        worst=worst,
        target=target,
        note=note,
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        commit=this_commit(),
        load=getloadavg()[1],
    )


def _linked(folder: Path, files: Mapping[str, Path]) -> Path:
    """Return a folder of links, named as nnU-Net wants its images named."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, path in files.items():
        (folder / f"{name}_0000{ENDING}").symlink_to(path.absolute())
    return folder


def _margin(label: NDArray[np.uint8], shape: Shape) -> NDArray[np.float32]:
    """Return by how much the largest interpolated indicator leads the second one, at every voxel of `shape`."""
    best = np.zeros(shape, np.float32)
    second = np.zeros(shape, np.float32)
    for value in np.unique(label):
        weight = (label == value).astype(np.float32)
        for axis in range(3):
            weight = apply_along(weight, axis, axis_operator(label.shape[axis], shape[axis], LINEAR))
        second = np.maximum(second, np.minimum(best, weight))
        best = np.maximum(best, weight)
    return best - second


def _by(shape: Shape | list[int]) -> str:
    return "x".join(map(str, shape))


_LOGITS = Target(faster=10, memory=0.25)
_RESAMPLED = Target(faster=20)
PARTS: Mapping[str, Part] = MappingProxyType(
    {
        "logits-20": reduction(20, (60, 128, 128), structured_logits, _LOGITS),
        "logits-118": reduction(118, (100, 128, 128), structured_logits, _LOGITS),
        "logits-20-fields": reduction(20, (60, 128, 128), unstructured_logits, _LOGITS),
        "image": resampling(None, _RESAMPLED),
        "labels-1": resampling(1, Target(faster=20, equal=0.9999)),
        "labels-20": resampling(20, Target(faster=20, equal=0.9999)),
        "labels-60": resampling(60, Target(faster=20, equal=0.9999)),
        "hippocampus": hippocampus,
        "ct": ct,
    }
)
