"""One kind of file that is fuzzed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`read` takes a file's path; AutosegError is its only right to complain. `seeds` are whole files."""

    ending: str
    read: Callable[[Path], object]
    seeds: Callable[[Path], list[bytes]]
