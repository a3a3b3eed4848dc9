"""Digests of files: records and pages that carry their own, and lists of files with theirs.

A record's last key, and a page's last line, is the SHA-256 of all the rest: a file is whole, or edited, by itself,
whenever its writer was killed and whoever wrote beside it. It proves no author; whoever edits a file can seal it anew.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SEAL = "seal"
State = Literal["whole", "edited", "unsealed"]
_IN_RECORD = re.compile(rb',\n "seal": "([0-9a-f]{64})"(\n}\n)\Z')
_IN_PAGE = re.compile(rb"<!-- seal: ([0-9a-f]{64}) -->\n()\Z")
_PAGE_START = b"<!DOCTYPE html>"
_TAIL_BYTES = 128
"""Longer than a seal and what follows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDigest:
    """A file, by its name or its path from where the record says, and the SHA-256 that `sha256sum` shows for it."""

    file: str
    sha256: str


def sealed_record(data: bytes) -> bytes:
    """Return an encoded record with its seal as the last key."""
    return data[:-3] + f',\n "{SEAL}": "{hashlib.sha256(data).hexdigest()}"\n}}\n'.encode()


def sealed_page(text: str) -> str:
    """Return a page with its seal as a last line."""
    return f"{text}<!-- {SEAL}: {hashlib.sha256(text.encode()).hexdigest()} -->\n"


def without_seal(data: bytes) -> bytes:
    """Return what a seal was made of: the bytes of a record or a page without it."""
    return _opened(data)[0]


def state_of(data: bytes) -> State:
    """Return whether a record or a page is what was written; "unsealed" where older versions wrote it."""
    content, seal = _opened(data)
    if seal is not None:
        return "whole" if hashlib.sha256(content).hexdigest() == seal else "edited"
    if data.startswith(_PAGE_START):
        return "unsealed" if data.rstrip().endswith(b"</html>") else "edited"
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return "edited"
    return "edited" if isinstance(document, dict) and SEAL in document else "unsealed"


def content_digest_of(path: Path) -> str:
    """Return the SHA-256 of a file without its seal, in hexadecimal; OSError if it cannot be read."""
    return hashlib.sha256(without_seal(path.read_bytes())).hexdigest()


def digests_of(files: Iterable[Path], relative_to: Path) -> tuple[FileDigest, ...]:
    """Return files with their digests, by their paths from a folder; OSError if one cannot be read."""
    found = []
    for path in files:
        with path.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        found.append(FileDigest(file=path.relative_to(relative_to).as_posix(), sha256=digest))
    return tuple(found)


def _opened(data: bytes) -> tuple[bytes, str | None]:
    start = max(0, len(data) - _TAIL_BYTES)
    tail = data[start:]
    found = _IN_RECORD.search(tail) or _IN_PAGE.search(tail)
    if found is None:
        return data, None
    return data[: start + found.start()] + found[2], found[1].decode()
