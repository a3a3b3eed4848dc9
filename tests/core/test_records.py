from dataclasses import dataclass
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoseg.core import records
from autoseg.core.errors import AutosegError
from autoseg.core.records import decode, encode, read_record, write_record
from autoseg.core.seals import without_seal


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    name: str
    size_mm: float | None = None

    def __post_init__(self) -> None:
        if not self.name:
            msg = "a name is needed"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    schema: ClassVar[str] = "autoseg.outer/1"

    inners: tuple[Inner, ...]
    shape: tuple[int, int]
    first: Inner | None = None


OUTER = Outer(inners=(Inner(name="a", size_mm=1.5), Inner(name="b")), shape=(2, 3))


@given(st.lists(st.tuples(st.text(min_size=1), st.none() | st.floats(allow_nan=False, allow_infinity=False))))
def test_what_is_written_is_read_back(pairs):
    outer = Outer(inners=tuple(Inner(name=n, size_mm=s) for n, s in pairs), shape=(1, 2))
    assert decode(encode(outer), Outer, "x") == outer


def test_a_record_opens_with_its_schema_and_is_stable(tmp_path):
    write_record(tmp_path / "a.json", OUTER)
    data = (tmp_path / "a.json").read_bytes()
    assert data.startswith(b'{\n "schema": "autoseg.outer/1"')
    assert without_seal(data) == encode(read_record(tmp_path / "a.json", Outer))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[]", "schema is None, expected 'autoseg.outer/1'"),
        (b'{"schema":"autoseg.outer/2"}', "schema is 'autoseg.outer/2'"),
        (b'{"schema":"autoseg.outer/1","inners":[]}', "missing required field `shape`"),
        (b'{"schema":"autoseg.outer/1","inners":[],"shape":[1,2],"x":1}', "unknown key x; remove it"),
        (b'{"schema":"autoseg.outer/1","inners":[{"name":"a","y":1}],"shape":[1,2]}', r"unknown key inners\[0\]\.y"),
        (b'{"schema":"autoseg.outer/1","inners":[],"shape":[1,2],"first":{"name":"a","y":1}}', r"unknown key first\.y"),
        (b'{"schema":"autoseg.outer/1","inners":[],"shape":[1,"2"]}', r"Expected `int`, got `str` - at `\$.shape"),
        (b'{"schema":"autoseg.outer/1","inners":[],"shape":[1,2,3]}', "length 2"),
        (b'{"schema":"autoseg.outer/1","inners":[{"name":""}],"shape":[1,2]}', "a name is needed"),
    ],
)
def test_a_damaged_record_is_refused_with_file_and_place(text, message):
    with pytest.raises(AutosegError, match=message) as caught:
        decode(text, Outer, "plan.json")
    assert str(caught.value).startswith("plan.json: ")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_json_cannot_hold_are_refused_with_their_place(number, tmp_path):
    with pytest.raises(ValueError, match=r"Outer\.inners\[1\]\.size_mm is"):
        write_record(
            tmp_path / "a.json", Outer(inners=(OUTER.inners[0], Inner(name="b", size_mm=number)), shape=(1, 1))
        )
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="'key'"):
        encode({"key": number})


def test_an_absent_file_says_which_and_what_to_do(tmp_path):
    with pytest.raises(AutosegError, match=r"plan\.json: cannot be read \(No such file.*; run the step that makes it"):
        read_record(tmp_path / "plan.json", Outer)


def test_a_file_larger_than_any_record_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "_MAXIMUM_BYTES", 10)
    write_record(tmp_path / "a.json", OUTER)
    with pytest.raises(AutosegError, match="larger than any record"):
        read_record(tmp_path / "a.json", Outer)
