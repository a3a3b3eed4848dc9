"""Our side, in a process of its own as nnU-Net's: python -m benchmarks.inference.ours TASK (a JSON file).

What a task holds is what the function of its kind reads from it.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autoseg.imaging.preparation import GridMapping
from autoseg.imaging.resampling import axis_operator, resize, resize_labels
from autoseg.learning.ensemble import Ensemble, Input
from autoseg.learning.reduction import Band, Reduction
from autoseg.learning.sliding_window import WindowPredictor
from autoseg.learning.source import Source, Tally
from benchmarks.inference.peak import taken

Task = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Given(WindowPredictor):
    """A predictor whose logits (plane, k, y, x) are there already, in the layout of the slab that windows fill."""

    planes: Tensor = field(kw_only=True)

    def blocks(self, source: Source, reduction: Reduction, band: Band, tally: Tally) -> Iterator[Tensor]:
        """Yield the network planes behind each block of native planes."""
        del source, band, tally
        reach = reduction.reach
        for lower, upper in zip(reach.lower, reach.upper, strict=True):
            yield self.planes[int(lower) : int(upper)]


def logits(task: Task) -> dict[str, Any]:
    """Turn logits, float32 as windows are summed in, into labels at native resolution."""
    from tests.builders import configuration

    given = np.load(task["input"])
    shape, spacing = tuple(task["shape"]), tuple(task["spacing_mm"])
    network = given.shape[1:]
    mapping = GridMapping(
        native_shape=shape,
        native_spacing_mm=spacing,
        transpose=(0, 1, 2),
        crop_lower=(0, 0, 0),
        crop_upper=shape,
        network_shape=network,
        network_spacing_mm=tuple(task["network_spacing_mm"]),
    )
    planes = torch.from_numpy(np.ascontiguousarray(given.transpose(1, 0, 2, 3)).astype(np.float32))
    device = torch.device("cpu")
    predictor = Given((), configuration(), len(given), device, torch.float32, planes=planes)
    source = Source(image=np.zeros((1, *network), np.float32))

    def reduced() -> Any:
        axis_operator.cache_clear()
        return Ensemble(members=(predictor,)).labels([Input(source=source, mapping=mapping)])

    del given
    return _answer(task, reduced)


def resample(task: Task) -> dict[str, Any]:
    """Resample an image (float32) or a label map (uint8)."""
    given = np.load(task["input"])
    shape = tuple(task["shape"])

    def image() -> Any:
        axis_operator.cache_clear()
        return resize(given[None], shape, 3)[0]

    def label() -> Any:
        axis_operator.cache_clear()
        return resize_labels(given, shape)

    return _answer(task, image if task["order"] == 3 else label)


def predict(task: Task) -> dict[str, Any]:
    """Run the command line with networks in float32, whatever the processor can do."""
    from autoseg import cli
    from autoseg.learning import inference

    inference.inference_dtype = lambda _: torch.float32
    sys.argv = ["autoseg", *task["words"]]
    cli.main()


def _answer(task: Task, function: Any) -> dict[str, Any]:
    found = taken(function)
    np.save(task["output"], found.result)
    return {"seconds": found.seconds, "peak_bytes": found.peak_bytes}


KINDS = {"logits": logits, "resample": resample, "predict": predict}


def main() -> int:
    task = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    found = KINDS[task["kind"]](task)
    Path(task["report"]).write_text(json.dumps(found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
