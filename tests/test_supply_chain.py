"""What an installation brings along: licences that the project may build on, versions without known holes."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from docs.make_licences import FORBIDDEN, PAGE, PERMITTED, installed_with, page, rows

ROOT = Path(__file__).parents[1]
PINNED = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if "==" in line and not line.startswith("#")
)
REQUIRED = {
    wanted.name: wanted
    for wanted in map(
        Requirement, tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    )
}


@pytest.mark.parametrize(("package", "licence"), list(rows()), ids=[name for name, _ in rows()])
def test_licence_permits_what_the_project_does(package, licence):
    assert PERMITTED.search(licence), licence
    assert not FORBIDDEN.search(licence), licence


@pytest.mark.parametrize(
    "licence", ["GPL-3.0-or-later", "LGPL-2.1", "GNU General Public License v3 (GPLv3)", "AGPL-3.0"]
)
def test_a_forbidden_licence_would_be_seen(licence):
    assert FORBIDDEN.search(licence)


def test_the_closure_is_more_than_what_is_named():
    found = installed_with("autoseg")
    assert {name.lower() for name in REQUIRED} <= set(found)
    assert "pillow" in found  # by way of scikit-image


def test_the_page_of_licences_is_what_is_installed():
    if any(version(name) != pin for name, pin in PINNED.items() if name.lower() in REQUIRED and name != "torch"):
        pytest.skip("other versions than the pinned ones are installed")
    assert PAGE.read_text(encoding="utf-8") == page()


@pytest.mark.parametrize(
    ("package", "hole", "first_good"),
    [
        # CVE-2025-32434: code execution by torch.load with weights_only; CVE-2026-24747: memory corruption
        ("torch", "2.9.1", "2.10.0"),
        # CVE-2026-32711: a DICOMDIR leads outside its folder
        ("pydicom", "3.0.1", "3.0.2"),
    ],
)
def test_versions_with_known_holes_are_excluded(package, hole, first_good):
    assert hole not in REQUIRED[package].specifier
    assert first_good in REQUIRED[package].specifier


def test_every_pinned_version_fits_what_is_required():
    pins = {re.sub(r"[-_.]+", "-", name).lower(): pin for name, pin in PINNED.items()}
    for name, wanted in REQUIRED.items():
        assert pins[re.sub(r"[-_.]+", "-", name).lower()] in wanted.specifier, name


def test_the_oldest_versions_are_those_that_are_allowed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = map(Requirement, (*project["dependencies"], *extras["onnx"], *extras["zarr"]))
    oldest = {one.name: next(part.version for part in one.specifier if part.operator == ">=") for one in wanted}
    lines = (ROOT / "constraints-minimum.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    assert {name: pin.removesuffix(".*") for name, pin in pinned.items()} == oldest
