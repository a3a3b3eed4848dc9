"""Segmentation without a network: threshold, region growing, watershed, and a random forest on filter responses.

What people did before and still do: the row of a benchmark that says what a network adds. Every method is fitted to
labelled cases (`fit`) and has a parameter or two, which cross-validation chooses among CANDIDATES. Which of several
labels a foreground voxel has follows from intensity and place, by Bayes' rule with histograms of the training cases.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float32, Float64, Integer, UInt8
from scipy import ndimage

from autoseg.imaging.classical import segment_by_watershed
from autoseg.imaging.responses import Image, filter_responses, normalised, places, smoothed

Method = Literal["threshold", "region growing", "watershed", "random forest"]
Positions = UInt8[np.ndarray, " z y x"]

_BINS = 128
_PLACE_BINS = 12
"""Of each axis: a twelfth of an image is about how far structures of cropped or centred images wander."""
_SEED_ABOVE = 0.3
"""How much more probable than the level a seed of region growing must be."""
_SURELY_NOT = 0.1
"""Probability of foreground up to which a voxel is a marker of the background in a watershed."""
_TREES = 40
_SAMPLES_PER_CASE = 800
"""Of each case for the forest, half of them foreground, weighted by what they stand for: neighbours tell little."""
_CHUNK = 1 << 18
_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A method with its parameters.

    Attributes:
        method: which one.
        sigma_voxels: of the Gaussian before it (not of the forest, which has filters of its own).
        level: region growing: the probability down to which seeds grow; watershed: that from which voxels are markers
            of the foreground; not used by the others.
        leaf: random forest: least samples in a leaf; 0 for the others.

    """

    method: Method
    sigma_voxels: float = 0.0
    level: float = 0.0
    leaf: int = 0

    @property
    def name(self) -> str:
        """What it is, in a few words."""
        if self.method == "random forest":
            return f"{self.method}, leaf {self.leaf}"
        level = f", level {self.level:g}" if self.level else ""
        return f"{self.method}, sigma {self.sigma_voxels:g}{level}"


CANDIDATES = (
    *(Candidate(method="threshold", sigma_voxels=sigma) for sigma in (0.0, 1.0, 2.0)),
    *(Candidate(method="region growing", sigma_voxels=s, level=v) for s in (0.0, 1.0) for v in (0.2, 0.4)),
    *(Candidate(method="watershed", sigma_voxels=1.0, level=v) for v in (0.5, 0.8)),
    *(Candidate(method="random forest", leaf=leaf) for leaf in (3, 10)),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledImage:
    """A normalised image (c, z, y, x), its label positions (0: background, 1: first label) and spacing (z, y, x)."""

    image: Float32[np.ndarray, "c z y x"]
    positions: Positions
    relative_spacing: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Look:
    """How often each class has an intensity (c, class, bin) and a place (class, z, y, x), counted in training cases."""

    intensities: Float64[np.ndarray, "c k b"]
    places: Float64[np.ndarray, "k p p p"]
    interval: tuple[int, int]

    @property
    def classes(self) -> int:
        """Labels and background."""
        return len(self.places)


def labelled_image(
    image: Float32[np.ndarray, "c z y x"], label: Integer[np.ndarray, " z y x"], spacing_mm: tuple[float, float, float]
) -> LabelledImage:
    """Return a case as the methods take it; `label` counts from 0 (background) without gaps, at most to 255."""
    finest = min(spacing_mm)
    relative = (spacing_mm[0] / finest, spacing_mm[1] / finest, spacing_mm[2] / finest)
    return LabelledImage(image=normalised(image), positions=label.astype(np.uint8), relative_spacing=relative)


class Fitted:
    """A candidate fitted to training cases; `segment` returns label positions (z, y, x) of a normalised image."""

    def __init__(self, candidate: Candidate, cases: Sequence[LabelledImage], classes: int) -> None:
        """Fit; `classes` counts the labels and background."""
        self.candidate = candidate
        self._forest = _forest(cases, candidate.leaf) if candidate.method == "random forest" else None
        self._look = look_of(() if self._forest else cases, classes, candidate.sigma_voxels)

    def segment(self, image: Float32[np.ndarray, "c z y x"], relative_spacing: tuple[float, float, float]) -> Positions:
        """Return 0 for background and the label's position from 1."""
        if self._forest is not None:
            return _with_forest(self._forest, image, relative_spacing)
        channels = np.stack([smoothed(c, self.candidate.sigma_voxels, relative_spacing) for c in image])
        chances = class_chances(self._look, channels)
        shown = self._foreground(self._look, channels, 1 - chances[0])
        best = 1 + np.argmax(chances[1:], axis=0)
        return np.where(shown, best, 0).astype(np.uint8)

    def _foreground(
        self, look: Look, channels: Float32[np.ndarray, "c z y x"], chance: Float32[np.ndarray, " z y x"]
    ) -> Bool[np.ndarray, " z y x"]:
        if self.candidate.method == "threshold":
            bins = _binned(channels[0])
            return np.asarray((bins >= look.interval[0]) & (bins <= look.interval[1]))
        if self.candidate.method == "region growing":
            return grown(chance, self.candidate.level)
        return flooded(channels.mean(axis=0), chance, self.candidate.level)


def look_of(cases: Sequence[LabelledImage], classes: int, sigma_voxels: float) -> Look:
    """Count intensities and places of each class, and choose the interval of intensities with the best Dice."""
    channels = len(cases[0].image) if cases else 1
    intensities = np.zeros((channels, classes, _BINS))
    where = np.zeros((classes, _PLACE_BINS, _PLACE_BINS, _PLACE_BINS))
    for case in cases:
        for number, channel in enumerate(case.image):
            joint = case.positions.astype(np.int64) * _BINS + _binned(
                smoothed(channel, sigma_voxels, case.relative_spacing)
            )
            intensities[number] += np.bincount(joint.ravel(), minlength=classes * _BINS).reshape(classes, _BINS)
        z, y, x = _place_bins(case.positions.shape)
        flat = (((case.positions.astype(np.int64) * _PLACE_BINS + z) * _PLACE_BINS) + y) * _PLACE_BINS + x
        where += np.bincount(flat.ravel(), minlength=where.size).reshape(where.shape)
    return Look(intensities=intensities, places=where, interval=best_interval(intensities[0]))


def best_interval(counts: Float64[np.ndarray, "k b"]) -> tuple[int, int]:
    """Return the first and last bin of the interval of intensities whose voxels, as foreground, have the best Dice.

    >>> best_interval(np.array([[9.0, 1.0, 1.0, 9.0], [0.0, 5.0, 5.0, 1.0]]))
    (1, 2)

    """
    shown = np.concatenate([[0.0], np.cumsum(counts[1:].sum(axis=0))])
    everything = np.concatenate([[0.0], np.cumsum(counts.sum(axis=0))])
    hits = shown[None, 1:] - shown[:-1, None]
    taken = everything[None, 1:] - everything[:-1, None]
    dice = np.triu(2 * hits / np.maximum(taken + shown[-1], 1))
    first, last = np.unravel_index(int(np.argmax(dice)), dice.shape)
    return int(first), int(last)


def class_chances(look: Look, channels: Float32[np.ndarray, "c z y x"]) -> Float32[np.ndarray, "k z y x"]:
    """Return the probability of each class in each voxel: naive Bayes of the channels' intensities and of the place."""
    prior = look.places.sum(axis=(1, 2, 3)) + 1
    smooth_places = ndimage.gaussian_filter(look.places, (0, 1, 1, 1)) + 1e-3 * prior[:, None, None, None]
    log = np.log(smooth_places / smooth_places.sum(axis=0)).astype(np.float32)
    z, y, x = _place_bins(channels.shape[1:])
    result = log[:, z, y, x]
    for counts, channel in zip(look.intensities, channels, strict=True):
        likely = ndimage.gaussian_filter1d(counts, 1.0, axis=1) + 1e-3 * prior[:, None] / _BINS
        result = result + np.log(likely / likely.sum(axis=1, keepdims=True)).astype(np.float32)[:, _binned(channel)]
    result = np.exp(result - result.max(axis=0))
    chances: Float32[np.ndarray, "k z y x"] = (result / result.sum(axis=0)).astype(np.float32)
    return chances


def grown(chance: Float32[np.ndarray, " z y x"], level: float) -> Bool[np.ndarray, " z y x"]:
    """Return what is connected, face to face, to a seed through voxels of at least this probability."""
    possible = chance >= level
    parts, count = ndimage.label(possible)
    kept = np.zeros(count + 1, dtype=bool)
    kept[np.unique(parts[possible & (chance >= level + _SEED_ABOVE)])] = True
    kept[0] = False
    return np.asarray(kept[parts])


def flooded(image: Image, chance: Float32[np.ndarray, " z y x"], level: float) -> Bool[np.ndarray, " z y x"]:
    """Return the basins of the probable foreground in a watershed of the image's gradient."""
    markers = np.where(chance >= level, 2, np.where(chance <= _SURELY_NOT, 1, 0))
    return np.asarray(segment_by_watershed(image, markers) == 2)


def dice_of_positions(found: Positions, reference: Positions, classes: int) -> float | None:
    """Return the mean Dice over the labels that either side holds; None when there is none."""
    joint = np.bincount(reference.astype(np.int64).ravel() * classes + found.ravel(), minlength=classes**2)
    table = joint.reshape(classes, classes)
    sizes = table.sum(axis=0) + table.sum(axis=1)
    values = [2 * table[i, i] / sizes[i] for i in range(1, classes) if sizes[i]]
    return float(np.mean(values)) if values else None


def _forest(cases: Sequence[LabelledImage], leaf: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    generator = np.random.default_rng(_SEED)
    samples, classes, weights = [], [], []
    for case in cases:
        flat = case.positions.ravel()
        features = filter_responses(case.image, case.relative_spacing).reshape(len(flat), -1)
        for voxels in (np.flatnonzero(flat), np.flatnonzero(flat == 0)):
            chosen = generator.choice(voxels, min(len(voxels), _SAMPLES_PER_CASE // 2), replace=False)
            samples.append(features[chosen])
            classes.append(flat[chosen])
            weights.append(np.full(len(chosen), len(voxels) / max(1, len(chosen))))
    forest = RandomForestClassifier(_TREES, min_samples_leaf=leaf, random_state=_SEED, n_jobs=1)
    return forest.fit(np.concatenate(samples), np.concatenate(classes), np.concatenate(weights))


def _with_forest(
    forest: Any, image: Float32[np.ndarray, "c z y x"], relative_spacing: tuple[float, float, float]
) -> Positions:
    features = filter_responses(image, relative_spacing)
    flat = features.reshape(-1, features.shape[-1])
    found = [forest.predict(flat[start : start + _CHUNK]) for start in range(0, len(flat), _CHUNK)]
    return np.concatenate(found).reshape(image.shape[1:]).astype(np.uint8)


def _binned(channel: Image) -> Integer[np.ndarray, " z y x"]:
    return np.minimum((channel * _BINS).astype(np.int64), _BINS - 1)


def _place_bins(shape: tuple[int, ...]) -> tuple[Integer[np.ndarray, "..."], ...]:
    return tuple((axis * _PLACE_BINS).astype(np.int64) for axis in places(shape))
