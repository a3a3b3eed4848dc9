"""Why a case cannot be learned, as far as its prepared voxels show."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32

from autoseg.learning.feeding import FeedOptions
from autoseg.learning.sampling import CaseSource
from planners.fingerprint import Fingerprint
from planners.plan import Configuration

_CONSTANT_STD = 1e-4
"""Of a normalised channel, whose values spread by about 1: below it there is nothing to see."""
_SMALL_VOXELS = 8
"""A structure of fewer voxels is less than two across: most of it is boundary."""
_REACH = 12
"""Voxels by which a label is moved to see whether it then fits its image better."""
_SHIFT_GAIN = 1.04
_SHIFT_VOXELS = 3
"""A label that meets so many times its edges when moved by so many voxels lies beside its structure (docs/log.md)."""
_SHIFT_CASES = 3
_WINDOW = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthTask:
    """What to look at: how the training is fed, and how many voxels of each label the originals of its cases hold.

    `voxel_mm3` is the volume of a voxel of the configuration, `original_mm3` that of each case's own.
    """

    feed: FeedOptions
    labels: tuple[str, ...]
    label_voxels: Mapping[str, tuple[int, ...]]
    label_components: Mapping[str, tuple[int, ...]]
    original_mm3: Mapping[str, float]
    voxel_mm3: float

    @property
    def names(self) -> tuple[str, ...]:
        """The training cases."""
        return self.feed.names


def health_task(feed: FeedOptions, fingerprint: Fingerprint) -> HealthTask:
    """Return what to look at before a training that is fed like this."""
    cases = {case.name: case for case in fingerprint.cases if case.name in set(feed.names)}
    spacing_mm = feed.configuration.spacing_mm
    depths_mm = sorted(max(case.spacing_mm) for case in cases.values())
    flat_mm = (depths_mm[len(depths_mm) // 2],) if len(spacing_mm) == 2 else ()
    chosen = [index for index, label in enumerate(fingerprint.labels) if label.role == "foreground"]
    return HealthTask(
        feed=feed,
        labels=tuple(fingerprint.labels[index].name for index in chosen),
        label_voxels={name: tuple(case.label_voxels[i] for i in chosen) for name, case in cases.items()},
        label_components={name: tuple(case.label_components[i] for i in chosen) for name, case in cases.items()},
        original_mm3={name: math.prod(case.spacing_mm) for name, case in cases.items()},
        voxel_mm3=math.prod((*flat_mm, *spacing_mm)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """What is wrong and how to mend it; an error leaves nothing to train on."""

    severity: Literal["error", "warning"]
    what: str
    mend: str


def absent_labels(source: CaseSource, looked_at: HealthTask, may_go_on: Callable[[], bool]) -> tuple[Cause, ...]:
    """Return a cause per label that no training case holds; an error if none holds any label.

    With more cases than there is time to look through, nothing is returned.
    """
    held = [0] * len(looked_at.labels)
    for name in looked_at.names:
        if not may_go_on():
            return ()
        for label, places in enumerate(source.locations(name)):
            held[label] += len(places) > 0
    severity: Literal["error", "warning"] = "warning" if any(held) else "error"
    return tuple(_absent(looked_at, label, severity) for label, cases in enumerate(held) if not cases)


def _absent(looked_at: HealthTask, label: int, severity: Literal["error", "warning"]) -> Cause:
    name = looked_at.labels[label]
    had = [case for case in looked_at.names if looked_at.label_voxels[case][label]]
    if not had:
        return Cause(
            severity=severity,
            what=f"label {name}: in none of the {len(looked_at.names)} training cases",
            mend="check the label's value, or choose other folds",
        )
    size = max(_component_mm3(looked_at, case, label) for case in had)
    lost = f"label {name}: {len(had)} training cases hold it, none does after resampling"
    if size < looked_at.voxel_mm3:
        return Cause(
            severity=severity,
            what=f"{lost}: its structures of {size:.3g} mm3 are smaller than a voxel of {looked_at.voxel_mm3:.3g} mm3",
            mend="check the spacing that the images state, or plan with a finer one",
        )
    return Cause(severity=severity, what=lost, mend="run autoseg preprocess anew and look at the labels' geometry")


def causes_in_case(
    source: CaseSource, name: str, looked_at: HealthTask, configuration: Configuration
) -> tuple[Cause, ...]:
    """Return what the voxels of one prepared case show, errors first."""
    shape = source.shape(name)
    image = source.read_image(name, (0, 0, 0), shape)
    if not np.isfinite(image).all():
        return (
            Cause(
                severity="error",
                what=f"case {name}: {int((~np.isfinite(image)).sum())} voxels are not finite after normalisation",
                mend="autoseg inspect names the file; mend its intensities",
            ),
        )
    if all(float(channel.std()) < _CONSTANT_STD for channel in image):
        return (
            Cause(
                severity="error",
                what=f"case {name}: constant after normalisation, every voxel has one value",
                mend="check its intensities, and the normalisation that autoseg plan --explain tells",
            ),
        )
    label = foreground(source, name)
    causes = [_shifted(image[0], label, name, configuration)] if label.any() else []
    causes += [_small(looked_at, name, index) for index in range(len(looked_at.labels))]
    return tuple(cause for cause in causes if cause is not None)


def foreground(source: CaseSource, name: str) -> Bool[np.ndarray, "z y x"]:
    """Return where a prepared case (z, y, x) has any label."""
    labels = source.read_label(name, (0, 0, 0), source.shape(name))
    return np.asarray((labels > 0).any(axis=0))


def _component_mm3(looked_at: HealthTask, name: str, label: int) -> float:
    voxels = looked_at.label_voxels[name][label]
    return voxels * looked_at.original_mm3[name] / max(1, looked_at.label_components[name][label])


def _small(looked_at: HealthTask, name: str, label: int) -> Cause | None:
    if not looked_at.label_voxels[name][label]:
        return None
    voxels = _component_mm3(looked_at, name, label) / looked_at.voxel_mm3
    if voxels >= _SMALL_VOXELS:
        return None
    return Cause(
        severity="warning",
        what=f"case {name}: structures of label {looked_at.labels[label]} have {voxels:.1f} voxels of"
        f" {looked_at.voxel_mm3:.3g} mm3 on average",
        mend="check the spacing that the images state, or plan with a finer one",
    )


def _shifted(
    image: Float32[np.ndarray, "z y x"],
    label: Bool[np.ndarray, "z y x"],
    name: str,
    configuration: Configuration,
) -> Cause | None:
    """Return a cause if the boundary of the label meets clearly more edges of the image when it is moved."""
    shift, gain = best_shift(image, label)
    if gain < _SHIFT_GAIN or not _SHIFT_VOXELS <= max(map(abs, shift)) < _REACH:
        return None
    spacing = configuration.spacing_mm
    spacing = (1.0,) * (3 - len(spacing)) + spacing
    distance = math.sqrt(sum((moved * mm) ** 2 for moved, mm in zip(shift, spacing, strict=True)))
    return Cause(
        severity="warning",
        what=f"case {name}: its labels would lie better on its image if moved by {shift} voxels (z, y, x),"
        f" {distance:.3g} mm: they meet {100 * (gain - 1):.0f} % more edges",
        mend="check the geometry of image and label: autoseg inspect draws both",
    )


def best_shift(
    image: Float32[np.ndarray, "z y x"], label: Bool[np.ndarray, "z y x"]
) -> tuple[tuple[int, int, int], float]:
    """Return by how many voxels (z, y, x) a mask meets most edges, and how much more than where it lies.

    Edges are square roots of absolute differences of neighbours, so that few bright ones do not decide. All shifts up
    to `_REACH` voxels are tried at once, by a correlation through Fourier transforms.
    """
    window = _around(label)
    edges, boundary = _edges(image[window]), _differs(label[window])
    reach = tuple(min(_REACH, size // 4) for size in edges.shape)
    padded = tuple(size + 2 * r for size, r in zip(edges.shape, reach, strict=True))
    mean, axes = float(edges.mean()), (0, 1, 2)
    spectrum = np.fft.rfftn(edges - mean, padded, axes) * np.conj(
        np.fft.rfftn(boundary.astype(np.float32), padded, axes)
    )
    met = np.fft.irfftn(spectrum, padded, axes) / max(1, int(boundary.sum())) + mean
    shifts = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    values = met[tuple(shifts.T)]
    best = int(values.argmax())
    base = float(met[0, 0, 0])
    z, y, x = (int(value) for value in shifts[best])
    return (z, y, x), float(values[best]) / base if base > 0 else 1.0


def shifted_everywhere(source: CaseSource, names: tuple[str, ...], configuration: Configuration) -> tuple[Cause, ...]:
    """Return a cause if the labels of every one of some cases lie beside their structures: that can still be learned.

    One case alone may look so by chance, so that it counts only where it is not learned.
    """
    causes = []
    for name in names[:: -(-len(names) // _SHIFT_CASES)]:
        label = foreground(source, name)
        if label.any():
            image = source.read_image(name, (0, 0, 0), source.shape(name))
            causes.append(_shifted(image[0], label, name, configuration))
    found = tuple(cause for cause in causes if cause is not None)
    return found[:1] if len(found) == len(causes) else ()


def _around(label: Bool[np.ndarray, "z y x"]) -> tuple[slice, ...]:
    """Return the box of a mask with room to move it, no longer than `_WINDOW` an axis."""
    box = []
    for axis, size in enumerate(label.shape):
        found = np.flatnonzero(label.any(axis=tuple(a for a in range(3) if a != axis)))
        lower, upper = max(0, int(found[0]) - _REACH - 2), min(size, int(found[-1]) + _REACH + 3)
        spare = max(0, upper - lower - _WINDOW) // 2
        box.append(slice(lower + spare, upper - spare))
    return tuple(box)


def _edges(image: Float32[np.ndarray, "z y x"]) -> Float32[np.ndarray, "z y x"]:
    total = np.zeros(image.shape, np.float32)
    for axis in range(image.ndim):
        step = np.abs(np.diff(image, axis=axis))
        total += np.pad(step, [(0, int(a == axis)) for a in range(3)])
        total += np.pad(step, [(int(a == axis), 0) for a in range(3)])
    return np.sqrt(total, out=total)


def _differs(label: Bool[np.ndarray, "z y x"]) -> Bool[np.ndarray, "z y x"]:
    found = np.zeros(label.shape, bool)
    for axis in range(label.ndim):
        step = np.diff(label, axis=axis)
        found |= np.pad(step, [(0, int(a == axis)) for a in range(3)])
        found |= np.pad(step, [(int(a == axis), 0) for a in range(3)])
    return found
