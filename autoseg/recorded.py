"""Steps outside a workspace, each noted in the run log of the folder that it writes into, or of the workspace."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from autoseg.core.comparison import Comparison
from autoseg.core.presets import EvaluateOptions
from autoseg.core.runtime import logged_step
from autoseg.core.scores import Scores
from autoseg.core.traces import StepFiles
from autoseg.core.workspace import Workspace

if TYPE_CHECKING:
    from autoseg.predicting.records import PredictionRecord
    from autoseg.runner.record import RunnerRecord
    from autoseg.steps.predict import PredictOptions

LOG = "run.jsonl"


def evaluate(predictions: Path, references: Path, output: Path | None, options: EvaluateOptions) -> Scores:
    """Do what `steps.evaluate.evaluate` does, and note it beside the scores."""
    from autoseg.steps.evaluate import evaluate as run

    place = output or (predictions if predictions.is_dir() else predictions.parent)
    reads = (*_label_maps(predictions), *_label_maps(references))
    files = StepFiles(reads=reads, writes=(place / "scores.json", place / "scores.csv"))
    told = {"predictions": predictions, "references": references, **asdict(options)}
    with logged_step(place / LOG, "evaluate", files, **told):
        return run(predictions, references, output, options)


def compare(results: Sequence[Path], output: Path | None, metric: str | None) -> Comparison:
    """Do what `steps.compare.compare` does, and note it beside the comparison where that is written."""
    from autoseg.steps.compare import compare as run

    if output is None:
        return run(results, output, metric)
    reads = tuple(place / "scores.json" if place.is_dir() else place for place in results)
    files = StepFiles(reads=reads, writes=(output / "comparison.json",))
    with logged_step(output / LOG, "compare", files, results=tuple(results), metric=metric):
        return run(results, output, metric)


def predict(options: "PredictOptions") -> "PredictionRecord":
    """Do what `steps.predict.predict` does, and note it beside the label maps."""
    from autoseg.learning.machine import choose_device
    from autoseg.steps.predict import predict as run

    output = options.output
    writes = (output / "prediction.json", output / "records", output / "measurements.csv")
    told = {**asdict(options), "device": choose_device(options.device).type}
    with logged_step(output / LOG, "predict", StepFiles(reads=_record_of(options.model), writes=writes), **told):
        return run(options)


def export(model: Path, output: Path) -> "RunnerRecord":
    """Do what `steps.export.export` does, and note it in the workspace of the model, else in the folder made."""
    from autoseg.steps.export import export as run

    workspaces = (root for root in (model, model.absolute().parent) if (root / "workspace.json").is_file())
    log = next((Workspace(root.absolute()).run_log for root in workspaces), output / LOG)
    files = StepFiles(reads=_record_of(model), writes=(output,))
    with logged_step(log, "export", files, model=model, output=output, device="cpu"):
        return run(model, output)


def _record_of(model: Path) -> tuple[Path, ...]:
    """Return the record that names the digests of a model's weights; of another program's model, what is in place."""
    records = (model / "model" / "model.json", model / "model.json")
    return next(((path,) for path in records if path.is_file()), (model,))


def _label_maps(place: Path) -> tuple[Path, ...]:
    """Return a file or a folder; of a dataset and a workspace the folders that label maps are usually in, too."""
    if (place / "workspace.json").is_file():
        return (place / "dataset.json",)
    return (place, *(folder for folder in (place / "labels", place / "labelsTr") if folder.is_dir()))
