"""Write docs/formats.md anew from the record classes: the classes are the format, this page only shows them.

python -m docs.make_formats
"""

import dataclasses
import inspect
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from autoseg.core.files import write_text

PAGE = Path(__file__).parent / "formats.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A record on disk: where it is (in a workspace, unless it says otherwise) and the class that defines it."""

    file: str
    record: str


FORMATS = (
    Format(file="workspace.json", record="autoseg.core.workspace.WorkspaceRecord"),
    Format(file="inspection.json", record="autoseg.datasets.inspection.Inspection"),
    Format(file="manifest.json", record="autoseg.datasets.manifest.Manifest"),
    Format(file="model/training_cases.json", record="autoseg.datasets.manifest.TrainingCases"),
    Format(file="autoseg.json beside the data", record="autoseg.datasets.declaration.Declaration"),
    Format(file="previews.json", record="autoseg.datasets.inspection.Previews"),
    Format(file="mended.json of autoseg inspect --fix", record="autoseg.steps.mend.Mended"),
    Format(file="dataset.json", record="autoseg.datasets.dataset.Dataset"),
    Format(file="folds.json", record="autoseg.datasets.dataset.Folds"),
    Format(file="fingerprint.json", record="planners.fingerprint.Fingerprint"),
    Format(file="machine.json", record="planners.recipe.Machine"),
    Format(file="plan.json", record="planners.plan.Plan"),
    Format(file="preprocessed/CONFIGURATION/CASE.json", record="autoseg.imaging.store.CaseRecord"),
    Format(file="training/CONFIGURATION/fold_K/training.json", record="autoseg.steps.train.TrainingRecord"),
    Format(file="training/CONFIGURATION/fold_K/more.json", record="autoseg.continuing.Continuations"),
    Format(file="start/start.json", record="autoseg.core.starts.StartRecord"),
    Format(file="model/model.json", record="autoseg.learning.model_files.ModelRecord"),
    Format(file="runner.json of an exported folder", record="autoseg.runner.record.RunnerRecord"),
    Format(file="model/presets.json", record="autoseg.predicting.records.PresetsRecord"),
    Format(file="validation/CONFIGURATION/fold_K/scores.json", record="autoseg.core.scores.Scores"),
    Format(
        file="validation/CONFIGURATION/fold_K/observations/CASE.json",
        record="autoseg.core.observation.CaseObservation",
    ),
    Format(file="selection.json", record="autoseg.imaging.selection.Selection"),
    Format(file="calibration.json, also in model/", record="autoseg.core.calibration.Calibration"),
    Format(file="quality.json, also in model/", record="autoseg.core.quality.Quality"),
    Format(file="suspects.json", record="autoseg.core.suspects.Suspects"),
    Format(file="budget.json", record="autoseg.core.ledger.Spent"),
    Format(file="provenance.json", record="autoseg.core.provenance.Provenance"),
    Format(file="prediction.json beside predictions", record="autoseg.predicting.records.PredictionRecord"),
    Format(file="one for each case beside predictions", record="autoseg.predicting.records.CasePrediction"),
    Format(file="probabilities/CASE.json", record="autoseg.imaging.probabilities.ProbabilitiesRecord"),
    Format(file="comparison.json of autoseg compare --output", record="autoseg.core.comparison.Comparison"),
    Format(file="autoseg plan-and-train --json", record="autoseg.pipeline.RunResult"),
    Format(file="autoseg show --json", record="autoseg.steps.show.ModelCard"),
    Format(file="autoseg verify --json", record="autoseg.verification.Verification"),
    Format(file="autoseg demo --json", record="autoseg.demo.DemoResult"),
    Format(file="autoseg benchmark --json", record="autoseg.benchmark.BenchmarkRuns"),
    Format(file="a record of autoseg benchmark", record="autoseg.suites.record.BenchmarkRecord"),
)
"""Every class with a schema, in the order in which a run makes its file."""

LINES = (
    Format(file="run.jsonl", record="autoseg.core.runtime.RunEntry"),
    Format(file="training/CONFIGURATION/fold_K/progress.jsonl", record="autoseg.learning.training.Epoch"),
)
"""Records of which a file holds one per line, without a schema."""

_INTRODUCTION = """# File formats

Made by `python -m docs.make_formats` from the record classes; do not edit.

Everything on disk is JSON, CSV, safetensors, blosc2 or an image format: no file holds code, and none is a pickle. Each
record is one JSON file that opens with its `schema`, the name and version of its format. Readers are strict: an
unknown, missing or wrong-typed key is an error that names file and place. Undefined is `null`, never NaN, -1 or 999.
Units are part of the name (`_mm`, `_ml`, `_s`, `_bytes`); a bare number is voxels or a count. Axes are in array order,
slowest first: (z, y, x). A file with its final name is complete. The last key of a record on disk is
its `seal`, the SHA-256 of the file without that line, which reading ignores: records may be edited by hand, and
`autoseg verify` says which were.
"""

_PLAIN_NAMES = {str: "text", int: "integer", float: "number", bool: "true or false", types.NoneType: "null"}


def page() -> str:
    """Return the whole page."""
    written: set[type] = set()
    parts = [_INTRODUCTION]
    for entry in FORMATS:
        kind = record_class(entry)
        parts.append(f"## {kind.schema}\n\nWhere: `{entry.file}`\n\n{_section(kind, written)}")
    for entry in LINES:
        kind = record_class(entry)
        parts.append(f"## {entry.file}\n\nOne JSON object per line.\n\n{_section(kind, written)}")
    return "\n".join(parts)


def record_class(entry: Format) -> typing.Any:
    """Return the class that `entry` names."""
    module, _, name = entry.record.rpartition(".")
    return getattr(import_module(module), name)


def _section(kind: type, written: set[type]) -> str:
    """Describe a class and, below it, those of its fields that no earlier section described."""
    written.add(kind)
    hints = typing.get_type_hints(kind)
    fields = dataclasses.fields(kind)
    lines = [inspect.cleandoc(kind.__doc__ or ""), "", "| key | value |", "| --- | --- |"]
    lines += [f"| `{field.name}` | {type_text(hints[field.name])} |" for field in fields]
    text = "\n".join(lines) + "\n"
    for field in fields:
        for nested in _records_in(hints[field.name]):
            if nested not in written:
                text += f"\n### {nested.__name__}\n\n{_section(nested, written)}"
    return text


def type_text(hint: object) -> str:
    """Return a type in words.

    >>> type_text(tuple[int, int, int] | None)
    'list of 3 integers, or null'

    """
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return f"[{hint.__name__}](#{hint.__name__.lower()})"
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return " or ".join(f"`{option!r}`".replace("'", '"') for option in options)
    if origin in (typing.Union, types.UnionType):
        return ", or ".join(type_text(option) for option in options)
    if origin is tuple:
        return _list_text(options)
    if origin is dict:
        return f"object of {_plural(options[1])} by name"
    return _PLAIN_NAMES[typing.cast("type", hint)]


def _list_text(options: Sequence[object]) -> str:
    if options[-1] is Ellipsis:
        return f"list of {_plural(options[0])}"
    if len(set(options)) == 1:
        return f"list of {len(options)} {_plural(options[0])}"
    return f"list of {len(options)}: {', '.join(type_text(option) for option in options)}"


def _plural(hint: object) -> str:
    plurals = {str: "texts", int: "integers", float: "numbers", bool: "true or false"}
    if isinstance(hint, type) and hint in plurals:
        return plurals[hint]
    text = type_text(hint)
    return text.replace("list of", "lists of", 1) if text.startswith("list of") else text


def _records_in(hint: object) -> list[type]:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return [hint]
    return [record for option in typing.get_args(hint) for record in _records_in(option)]


if __name__ == "__main__":
    write_text(PAGE, page())
