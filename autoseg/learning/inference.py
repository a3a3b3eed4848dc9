"""From an image array to a label map: prepare, predict by windows, translate class indexes, postprocess."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Real, UInt8, UInt16

from autoseg.core.errors import AutosegError, ResourceError
from autoseg.imaging.changes import Change, apply_change
from autoseg.imaging.preparation import Prepared, SpacingMm, prepare_image
from autoseg.learning.ensemble import Ensemble, Footprint, Input, Sink
from autoseg.learning.model_files import LoadedNetwork, label_values, plan_inputs, plan_outputs
from autoseg.learning.observation import Watch
from autoseg.learning.sliding_window import WindowPredictor
from autoseg.learning.source import Source, Tally
from autoseg.learning.windows import STEP_FRACTION
from planners.plan import Configuration, Plan
from planners.sides import input_swaps

LabelMap = UInt8[np.ndarray, "z y x"] | UInt16[np.ndarray, "z y x"]

_LABEL_BYTES = 2  # of the label map of the stage before, as `Prepared.label_to_network` returns it
_TOO_MANY_BANDS = 1 << 30
_DEVICE_SHARE = 0.75  # of the free memory of a GPU: the rest is for the convolutions' workspaces


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceOptions:
    """How to predict.

    Args:
        mirror: average mirrored views, along the axes of the plan.
        dtype: of the convolutions; None: bfloat16 where the device computes in it, else float32.
        step: distance of neighbouring windows as a fraction of the patch.
        flat_tolerance: windows whose values differ by no more are predicted once (`source.FlatWindows`).
        max_ram_bytes: ceiling of what the streamed part of prediction takes; None for none, on a GPU for its share.
        postprocessing: changes of the label map, in order.
        configurations: which predict; () for all that networks are given for, save those that are only the stage
            before another one.

    """

    mirror: bool = False
    dtype: torch.dtype | None = None
    step: float = STEP_FRACTION
    flat_tolerance: float | None = 0.0
    max_ram_bytes: int | None = None
    postprocessing: tuple[Change, ...] = ()
    configurations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One configuration that predicts; in a cascade, `previous` predicts what its networks see beside the image."""

    configuration: Configuration
    predictor: WindowPredictor
    previous: "Segmenter | None" = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreparedCase:
    """An image as each member's networks want it, and as the stages before them want it."""

    members: tuple[Prepared, ...]
    previous: tuple["PreparedCase | None", ...]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(each.image.nbytes + each.mask.nbytes for each in {id(each): each for each in self._all}.values())

    @property
    def _all(self) -> Iterator[Prepared]:
        """Everything held; what a member and a stage before another one share comes twice."""
        yield from self.members
        for case in self.previous:
            yield from () if case is None else case._all  # noqa: SLF001 (of the same class)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segmenter:
    """A model ready to segment arrays. It holds no state of a call, so threads may share it."""

    plan: Plan
    members: tuple[Member, ...]
    postprocessing: tuple[Change, ...] = ()
    max_ram_bytes: int | None = None
    held_bytes: int = 0

    def prepare(self, array: Real[np.ndarray, "c z y x"], spacing_mm: SpacingMm) -> PreparedCase:
        """Return the image (c, z, y, x) as the networks want it.

        Raises:
            AutosegError: another number of channels than the model takes, or an axis is empty.
            ResourceError: too little memory.

        """
        names = self.plan.channels
        if len(array) != len(names):
            raise AutosegError.at(
                "image", f"{len(array)} channels where the model takes {len(names)}", f"give {', '.join(names)}"
            )
        if min(array.shape) < 1:
            raise AutosegError.at("image", f"empty: shape {array.shape}", "give an image with voxels")
        with memory_errors():
            own = tuple(prepare_image(array, spacing_mm, self.plan, m.configuration) for m in self.members)
            previous: list[PreparedCase | None] = []
            for member in self.members:
                twin = self._twin(member)
                if twin is not None:
                    previous.append(PreparedCase(members=(own[twin],), previous=(None,)))
                else:
                    previous.append(None if member.previous is None else member.previous.prepare(array, spacing_mm))
            return PreparedCase(members=own, previous=tuple(previous))

    def segment(
        self,
        prepared: PreparedCase,
        sink: Sink | None = None,
        tally: Tally | None = None,
        watch: Watch | None = None,
    ) -> LabelMap:
        """Return the label map (z, y, x) on the native grid, in the plan's label values, uint8 or uint16.

        Args:
            prepared: from `prepare`.
            sink: takes the probabilities, before postprocessing.
            tally: counts windows.
            watch: adds up how sure the networks are, before postprocessing.

        Raises:
            ResourceError: too little memory.

        """
        with memory_errors():
            kept = self._keep(prepared, tally, probabilities=sink is not None, watch=watch)
            parts = zip(self.members, prepared.members, prepared.previous, strict=True)
            inputs = [self._input(*part, tally, kept) for part in parts]
            label_map = _label_values(self._ensemble.labels(inputs, sink, tally, watch), self.plan)
            voxel_mm3 = math.prod(prepared.members[0].mapping.native_spacing_mm)
            for change in self.postprocessing:
                label_map = apply_change(label_map, change, voxel_mm3)
            return label_map

    def limited(self, max_ram_bytes: int | None, held_bytes: int = 0) -> "Segmenter":
        """Return the same with another ceiling; `held_bytes` of it are taken by what the caller holds besides."""
        members = tuple(
            replace(member, previous=member.previous and member.previous.limited(max_ram_bytes, held_bytes))
            for member in self.members
        )
        return replace(self, members=members, max_ram_bytes=max_ram_bytes, held_bytes=held_bytes)

    def estimate_bytes(self, prepared: PreparedCase, *, probabilities: bool = False, watch: Watch | None = None) -> int:
        """Return about how much memory `segment` takes at its peak, the prepared images and weights included.

        `probabilities`: there is a sink for them; `watch` is the one that `segment` is given.
        """
        kept = self._kept(prepared, probabilities=probabilities, watch=watch)
        footprints = self._footprints(prepared, kept)
        own = self._ensemble.estimate_bytes(footprints, probabilities=probabilities, watch=watch)
        for member, earlier in zip(self.members, prepared.previous, strict=True):
            twin = self._twin(member)
            if member.previous is not None and earlier is not None and (twin is None or twin != kept):
                beside = earlier.nbytes if twin is None else 0
                own = max(own + beside, member.previous.estimate_bytes(earlier) + prepared.nbytes)
        return own

    def window_passes(self, prepared: PreparedCase) -> tuple[tuple[WindowPredictor, int], ...]:
        """Return each predictor, also of stages before, and how many windows its networks will see."""
        found: list[tuple[WindowPredictor, int]] = []
        kept = self._kept(prepared)
        passes = self._ensemble.window_passes(self._footprints(prepared))
        for member, earlier, count in zip(self.members, prepared.previous, passes, strict=True):
            if member.previous is not None and earlier is not None and (kept is None or self._twin(member) != kept):
                found += member.previous.window_passes(earlier)
            found.append((member.predictor, count))
        return tuple(found)

    @property
    def predictors(self) -> tuple[WindowPredictor, ...]:
        """Those of every configuration that predicts, each after those of the stages before it."""
        found: list[WindowPredictor] = []
        for member in self.members:
            found += [*(member.previous.predictors if member.previous else ()), member.predictor]
        return tuple(found)

    @property
    def _ensemble(self) -> Ensemble:
        predictors = tuple(member.predictor for member in self.members)
        return Ensemble(members=predictors, max_ram_bytes=self.max_ram_bytes, held_bytes=self.held_bytes)

    def _footprints(self, prepared: PreparedCase, kept: int | None = None) -> tuple[Footprint, ...]:
        """Return what the members need; `kept` is the one whose logits are held."""
        return tuple(
            Footprint(
                shape=each.mapping.network_shape,
                channels=plan_inputs(self.plan, member.configuration.name),
                source_bytes=each.image.nbytes + (0 if member.previous is None else _LABEL_BYTES * each.image[0].size),
                mapping=each.mapping,
                kept=index == kept,
            )
            for index, (member, each) in enumerate(zip(self.members, prepared.members, strict=True))
        )

    def _twin(self, member: Member) -> int | None:
        """Return which member predicts just what the stage before `member` does, with the same networks and options."""
        if member.previous is None:
            return None
        stages = member.previous.members
        alone = len(stages) == 1 and stages[0].previous is None
        return next((i for i, each in enumerate(self.members) if alone and each == stages[0]), None)

    def _kept(self, prepared: PreparedCase, *, probabilities: bool = False, watch: Watch | None = None) -> int | None:
        """Return the member whose logits are held, because the stage before another one is just that.

        None where there is no such member, or holding them would take more bands: windows between bands are predicted
        twice, too.
        """
        twins = (self._twin(member) for member in self.members)
        twin = next((found for found in twins if found is not None), None)
        if twin is None:
            return None
        counts = []
        for held in (twin, None):
            try:
                footprints = self._footprints(prepared, held)
                counts.append(self._ensemble.band_count(footprints, probabilities=probabilities, watch=watch))
            except ResourceError:
                counts.append(_TOO_MANY_BANDS)
        return twin if counts[0] < _TOO_MANY_BANDS and counts[0] <= counts[1] else None

    def _keep(
        self, prepared: PreparedCase, tally: Tally | None, *, probabilities: bool, watch: Watch | None
    ) -> "_Kept | None":
        """Predict the member whose logits are held, if there is one."""
        index = self._kept(prepared, probabilities=probabilities, watch=watch)
        if index is None:
            return None
        own = prepared.members[index]
        logits = self.members[index].predictor.keep(Source(image=own.image), tally or Tally())
        return _Kept(index, Input(source=Source(image=own.image), mapping=own.mapping, logits=logits))

    def _input(
        self, member: Member, own: Prepared, earlier: PreparedCase | None, tally: Tally | None, kept: "_Kept | None"
    ) -> Input:
        """Return what a member predicts from; in a cascade, the stage before predicts first, unless it did already."""
        if kept is not None and self.members[kept.twin] is member:
            return kept.part
        if member.previous is None or earlier is None:
            return Input(source=Source(image=own.image), mapping=own.mapping)
        if kept is not None and self._twin(member) == kept.twin:
            ensemble = member.previous._ensemble  # noqa: SLF001 (of the same class)
            stage = _label_values(ensemble.labels([kept.part], tally=tally), self.plan)
        else:
            stage = member.previous.segment(earlier, tally=tally)
        before = own.label_to_network(stage)
        return Input(
            source=Source(image=own.image, previous=before, values=label_values(self.plan)), mapping=own.mapping
        )


class _Kept(NamedTuple):
    """The member whose logits are held, and what it predicts from: them."""

    twin: int
    part: Input


def make_segmenter(plan: Plan, networks: Sequence[LoadedNetwork], options: InferenceOptions) -> Segmenter:
    """Return what predicts with `networks`, all on one device.

    Networks of one configuration are averaged as logits, configurations as probabilities. A cascade's configuration
    needs the networks of its previous one.

    Raises:
        AutosegError: a configuration that is to predict has no network.

    """
    present = tuple(dict.fromkeys(network.configuration for network in networks))
    earlier = {plan.configuration(name).previous for name in present}
    chosen = options.configurations or tuple(name for name in present if name not in earlier)
    device = next(networks[0].module.parameters()).device
    ceiling = options.max_ram_bytes
    if device.type == "cuda" and ceiling is None:
        ceiling = int(_DEVICE_SHARE * torch.cuda.mem_get_info(device)[0])
    return Segmenter(
        plan=plan,
        members=tuple(_member(plan, networks, name, options) for name in chosen),
        postprocessing=options.postprocessing,
        max_ram_bytes=ceiling,
    )


def inference_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16 where the device has instructions for it, else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if device.type == "cpu":
        query = getattr(torch.cpu, "get_capabilities", None)  # torch >= 2.11
        found = query() if query else {}
        return torch.bfloat16 if found.get("avx512_bf16") or found.get("amx_bf16") else torch.float32
    return torch.float32


def _member(plan: Plan, networks: Sequence[LoadedNetwork], name: str, options: InferenceOptions) -> Member:
    configuration = plan.configuration(name)
    modules = tuple(network.module for network in networks if network.configuration == name)
    if not modules:
        raise AutosegError.at("model", f"it has no network {name}", "train it, or predict with another configuration")
    device = next(modules[0].parameters()).device
    predictor = WindowPredictor(
        networks=modules,
        configuration=configuration,
        outputs=plan_outputs(plan),
        device=device,
        dtype=options.dtype or inference_dtype(device),
        mirror_axes=configuration.augmentation.mirror_axes if options.mirror else (),
        target=plan.target,
        input_swaps=input_swaps(plan, configuration),
        step=options.step,
        flat_tolerance=options.flat_tolerance,
    )
    previous = None
    if configuration.previous is not None:
        before = replace(options, configurations=(configuration.previous,), postprocessing=())
        previous = make_segmenter(plan, networks, before)
    return Member(configuration=configuration, predictor=predictor, previous=previous)


def _label_values(classes: LabelMap, plan: Plan) -> LabelMap:
    """Replace class index i + 1 by the first value of the i-th foreground label."""
    values = [0, *(label.values[0] for label in plan.labels if label.role == "foreground")]
    if values == list(range(len(values))):
        return classes
    table = np.array(values, dtype=np.uint8 if max(values) <= np.iinfo(np.uint8).max else np.uint16)
    return cast("LabelMap", table[classes])


@contextmanager
def memory_errors() -> Iterator[None]:
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
