"""How an image differs from all that a model was trained on, in words and numbers."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Real

from autoseg.datasets.modality import HIGHEST_HU, LOWEST_HU
from autoseg.imaging.orientation import left_right_axis
from autoseg.imaging.volume import Volume
from autoseg.learning.model_files import LoadedModel
from planners.fingerprint import CaseFingerprint, ChannelFingerprint
from planners.plan import Normalization

_SPACING_MARGIN = 1.5  # spacing this many times beyond all training cases is outside what the model has seen
_FIELD_MARGIN = 2.0  # a field of view beyond all training cases by more shows other parts of the body
_THICK = 1.5  # slices this much thicker than the voxels in their plane are slices
_OWN_SCALE = ("zscore", "rescale-0-1")  # normalizations that any scale of intensities survives


def unlike_training(model: LoadedModel, image: Volume) -> tuple[str, ...]:
    """Return in words, with numbers, how an image (c, z, y, x) differs from all that the model was trained on."""
    cases = model.fingerprint.cases
    dimensions = image.grid.dimensions
    trained = sorted({case.dimensions for case in cases})
    if dimensions not in trained:
        found = [f"a {dimensions}D image; the model was trained on {trained[0]}D images"]
    else:
        alike = [case for case in cases if case.dimensions == dimensions]
        found = [*_unlike_order(alike, image), *_unlike_sides(alike, image)]
        found += [*_unlike_spacing(alike, image), *_unlike_field(alike, image)]
    schemes = model.plan.configuration(model.record.configuration).normalizations
    for values, channel, normalization in zip(image.array, model.fingerprint.channels, schemes, strict=False):
        found += _unlike_intensities(values, channel, normalization)
    return tuple(found)


def _thick_axis(spacing_mm: tuple[float, float, float]) -> int | None:
    """Return the axis along which slices lie, None where no axis stands out."""
    *_, second, largest = sorted(spacing_mm)
    return spacing_mm.index(largest) if largest > _THICK * second else None


def _unlike_order(cases: list[CaseFingerprint], image: Volume) -> Iterator[str]:
    """Yield a sentence where slices lie along another axis than in every training image."""
    here, known = _thick_axis(image.grid.spacing_mm), {_thick_axis(case.spacing_mm) for case in cases}
    if image.grid.dimensions == 3 and here is not None and None not in known and here not in known:
        names = ", ".join("zyx"[axis] for axis in sorted(axis for axis in known if axis is not None))
        yield (
            f"slices of {image.grid.spacing_mm[here]:.3g} mm lie along {'zyx'[here]}; in training images along {names}"
        )


def _unlike_sides(cases: list[CaseFingerprint], image: Volume) -> Iterator[str]:
    """Yield a sentence where the patient's left-right lies along another stored axis than in every training image."""
    here, known = left_right_axis(image.grid), {case.left_right_axis for case in cases}
    if here is not None and None not in known and here not in known:
        names = ", ".join("zyx"[axis] for axis in sorted(axis for axis in known if axis is not None))
        yield f"the patient's left-right lies along {'zyx'[here]} by its header; in training images along {names}"


def _unlike_spacing(cases: list[CaseFingerprint], image: Volume) -> Iterator[str]:
    for axis in range(3 - image.grid.dimensions, 3):
        known = [case.spacing_mm[axis] for case in cases]
        low, high, here = min(known), max(known), image.grid.spacing_mm[axis]
        if not low / _SPACING_MARGIN <= here <= high * _SPACING_MARGIN:
            name = "zyx"[axis]
            yield f"spacing {here:.3g} mm along {name}; training images had {low:.3g} to {high:.3g} mm"


def _unlike_field(cases: list[CaseFingerprint], image: Volume) -> Iterator[str]:
    for axis in range(3 - image.grid.dimensions, 3):
        known = [case.spacing_mm[axis] * case.shape[axis] for case in cases]
        low, high, here = min(known), max(known), image.grid.spacing_mm[axis] * image.grid.shape[axis]
        if not low / _FIELD_MARGIN <= here <= high * _FIELD_MARGIN:
            name = "zyx"[axis]
            yield f"it covers {here:.4g} mm along {name}; training images covered {low:.4g} to {high:.4g} mm"


def _unlike_intensities(
    values: Real[np.ndarray, "z y x"], channel: ChannelFingerprint, normalization: Normalization
) -> Iterator[str]:
    """Yield a sentence for a channel with a fixed scale whose voxels are not on it.

    None of them looks like a trained structure; or it is CT in which nothing is below water, although it was in the
    structures: 8-bit pictures and images without their rescale intercept are like that. Of a channel on any scale only
    one thing can be told by its values: that they are Hounsfield units where training images had none.
    """
    low, high = channel.percentile_00_5, channel.percentile_99_5
    if low is None or high is None:
        return
    least, most = float(values.min()), float(values.max())
    here = f"channel {channel.name} has values {least:.4g} to {most:.4g}"
    if normalization.scheme in _OWN_SCALE:
        if channel.modality != "ct" and low >= LOWEST_HU > least and most > HIGHEST_HU:
            yield f"{here}, as CT in Hounsfield units; the model was trained on {channel.modality}"
        return
    if not bool(((values >= low) & (values <= high)).any()):
        yield f"{here}; structures in training had {low:.4g} to {high:.4g}"
    elif channel.modality == "ct" and least >= 0 > (channel.minimum or 0):
        yield f"{here}, none below 0; structures in training had {channel.minimum:.4g} HU at least, air has -1000"
