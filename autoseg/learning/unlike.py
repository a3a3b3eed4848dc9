"""How an image differs from all that a model was trained on, in words and numbers."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Real

from autoseg.imaging.preparation import SpacingMm
from autoseg.learning.model_files import LoadedModel

_SPACING_MARGIN = 1.5  # spacing this many times beyond all training cases is outside what the model has seen


def unlike_training(
    model: LoadedModel, array: Real[np.ndarray, "c z y x"], spacing_mm: SpacingMm, dimensions: int
) -> tuple[str, ...]:
    """Return in words, with numbers, how an image (c, z, y, x) differs from all that the model was trained on."""
    cases = model.fingerprint.cases
    found = []
    trained = sorted({case.dimensions for case in cases})
    if dimensions not in trained:
        found.append(f"a {dimensions}D image; the model was trained on {trained[0]}D images")
    else:
        axes = range(3 - dimensions, 3)
        for axis in axes:
            known = [case.spacing_mm[axis] for case in cases]
            low, high, here = min(known), max(known), spacing_mm[axis]
            if not low / _SPACING_MARGIN <= here <= high * _SPACING_MARGIN:
                name = "zyx"[axis]
                found.append(f"spacing {here:.3g} mm along {name}; training images had {low:.3g} to {high:.3g} mm")
    found += _unlike_intensities(model, array)
    return tuple(found)


def _unlike_intensities(model: LoadedModel, array: Real[np.ndarray, "c z y x"]) -> Iterator[str]:
    """Yield a sentence for each channel with a fixed scale none of whose voxels look like a trained structure."""
    schemes = model.plan.configuration(model.record.configuration).normalizations
    for values, channel, normalization in zip(array, model.fingerprint.channels, schemes, strict=False):
        low, high = channel.percentile_00_5, channel.percentile_99_5
        if normalization.scheme in ("zscore", "rescale-0-1") or low is None or high is None:
            continue
        if not bool(((values >= low) & (values <= high)).any()):
            yield (
                f"channel {channel.name} has values {float(values.min()):.4g} to {float(values.max()):.4g};"
                f" structures in training had {low:.4g} to {high:.4g}"
            )
