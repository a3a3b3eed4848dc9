"""The one exception for what a user can mend; everything else that is raised is our own fault."""

from pathlib import Path
from typing import Self

EXIT_DONE = 0
EXIT_FINDINGS = 1
EXIT_BAD_INPUT = 2
EXIT_PARTIAL = 3
EXIT_RESOURCES = 4
EXIT_OUR_ERROR = 70


class AutosegError(Exception):
    """A mistake in the input or the machine's limits: one line that says where, what, and what to do instead."""

    exit_code = EXIT_BAD_INPUT
    where = ""
    what = ""
    mend = ""

    @classmethod
    def at(cls, where: Path | str, what: str, mend: str) -> Self:
        """Build the line `where: what; mend`; its three parts stay readable one by one."""
        error = cls(f"{where}: {what}; {mend}")
        error.where, error.what, error.mend = str(where), what, mend
        return error


class ResourceError(AutosegError):
    """Too little disk or memory."""

    exit_code = EXIT_RESOURCES


class FullDiskError(ResourceError):
    """No room for a file; nothing that would follow finds any either."""


class PartialError(AutosegError):
    """Some cases failed; the others are done and their files are complete."""

    exit_code = EXIT_PARTIAL
