"""Rules that hold the architecture: imports, sizes, and what no file may do."""

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*(ROOT / "autoseg").rglob("*.py"), *(ROOT / "planners").rglob("*.py")])
MAXIMUM_LINES = 400
MAXIMUM_FUNCTION_LINES = 60
MAXIMUM_PARAMETERS = 5
PURE = frozenset(
    {
        "collections",
        "dataclasses",
        "difflib",
        "enum",
        "fractions",
        "functools",
        "itertools",
        "math",
        "statistics",
        "types",
    }
    | {"typing", "planners"}
)
"""Modules that planners may import: numbers and types, nothing that sees the world."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


each_source = pytest.mark.parametrize("path", SOURCES, ids=name_of)


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def calls(path: Path) -> list[tuple[str, ast.Call]]:
    return [(dotted(node.func), node) for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call)]


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: relative import"
            found.add(node.module or "")
    return found


def test_imports_point_one_way_as_the_contracts_say():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", [p for p in SOURCES if name_of(p).startswith("planners/")], ids=name_of)
def test_planners_know_only_numbers_and_types(path):
    assert {module.partition(".")[0] for module in imports(path)} <= PURE


@each_source
def test_a_file_is_small(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAXIMUM_LINES


@each_source
def test_functions_are_small(path):
    long = [f"{f.name} ({f.end_lineno - f.lineno + 1})" for f in functions(path)]
    assert [
        name for name, f in zip(long, functions(path), strict=True) if f.end_lineno - f.lineno >= MAXIMUM_FUNCTION_LINES
    ] == []


@each_source
def test_functions_take_few_parameters(path):
    if name_of(path) == "autoseg/cli.py":
        return  # an option each, with its own help
    crowded = []
    for function in functions(path):
        given = function.args
        named = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs) if a.arg not in {"self", "cls"}]
        if len(named) > MAXIMUM_PARAMETERS:
            crowded.append(f"{function.name}({', '.join(named)})")
    assert crowded == []


@each_source
def test_only_the_command_line_prints(path):
    if name_of(path) != "autoseg/cli.py":
        assert [node.lineno for name, node in calls(path) if name == "print"] == []


@each_source
def test_nothing_from_a_file_is_executed(path):
    forbidden = {"eval", "exec", "compile", "__import__", "os.system", "pickle.load", "pickle.loads"}
    forbidden |= {"torch.save", "torch.jit.load", "torch.hub.load", "torch.package.PackageImporter", "yaml.load"}
    forbidden |= {"importlib.import_module", "pydoc.locate", "runpy.run_path", "runpy.run_module", "np.save"}
    assert [f"{name} (line {node.lineno})" for name, node in calls(path) if name in forbidden] == []
    assert not imports(path) & {"pickle", "_pickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"}
    for name, node in calls(path):
        true = {k.arg for k in node.keywords if isinstance(k.value, ast.Constant) and k.value.value is True}
        assert not true & {"shell", "allow_pickle"}, f"{name} (line {node.lineno})"
        assert name != "torch.load" or "weights_only" in true, f"{name} (line {node.lineno})"


@each_source
def test_no_environment_variable_is_read_or_set(path):
    read = [
        node.lineno for node in ast.walk(tree_of(path)) if isinstance(node, ast.Attribute) and node.attr == "environ"
    ]
    called = [node.lineno for name, node in calls(path) if name.endswith(("getenv", "putenv"))]
    if name_of(path) == "autoseg/cli.py":  # torch's threading library can be told how to wait in no other way
        told = [ast.unparse(node) for name, node in calls(path) if name.startswith("os.environ")]
        assert sorted(told) == [
            "os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')",  # nor can cuBLAS be told to repeat itself
            "os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')",
        ]
        read = read[2:]
    assert read + called == []


WRITERS = (
    *(".write_text", ".write_bytes", ".touch", ".to_csv", ".to_filename", ".to_file", ".tofile", ".save", ".save_as"),
    *(".savefig", ".imsave", ".imwrite", ".dcmwrite", ".WriteImage", ".savez", ".savez_compressed", ".savetxt"),
    *(".save_file", ".open_memmap", ".memmap", ".symlink_to", ".hardlink_to", ".rename"),
    *("json.dump", "msgpack.dump", "os.replace", "os.rename", "os.link", "os.symlink", "os.truncate", "os.fdopen"),
    *("shutil.copy", "shutil.copy2", "shutil.copyfile", "shutil.move", "shutil.copytree", "shutil.unpack_archive"),
    *(".extractall", ".NamedTemporaryFile", ".mkstemp", ".FileIO", ".SummaryWriter", ".EventFileWriter"),
)
"""Calls that put something under a name on the disk; what is imported from a module is called by its name alone."""
MODULES_WITH_OPEN = ("io.", "os.", "gzip.", "bz2.", "lzma.", "tarfile.", "codecs.")
OPENERS = ("open", ".open", "ZipFile", "GzipFile", "BZ2File", "LZMAFile")
UNDER_ANOTHER_NAME = {"temporary", "copy_file", "devnull"}
"""Whoever passes one of these writes under a temporary name, by our own copy function, or nowhere."""


MAKES_BYTES = {"safetensors.torch.save"}
"""Named like writers, but return what they make."""


def in_memory(tree: ast.Module) -> set[str]:
    """Return the names that are given to io.BytesIO and io.StringIO."""
    assigned = [node for node in ast.walk(tree) if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)]
    held = [node for node in assigned if dotted(node.value.func).endswith(("BytesIO", "StringIO"))]
    return {target.id for node in held for target in node.targets if isinstance(target, ast.Name)}


def imported_names(tree: ast.Module) -> dict[str, str]:
    """Return what a file calls things that it imports -> where they come from, e.g. copyfile -> shutil.copyfile."""
    known = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            ours = (node.module or "").startswith("autoseg")  # held where it is defined
            known |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names if not ours}
        elif isinstance(node, ast.Import):
            known |= {alias.asname: alias.name for alias in node.names if alias.asname}
    return known


def writing_calls(tree: ast.Module) -> list[tuple[int, str]]:
    """Return line and name of each call that would write under a final name."""
    found = []
    harmless, imported = UNDER_ANOTHER_NAME | in_memory(tree), imported_names(tree)
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        start, dot, rest = dotted(call.func).partition(".")
        name = imported.get(start, start) + dot + rest
        named = {keyword.arg: keyword.value for keyword in call.keywords}
        parts = [call.func, *call.args, *named.values()]
        mentioned = {node.id for part in parts for node in ast.walk(part) if isinstance(node, ast.Name)}
        mentioned |= {node.attr for part in parts for node in ast.walk(part) if isinstance(node, ast.Attribute)}
        position = 0 if "." in name and not name.startswith(MODULES_WITH_OPEN) else 1
        opens = name in OPENERS or name.endswith(tuple(opener for opener in OPENERS if opener != "open"))
        mode = named.get("mode", call.args[position] if len(call.args) > position else None)
        if name.endswith("ZipFile"):
            mode = named.get("mode", call.args[1] if len(call.args) > 1 else None)
        if name == "os.open":
            writes = any(flag in ast.unparse(call) for flag in ("O_WRONLY", "O_RDWR", "O_CREAT"))
        elif opens:
            text = mode.value if isinstance(mode, ast.Constant) else "w" if dotted(mode or call) == "mode" else ""
            writes = re.fullmatch("[rbtU]*[wax+][rwaxbt+:gz]*", str(text)) is not None
        elif "urlpath" in named or (name.endswith(".replace") and len(parts) == 2):
            writes = name != "blosc2.open"
        else:
            writes = (
                name.endswith(WRITERS)
                and name not in MAKES_BYTES
                and (len(parts) > 1 or name.endswith((".touch", "TemporaryFile", ".mkstemp")))
            )
        if writes and not {each.lstrip("_") for each in mentioned} & harmless:
            found.append((call.lineno, name))
    return found


@each_source
def test_files_are_written_through_the_one_door(path):
    if name_of(path) != "autoseg/core/files.py":
        assert writing_calls(tree_of(path)) == []


@pytest.mark.parametrize(
    "text",
    [
        *('open(p, "w")', 'open(p, mode="xb")', 'p.open("ab")', "p.open(mode)", 'io.open(p, "r+")', "p.touch()"),
        *('gzip.open(p, "wb")', 'zipfile.ZipFile(p, "w")', 'tarfile.open(p, "w:gz")', "p.write_text(t)"),
        *("np.save(p, a)", "np.savez_compressed(p, a=a)", "torch.save(state, p)", "sitk.WriteImage(image, p)"),
        *("json.dump(d, handle)", "shutil.copy(a, b)", "shutil.copy2(a, b)", "shutil.move(a, b)", "a.replace(b)"),
        *("os.replace(a, b)", "a.rename(b)", "figure.savefig(p)", "image.save(p)", "nib.save(image, p)"),
        *("blosc2.asarray(a, urlpath=p)", "os.open(p, os.O_WRONLY | os.O_CREAT)", "archive.extractall(p)"),
        *("from shutil import copyfile; copyfile(a, b)", "from os import replace as put; put(a, b)"),
        *("from numpy import save; save(p, a)", "from nibabel import save; save(image, p)"),
        *(
            "from io import open as o; o(p, 'w')",
            "from gzip import open; open(p, 'wb')",
            "import shutil as s; s.move(a, b)",
        ),
        *("from tempfile import mkstemp; mkstemp()", "from tensorboard.x import EventFileWriter; EventFileWriter(p)"),
        *("series.save_as(p)", "safetensors.torch.save_file(t, p)", "tempfile.NamedTemporaryFile()"),
    ],
)
def test_a_file_opened_for_writing_elsewhere_would_be_seen(text):
    assert len(writing_calls(ast.parse(text))) == 1


@pytest.mark.parametrize(
    "text",
    [
        *('open(p, "rb")', "p.open()", 'temporary.open("wb")', "image.save(temporary)", 'name.replace("a", "b")'),
        *(
            "zipfile.ZipFile(p)",
            'archive.open(member, "r")',
            "replace(record, a=1)",
            "os.open(os.devnull, os.O_WRONLY)",
        ),
        *(
            'blosc2.open(str(p), mode="r")',
            "np.lib.format.write_array(buffer, a)",
            "blosc2.asarray(a, urlpath=temporary)",
            "b = io.BytesIO(); np.savez(b, a)",
        ),
    ],
)
def test_reading_memory_and_temporary_names_are_no_fault(text):
    assert writing_calls(ast.parse(text)) == []


@each_source
def test_errors_are_not_swallowed(path):
    if name_of(path) == "autoseg/cli.py":
        return  # the edge, where our own faults get their exit code
    broad = [
        node.lineno
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or dotted(node.type) in {"Exception", "BaseException"})
        if not any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
    ]
    assert broad == []


@each_source
def test_records_are_frozen(path):
    loose = []
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ClassDef):
            for decorator in node.decorator_list:
                plain = dotted(decorator) == "dataclass"
                called = isinstance(decorator, ast.Call) and dotted(decorator.func) == "dataclass"
                options = {k.arg for k in decorator.keywords} if isinstance(decorator, ast.Call) else set()
                if plain or (called and "frozen" not in options and not node.name.startswith("_")):
                    loose.append(node.name)
    assert loose == []


def test_every_module_says_what_it_is_for():
    assert [name_of(path) for path in SOURCES if not ast.get_docstring(tree_of(path))] == []


def test_no_path_of_a_developers_machine_is_in_the_repository():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    parent = str(ROOT.parent) + "/"
    texts = [ROOT / name for name in listed.stdout.splitlines()]
    found = [p for p in texts if p.is_file() and parent.encode() in p.read_bytes()] if len(parent) > len("/x/") else []
    assert [name_of(path) for path in found] == []
