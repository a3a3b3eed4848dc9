"""Looks into a foreign zip without unpacking it: all names are checked first, a member is read whole or not at all."""

import stat
import zipfile
import zlib
from pathlib import Path

from autoseg.core.errors import AutosegError

MEMBERS_MAX = 20_000
RATIO_MAX = 200
"""Weights hardly shrink and logs do by ten or twenty; a member that unpacks to more than this is a bomb."""
SMALL_BYTES = 1 << 20
"""A member that unpacks to no more than this may shrink as it likes."""

Place = Path | zipfile.Path
"""A folder or a file, on the disk or inside an archive."""


def open_archive(path: Path) -> zipfile.Path:
    """Return the root of the zip at `path`, to be read like a folder.

    Raises:
        AutosegError: no zip, or a member that leaves it (absolute, with ..), is a link, is encrypted, is there twice,
            or unpacks to much more than it is.

    """
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise AutosegError.at(path, f"no readable zip ({error})", "copy it again") from error
    members = archive.infolist()
    wrong = f"{len(members)} members" if len(members) > MEMBERS_MAX else _first_wrong(members)
    if wrong is not None:
        archive.close()
        raise AutosegError.at(path, f"refused: {wrong}", "use the zip as nnUNetv2_export_model_to_zip writes it")
    return zipfile.Path(archive)


def read_bytes(place: Place, limit_bytes: int) -> bytes:
    """Return the bytes of a file, on the disk or in an archive.

    Raises:
        AutosegError: it is missing, damaged, or larger than `limit_bytes`.

    """
    try:
        with place.open("rb") as handle:
            data: bytes = handle.read(limit_bytes + 1)
    except (OSError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        raise AutosegError.at(str(place), f"cannot be read ({error})", "copy the whole model again") from error
    if len(data) > limit_bytes:
        raise AutosegError.at(str(place), f"larger than {limit_bytes} bytes", "check that this is the right file")
    return data


def _first_wrong(members: list[zipfile.ZipInfo]) -> str | None:
    names = set()
    for member in members:
        wrong = _wrong(member)
        if wrong is not None:
            return f"{member.filename!a} {wrong}"
        if member.filename in names:
            return f"{member.filename!a} is there twice"
        names.add(member.filename)
    return None


def _wrong(member: zipfile.ZipInfo) -> str | None:
    name = member.orig_filename
    parts = name.rstrip("/").split("/")
    if "\\" in name or "\0" in name or ":" in parts[0] or any(part in ("", ".", "..") for part in parts):
        return "leaves the archive, or has no plain name"
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    if member.flag_bits & 1:
        return "is encrypted"
    if member.file_size > max(SMALL_BYTES, RATIO_MAX * member.compress_size):
        return f"unpacks to {member.file_size} bytes from {member.compress_size}"
    return None
