"""Look at a dataset folder: how it is understood, and what is wrong with it."""

from collections.abc import Mapping
from pathlib import Path

from autoseg.core.errors import AutosegError
from autoseg.core.records import read_record, write_record
from autoseg.core.workspace import Workspace
from autoseg.datasets.doctor import examine_dataset
from autoseg.datasets.inspection import CaseFacts, Finding, Inspection, Severity
from autoseg.datasets.options import Options
from autoseg.datasets.understand import Understanding, study

_ORDER: Mapping[Severity, int] = {"error": 0, "warning": 1, "note": 2}


def inspect(dataset_folder: Path, workspace: Workspace, options: Options) -> Inspection:
    """Read every case once, write `dataset.json` and `inspection.json` into the workspace, return the inspection.

    Files that an earlier inspection read and that have not changed since (name, size, time) are not read again. The
    findings are ordered by severity.

    Raises:
        AutosegError: the folder is not understood; nothing is written then.

    """
    understanding = study(dataset_folder, options, _known(workspace))
    inspection = _inspection(understanding)
    write_record(workspace.dataset, understanding.dataset)
    write_record(workspace.findings, inspection)
    return inspection


def _known(workspace: Workspace) -> Mapping[str, CaseFacts]:
    """Return what an earlier inspection read, by stamp; nothing if its record is of another version."""
    if not workspace.findings.exists():
        return {}
    try:
        earlier = read_record(workspace.findings, Inspection)
    except AutosegError:
        return {}
    return {fact.stamp: fact for fact in (*earlier.cases, *earlier.test_cases)}


def _inspection(understanding: Understanding) -> Inspection:
    dataset = understanding.dataset
    findings: tuple[Finding, ...] = (*understanding.findings, *examine_dataset(understanding))
    return Inspection(
        dataset=dataset.name,
        folder=dataset.folder,
        layout=dataset.layout,
        n_cases=len(dataset.cases),
        n_test_cases=len(dataset.test_cases),
        channels=dataset.channels,
        labels=tuple(label.name for label in dataset.labels),
        inferences=dataset.inferences,
        cases=understanding.facts,
        test_cases=understanding.test_facts,
        findings=tuple(sorted(findings, key=lambda finding: _ORDER[finding.severity])),
    )
