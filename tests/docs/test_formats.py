"""docs/formats.md shows the record classes as they are, all of them."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def make_formats() -> ModuleType:
    specification = importlib.util.spec_from_file_location("make_formats", ROOT / "docs" / "make_formats.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_page_is_not_stale(make_formats: ModuleType) -> None:
    assert make_formats.PAGE.read_text(encoding="utf-8") == make_formats.page(), "run: python -m docs.make_formats"


def test_every_schema_in_the_code_is_on_the_page(make_formats: ModuleType) -> None:
    in_code = {
        schema
        for place in ("autoseg/**/*.py", "planners/*.py", "benchmarks/record.py")
        for path in ROOT.glob(place)
        for schema in re.findall(r'schema: ClassVar\[str\] = "(.+?)"', path.read_text(encoding="utf-8"))
    }
    on_page = {make_formats.record_class(entry).schema for entry in make_formats.FORMATS}
    assert in_code == on_page, "add the class to FORMATS in docs/make_formats.py and run it"


def test_types_are_said_in_words(make_formats: ModuleType) -> None:
    assert make_formats.type_text(float | None) == "number, or null"
    assert make_formats.type_text(tuple[tuple[int, int], ...]) == "list of lists of 2 integers"
    assert make_formats.type_text(tuple[str, int]) == "list of 2: text, integer"
