"""plan.json as somebody edited it."""

import json

import pytest

from autoseg.core.errors import AutosegError
from autoseg.core.plans import read_plan
from autoseg.core.records import write_record
from planners.planner import make_plan
from planners.recipe import RECIPES, Budget
from tests.planners.fingerprints import fingerprint


@pytest.fixture
def file(tmp_path):
    write_record(tmp_path / "plan.json", make_plan(fingerprint(), RECIPES["auto"], Budget(steps=100)))
    return tmp_path / "plan.json"


def edited(file, change):
    document = json.loads(file.read_bytes())
    change(document["configurations"][0])
    file.write_text(json.dumps(document), encoding="utf-8")


def test_an_untouched_plan_is_read(file):
    assert read_plan(file).configurations[0].schedule.steps == 100


def test_a_sensible_edit_is_kept(file):
    edited(file, lambda first: first.update(batch=6))
    assert read_plan(file).configurations[0].batch == 6


def test_a_patch_that_no_network_takes_is_refused_with_file_and_field(file):
    edited(file, lambda first: first.update(patch=[33, 48, 32]))
    line = (
        f"{file}: configurations[0].patch: (33, 48, 32) is not divisible by its strides, together (8, 8, 8);"
        " mend this value or remove the file"
    )
    with pytest.raises(AutosegError) as raised:
        read_plan(file)
    assert str(raised.value) == line


def test_further_mistakes_are_counted(file):
    edited(file, lambda first: first.update(batch=0, spacing_mm=[1.0, -1.0, 1.0]))
    with pytest.raises(AutosegError, match=r"\(1, -1, 1\) has an axis .* above 0 \(and 1 more\); mend"):
        read_plan(file)
