"""demo: a synthetic CT-like dataset made on the spot, the whole pipeline run on it, and unseen cases segmented."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from autoseg.core.errors import AutosegError
from autoseg.core.files import write_text
from autoseg.core.runtime import progress, say
from autoseg.datasets.options import Options as Reading
from autoseg.imaging.phantom import ORGANS, phantom_case
from autoseg.imaging.write import write_image, write_label
from autoseg.options import PlanAndTrainOptions
from autoseg.pipeline import RunResult, plan_and_train
from autoseg.steps.evaluate import evaluate
from autoseg.steps.predict import PredictOptions, predict

TRAINING_CASES = 20
UNSEEN_CASES = 5
FIRST_UNSEEN_SEED = 1000
_MARK = "autoseg-demo.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """Where the demo's things are, and the mean Dice of each structure on cases that no network saw."""

    schema: ClassVar[str] = "autoseg.demo/1"

    dataset: str
    segmentations: str
    run: RunResult
    labels: tuple[str, ...]
    dice_per_label: tuple[float | None, ...]
    mean_dice: float | None


def run_demo(folder: Path, budget: str, *, running_seconds: float = 0.0) -> DemoResult:
    """Make the dataset in `folder`, train on it within `budget`, segment and score unseen cases.

    Raises:
        AutosegError: `folder` holds something else, or the budget is no time.

    """
    dataset, unseen = make_demo_dataset(folder)
    run = plan_and_train(
        dataset,
        PlanAndTrainOptions(workspace=folder / "demo.autoseg", budget=budget),
        Reading(),
        running_seconds=running_seconds,
    )
    segmentations = folder / "segmentations"
    predict(PredictOptions(inputs=unseen / "images", model=Path(run.model), output=segmentations))
    scores = evaluate(segmentations, unseen)
    rows = {row.label: row.mean for row in scores.summaries if row.metric == "dice"}
    labels = tuple(label.name for label in scores.labels)
    return DemoResult(
        dataset=str(dataset),
        segmentations=str(segmentations),
        run=run,
        labels=labels,
        dice_per_label=tuple(rows[name] for name in labels),
        mean_dice=scores.summary().mean,
    )


def make_demo_dataset(folder: Path, training: int = TRAINING_CASES, unseen: int = UNSEEN_CASES) -> tuple[Path, Path]:
    """Write the training cases into `folder`/dataset and others into `folder`/unseen, and return both folders.

    Cases that are there already stay: each is the same for the same number.

    Raises:
        AutosegError: `folder` holds something that no demo made.

    """
    mark = folder / _MARK
    if folder.exists() and any(folder.iterdir()) and not mark.exists():
        raise AutosegError.at(folder, "not empty", "give --output a new folder")
    write_text(mark, json.dumps({"made by": "autoseg demo", "training": training, "unseen": unseen}) + "\n")
    dataset, others = folder / "dataset", folder / "unseen"
    seeds = {dataset: range(training), others: range(FIRST_UNSEEN_SEED, FIRST_UNSEEN_SEED + unseen)}
    cases = [(place, seed) for place, numbers in seeds.items() for seed in numbers]
    for place, seed in progress(cases, what="make synthetic CT"):
        _write_case(place, seed)
    for place, numbers in seeds.items():
        write_text(place / "dataset.json", json.dumps(_description(numbers), indent=1) + "\n")
    say(f"{training} synthetic training cases in {dataset}, {unseen} unseen ones in {others}")
    return dataset, others


def describe(result: DemoResult) -> str:
    """Return the demo's result as lines for people."""
    lines = [
        f"{label:<10} Dice {'undefined' if dice is None else f'{dice:.3f}'}"
        for label, dice in zip(result.labels, result.dice_per_label, strict=True)
    ]
    mean = "undefined" if result.mean_dice is None else f"{result.mean_dice:.3f}"
    return "\n".join(
        [
            *lines,
            f"mean Dice {mean} on {UNSEEN_CASES} unseen cases",
            f"report         {result.run.report}",
            f"segmentations  {result.segmentations}",
            f"model          {result.run.model}",
        ]
    )


def _description(seeds: Iterable[int]) -> dict[str, object]:
    """Return the dataset.json of the Medical Segmentation Decathlon, which names channel and labels."""
    return {
        "name": "synthetic abdomen",
        "modality": {"0": "CT"},
        "labels": {"0": "background", **{str(value): organ for value, organ in enumerate(ORGANS, start=1)}},
        "training": [{"image": f"./images/{_name(seed)}", "label": f"./labels/{_name(seed)}"} for seed in seeds],
        "test": [],
    }


def _name(seed: int) -> str:
    return f"case_{seed:04d}.nii.gz"


def _write_case(place: Path, seed: int) -> None:
    image_path, label_path = place / "images" / _name(seed), place / "labels" / _name(seed)
    if label_path.exists():
        return
    image, label = phantom_case(seed)
    write_image(image_path, image)
    write_label(label_path, label.array[0], image_path)
