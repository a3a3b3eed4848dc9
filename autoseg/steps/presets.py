"""Presets: what fast, default and best take and give, measured on validation cases and kept in the model folder."""

import math
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from autoseg.core.errors import AutosegError
from autoseg.core.files import locked
from autoseg.core.records import read_record, write_record
from autoseg.core.runtime import progress, say
from autoseg.core.workspace import Workspace
from autoseg.datasets.dataset import Case, Dataset, Folds
from autoseg.datasets.read_case import CaseArrays, read_case
from autoseg.imaging.scoring import score_case
from autoseg.learning.inference import LabelMap, Segmenter
from autoseg.learning.machine import choose_device
from autoseg.learning.model_files import LoadedModel, companions_written, load_networks, plan_inputs
from autoseg.learning.presets import PRESETS, PresetName, ready_model
from autoseg.learning.source import Tally
from autoseg.predicting.records import PRESETS_NAME, MeasuredPreset, PresetsRecord
from planners.fingerprint import Label

MOST_CASES = 8
"""Enough to see a difference of presets, which is one of the same cases; more take their time."""

_COMPARED_WITH: PresetName = "default"


def measure_presets(
    workspace: Workspace, device: str = "auto", most_cases: int = MOST_CASES, left_s: float | None = None
) -> PresetsRecord | None:
    """Score up to `most_cases` validation cases with every preset; write presets.json into the model folder.

    A case of a fold is predicted by the networks of that fold alone, which have not seen it. No case is begun that
    `left_s` seconds do not allow, if the longest before it tells; None, and nothing written, when not one fits.

    Raises:
        AutosegError: there is no model, no fold of it has validation cases with a reference, or a case is damaged.

    """
    began, longest = time.monotonic(), 0.0
    model = load_networks(workspace.model, choose_device(device))
    chosen = list(_cases(workspace, model, most_cases))
    if not chosen:
        raise AutosegError.at(workspace.root, "no validation case of its networks", "train with validation cases")
    dataset = read_record(workspace.dataset, Dataset)
    tables = {name: _Table() for name in PRESETS}
    used = {name: _network_count(ready_model(model, name)) for name in PRESETS}
    measured_folds = set()
    for fold, case in progress(chosen, what="presets"):
        started = time.monotonic()
        if left_s is not None and started - began + longest > left_s:
            break
        arrays = read_case(dataset, case)
        of_fold = replace(model, networks=tuple(n for n in model.networks if n.fold == fold))
        found = {n: t.measure(ready_model(of_fold, n), arrays, model.plan.labels) for n, t in tables.items()}
        for name, table in tables.items():
            table.compare(found[name], found[_COMPARED_WITH])
        measured_folds.add(fold)
        longest = max(longest, time.monotonic() - started)
    if not measured_folds:
        return None
    measured = {(n.configuration, n.fold) for n in model.networks if n.fold in measured_folds}
    record = PresetsRecord(
        configurations=model.configurations,
        networks=tuple(file.sha256 for file in model.record.networks if (file.configuration, file.fold) in measured),
        device=choose_device(device).type,
        precision=str(ready_model(model, "default").members[0].predictor.dtype).removeprefix("torch."),
        presets=tuple(table.result(name, used[name]) for name, table in tables.items()),
    )
    with locked(workspace.lock("model")), companions_written(workspace.model, PRESETS_NAME):
        write_record(workspace.model / PRESETS_NAME, record)
    say(f"presets measured on {record.presets[0].cases} validation cases: {workspace.model / PRESETS_NAME}")
    return record


class _Table:
    """What one preset took and gave so far."""

    def __init__(self) -> None:
        self._seconds: list[float] = []
        self._dice: list[float] = []
        self._networks = 0
        self._tally = Tally()
        self._differing = 0
        self._voxels = 0

    def compare(self, found: LabelMap, default: LabelMap) -> None:
        """Count the voxels of one case that have another label than with the default preset."""
        self._differing += int(np.count_nonzero(found != default))
        self._voxels += found.size

    def measure(self, segmenter: Segmenter, arrays: CaseArrays, labels: tuple[Label, ...]) -> LabelMap:
        """Predict and score one case; return its label map."""
        assert arrays.label is not None  # noqa: S101 (only cases with a reference are chosen)
        for predictor in segmenter.predictors:  # prepares the device, which is no part of a case
            predictor.pass_seconds(plan_inputs(segmenter.plan, predictor.configuration.name))
        started = time.monotonic()
        prepared = segmenter.prepare(arrays.image.array, arrays.image.grid.spacing_mm)
        found = segmenter.segment(prepared, tally=self._tally)
        self._seconds.append(time.monotonic() - started)
        self._networks = _network_count(segmenter)
        scores = score_case(found, arrays.label, labels, arrays.image.grid)
        defined = [score.dice for score in scores if score.dice is not None]
        if defined:
            self._dice.append(float(np.mean(defined)))
        return found

    def result(self, preset: str, networks_used: int) -> MeasuredPreset:
        """Return the means over all cases."""
        return MeasuredPreset(
            preset=preset,
            cases=len(self._seconds),
            mean_dice=float(np.mean(self._dice)) if self._dice else None,
            seconds_per_case=round(float(np.mean(self._seconds)), 3),
            networks_measured=self._networks,
            networks_used=networks_used,
            windows=self._tally.windows,
            windows_skipped=self._tally.skipped,
            differing=None if preset == _COMPARED_WITH else self._differing / self._voxels,
        )


def _cases(workspace: Workspace, model: LoadedModel, most: int) -> Iterator[tuple[int, Case]]:
    """Yield (fold, case) of up to `most` validation cases with a reference, evenly from folds that have networks."""
    cases = {case.name: case for case in read_record(workspace.dataset, Dataset).cases if case.references}
    needed = {network.configuration for network in model.networks}
    held = {(network.configuration, network.fold) for network in model.networks}
    folds = [
        (number, [cases[name] for name in fold.validation if name in cases])
        for number, fold in enumerate(read_record(workspace.folds, Folds).folds)
        if all((configuration, number) in held for configuration in needed)
    ]
    share = math.ceil(most / max(1, len(folds)))
    for number, found in folds:
        for case in found[:: max(1, len(found) // share)][:share]:
            yield number, case


def _network_count(segmenter: Segmenter) -> int:
    return sum(len(predictor.networks) for predictor in segmenter.predictors)
