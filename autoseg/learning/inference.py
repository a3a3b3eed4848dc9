"""From an image array to a label map: prepare, predict by windows, translate class indexes to label values."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Real, UInt8, UInt16

from autoseg.core.errors import AutosegError, ResourceError
from autoseg.imaging.components import keep_largest
from autoseg.imaging.preparation import Prepared, SpacingMm, prepare_image
from autoseg.learning.model_files import KeepLargest, LoadedModel, LoadedNetwork, plan_outputs
from autoseg.learning.sliding_window import WindowPredictor
from planners.plan import Configuration, Plan

LabelMap = UInt8[np.ndarray, "z y x"] | UInt16[np.ndarray, "z y x"]

_DEVICE_SHARE = 0.75  # of the free memory of a GPU: the rest is for the convolutions' workspaces
_SPACING_MARGIN = 1.5  # spacing this many times beyond all training cases is outside what the model has seen


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceOptions:
    """How to predict. `dtype` None: bfloat16 where the device computes in it, else float32.

    `mirror` averages mirrored views along the axes of the plan; `postprocessing` changes the label maps.
    """

    mirror: bool = False
    dtype: torch.dtype | None = None
    max_ram_bytes: int | None = None
    postprocessing: tuple[KeepLargest, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Segmenter:
    """A model ready to segment arrays. It holds no state of a call, so threads may share it."""

    plan: Plan
    configuration: Configuration
    predictor: WindowPredictor
    postprocessing: tuple[KeepLargest, ...] = ()

    def prepare(self, array: Real[np.ndarray, "c z y x"], spacing_mm: SpacingMm) -> Prepared:
        """Return the image (c, z, y, x) as the network wants it.

        Raises:
            AutosegError: another number of channels than the model takes, or an axis is empty.

        """
        names = self.plan.channels
        if len(array) != len(names):
            raise AutosegError.at(
                "image", f"{len(array)} channels where the model takes {len(names)}", f"give {', '.join(names)}"
            )
        if min(array.shape) < 1:
            raise AutosegError.at("image", f"empty: shape {array.shape}", "give an image with voxels")
        with _memory_errors():
            return prepare_image(array, spacing_mm, self.plan, self.configuration)

    def segment(self, prepared: Prepared) -> LabelMap:
        """Return the label map (z, y, x) on the native grid, in the plan's label values, uint8 or uint16.

        Raises:
            ResourceError: too little memory.

        """
        with _memory_errors():
            classes = self.predictor.labels(prepared.image, prepared.mapping)
            label_map = _label_values(classes, self.plan)
            for step in self.postprocessing:
                label_map = keep_largest(label_map, step.values)
            return label_map


def make_segmenter(plan: Plan, networks: tuple[LoadedNetwork, ...], options: InferenceOptions) -> Segmenter:
    """Return what predicts with `networks`, all of one configuration and on one device."""
    configuration = plan.configuration(networks[0].configuration)
    device = next(networks[0].module.parameters()).device
    ceiling = options.max_ram_bytes
    if device.type == "cuda" and ceiling is None:
        ceiling = int(_DEVICE_SHARE * torch.cuda.mem_get_info(device)[0])
    predictor = WindowPredictor(
        networks=tuple(network.module for network in networks),
        configuration=configuration,
        outputs=plan_outputs(plan),
        device=device,
        dtype=options.dtype or inference_dtype(device),
        mirror_axes=configuration.augmentation.mirror_axes if options.mirror else (),
        target=plan.target,
        max_ram_bytes=ceiling,
    )
    return Segmenter(plan=plan, configuration=configuration, predictor=predictor, postprocessing=options.postprocessing)


def inference_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16 where the device has instructions for it, else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type == "cpu":
        query = getattr(torch.cpu, "get_capabilities", None)  # torch >= 2.11
        found = query() if query else {}
        return torch.bfloat16 if found.get("avx512_bf16") or found.get("amx_bf16") else torch.float32
    return torch.float32


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


def _label_values(classes: LabelMap, plan: Plan) -> LabelMap:
    """Replace class index i + 1 by the first value of the i-th foreground label."""
    values = [0, *(label.values[0] for label in plan.labels if label.role == "foreground")]
    if values == list(range(len(values))):
        return classes
    table = np.array(values, dtype=np.uint8 if max(values) <= np.iinfo(np.uint8).max else np.uint16)
    return cast("LabelMap", table[classes])


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Turn lack of memory into an error that says what to do; everything else passes."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise _too_little_memory(error) from error
    except RuntimeError as error:
        if "allocate memory" not in str(error):  # how torch's CPU allocator fails
            raise
        raise _too_little_memory(error) from error


def _too_little_memory(error: Exception) -> ResourceError:
    what = f"too little memory ({str(error).splitlines()[0][:120] if str(error) else 'out of memory'})"
    return ResourceError.at("predict", what, "close other programs, or crop the image")
