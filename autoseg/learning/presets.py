"""How much work a prediction takes: fast, default or best; a loaded model made ready to segment with one of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from autoseg.learning.inference import InferenceOptions, Segmenter, make_segmenter
from autoseg.learning.model_files import LoadedModel
from autoseg.learning.windows import STEP_FRACTION

PresetName = Literal["fast", "default", "best"]

FAST_STEP = 0.75
"""Of the patch between windows: in 3D less than a third of the windows of nnU-Net's 0.5, with a quarter to blend."""
FAST_TOLERANCE = 1e-3
"""In units of the normalised image, whose spread is about 1: far below the noise of any scanner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Trade of time for quality.

    `step` between windows as a fraction of the patch; `mirror` None: as the model's record says; `one_network`: the
    first fold of the first configuration alone; `flat_tolerance`: windows whose values differ by no more are predicted
    once, 0 changes nothing.
    """

    step: float
    mirror: bool | None
    one_network: bool
    flat_tolerance: float


PRESETS: Mapping[PresetName, Preset] = MappingProxyType(
    {
        "fast": Preset(step=FAST_STEP, mirror=False, one_network=True, flat_tolerance=FAST_TOLERANCE),
        "default": Preset(step=STEP_FRACTION, mirror=None, one_network=False, flat_tolerance=0.0),
        "best": Preset(step=STEP_FRACTION, mirror=True, one_network=False, flat_tolerance=0.0),
    }
)


def ready_model(model: LoadedModel, preset: PresetName, mirror: bool | None = None) -> Segmenter:
    """Return a loaded model ready to segment; `mirror` overrides what preset and model say."""
    chosen = PRESETS[preset]
    if mirror is None:
        mirror = model.record.mirror if chosen.mirror is None else chosen.mirror
    options = InferenceOptions(
        mirror=mirror,
        step=chosen.step,
        flat_tolerance=chosen.flat_tolerance,
        postprocessing=model.record.postprocessing,
        configurations=model.configurations,
    )
    segmenter = make_segmenter(model.plan, model.networks, options)
    return first_network(segmenter) if chosen.one_network else segmenter


def first_network(segmenter: Segmenter) -> Segmenter:
    """Return the same with the first network of the first configuration alone, and of the stage before it."""
    member = segmenter.members[0]
    member = replace(
        member,
        predictor=replace(member.predictor, networks=member.predictor.networks[:1]),
        previous=None if member.previous is None else first_network(member.previous),
    )
    return replace(segmenter, members=(member,))
