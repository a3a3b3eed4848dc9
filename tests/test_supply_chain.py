"""What an installation brings along: licences that the project may build on, versions without known holes."""

import ast
import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from docs.make_licences import EXTRAS, FORBIDDEN, PAGE, PERMITTED, installed_with, page, rows

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
    assert {"networkx", "onnxruntime", "zarr", "grpcio"} <= set(found)  # of scikit-image, and of the extras


def test_a_package_that_is_missing_is_not_passed_over(monkeypatch):
    def absent(name):
        if name == "numcodecs":
            raise PackageNotFoundError(name)
        return distribution(name)

    monkeypatch.setattr("docs.make_licences.distribution", absent)
    with pytest.raises(PackageNotFoundError):
        installed_with("autoseg")


def test_what_is_imported_is_required():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = (line for name in EXTRAS for line in project["optional-dependencies"][name])
    wanted = {Requirement(line).name.lower().replace("-", "_") for line in (*project["dependencies"], *extras)}
    called = {"PIL": "pillow", "skimage": "scikit_image", "sklearn": "scikit_learn"}
    imported = set()
    for path in (ROOT / "autoseg").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            imported |= {module.partition(".")[0] for module in modules}
    theirs = imported - sys.stdlib_module_names - {"autoseg", "planners"}
    assert {called.get(name, name).lower() for name in theirs} <= wanted


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
        # CVE-2026-25990, -42311: out-of-bounds writes; -55798, -59197 to -59200: the same and bombs
        ("pillow", "12.2.0", "12.3.0"),
        # a lossless JPEG that is cut short is read without a word (tests/imaging/test_dicom.py)
        ("SimpleITK", "2.5.3", "2.5.4"),
        # names beyond ASCII become question marks (tests/imaging/test_dicom_seg_write.py)
        ("highdicom", "0.27.0", "0.28.0"),
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
    wanted = map(Requirement, (*project["dependencies"], *(line for name in EXTRAS for line in extras[name])))
    oldest = {one.name: next(part.version for part in one.specifier if part.operator == ">=") for one in wanted}
    lines = (ROOT / "constraints-minimum.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    assert {name: pin.removesuffix(".*") for name, pin in pinned.items()} == oldest
