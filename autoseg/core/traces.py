"""What a line of the run log says of files and of this program, without saying whose machine it was."""

import contextlib
import hashlib
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from autoseg.core.errors import AutosegError

Named = tuple[tuple[str, str], ...]
_ABSOLUTE = re.compile(r"(?<![\w./])/(?:[^\s'\",;:()/]+/)*([^\s'\",;:()/]+)/?")
_LONGEST = 500
"""Of an outcome: a line of people's length and some more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFiles:
    """The files that a step reads and writes; a folder stands for the files in it, and so does a pattern for a name."""

    reads: tuple[Path, ...] = ()
    writes: tuple[Path, ...] = ()


def digests(paths: tuple[Path, ...], root: Path) -> Named:
    """Return each file that is there, by its path from `root` or else its name, with its SHA-256.

    A folder's, or a pattern's, is that of the lines that `sha256sum` prints for its files, in the order of their names;
    logs are left out, as they grow while their own lines are made.
    """
    found = []
    for path in paths:
        with contextlib.suppress(OSError):
            found.append((_place(path, root), _digest(path)))
    return tuple(found)


def impersonal(value: object, root: Path) -> str:
    """Return an argument as text: paths from `root` where they are below it, else their last part."""
    if isinstance(value, Path):
        return _place(value, root)
    if isinstance(value, tuple | list):
        return ", ".join(impersonal(item, root) for item in value)
    text = str(value)
    return _place(Path(text), root) if text.startswith("/") else shortened(text, root)


def outcome_of(error: BaseException, root: Path) -> str:
    """Return an error as a line, its paths shortened as in `impersonal`."""
    text = str(error)
    if isinstance(error, AutosegError) and error.where.startswith("/"):
        text = text.replace(error.where, _place(Path(error.where), root))
    return f"{type(error).__name__}: {shortened(text, root)}".splitlines()[0][:_LONGEST]


def shortened(text: str, root: Path) -> str:
    """Return `text` with what its absolute paths say of this machine left out.

    >>> shortened("cut at /home/jane/liver/images/a.nii.gz: 3 bytes", Path("/home/jane/w"))
    'cut at a.nii.gz: 3 bytes'
    """
    for folder in _known(root):
        text = text.replace(f"{folder}/", "")
    return _ABSOLUTE.sub(r"\1", text)


@cache
def commit() -> str | None:
    """Return the commit that this program was checked out at; None where it was installed without its history."""
    git = Path(__file__).resolve().parents[2] / ".git"
    try:
        head = (git / "HEAD").read_text(encoding="ascii").strip()
        if not head.startswith("ref: "):
            return head
        reference = head.removeprefix("ref: ")
        if (git / reference).is_file():
            return (git / reference).read_text(encoding="ascii").strip()
        lines = (git / "packed-refs").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return None
    return next((line.split()[0] for line in lines if line.endswith(f" {reference}")), None)


def _known(root: Path) -> Iterator[Path]:
    """Yield the folders that paths are told from, so that spaces in their names do not cut them."""
    places = {root.absolute(), root.resolve(), Path.cwd(), Path.home(), Path(tempfile.gettempdir())}
    yield from sorted(places - {Path("/")}, key=lambda place: -len(str(place)))


def _place(path: Path, root: Path) -> str:
    for base in (root.absolute(), root.resolve()):
        if path.absolute().is_relative_to(base) and path.absolute() != base:
            return path.absolute().relative_to(base).as_posix()
    return path.absolute().name if ".." not in path.parts else path.resolve().name


def _digest(path: Path) -> str:
    if path.is_file():
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    folder, pattern = (path, "*") if path.is_dir() else (path.parent, path.name)
    files = sorted(file for file in folder.glob(pattern) if file.is_file() and file.suffix != ".jsonl")
    if not files:
        raise FileNotFoundError(path)
    lines = (f"{_digest(file)}  {file.name}\n" for file in files if not file.name.startswith("."))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
