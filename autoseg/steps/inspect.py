"""Look at a dataset folder: how it is understood, and what is wrong with it."""

import base64
from collections.abc import Mapping
from pathlib import Path

from autoseg.core.errors import AutosegError
from autoseg.core.files import write_text
from autoseg.core.records import read_record, write_record
from autoseg.core.seals import sealed_page
from autoseg.core.workspace import Workspace
from autoseg.datasets.doctor import examine_dataset
from autoseg.datasets.inspection import CaseFacts, Finding, Inspection, Preview, Previews, Severity
from autoseg.datasets.manifest import make_manifest
from autoseg.datasets.options import Options
from autoseg.datasets.understand import Understanding, study
from autoseg.reporting.inspection import inspection_page

_ORDER: Mapping[Severity, int] = {"error": 0, "warning": 1, "note": 2}


def inspect(dataset_folder: Path, workspace: Workspace, options: Options) -> Inspection:
    """Read every case once, write records and `inspect.html` into the workspace, return the inspection.

    Files that an earlier inspection read and that have not changed since (name, size, time) are not read again. The
    findings are ordered by severity.

    Raises:
        AutosegError: the folder is not understood; nothing is written then.

    """
    pictures = _pictures(workspace)
    understanding = study(dataset_folder, options, _known(workspace))
    inspection = _inspection(understanding)
    write_record(workspace.dataset, understanding.dataset)
    write_record(workspace.findings, inspection)
    write_record(workspace.manifest, make_manifest(inspection.dataset, inspection.cases, inspection.test_cases))
    stamps = {fact.stamp for fact in (*inspection.cases, *inspection.test_cases)}
    kept = {stamp: png for stamp, png in {**pictures, **understanding.previews}.items() if stamp in stamps}
    shown = tuple(Preview(stamp=stamp, png=base64.b64encode(png).decode("ascii")) for stamp, png in kept.items())
    write_record(workspace.previews, Previews(pictures=shown))
    write_text(workspace.inspection_page, sealed_page(inspection_page(inspection, understanding.dataset, kept)))
    return inspection


def _pictures(workspace: Workspace) -> dict[str, bytes]:
    """Return the pictures that an earlier inspection drew, by stamp."""
    if not workspace.previews.exists():
        return {}
    try:
        earlier = read_record(workspace.previews, Previews)
    except AutosegError:
        return {}
    return {picture.stamp: base64.b64decode(picture.png) for picture in earlier.pictures}


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
