"""How an image differs from all that a model was trained on, in words and numbers."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Real

from autoseg.datasets.modality import HIGHEST_HU, LOWEST_HU, modality_by_name, modality_by_tag
from autoseg.imaging.orientation import Orientation, left_right_axis, turn_to
from autoseg.imaging.volume import Volume
from autoseg.learning.model_files import LoadedModel
from planners.fingerprint import CaseFingerprint, ChannelFingerprint, Fingerprint, Modality
from planners.plan import Normalization

_SPACING_MARGIN = 1.5  # spacing this many times beyond all training cases is outside what the model has seen
_FIELD_MARGIN = 2.0  # a field of view beyond all training cases by more shows other parts of the body
_THICK = 1.5  # slices this much thicker than the voxels in their plane are slices
_OWN_SCALE = ("zscore", "rescale-0-1")  # normalizations that any scale of intensities survives


_NAMES: dict[Modality, str] = {"ct": "CT", "mr": "MR", "pet": "PET", "xray": "X-ray", "rgb": "RGB"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """How an image lies in space, in the axes (z, y, x) that the network sees; `left_right_axis` as fingerprints."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    dimensions: Literal[2, 3]
    left_right_axis: Literal[0, 1, 2] | None


def unlike_training(model: LoadedModel, image: Volume) -> tuple[str, ...]:
    """Return in words, with numbers, how an image (c, z, y, x) differs from all that the model was trained on.

    Nothing is compared with what is not known of the training images.
    """
    place = _place(image, model.record.orientation)
    found = list(_unlike_place(model.fingerprint, place))
    schemes = model.plan.configuration(model.record.configuration).normalizations
    tags = image.modalities or ("",) * len(image.array)
    for tag, values, channel, normalization in zip(
        tags, image.array, model.fingerprint.channels, schemes, strict=False
    ):
        other = _unlike_modality(tag, channel)
        found += [other] if other else _unlike_intensities(values, channel, normalization)
    return tuple(found)


def _place(image: Volume, orientation: Orientation | None) -> _Place:
    """Return how an image lies once it is turned as the model wants it."""
    grid = image.grid
    if orientation is None or grid.dimensions == 2:
        return _Place(
            shape=grid.shape,
            spacing_mm=grid.spacing_mm,
            dimensions=grid.dimensions,
            left_right_axis=left_right_axis(grid),
        )
    turn = turn_to(orientation, grid)
    z, y, x = (grid.shape[axis] for axis in turn.order)
    return _Place(
        shape=(z, y, x), spacing_mm=turn.spacing(grid.spacing_mm), dimensions=grid.dimensions, left_right_axis=2
    )


def _unlike_place(fingerprint: Fingerprint, place: _Place) -> Iterator[str]:
    """Yield how an image lies otherwise in space than all training images, as far as they are known."""
    cases, dimensions = fingerprint.cases, place.dimensions
    trained = sorted({case.dimensions for case in cases})
    if dimensions not in trained:
        yield f"a {dimensions}D image; the model was trained on {trained[0]}D images"
        return
    if fingerprint.cases_from == "plan":
        return
    alike = [case for case in cases if case.dimensions == dimensions]
    yield from _unlike_order(alike, place)
    yield from _unlike_sides(alike, place)
    yield from _unlike_spacing(alike, place)
    whole = fingerprint.cases_from == "images" or fingerprint.median_relative_size_after_crop >= 1
    yield from _unlike_field(alike, place, whole=whole)


def _unlike_modality(tag: str, channel: ChannelFingerprint) -> str | None:
    """Return a sentence where the DICOM tag Modality is another one than the model's, if both are known."""
    here = modality_by_tag(tag)
    known = channel.modality if channel.modality_known else modality_by_name(channel.name)
    if here is None or known is None or here == known:
        return None
    shown = f"the DICOM tag Modality of channel {channel.name} is {tag} ({_NAMES.get(here, here)})"
    return f"{shown}; the model was trained on {_NAMES.get(known, known)}"


def _thick_axis(spacing_mm: tuple[float, float, float]) -> int | None:
    """Return the axis along which slices lie, None where no axis stands out."""
    *_, second, largest = sorted(spacing_mm)
    return spacing_mm.index(largest) if largest > _THICK * second else None


def _unlike_order(cases: list[CaseFingerprint], place: _Place) -> Iterator[str]:
    """Yield a sentence where slices lie along another axis than in every training image."""
    here, known = _thick_axis(place.spacing_mm), {_thick_axis(case.spacing_mm) for case in cases}
    if place.dimensions == 3 and here is not None and None not in known and here not in known:
        names = ", ".join("zyx"[axis] for axis in sorted(axis for axis in known if axis is not None))
        yield (f"slices of {place.spacing_mm[here]:.3g} mm lie along {'zyx'[here]}; in training images along {names}")


def _unlike_sides(cases: list[CaseFingerprint], place: _Place) -> Iterator[str]:
    """Yield a sentence where the patient's left-right lies along another stored axis than in every training image."""
    here, known = place.left_right_axis, {case.left_right_axis for case in cases}
    if here is not None and None not in known and here not in known:
        names = ", ".join("zyx"[axis] for axis in sorted(axis for axis in known if axis is not None))
        yield f"the patient's left-right lies along {'zyx'[here]} by its header; in training images along {names}"


def _unlike_spacing(cases: list[CaseFingerprint], place: _Place) -> Iterator[str]:
    for axis in range(3 - place.dimensions, 3):
        known = [case.spacing_mm[axis] for case in cases]
        low, high, here = min(known), max(known), place.spacing_mm[axis]
        if not low / _SPACING_MARGIN <= here <= high * _SPACING_MARGIN:
            name = "zyx"[axis]
            yield f"spacing {here:.3g} mm along {name}; training images had {low:.3g} to {high:.3g} mm"


def _unlike_field(cases: list[CaseFingerprint], place: _Place, *, whole: bool) -> Iterator[str]:
    """Yield the axes along which an image covers less or more than all of them; more only where `whole` is known."""
    for axis in range(3 - place.dimensions, 3):
        known = [case.spacing_mm[axis] * case.shape[axis] for case in cases]
        low, high, here = min(known), max(known), place.spacing_mm[axis] * place.shape[axis]
        if here < low / _FIELD_MARGIN or (whole and here > high * _FIELD_MARGIN):
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
