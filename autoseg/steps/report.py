"""Everything that is known about a run on one self-contained page, report.html."""

from pathlib import Path

from autoseg.core.files import write_text
from autoseg.core.seals import sealed_page
from autoseg.core.workspace import Workspace
from autoseg.reporting.contents import CONTENTS
from autoseg.reporting.markup import page
from autoseg.reporting.material import gather
from autoseg.reporting.model_card import start_card
from autoseg.reporting.sections import lead


def report(workspace: Workspace) -> Path:
    """Write report.html from whatever the workspace holds so far, and return its path.

    Beside it goes model_card.toml, once, for what only the user knows.
    The page asks no network for anything: figures, style and script are inside.

    Raises:
        AutosegError: the workspace holds nothing to report, or a record in it is damaged.

    """
    material = gather(workspace)
    start_card(workspace.model_card)
    sections = tuple((name, make(material)) for name, make in CONTENTS)
    write_text(workspace.report, sealed_page(page(material.name, lead(material), sections)))
    return workspace.report
