"""The report while a network trains: how far it is, on a page that loads itself anew."""

import time
from collections.abc import Callable

from autoseg.core.errors import AutosegError
from autoseg.core.files import write_text
from autoseg.core.seals import sealed_page
from autoseg.core.workspace import Workspace
from autoseg.reporting.markup import page, paragraph
from autoseg.reporting.material import gather
from autoseg.reporting.sections import lead, plan_section, training_section

FIRST_AFTER_S = 20.0
"""Shorter trainings are over before anybody looks, and drawing loads matplotlib."""
SHARE = 0.02
"""Of the time, for drawing: after a page that took one second the next comes 50 seconds later at the earliest."""
REFRESH_S = 15


class LivePage:
    """Writes report.html after an epoch; it refreshes itself until `end`, and the report of the whole run replaces it.

    A page is written as a whole or not at all, so that a browser never sees half of one.
    """

    def __init__(self, workspace: Workspace, clock: Callable[[], float] = time.monotonic) -> None:
        """Watch the trainings of a workspace."""
        self._workspace = workspace
        self._clock = clock
        self._next = clock() + FIRST_AFTER_S
        self._written = False

    def __call__(self, _epoch: object) -> None:
        """Write the page if it is time to."""
        began = self._clock()
        if began >= self._next:
            self._write(f'<meta http-equiv="refresh" content="{REFRESH_S}">\n')
            self._next = began + (self._clock() - began) / SHARE

    def end(self) -> None:
        """Leave a page, if there is one, that refreshes itself no more."""
        if self._written:
            self._write("")

    def _write(self, refresh: str) -> None:
        try:
            material = gather(self._workspace)
            sections = (("training", training_section(material)), ("plan", plan_section(material)))
        except AutosegError:  # a record is being written anew; the next epoch draws
            return
        state = "Training goes on; this page loads itself anew." if refresh else "Training is over or was stopped."
        whole = page(material.name, paragraph(state) + lead(material), sections)
        write_text(self._workspace.report, sealed_page(whole.replace("<head>\n", f"<head>\n{refresh}", 1)))
        self._written = True
