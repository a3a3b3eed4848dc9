"""The runner's own source code, as an exported folder holds it: every module it imports, under another package's name.

The copy is a package of its own, so that it neither hides nor needs an installed autoseg.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

PACKAGE = "autoseg_runner"
_START = "autoseg.runner.command"
_SHAPES = "autoseg.runner.shapes"
_ROOTS: Mapping[str, Path] = MappingProxyType(
    {"autoseg": Path(__file__).parents[1], "planners": Path(__file__).parents[2] / "planners"}
)
_RENAMED: Mapping[str, str] = MappingProxyType(
    {"autoseg": PACKAGE, "planners": f"{PACKAGE}.planners", "jaxtyping": f"{PACKAGE}.runner.shapes"}
)
_IMPORT = re.compile(rf"^(\s*from )({'|'.join(_RENAMED)})(?=[. ])", re.MULTILINE)
_INIT = '"""A copy of what autoseg\'s runner needs; made by `autoseg export`, Apache-2.0."""\n'


def runner_modules() -> tuple[str, ...]:
    """Return the dotted names of all modules of autoseg and planners that the runner imports, itself included."""
    found: dict[str, None] = {}
    waiting = [_START, _SHAPES]
    while waiting:
        name = waiting.pop()
        if name in found or not _path(name):
            continue
        found[name] = None
        parts = name.split(".")
        waiting += [".".join(parts[:count]) for count in range(2, len(parts))]  # packages on the way, but autoseg
        waiting += [module for module in imported(_text(name)) if module.split(".")[0] in _ROOTS]
    return tuple(sorted(found))


def imported(text: str) -> Iterator[str]:
    """Yield the modules that a source text imports, also inside functions, but not for type checkers alone."""
    waiting: list[ast.AST] = [ast.parse(text)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        waiting += ast.iter_child_nodes(node)


@cache
def runner_files() -> Mapping[str, str]:
    """Return the files of the copy: path inside the exported folder -> text."""
    files = {f"{PACKAGE}/__init__.py": _INIT, f"{PACKAGE}/planners/__init__.py": _INIT}
    for name in runner_modules():
        path = _path(name)
        root, _, rest = name.partition(".")
        inside = [*_RENAMED[root].split("."), *(rest.split(".") if rest else [])]
        if path is not None and path.name == "__init__.py":
            inside.append("__init__")
        files["/".join(inside) + ".py"] = _IMPORT.sub(lambda m: m[1] + _RENAMED[m[2]], _text(name))
    return MappingProxyType(files)


def _path(name: str) -> Path | None:
    root, _, rest = name.partition(".")
    place = _ROOTS[root].joinpath(*rest.split(".")) if rest else _ROOTS[root]
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


def _text(name: str) -> str:
    path = _path(name)
    return path.read_text(encoding="utf-8") if path else ""
