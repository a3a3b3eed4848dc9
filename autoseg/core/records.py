"""Strict records on disk: one frozen dataclass per JSON file, opened by its schema name.

Unknown, missing and wrong-typed keys are errors that name file and place; NaN and infinity are refused on writing. On
disk the last key is the record's seal (core/seals), which reading ignores: records may be edited by hand.
"""

import dataclasses
import json
import math
import stat
import types
import typing
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from autoseg.core.errors import AutosegError
from autoseg.core.files import write_bytes
from autoseg.core.seals import SEAL, sealed_record

T = TypeVar("T")

_MAXIMUM_BYTES = 256 << 20
_BY_HAND_BYTES = 1 << 18
_SCHEMA = "schema"


def encode(record: object) -> bytes:
    """Return the record as indented JSON that opens with its schema (if its class has one) and ends with a newline.

    Raises:
        ValueError: a number in it is NaN or infinite; the message says where.

    """
    _refuse_non_finite(record, type(record).__name__)
    fields = msgspec.to_builtins(record)
    schema = getattr(type(record), _SCHEMA, None)
    document = {_SCHEMA: schema, **fields} if isinstance(schema, str) else fields
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def decode(data: bytes, kind: type[T], where: Path | str) -> T:
    """Return the record of class `kind` in `data`; `where` names the source in errors.

    Raises:
        AutosegError: not JSON, another schema, an unknown, missing or wrong-typed key, or a value the class refuses.

    """
    try:
        document = msgspec.json.decode(data)
        _refuse_doubled_keys(data, where)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise AutosegError.at(where, f"not valid JSON ({error})", "remove the file to have it made anew") from error
    schema = getattr(kind, _SCHEMA, None)
    if isinstance(schema, str):
        found = document.pop(_SCHEMA, None) if isinstance(document, dict) else None
        if found != schema:
            raise AutosegError.at(where, f"schema is {found!r}, expected {schema!r}", "use the version that wrote it")
        if isinstance(document.get(SEAL), str):
            del document[SEAL]
    _refuse_unknown_keys(document, kind, where, "")
    try:
        return msgspec.convert(document, kind, strict=True)
    except (msgspec.ValidationError, RecursionError, OverflowError) as error:
        raise AutosegError.at(where, str(error), "mend this value or remove the file") from error


def read_record(path: Path, kind: type[T]) -> T:
    """Read the record of class `kind` from `path`.

    Raises:
        AutosegError: the file is absent, unreadable, or not such a record.

    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise AutosegError.at(path, "is no file", "remove it and run the step that makes it")
        if status.st_size > _MAXIMUM_BYTES:
            raise AutosegError.at(path, "larger than any record", "check that this is the right file")
        data = path.read_bytes()
    except OSError as error:
        raise AutosegError.at(path, f"cannot be read ({error.strerror})", "run the step that makes it") from error
    return decode(data, kind, path)


def write_record(path: Path, record: object) -> None:
    """Write `record` to `path` atomically, with its seal if its class has a schema."""
    data = encode(record)
    write_bytes(path, sealed_record(data) if isinstance(getattr(type(record), _SCHEMA, None), str) else data)


def _refuse_doubled_keys(data: bytes, where: Path | str) -> None:
    """Refuse a key that comes twice in one object, in records short enough to have been written by hand."""
    if len(data) > _BY_HAND_BYTES:
        return

    def checked(pairs: list[tuple[str, Any]]) -> None:
        doubled = [key for key, times in Counter(key for key, _ in pairs).items() if times > 1]
        if doubled:
            raise AutosegError.at(where, f"key {doubled[0]!a} comes twice", "keep one of them")

    json.loads(data, object_pairs_hook=checked)


def _refuse_non_finite(value: object, place: str) -> None:
    if isinstance(value, float):
        if not math.isfinite(value):
            msg = f"{place} is {value}; undefined is None"
            raise ValueError(msg)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            _refuse_non_finite(getattr(value, field.name), f"{place}.{field.name}")
    elif isinstance(value, dict):
        for key, item in value.items():
            _refuse_non_finite(item, f"{place}[{key!r}]")
    elif isinstance(value, tuple | list):
        for index, item in enumerate(value):
            _refuse_non_finite(item, f"{place}[{index}]")


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _refuse_unknown_keys(value: object, kind: Any, where: Path | str, place: str) -> None:
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        for option in typing.get_args(kind):
            if option is not types.NoneType:
                _refuse_unknown_keys(value, option, where, place)
    elif origin is tuple and isinstance(value, list):
        options = typing.get_args(kind)
        variadic = len(options) == 2 and options[1] is Ellipsis
        for index, item in enumerate(value):
            option = options[0] if variadic else options[min(index, len(options) - 1)]
            _refuse_unknown_keys(item, option, where, f"{place}[{index}]")
    elif dataclasses.is_dataclass(kind) and isinstance(kind, type) and isinstance(value, dict):
        names = {field.name for field in dataclasses.fields(kind)}
        unknown = sorted(set(value) - names)
        if unknown:
            raise AutosegError.at(where, f"unknown key {place}.{unknown[0]}".replace(" .", " "), "remove it")
        for name in names & set(value):
            _refuse_unknown_keys(value[name], _hints(kind)[name], where, f"{place}.{name}".lstrip("."))
