"""The one module that opens files for writing; everything else comes here, and tests/test_boundaries.py holds it.

A file gets a temporary name, is flushed, synced, read back, and only then renamed: one with its final name is complete.
A library that writes files itself is given the temporary name (`write_atomically`) and reads its file back itself.
"""

import errno
import fcntl
import hashlib
import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path, PurePosixPath
from uuid import uuid4

from autoseg.core.errors import AutosegError, FullDiskError, ResourceError

TEMPORARY_PREFIX = ".tmp-"
_MINIMUM_FREE_BYTES = 64 << 20
_FREE_FACTOR = 1.2
"""Of what will be written: folders, records and the blocks of the file system take room, too."""
_STALE_AFTER_S = 24 * 3600.0
"""A temporary file of another machine, or of another container, is taken for alive for so long."""
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})
LONGEST_NAME_BYTES = 255
"""Of a file in its folder, on every file system in use."""
_LONGEST_LINE_BYTES = 1 << 20
FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""The ways in which a system says that there is no room for a file: disk, quota, size limit."""
NO_MORE_FILES = frozenset({errno.EMFILE, errno.ENFILE})
"""The ways in which it says that too many files are open."""


def write_atomically(
    path: Path,
    writer: Callable[[Path], None],
    *,
    verify: Callable[[Path], None] | None = None,
    expected_bytes: int = 0,
) -> None:
    """Let `writer` fill a temporary file beside `path`, then rename it; a file with its final name is complete.

    The temporary name keeps the ending of `path`, for libraries that choose the format by it. `verify`, or `writer`
    itself, reads the file again and raises OSError if that is not what was meant. `expected_bytes` is about what will
    be written, 0 if nobody knows.

    Raises:
        FullDiskError: the disk is full.
        ResourceError: the folder cannot be written, or what was read back is not what was written.

    """
    _room(path, expected_bytes)
    ending = "".join(path.suffixes[-2:])
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{_here()}-{os.getpid()}-{uuid4().hex[:8]}{ending[-32:]}")
    try:
        writer(temporary)
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        if verify is not None:
            verify(temporary)
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise _not_written(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` atomically and read it back before it gets its name; errors as `write_atomically`."""

    def writer(temporary: Path) -> None:
        with temporary.open("wb") as handle:
            handle.write(data)

    write_atomically(path, writer, verify=_with_digest(hashlib.sha256(data).digest()), expected_bytes=len(data))


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    write_bytes(path, text.encode())


def copy_file(source: Path | str, target: Path | str) -> str:
    """Copy the bytes and the time of a file, atomically and read back; usable as `copy_function` of shutil.copytree.

    Raises:
        AutosegError: `source` cannot be read.
        ResourceError: `target` cannot be written.

    """
    try:
        size_bytes = Path(source).stat().st_size
        with Path(source).open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").digest()
    except OSError as error:
        raise AutosegError.at(source, f"cannot be read ({error.strerror})", "check the file") from error

    def writer(temporary: Path) -> None:
        shutil.copyfile(source, temporary)
        shutil.copystat(source, temporary)

    write_atomically(Path(target), writer, verify=_with_digest(digest), expected_bytes=size_bytes)
    return str(target)


def require_room(folder: Path, expected_bytes: int, what: str) -> None:
    """Refuse to begin `what` if the disk of `folder`, which need not be there yet, has no room for what it will write.

    Raises:
        FullDiskError: 1.2 times `expected_bytes` are not free.

    """
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    free_bytes, wanted_bytes = shutil.disk_usage(there).free, int(_FREE_FACTOR * expected_bytes)
    if free_bytes < wanted_bytes:
        needed = f"{what} needs about {wanted_bytes:,} bytes on this disk, {free_bytes:,} are free"
        raise FullDiskError.at(folder, needed, "free some space or choose another place")


def append_line(path: Path, line: str) -> None:
    """Append `line` and a newline to a log, in one write, and have it on the disk before going on.

    A crash can at worst leave a last line without its newline; readers skip it, and the next append removes it.

    Raises:
        ResourceError: the disk is full or the folder cannot be written.

    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as handle:
            _lock(handle.fileno(), fcntl.LOCK_EX)  # else what another process writes just now looks cut
            handle.seek(max(0, handle.tell() - _LONGEST_LINE_BYTES))
            tail = handle.read()
            if not tail.endswith(b"\n"):
                handle.truncate(handle.tell() - len(tail) + tail.rfind(b"\n") + 1)
            handle.write(line.encode() + b"\n")
            handle.flush()
            os.fsync(handle.fileno())
    except OSError as error:
        raise _not_written(path, error) from error


def append_bytes(path: Path, data: bytes) -> None:
    """Append `data` in one write, for logs whose format says by itself where a last entry was cut off.

    Raises:
        ResourceError: the disk is full or the folder cannot be written.

    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as handle:
            handle.write(data)
    except OSError as error:
        raise _not_written(path, error) from error


def sweep_temporaries(folder: Path) -> tuple[Path, ...]:
    """Remove the temporary files in `folder` and below whose writers were killed; return them.

    One of this machine is left alone while its process lives; one of another machine, until it is a day old.
    """
    swept = []
    for path in folder.rglob(f"{TEMPORARY_PREFIX}*") if folder.is_dir() else ():
        if path.is_file() and _is_stale(path):
            path.unlink(missing_ok=True)
            swept.append(path)
    return tuple(swept)


@contextmanager
def locked(path: Path, *, refusal: AutosegError | None = None) -> Iterator[None]:
    """Hold the lock file at `path` while the block runs; a lock ends with its process, however that ends.

    Waits for whoever holds it, or raises `refusal` if that is given. Not for a second time within the same process.
    A file system that knows no locks is used without.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("ab")
    except OSError as error:
        raise _not_written(path, error) from error
    with handle:
        try:
            _lock(handle.fileno(), fcntl.LOCK_EX if refusal is None else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if refusal is not None:
                raise refusal from None
            raise
        yield


def file_name(name: str, ending: str) -> str:
    """Return the file name of a case: `name` and `ending`; too long a name is cut and told apart by its digest."""
    encoded = name.encode()
    room = LONGEST_NAME_BYTES - len(ending.encode())
    if len(encoded) <= room:
        return name + ending
    return f"{encoded[: room - 13].decode(errors='ignore')}-{hashlib.sha256(encoded).hexdigest()[:12]}{ending}"


def is_inside(name: str) -> bool:
    """Tell whether a path relative to a folder stays in it, by its name alone; "" is no file and stays.

    What no file system can hold, a part of more than 255 bytes, is nowhere: asking for it would be an error.

    >>> is_inside("images/a.nii"), is_inside("../a.nii"), is_inside("/etc/passwd"), is_inside("a" * 256)
    (True, False, False, False)

    """
    path = PurePosixPath(name)
    possible = all(len(part.encode(errors="surrogateescape")) <= LONGEST_NAME_BYTES for part in path.parts)
    return possible and not path.is_absolute() and ".." not in path.parts and "\0" not in name


def _lock(descriptor: int, how: int) -> None:
    try:
        fcntl.flock(descriptor, how)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


def _not_written(path: Path, error: OSError) -> ResourceError:
    short = error.errno is None  # a library wrote less than it was given, and only reading it again told
    kind = FullDiskError if short or error.errno in FULL_DISK else ResourceError
    return kind.at(path, f"could not be written ({error})", "check space and permissions")


def _with_digest(digest: bytes) -> Callable[[Path], None]:
    """Return a check that a file has this SHA-256."""

    def verify(temporary: Path) -> None:
        with temporary.open("rb") as handle:
            if hashlib.file_digest(handle, "sha256").digest() != digest:
                msg = "what was read back differs from what was written"
                raise OSError(msg)

    return verify


def _room(path: Path, expected_bytes: int) -> None:
    """Make the folder of `path`, and refuse to begin a file that will not fit on its disk."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        free_bytes = shutil.disk_usage(path.parent).free
    except OSError as error:
        raise ResourceError.at(
            path, f"its folder cannot be made ({error})", "check the path and permissions"
        ) from error
    wanted_bytes = max(_MINIMUM_FREE_BYTES, int(_FREE_FACTOR * expected_bytes))
    if free_bytes < wanted_bytes:
        what = f"less than {wanted_bytes >> 20} MiB free on this disk"
        raise FullDiskError.at(path, what, "free some space and run again")


@cache
def _here() -> str:
    """Return a short name of this machine and its table of processes, without telling either."""
    try:
        processes = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        processes = ""
    return hashlib.sha256(f"{socket.gethostname()} {processes}".encode()).hexdigest()[:6]


def _is_stale(path: Path) -> bool:
    named = re.match(rf"{re.escape(TEMPORARY_PREFIX)}([0-9a-f]{{6}})-(\d+)-", path.name)
    if named is not None and named[1] == _here():
        return not _lives(int(named[2]))
    try:
        return time.time() - path.stat().st_mtime > _STALE_AFTER_S
    except OSError:  # gone: its writer was alive
        return False


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OverflowError:
        return False
    except PermissionError:
        return True
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def tell_kernel(path: Path, text: str) -> None:
    """Write to a file under /proc, which is no file on a disk: there is nothing to keep whole.

    Raises:
        OSError: the kernel does not take it, or it is not under /proc.

    """
    if path.parts[:2] != ("/", "proc"):
        raise OSError(errno.EPERM, "not under /proc", str(path))
    with path.open("w", encoding="ascii") as handle:
        handle.write(text)
