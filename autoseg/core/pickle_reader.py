"""Reads a foreign pickle as plain data and executes nothing.

A pickle is a program. This module walks its opcodes (pickletools parses them, nothing runs) and takes only those in a
literal table: the ones that make plain Python values. A name that the pickle refers to stays a name, a `Symbol`, and
must be in the caller's literal list. Four constructions are understood, each by a pure function here: bytes in
protocol 2, NumPy's types and scalars, and ordered dictionaries. Everything else is refused.
"""

import pickletools
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from autoseg.core.errors import AutosegError

BYTES_MAX = 1 << 20
OPERATIONS_MAX = 20_000
VALUES_MAX = 20_000
"""Values in the result, each counted as often as it is referred to: a small pickle can describe an endless one."""
DEPTH_MAX = 32

# Kind and bytes of a NumPy scalar: its code in `struct`. Nothing else is a number that a record of ours could hold.
_SCALARS: Mapping[str, str] = MappingProxyType(
    {"b1": "?", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I", "u8": "Q"}
    | {"f2": "e", "f4": "f", "f8": "d"}
)
_ORDERS: Mapping[str, str] = MappingProxyType({"<": "<", ">": ">", "|": "<", "=": "="})


@dataclass(frozen=True, slots=True)
class Symbol:
    """A name that a pickle refers to, such as a function's. It is never looked up."""

    module: str
    name: str


class _RefusedError(ValueError):
    """The pickle is damaged, or does what none of ours may do."""


@dataclass(slots=True)
class _NumpyType:
    """A NumPy type by its code, such as i8, and byte order, which BUILD sets where the memo sees it, too."""

    code: str
    order: str = "="


_MARK = object()


def read_pickle(data: bytes, where: Path | str, names: frozenset[str]) -> object:
    """Return the value that the pickle `data` describes: None, bool, int, float, str, bytes, list, tuple, dict, Symbol.

    Args:
        data: the whole pickle, any protocol.
        where: names the source in errors.
        names: what it may refer to, as "module name"; the references come back as Symbols.

    Raises:
        AutosegError: it is damaged, too large, or does anything that is not in the tables.

    """
    if len(data) > BYTES_MAX:
        raise AutosegError.at(where, f"a pickle of {len(data)} bytes", f"at most {BYTES_MAX} are read")
    try:
        value = _run(data, names)
        _check_size(value)
    except _RefusedError as error:
        raise AutosegError.at(where, f"refused pickle: {error}", "use the file as nnU-Net wrote it") from error
    except (ValueError, OverflowError, struct.error) as error:
        raise AutosegError.at(where, f"damaged pickle ({error})", "copy the file again") from error
    return value


@dataclass(slots=True)
class _Machine:
    """The stack and the memo of a pickle, holding plain values only."""

    names: frozenset[str]
    stack: list[object] = field(default_factory=list)
    memo: dict[int, object] = field(default_factory=dict)

    def pop(self) -> object:
        """Take the top of the stack, which is no mark."""
        if not self.stack or self.stack[-1] is _MARK:
            msg = "its stack is empty"
            raise _RefusedError(msg)
        return self.stack.pop()

    def pop_to_mark(self) -> list[object]:
        """Take everything above the last mark, and the mark."""
        for index in range(len(self.stack) - 1, -1, -1):
            if self.stack[index] is _MARK:
                found = self.stack[index + 1 :]
                del self.stack[index:]
                return found
        msg = "no mark on its stack"
        raise _RefusedError(msg)

    def top(self) -> object:
        """Return the top of the stack, which is no mark."""
        value = self.pop()
        self.stack.append(value)
        return value

    def remember(self, index: object) -> None:
        """Put the top of the stack into the memo."""
        if not isinstance(index, int) or not 0 <= index < OPERATIONS_MAX:
            msg = f"memo index {index!r}"
            raise _RefusedError(msg)
        self.memo[index] = self.top()

    def recall(self, index: object) -> None:
        """Push what the memo holds at `index`."""
        if not isinstance(index, int) or index not in self.memo:
            msg = f"nothing in the memo at {index!r}"
            raise _RefusedError(msg)
        self.stack.append(self.memo[index])

    def symbol(self, module: object, name: object) -> None:
        """Push the Symbol of an allowed name."""
        known = type(module) is str and type(name) is str
        if not known or (f"{module} {name}" not in self.names and f"{module} {name}" not in _CONSTRUCTIONS):
            msg = f"it refers to {module!a}.{name!a}"
            raise _RefusedError(msg)
        self.stack.append(Symbol(str(module), str(name)))

    def append(self, items: list[object]) -> None:
        """Append to the list at the top of the stack."""
        target = self.top()
        if type(target) is not list:
            msg = "it appends to what is no list"
            raise _RefusedError(msg)
        target.extend(items)

    def set_items(self, items: list[object]) -> None:
        """Put keys and values, one after the other, into the dictionary at the top of the stack."""
        target = self.top()
        if type(target) is not dict or len(items) % 2:
            msg = "it sets items of what is no dictionary"
            raise _RefusedError(msg)
        target.update(_pairs(items))

    def reduce(self) -> None:
        """Apply one of the constructions to the tuple at the top of the stack."""
        arguments, function = self.pop(), self.pop()
        build = _CONSTRUCTIONS.get(f"{function.module} {function.name}") if isinstance(function, Symbol) else None
        if build is None or type(arguments) is not tuple:
            msg = f"it calls {function!a}"
            raise _RefusedError(msg)
        self.stack.append(build(arguments))

    def build(self) -> None:
        """Give a NumPy type its byte order; nothing else takes a state."""
        state, target = self.pop(), self.pop()
        order = state[1] if type(state) is tuple and len(state) > 1 else None
        if type(target) is not _NumpyType or type(order) is not str or order not in _ORDERS:
            msg = f"it sets the state of {type(target).__name__}"
            raise _RefusedError(msg)
        target.order = order
        self.stack.append(target)


def _pairs(items: list[object]) -> dict[str | int, object]:
    found: dict[str | int, object] = {}
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str | int):
            msg = f"a {type(key).__name__} as a key"
            raise _RefusedError(msg)
        found[key] = value
    return found


def _push(machine: _Machine, value: object) -> None:
    machine.stack.append(value)


def _stack_global(machine: _Machine) -> None:
    name = machine.pop()
    machine.symbol(machine.pop(), name)


def _global(machine: _Machine, argument: object) -> None:
    module, _, name = str(argument).partition(" ")
    machine.symbol(module, name)


def _tuple_of(machine: _Machine, count: int) -> None:
    items = [machine.pop() for _ in range(count)]
    machine.stack.append(tuple(items[::-1]))


def _set_item(machine: _Machine) -> None:
    value = machine.pop()
    machine.set_items([machine.pop(), value])


# Every opcode that is taken, by its name in pickletools; `a` is the opcode's own argument.
_OPCODES: Mapping[str, Callable[[_Machine, object], None]] = MappingProxyType(
    {
        # frames and protocols say how to read, not what
        "PROTO": lambda _m, _a: None,
        "FRAME": lambda _m, _a: None,
        "STOP": lambda _m, _a: None,
        # numbers, text and bytes
        "NONE": lambda m, _a: _push(m, None),
        "NEWTRUE": lambda m, _a: _push(m, True),
        "NEWFALSE": lambda m, _a: _push(m, False),
        "INT": _push,
        "BININT": _push,
        "BININT1": _push,
        "BININT2": _push,
        "LONG": _push,
        "LONG1": _push,
        "FLOAT": _push,
        "BINFLOAT": _push,
        "UNICODE": _push,
        "SHORT_BINUNICODE": _push,
        "BINUNICODE": _push,
        "SHORT_BINBYTES": _push,
        "BINBYTES": _push,
        # containers
        "MARK": lambda m, _a: _push(m, _MARK),
        "EMPTY_LIST": lambda m, _a: _push(m, []),
        "EMPTY_TUPLE": lambda m, _a: _push(m, ()),
        "EMPTY_DICT": lambda m, _a: _push(m, {}),
        "LIST": lambda m, _a: _push(m, m.pop_to_mark()),
        "TUPLE": lambda m, _a: _push(m, tuple(m.pop_to_mark())),
        "TUPLE1": lambda m, _a: _tuple_of(m, 1),
        "TUPLE2": lambda m, _a: _tuple_of(m, 2),
        "TUPLE3": lambda m, _a: _tuple_of(m, 3),
        "DICT": lambda m, _a: _push(m, _pairs(_even(m.pop_to_mark()))),
        "APPEND": lambda m, _a: m.append([m.pop()]),
        "APPENDS": lambda m, _a: m.append(m.pop_to_mark()),
        "SETITEM": lambda m, _a: _set_item(m),
        "SETITEMS": lambda m, _a: m.set_items(m.pop_to_mark()),
        # the memo
        "PUT": lambda m, a: m.remember(a),
        "BINPUT": lambda m, a: m.remember(a),
        "LONG_BINPUT": lambda m, a: m.remember(a),
        "MEMOIZE": lambda m, _a: m.remember(len(m.memo)),
        "GET": lambda m, a: m.recall(a),
        "BINGET": lambda m, a: m.recall(a),
        "LONG_BINGET": lambda m, a: m.recall(a),
        # names, and the four constructions
        "GLOBAL": _global,
        "STACK_GLOBAL": lambda m, _a: _stack_global(m),
        "REDUCE": lambda m, _a: m.reduce(),
        "BUILD": lambda m, _a: m.build(),
    }
)


def _even(items: list[object]) -> list[object]:
    if len(items) % 2:
        msg = "a key without a value"
        raise _RefusedError(msg)
    return items


def _bytes_of_text(arguments: tuple[object, ...]) -> bytes:
    if len(arguments) != 2 or arguments[1] not in ("latin1", "latin-1") or type(arguments[0]) is not str:
        msg = "_codecs.encode of anything but Latin-1"
        raise _RefusedError(msg)
    return arguments[0].encode("latin-1")


def _numpy_type(arguments: tuple[object, ...]) -> _NumpyType:
    if not arguments or arguments[0] not in _SCALARS:
        msg = f"NumPy type {arguments[:1]!a}"
        raise _RefusedError(msg)
    return _NumpyType(str(arguments[0]))


def _numpy_scalar(arguments: tuple[object, ...]) -> bool | int | float:
    kind, data = arguments if len(arguments) == 2 else (None, None)
    if type(kind) is not _NumpyType or type(data) is not bytes:
        msg = "a NumPy scalar without a type or bytes"
        raise _RefusedError(msg)
    value: bool | int | float = struct.unpack(_ORDERS[kind.order] + _SCALARS[kind.code], data)[0]
    return value


def _ordered(arguments: tuple[object, ...]) -> dict[str, object]:
    if arguments:
        msg = "an ordered dictionary with arguments"
        raise _RefusedError(msg)
    return {}


_CONSTRUCTIONS: Mapping[str, Callable[[tuple[object, ...]], object]] = MappingProxyType(
    {
        "_codecs encode": _bytes_of_text,
        "numpy dtype": _numpy_type,
        "numpy.core.multiarray scalar": _numpy_scalar,
        "numpy._core.multiarray scalar": _numpy_scalar,
        "collections OrderedDict": _ordered,
    }
)


def _run(data: bytes, names: frozenset[str]) -> object:
    """Walk the opcodes; return what lies alone on the stack at the end."""
    machine = _Machine(names)
    end = 0
    for count, (opcode, argument, position) in enumerate(pickletools.genops(data)):
        handle = _OPCODES.get(opcode.name)
        if handle is None:
            msg = f"opcode {opcode.name} at byte {position}"
            raise _RefusedError(msg)
        if count >= OPERATIONS_MAX:
            msg = f"more than {OPERATIONS_MAX} operations"
            raise _RefusedError(msg)
        handle(machine, argument)
        end = (position or 0) + 1
    if end != len(data):
        msg = "more bytes behind its end"
        raise _RefusedError(msg)
    value = machine.pop()
    if machine.stack:
        msg = "values left over on its stack"
        raise _RefusedError(msg)
    return value


def _check_size(value: object) -> None:
    """Refuse what is endless, or nested or repeated too much; nothing is visited recursively."""
    waiting = [(value, 0)]
    seen = 0
    while waiting:
        item, depth = waiting.pop()
        seen += 1
        if seen > VALUES_MAX or depth > DEPTH_MAX:
            msg = f"more than {VALUES_MAX} values, or {DEPTH_MAX} of them inside each other"
            raise _RefusedError(msg)
        if isinstance(item, _NumpyType):
            msg = "a NumPy type as a value"
            raise _RefusedError(msg)
        if isinstance(item, str):
            item.encode()  # half of a surrogate pair is no text
        waiting.extend((inner, depth + 1) for inner in _inside(item))


def _inside(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        yield from value
        yield from value.values()
    elif isinstance(value, list | tuple):
        yield from value
