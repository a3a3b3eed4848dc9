"""The one way to write a file: temporary name, flush, fsync, rename, fsync of the folder."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from autoseg.core.errors import ResourceError

TEMPORARY_PREFIX = ".tmp-"
_MINIMUM_FREE_BYTES = 64 << 20


def write_atomically(path: Path, writer: Callable[[Path], None]) -> None:
    """Let `writer` fill a temporary file beside `path`, then rename it; a file with its final name is complete.

    The temporary name keeps the ending of `path`, for libraries that choose the format by it.

    Raises:
        ResourceError: the disk is full or the folder cannot be written.

    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(path.parent).free < _MINIMUM_FREE_BYTES:
        raise ResourceError.at(path, "less than 64 MiB free on this disk", "free some space and run again")
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{uuid4().hex[:8]}{''.join(path.suffixes[-2:])}")
    try:
        writer(temporary)
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not path.parent.exists():
            raise
        raise ResourceError.at(path, f"could not be written ({error})", "check space and permissions") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` atomically and verify that it arrived."""

    def writer(temporary: Path) -> None:
        temporary.write_bytes(data)
        if temporary.stat().st_size != len(data):
            msg = f"wrote {temporary.stat().st_size} of {len(data)} bytes"
            raise OSError(msg)

    write_atomically(path, writer)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    write_bytes(path, text.encode())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
