"""How every command talks: its record or words on stdout, the next command on stderr."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from autoseg.core.errors import EXIT_DONE
from autoseg.core.runtime import say
from autoseg.core.text import printable
from autoseg.options import Talk

TALK = Talk()
Talking = Annotated[Talk, Parameter(name="*")]


def tell(talk: Talk, record: object, text: str) -> None:
    """Write the record as JSON if that is wanted, else the words."""
    if talk.json:
        from autoseg.core.records import encode

        sys.stdout.write(encode(record).decode())
    else:
        sys.stdout.write(f"{printable(text)}\n")


def next_step(command: str) -> int:
    """Name the next command and return the exit code of success."""
    say(f"next: {command}")
    return EXIT_DONE


def short(path: Path) -> Path:
    """Return the path from the working folder, where it lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
