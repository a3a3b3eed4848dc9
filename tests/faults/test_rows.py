"""Every fault of docs/faults.md has tests that exist under the names it gives."""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8").splitlines()


@cache
def functions_of(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_all_twenty_six_faults_have_tests():
    table = {int(row.split("|")[1]): row for row in ROWS if re.match(r"\| \d+ \|", row)}
    assert sorted(table) == list(range(1, 27))
    for number, row in table.items():
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert named, f"row {number} names no test"
        missing = [f"{path}::{name}" for path, name in named if name not in functions_of(ROOT / path)]
        assert missing == [], f"row {number}"
