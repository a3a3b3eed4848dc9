"""autoseg: a folder of labelled scans in, a trained model and segmentations out.

    import autoseg

    run = autoseg.plan_and_train("LIVER", budget="30m")
    model = autoseg.load_model(run.model)
    labels = model.predict(array, spacing_mm=(3.0, 0.8, 0.8))

Importing the package is cheap: torch is loaded by the first call that needs it.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from autoseg.core.version import VERSION

if TYPE_CHECKING:
    from autoseg.learning.presets import PresetName
    from autoseg.model import Model
    from autoseg.options import Device, PlanAndTrainKeywords
    from autoseg.pipeline import RunResult

__version__ = VERSION

__all__ = ["__version__", "load_model", "plan_and_train"]


def plan_and_train(folder: Path | str, **options: "Unpack[PlanAndTrainKeywords]") -> "RunResult":
    """Do what `autoseg plan-and-train` does with the labelled images in `folder`; the same options, as keywords.

    Finished steps are skipped and an interrupted training goes on. The budget counts from this call.

    Raises:
        AutosegError: the dataset or an option is at fault; the message says where, what, and what to do.

    """
    from autoseg.datasets.options import Options
    from autoseg.options import PlanAndTrainOptions
    from autoseg.pipeline import plan_and_train as run

    return run(Path(folder), PlanAndTrainOptions(**options), Options())


def load_model(
    path: Path | str, device: "Device" = "auto", preset: "PresetName" = "default", max_ram: str = "auto"
) -> "Model":
    """Load the model that `path` (a workspace or its `model` folder) holds, ready to predict arrays.

    `preset` is "fast", "default" or "best"; `max_ram`, such as "4GiB", is what this process may hold while it predicts
    on the CPU, by default three quarters of what is free.

    Raises:
        AutosegError: no model there, a damaged one, a device this machine has not, or `max_ram` is no amount.

    """
    from autoseg.model import open_model

    return open_model(Path(path), device, preset, max_ram)
