"""docs/metrics.md shows the definitions as they are in the code."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_page_is_not_stale() -> None:
    specification = importlib.util.spec_from_file_location("make_metrics", ROOT / "docs" / "make_metrics.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), "run: python -m docs.make_metrics"
