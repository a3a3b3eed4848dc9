"""An exported folder, ready to segment arrays with NumPy and onnxruntime alone."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Integer, Real, UInt8, UInt16
from numpy.typing import NDArray

from autoseg.core.errors import AutosegError
from autoseg.imaging.arrays import as_channels
from autoseg.imaging.changes import Change, apply_change
from autoseg.imaging.preparation import GridMapping, prepare_image
from autoseg.learning.image_source import Source
from autoseg.runner.predictor import NetworkPredictor, open_session
from autoseg.runner.record import PLAN_NAME, RECORD_NAME, Network, Resampling, RunnerRecord, Windows
from autoseg.runner.reduction import TILE_PLANES, Operators, Planes, block_cuts, block_labels, block_probabilities
from autoseg.runner.strict import read_strict
from planners.plan import Plan
from planners.sides import input_swaps

LabelMap = UInt8[np.ndarray, "z y x"] | UInt16[np.ndarray, "z y x"]
SpacingMm = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One configuration that predicts; in a cascade, `previous` predicts what its networks see beside the image."""

    predictor: NetworkPredictor
    previous: "Segmenter | None"


@dataclass(frozen=True, slots=True, kw_only=True)
class Segmenter:
    """Configurations that predict together; holds no state of a call, so threads may share it."""

    plan: Plan
    labels: tuple[int, ...]
    members: tuple[Member, ...]
    postprocessing: tuple[Change, ...] = ()

    def segment(self, array: Real[np.ndarray, "c z y x"], spacing_mm: SpacingMm) -> LabelMap:
        """Return the label map (z, y, x) of an image (c, z, y, x), uint8 or uint16."""
        mapping, operators, blocks = self._blocks(array, spacing_mm)
        table = np.array([0, *self.labels], dtype=np.uint8 if max(self.labels) <= np.iinfo(np.uint8).max else np.uint16)
        native = np.zeros(mapping.native_shape, dtype=table.dtype)
        cropped = mapping.crop(native)
        for rows, planes in blocks:
            cropped[slice(*rows)] = table[block_labels(planes, operators, rows, self.plan.target)]
        for change in self.postprocessing:
            native = apply_change(native, change, math.prod(spacing_mm))
        return native

    def probabilities(
        self, array: Real[np.ndarray, "c z y x"], spacing_mm: SpacingMm, temperatures: Sequence[float]
    ) -> Float32[np.ndarray, "k z y x"]:
        """Return the calibrated probabilities (k, z, y, x) of an image (c, z, y, x); background is certain outside."""
        mapping, operators, blocks = self._blocks(array, spacing_mm)
        outputs = len(self.labels) + (self.plan.target == "labels")
        native = np.zeros((outputs, *mapping.native_shape), dtype=np.float32)
        if self.plan.target == "labels":
            native[0] = 1
        cropped = mapping.crop(native)
        for rows, planes in blocks:
            found = block_probabilities(planes, operators, rows, self.plan.target, temperatures)
            cropped[:, slice(*rows)] = found
        return native

    def _blocks(
        self, array: Real[np.ndarray, "c z y x"], spacing_mm: SpacingMm
    ) -> tuple[GridMapping, list[Operators], Iterator[tuple[tuple[int, int], list[Planes]]]]:
        """Return the way to the native grid, that of each configuration, and (rows, logits of each) block by block."""
        sources, mappings = [], []
        for member in self.members:
            prepared = prepare_image(array, spacing_mm, self.plan, member.predictor.configuration)
            source = Source(image=prepared.image)
            if member.previous is not None:
                before = prepared.label_to_network(member.previous.segment(array, spacing_mm))
                source = Source(image=prepared.image, previous=before, values=label_values(self.plan))
            sources.append(source)
            mappings.append(prepared.mapping)
        operators = [mapping.operators_to_native() for mapping in mappings]
        cuts = block_cuts(operators[0][0].n_out, TILE_PLANES)
        triples = zip(self.members, sources, mappings, strict=True)
        streams = [member.predictor.blocks(source, mapping) for member, source, mapping in triples]
        return mappings[0], operators, ((rows, list(planes)) for rows, *planes in zip(cuts, *streams, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedModel:
    """A model that needs no torch; calls share nothing that changes, so threads may use one model."""

    record: RunnerRecord
    plan: Plan
    segmenter: Segmenter

    @property
    def labels(self) -> tuple[tuple[str, int], ...]:
        """Names of the structures and their values in the label maps."""
        return tuple((label.name, label.value) for label in self.record.labels)

    def predict(self, array: NDArray[Any], spacing_mm: Sequence[float]) -> Integer[np.ndarray, "*spatial"]:
        """Return the label map of an image.

        Args:
            array: (z, y, x) or (channel, z, y, x); for 2D images (y, x) or (channel, y, x). Any real type. Where the
                record names an orientation, the array has it already.
            spacing_mm: distance of voxels along (z, y, x), or (y, x) for 2D images: its length says which.

        Returns:
            Label values, uint8 or uint16, with the spatial shape of `array`.

        Raises:
            AutosegError: the array does not fit the spacing or the model, or holds NaN or infinity.

        """
        image, spacing = self._checked(array, spacing_mm)
        labels = self.segmenter.segment(image, spacing)
        return labels[0] if len(spacing_mm) == 2 else labels

    def predict_probabilities(self, array: NDArray[Any], spacing_mm: Sequence[float]) -> Float32[np.ndarray, "..."]:
        """Return the probabilities of an image, all at once in memory, calibrated where the model has temperatures.

        Arguments and errors as of `predict`.

        Returns:
            float32 (k, z, y, x), for 2D images (k, y, x). Where labels exclude each other: background, then `labels`,
            summing to one; where they overlap: `labels`, each on its own. Postprocessing does not change them.

        """
        image, spacing = self._checked(array, spacing_mm)
        found = self.segmenter.probabilities(image, spacing, self.record.calibration or ())
        return found[:, 0] if len(spacing_mm) == 2 else found

    def _checked(
        self, array: NDArray[Any], spacing_mm: Sequence[float]
    ) -> tuple[Real[np.ndarray, "c z y x"], SpacingMm]:
        spacing = tuple(float(s) for s in spacing_mm)
        image = as_channels(np.asarray(array), spacing)
        names = self.plan.channels
        if len(image) != len(names):
            what = f"{len(image)} channels where the model takes {len(names)}"
            raise AutosegError.at("image", what, f"give {', '.join(names)}")
        if min(image.shape) < 1:
            raise AutosegError.at("image", f"empty: shape {image.shape}", "give an image with voxels")
        z, y, x = (1.0, *spacing) if len(spacing) == 2 else spacing
        return image, (z, y, x)


def load(folder: Path | str, threads: int = 0) -> ExportedModel:
    """Return the model of a folder that `autoseg export` made; `threads` 0 takes all cores.

    Raises:
        AutosegError: a file is missing, damaged or of another version, or onnxruntime is not installed.

    """
    folder = Path(folder)
    if not (folder / RECORD_NAME).is_file():
        raise AutosegError.at(folder, f"no exported model here (no {RECORD_NAME})", "give a folder of autoseg export")
    record = read_strict(folder / RECORD_NAME, RunnerRecord)
    plan = read_strict(folder / PLAN_NAME, Plan)
    if (record.resampling, record.windows) != (Resampling(), Windows()):
        raise AutosegError.at(folder / RECORD_NAME, "its recipe is another version's", "export the model again")
    structures = sum(label.role == "foreground" for label in plan.labels)
    if len(record.labels) != structures:
        what = f"{len(record.labels)} labels where the plan has {structures}"
        raise AutosegError.at(folder / RECORD_NAME, what, "export the model again")
    values = tuple(label.value for label in record.labels)
    opened = _Opened(folder=folder, record=record, plan=plan, values=values, threads=threads)
    members = tuple(opened.member(name) for name in record.configurations)
    segmenter = Segmenter(plan=plan, labels=values, members=members, postprocessing=record.postprocessing)
    return ExportedModel(record=record, plan=plan, segmenter=segmenter)


def label_values(plan: Plan) -> tuple[int, ...]:
    """Every value that a label map may have besides 0, rising: a cascade's extra channels, one for each."""
    return tuple(sorted({value for label in plan.labels if label.role == "foreground" for value in label.values}))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """A folder whose records are read, and whose networks are opened when a configuration asks for them."""

    folder: Path
    record: RunnerRecord
    plan: Plan
    values: tuple[int, ...]
    threads: int

    def member(self, name: str) -> Member:
        """Return a configuration with its networks, and in a cascade with the stage before."""
        chosen = [network for network in self.record.networks if network.configuration == name]
        if not chosen or name not in {configuration.name for configuration in self.plan.configurations}:
            raise AutosegError.at(self.folder, f"no network {name}", "export the model again")
        configuration = self.plan.configuration(name)
        predictor = NetworkPredictor(
            configuration=configuration,
            sessions=tuple(open_session(*self._file(network), self.threads) for network in chosen),
            outputs=len(self.values) + (self.plan.target == "labels"),
            mirror_axes=configuration.augmentation.mirror_axes if self.record.mirror else (),
            input_swaps=input_swaps(self.plan, configuration),
        )
        previous = None
        if configuration.previous is not None:
            earlier = (self.member(configuration.previous),)
            previous = Segmenter(plan=self.plan, labels=self.values, members=earlier)
        return Member(predictor=predictor, previous=previous)

    def _file(self, network: Network) -> tuple[Path, bytes]:
        """Return where a network lies and its bytes, checked."""
        path = self.folder / network.file
        if Path(network.file).name != network.file:
            what = f"network {network.file!r} lies elsewhere"
            raise AutosegError.at(self.folder / RECORD_NAME, what, "use an intact folder")
        if not path.is_file():
            raise AutosegError.at(path, "missing", "copy the whole folder")
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != network.sha256:
            raise AutosegError.at(path, f"damaged: its SHA-256 is not the one in {RECORD_NAME}", "copy it again")
        return path, data
