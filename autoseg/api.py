"""Models from Python: arrays in, label maps out, no files and no global state.

model = autoseg.load_model("scans.autoseg")
label_map = model.predict(array, spacing_mm=(2.5, 0.8, 0.8))
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from autoseg.core.errors import AutosegError
from autoseg.imaging.preparation import Prepared, SpacingMm
from autoseg.learning.inference import InferenceOptions, LabelMap, Segmenter, make_segmenter
from autoseg.learning.machine import choose_device
from autoseg.learning.model_files import LoadedModel, load_networks

_AHEAD = 2  # cases prepared while one is predicted


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A trained model in memory; several threads may use it at once."""

    loaded: LoadedModel
    segmenter: Segmenter

    @property
    def labels(self) -> tuple[tuple[str, int], ...]:
        """Name and value of every structure in the label maps."""
        return tuple((label.name, label.values[0]) for label in self.loaded.plan.labels if label.role == "foreground")

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels that an image must have."""
        return self.loaded.plan.channels

    def predict(self, array: ArrayLike, spacing_mm: Sequence[float]) -> LabelMap:
        """Return the label map of an image, with the image's spatial shape; research use, not a diagnosis.

        Args:
            array: (z, y, x) or (c, z, y, x); with two spacings (y, x) or (c, y, x).
            spacing_mm: voxel spacing in mm, in the order of the array's spatial axes.

        Raises:
            AutosegError: shape, spacing, channels or values do not fit the model.
            ResourceError: too little memory.

        """
        return self._finish(self._prepare(array, spacing_mm), spacing_mm)

    def predict_iter(self, cases: Iterable[tuple[ArrayLike, Sequence[float]]]) -> Iterator[LabelMap]:
        """Yield the label map of each (array, spacing_mm) in order, preparing the next ones meanwhile."""
        waiting: deque[tuple[Future[Prepared], Sequence[float]]] = deque()
        source = iter(cases)
        with ThreadPoolExecutor(1) as executor:
            while True:
                while len(waiting) < _AHEAD and (case := next(source, None)) is not None:
                    waiting.append((executor.submit(self._prepare, *case), case[1]))
                if not waiting:
                    return
                prepared, spacing_mm = waiting.popleft()
                yield self._finish(prepared.result(), spacing_mm)

    def _prepare(self, array: ArrayLike, spacing_mm: Sequence[float]) -> Prepared:
        image = _with_channel(np.asarray(array), len(spacing_mm))
        return self.segmenter.prepare(image, _three(spacing_mm))

    def _finish(self, prepared: Prepared, spacing_mm: Sequence[float]) -> LabelMap:
        label_map = self.segmenter.segment(prepared)
        return label_map[0] if len(spacing_mm) == 2 else label_map


def load_model(path: str | Path, *, device: str = "auto", mirror: bool = False) -> Model:
    """Load the model that `path` (a workspace or its model folder) is or holds.

    Args:
        path: workspace or model folder.
        device: auto, cpu, cuda or mps.
        mirror: average over mirrored views: slower, sometimes better.

    Raises:
        AutosegError: no model there, or a damaged one; the device does not exist.

    """
    loaded = load_networks(Path(path), choose_device(device))
    segmenter = make_segmenter(loaded.plan, loaded.networks, InferenceOptions(mirror=mirror))
    return Model(loaded=loaded, segmenter=segmenter)


def _with_channel(array: NDArray[Any], dimensions: int) -> NDArray[Any]:
    """Return the image as (c, z, y, x)."""
    if dimensions not in (2, 3) or array.ndim not in (dimensions, dimensions + 1):
        raise AutosegError.at(
            "image", f"shape {array.shape} with {dimensions} spacings", "give (z, y, x) or (c, z, y, x) and 3 spacings"
        )
    if array.dtype.kind not in "buif" or not np.isfinite(array).all():
        raise AutosegError.at("image", "values that are not finite real numbers", "replace them")
    if array.ndim == dimensions:
        array = array[None]
    return array if dimensions == 3 else array[:, None]


def _three(spacing_mm: Sequence[float]) -> SpacingMm:
    """Return the spacing (z, y, x); a 2D image is one slice of 1 mm."""
    if not all(0 < float(s) < float("inf") for s in spacing_mm):
        raise AutosegError.at("spacing_mm", f"{tuple(spacing_mm)} must be positive", "give millimetres")
    *z, y, x = (float(s) for s in spacing_mm)
    return (z[0] if z else 1.0, y, x)
