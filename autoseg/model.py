"""A trained model that segments arrays, for use from Python."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from autoseg.core.errors import AutosegError
from autoseg.imaging.arrays import as_channels
from autoseg.learning.ensemble import Sink
from autoseg.learning.inference import LabelMap, PreparedCase, Segmenter
from autoseg.learning.machine import choose_device
from autoseg.learning.model_files import load_networks, plan_outputs
from autoseg.learning.presets import PresetName, ready_model
from autoseg.learning.trust import Trust, load_trust
from autoseg.options import Device, parse_bytes
from autoseg.predicting.costs import default_ceiling_bytes, resident_bytes
from planners.plan import Plan

Case = tuple[NDArray[Any], Sequence[float]]
"""An array and the spacing of its voxels in mm."""

_AHEAD = 2
"""Cases prepared while one is predicted: enough to keep the device busy, little to hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model on its device; calls share nothing that changes, so threads may use one model.

    `max_ram_bytes` is the memory that the process may hold while it predicts, the arrays given included; None for three
    quarters of what is free at each call.
    """

    segmenter: Segmenter
    trust: Trust = field(default_factory=Trust)
    max_ram_bytes: int | None = None

    @property
    def plan(self) -> Plan:
        """What the model was planned to take and give."""
        return self.segmenter.plan

    @property
    def labels(self) -> tuple[tuple[str, int], ...]:
        """Names of the structures and their values in the label maps."""
        return tuple((label.name, label.values[0]) for label in self.plan.labels if label.role == "foreground")

    def predict(self, array: NDArray[Any], spacing_mm: Sequence[float]) -> LabelMap:
        """Return the label map of an image.

        Args:
            array: (z, y, x) or (channel, z, y, x); for 2D images (y, x) or (channel, y, x). Any real type. Where
                the model's record names an orientation, the array has it already.
            spacing_mm: distance of voxels along (z, y, x), or (y, x) for 2D images: its length says which.

        Returns:
            Label values, uint8 or uint16, with the spatial shape of `array`.

        Raises:
            AutosegError: the array does not fit the spacing or the model, or holds NaN or infinity.
            ResourceError: too little memory.

        """
        return self._finish(self._prepare(array, spacing_mm), len(spacing_mm))

    def predict_probabilities(self, array: NDArray[Any], spacing_mm: Sequence[float]) -> NDArray[np.float32]:
        """Return the probabilities of an image, all at once in memory: for small images.

        Args:
            array: as for `predict`.
            spacing_mm: as for `predict`.

        Returns:
            float32 (k, z, y, x), for 2D images (k, y, x). Where labels exclude each other: background, then `labels`,
            summing to one; where they overlap: `labels`, each on its own. They are calibrated where the model has
            temperatures; postprocessing does not change them.

        Raises:
            AutosegError: as `predict`.
            ResourceError: too little memory.

        """
        prepared = self._prepare(array, spacing_mm)
        mapping = prepared.members[0].mapping
        result = np.zeros((plan_outputs(self.plan), *mapping.native_shape), np.float32)
        if self.plan.target == "labels":
            result[0] = 1
        inside = mapping.crop(result)

        def take(block: NDArray[np.float32], plane: int, row: int) -> None:
            _, planes, rows, _ = block.shape
            inside[:, plane : plane + planes, row : row + rows] = block

        self._limited().segment(prepared, Sink(take=take, temperatures=self.trust.temperatures))
        return result[:, 0] if len(spacing_mm) == 2 else result

    @overload
    def predict_iter(self, cases: Iterable[Case], on_error: Literal["raise"] = "raise") -> Iterator[LabelMap]: ...

    @overload
    def predict_iter(self, cases: Iterable[Case], on_error: Literal["yield"]) -> Iterator[LabelMap | AutosegError]: ...

    def predict_iter(
        self, cases: Iterable[Case], on_error: Literal["raise", "yield"] = "raise"
    ) -> Iterator[LabelMap | AutosegError]:
        """Yield the label map of each (array, spacing_mm), in order; a few cases are prepared ahead in a thread.

        Args:
            cases: arrays with the spacing of their voxels, as for `predict`.
            on_error: "raise" ends at the first case that cannot be predicted; "yield" gives its error in the place of
                its label map and goes on with the next one.

        Raises:
            AutosegError: as `predict`, unless errors are to be yielded.

        """
        source, waiting = iter(cases), deque[tuple[Future[PreparedCase], int]]()
        with ThreadPoolExecutor(1) as executor:
            while True:
                for array, spacing_mm in islice(source, _AHEAD - len(waiting)):
                    waiting.append((executor.submit(self._prepare, array, spacing_mm), len(spacing_mm)))
                if not waiting:
                    return
                prepared, dimensions = waiting.popleft()
                try:
                    found: LabelMap | AutosegError = self._finish(prepared.result(), dimensions)
                except AutosegError as error:
                    if on_error == "raise":
                        raise
                    found = error
                yield found

    def _prepare(self, array: NDArray[Any], spacing_mm: Sequence[float]) -> PreparedCase:
        spacing = tuple(float(s) for s in spacing_mm)
        image = as_channels(np.asarray(array), spacing)
        padded = (1.0, *spacing) if len(spacing) == 2 else spacing
        return self.segmenter.prepare(image, (padded[0], padded[1], padded[2]))

    def _finish(self, prepared: PreparedCase, dimensions: int) -> LabelMap:
        labels = self._limited().segment(prepared)
        return labels[0] if dimensions == 2 else labels

    def _limited(self) -> Segmenter:
        """Return the segmenter with the ceiling of this call; on other devices than the CPU it has its own."""
        if self.segmenter.members[0].predictor.device.type != "cpu":
            return self.segmenter
        return self.segmenter.limited(self.max_ram_bytes or default_ceiling_bytes(), resident_bytes())


def open_model(path: Path, device: Device, preset: PresetName = "default", max_ram: str = "auto") -> Model:
    """Return the model that `path` is or holds, on `device`, ready to predict with a preset within `max_ram`.

    Raises:
        AutosegError: no model there, a damaged one, a device this machine has not, or `max_ram` is no amount.

    """
    ceiling = parse_bytes(max_ram)
    loaded = load_networks(path, choose_device(device))
    return Model(segmenter=ready_model(loaded, preset), trust=load_trust(path, loaded), max_ram_bytes=ceiling)
