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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        free_bytes = shutil.disk_usage(path.parent).free
    except OSError as error:
        raise ResourceError.at(
            path, f"its folder cannot be made ({error})", "check the path and permissions"
        ) from error
    if free_bytes < _MINIMUM_FREE_BYTES:
        raise ResourceError.at(path, "less than 64 MiB free on this disk", "free some space and run again")
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{uuid4().hex[:8]}{''.join(path.suffixes[-2:])}")
    try:
        writer(temporary)
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
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


def append_line(path: Path, line: str) -> None:
    """Append `line` and a newline to a log, in one write, and have it on the disk before going on.

    A crash can at worst leave a last line without its newline; readers skip it, and the next append starts a new line.

    Raises:
        ResourceError: the disk is full or the folder cannot be written.

    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as handle:
            if handle.tell() > 0:
                handle.seek(-1, os.SEEK_END)
                if handle.read(1) != b"\n":
                    handle.write(b"\n")
            handle.write(line.encode() + b"\n")
            handle.flush()
            os.fsync(handle.fileno())
    except OSError as error:
        raise ResourceError.at(path, f"could not be written ({error})", "check space and permissions") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
