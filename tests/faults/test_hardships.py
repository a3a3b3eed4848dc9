"""Scarce or strange surroundings change no label; odd data give a result or one clear line.

All of them are injected by `python -m benchmarks.faults`; here are those that are most likely to break.
"""

import pytest

from benchmarks.faults import hardships, odd

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("hard")


@pytest.mark.parametrize(
    "name",
    ["64 open files", "shared memory of 8 MB", "read-only input", "no network", "names of 250 characters",
     "spaces, quotes and other scripts in names", "symbolic links in a circle", "a German locale, images in NRRD"],
)  # fmt: skip
def test_a_hardship_changes_no_label(name, place):
    inject = dict(hardships.hardships(place)).get(name)
    if inject is None:
        pytest.skip("needs root, or a program that is not installed")
    assert inject().faults == ()


@pytest.mark.parametrize(
    "name",
    ["constant images", "one image of one voxel", "images of one slice", "no foreground in one case",
     "a class in one case only", "a negative label value", "one case"],
)  # fmt: skip
def test_odd_data_give_a_result_or_one_clear_line(name, tmp_path):
    assert odd.run(tmp_path / "odd", *odd.ODD[name]).faults == ()
