"""A zip is looked into only when every one of its names stays inside it and unpacks to what it says."""

import stat
import struct
import zipfile
from pathlib import Path

import pytest

from autoseg.core.archives import SMALL_BYTES, open_archive, read_bytes
from autoseg.core.errors import AutosegError


def made(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, name * 3)
    return path


def test_a_member_is_read_like_a_file(tmp_path: Path) -> None:
    root = open_archive(made(tmp_path / "a.zip", "Dataset/model/plans.json", "Dataset/x"))
    assert [entry.name for entry in root.iterdir()] == ["Dataset"]
    assert read_bytes(root / "Dataset" / "x", 100) == b"Dataset/xDataset/xDataset/x"
    assert read_bytes(tmp_path / "a.zip", 1000).startswith(b"PK")


def test_what_is_missing_or_too_large_is_named(tmp_path: Path) -> None:
    root = open_archive(made(tmp_path / "a.zip", "a"))
    with pytest.raises(AutosegError, match=r"a\.zip/b: cannot be read"):
        read_bytes(root / "b", 100)
    with pytest.raises(AutosegError, match=r"a\.zip/a: larger than 2 bytes"):
        read_bytes(root / "a", 2)
    with pytest.raises(AutosegError, match="cannot be read"):
        read_bytes(tmp_path / "nothing", 100)


@pytest.mark.parametrize(
    "name",
    ["../outside", "a/../../outside", "/etc/outside", "C:/outside", "a\\..\\outside", "a//b", "./a", "..", "/"],
)
def test_a_name_that_leaves_the_archive_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(AutosegError, match="leaves the archive"):
        open_archive(made(tmp_path / "a.zip", "fine", name))


def test_a_name_behind_a_zero_byte_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path / "a.zip", "fineZhidden")
    path.write_bytes(path.read_bytes().replace(b"fineZhidden", b"fine\0hidden"))
    with pytest.raises(AutosegError, match="leaves the archive"):
        open_archive(path)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_a_link_or_a_device_is_refused(tmp_path: Path, kind: int) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(AutosegError, match="is a link or a device"):
        open_archive(tmp_path / "a.zip")


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(4 * SMALL_BYTES))
    with pytest.raises(AutosegError, match="'bomb' unpacks to 4194304 bytes"):
        open_archive(tmp_path / "a.zip")


def test_the_same_name_twice_is_refused(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        made(tmp_path / "a.zip", "a", "a")
    with pytest.raises(AutosegError, match="'a' is there twice"):
        open_archive(tmp_path / "a.zip")


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path / "a.zip", "secret")
    data = bytearray(path.read_bytes())
    directory = data.index(b"PK\x01\x02")
    struct.pack_into("<H", data, directory + 8, 1)
    path.write_bytes(bytes(data))
    with pytest.raises(AutosegError, match="is encrypted"):
        open_archive(path)


def test_a_damaged_archive_or_member_is_named(tmp_path: Path) -> None:
    path = made(tmp_path / "a.zip", "alpha")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"alphaalpha", b"alphaalphX"))
    with pytest.raises(AutosegError, match="cannot be read"):
        read_bytes(open_archive(path) / "alpha", 100)
    path.write_bytes(data[:-30])
    with pytest.raises(AutosegError, match="no readable zip"):
        open_archive(path)


def test_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoseg.core.archives.MEMBERS_MAX", 2)
    with pytest.raises(AutosegError, match="refused: 3 members"):
        open_archive(made(tmp_path / "a.zip", "a", "b", "c"))
