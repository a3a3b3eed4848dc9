"""Everything that is known about a run on one self-contained page, report.html."""

from pathlib import Path

from autoseg.core.files import write_text
from autoseg.core.workspace import Workspace
from autoseg.reporting.markup import page
from autoseg.reporting.material import gather
from autoseg.reporting.sections import (
    about_section,
    dataset_section,
    fingerprint_section,
    lead,
    plan_section,
    training_section,
)
from autoseg.reporting.selection import selection_section
from autoseg.reporting.validation import validation_section


def report(workspace: Workspace) -> Path:
    """Write report.html from whatever the workspace holds so far, and return its path.

    The page asks no network for anything: figures, style and script are inside.

    Raises:
        AutosegError: the workspace holds nothing to report, or a record in it is damaged.

    """
    material = gather(workspace)
    sections = (
        ("validation", validation_section(material)),
        ("selection", selection_section(material)),
        ("training", training_section(material)),
        ("plan", plan_section(material)),
        ("data", dataset_section(material)),
        ("fingerprint", fingerprint_section(material)),
        ("about", about_section(material)),
    )
    write_text(workspace.report, page(material.name, lead(material), sections))
    return workspace.report
