"""Records from JSON by the standard library alone, as strict as autoseg.core.records: the class is the format."""

import json
import types
import typing
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from autoseg.core.errors import AutosegError

T = TypeVar("T")
_MEND = "export the model again"


def read_strict(path: Path, kind: type[T]) -> T:
    """Return the record of class `kind` in a JSON file.

    Raises:
        AutosegError: the file is absent, no JSON, of another schema, or has an unknown, missing or wrong-typed key.

    """
    try:
        document = json.loads(path.read_bytes(), parse_constant=_refuse)
    except OSError as error:
        raise AutosegError.at(path, f"cannot be read ({error.strerror})", _MEND) from error
    except (ValueError, RecursionError) as error:
        raise AutosegError.at(path, f"not valid JSON ({error})", _MEND) from error
    schema = getattr(kind, "schema", None)
    found = document.pop("schema", None) if isinstance(document, dict) else None
    if found != schema:
        raise AutosegError.at(path, f"schema is {found!r}, expected {schema!r}", "use the version that wrote it")
    if isinstance(document, dict):
        document.pop("seal", None)
    try:
        record: T = _convert(document, kind, kind.__name__)
    except ValueError as error:
        raise AutosegError.at(path, str(error), _MEND) from error
    return record


def _refuse(constant: str) -> float:
    msg = f"{constant} is no number here"
    raise ValueError(msg)


@cache
def _hints(kind: type) -> dict[str, Any]:
    return {name: hint for name, hint in typing.get_type_hints(kind).items() if name != "schema"}


def _convert(value: object, kind: Any, place: str) -> Any:
    """Return a JSON value as `kind`: a dataclass, tuple, Literal, union, or a plain type."""
    if is_dataclass(kind) and isinstance(kind, type) and isinstance(value, dict):
        hints = _hints(kind)
        odd = sorted(set(value) ^ {field.name for field in fields(kind)})
        if odd:
            msg = f"{'unknown' if odd[0] in value else 'missing'} key {place}.{odd[0]}"
            raise ValueError(msg)
        return kind(**{name: _convert(value[name], hints[name], f"{place}.{name}") for name in hints})
    origin, options = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple and isinstance(value, list):
        kinds = [options[0]] * len(value) if options[-1] is Ellipsis else list(options)
        if len(kinds) == len(value):
            each = enumerate(zip(value, kinds, strict=True))
            return tuple(_convert(item, option, f"{place}[{index}]") for index, (item, option) in each)
    if origin is Literal and value in options and type(value) is not bool:
        return value
    if origin in (typing.Union, types.UnionType):
        (option,) = [option for option in options if option is not types.NoneType]
        return None if value is None else _convert(value, option, place)
    if kind is float and type(value) is int:
        return float(value)
    if isinstance(kind, type) and type(value) is kind:
        return value
    msg = f"{place} is {str(value)[:40]!r}, not {kind}"
    raise ValueError(msg)
